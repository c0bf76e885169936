"""Options are checked before anything starts."""

import pytest

from serving.errors import SetupError
from serving.supervisor.options import Options
from serving.supervisor.server import check_machine


def test_unknown_profile_is_named_with_the_known_ones():
    with pytest.raises(SetupError, match=r"'fast'.*embedded-cpu"):
        Options(profile="fast")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"grpc_port": 70_000}, "--grpc-port 70000"),
        ({"metrics_port": -1}, "--metrics-port -1"),
        ({"grpc_port": 8000, "http_port": 8000}, "three different numbers"),
        ({"canary_interval_s": -1.0}, "--canary-interval-s"),
        ({"ready_timeout_s": 0.0}, "--ready-timeout-s"),
    ],
    ids=["too high", "negative", "one for two", "interval", "timeout"],
)
def test_numbers_that_cannot_work_are_named(wrong, said):
    with pytest.raises(SetupError, match=said):
        Options(**wrong)


def test_an_address_that_is_none_is_said_to_be_none(new_options):
    with pytest.raises(SetupError, match="no IPv4 address"):
        check_machine(new_options(host="::1"))


def test_port_zero_becomes_a_free_port():
    options = Options(grpc_port=0, http_port=0, metrics_port=0)
    assert all(port > 1023 for port in options.ports().values())
    assert len(set(options.ports().values())) == 3


def test_url_of_a_server_on_every_interface_is_loopback():
    assert Options(host="0.0.0.0", grpc_port=8001).url == "127.0.0.1:8001"
