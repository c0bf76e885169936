"""Addresses, TLS, headers: what cannot work is refused when the client is made."""

from pathlib import Path
from typing import Any

import pytest

from facewarden import AsyncClient, Client, Threshold
from facewarden._base import grpc_address

ADDRESSES = {
    "localhost": "localhost:8001",
    "localhost:9001": "localhost:9001",
    "grpc://gpu-3:8001": "gpu-3:8001",
    "grpcs://gpu-3": "gpu-3:8001",
    "10.0.0.7:8001/": "10.0.0.7:8001",
    "[::1]": "[::1]:8001",
    "[::1]:9001": "[::1]:9001",
    "unix:/run/triton.sock": "unix:/run/triton.sock",
}


@pytest.mark.parametrize(("url", "address"), ADDRESSES.items(), ids=ADDRESSES)
def test_address(url: str, address: str) -> None:
    assert grpc_address(url) == address
    assert Client(url).url == address


@pytest.mark.parametrize("url", ["", "http://localhost:8000", "localhost:8001/v2", "two words"])
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        grpc_address(url)


WRONG: dict[str, dict[str, Any]] = {
    "timeout_s": {"timeout_s": 0},
    "retries": {"retries": -1},
    "in_flight": {"in_flight": 0},
    "priority": {"priority": "urgent"},
    "real_below": {"threshold": (0.9, 0.1)},
    "no such certificate": {"ca": "nowhere.pem"},
    "belong together": {"cert": __file__},
    "authorization": {"token": "two\nlines"},
    "x-name": {"headers": {"X-Name": "Zoë"}},
}


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(("word", "option"), WRONG.items(), ids=WRONG)
def test_options_that_cannot_work_are_value_errors(kind: type[Client], word: str, option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=word):
        kind("localhost", **option)


def test_tls_is_on_where_it_is_asked_for(tmp_path: Path) -> None:
    pem = tmp_path / "ca.pem"
    pem.write_text("")
    assert not Client("localhost")._connection_arguments()["ssl"]
    assert Client("localhost", tls=True)._connection_arguments()["ssl"]
    assert Client("grpcs://localhost")._connection_arguments()["ssl"]
    assert Client("localhost", ca=str(pem))._connection_arguments()["ssl"]


def test_headers_of_client_and_call_are_merged() -> None:
    client = Client("localhost", token="secret\n", headers={"X-Team": "news", "x-trace": "a"})
    assert client._metadata() == {"authorization": "Bearer secret", "x-team": "news", "x-trace": "a"}
    assert client._metadata({"X-Trace": "b"})["x-trace"] == "b"
    assert Client("localhost", token=" ")._metadata() == {}


def test_secrets_are_not_printed() -> None:
    client = Client("localhost", token="secret", headers={"k": "secret"})
    assert "secret" not in repr(client) + repr(client._call())


def test_a_proxy_is_never_used_for_this_machine() -> None:
    def proxied(url: str) -> bool:
        arguments = dict(Client(url)._connection_arguments()["channel_args"])
        return arguments.get("grpc.enable_http_proxy", 1) == 1

    assert [proxied(url) for url in ("localhost", "127.0.0.1", "[::1]", "unix:/a", "gpu-3")] == [False] * 4 + [True]


def test_thresholds_may_be_a_pair() -> None:
    assert Client("localhost", threshold=(0.2, 0.8))._request_options("bulk").threshold == Threshold(0.2, 0.8)
