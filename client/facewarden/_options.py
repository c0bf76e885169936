"""How to reach a server: address, TLS, headers, limits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ._codec import Priority
from ._image import MAX_IMAGE_BYTES
from ._retry import RetryPolicy
from ._verdict import Threshold

PORT = 8001
MAX_MESSAGE_BYTES = MAX_IMAGE_BYTES + 2**20  # the image, and room for what travels with it
_LOOPBACK = ("localhost:", "127.", "[::1]:", "unix:")
_CHANNEL = {
    "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
    "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
    # gRPC would wait up to two minutes before it tries a restarted server again.
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1000,
    # A host that drops packets is given up after this long, not after 20 s.
    "grpc.min_reconnect_backoff_ms": 5000,
}


@dataclass(frozen=True)
class Options:
    """Everything that stays the same from call to call; validated here, so that a client exists only if it can work."""

    url: str
    timeout_s: float | None
    retry: RetryPolicy
    token: str | None = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    tls: bool
    ca: str | None
    cert: str | None
    key: str | None
    priority: Priority | None
    threshold: Threshold | None
    in_flight: int

    def __post_init__(self) -> None:
        if self.in_flight < 1:
            raise ValueError(f"in_flight must be at least 1, not {self.in_flight}")
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key belong together")
        for path in filter(None, (self.ca, self.cert, self.key)):
            if not os.path.isfile(path):
                raise ValueError(f"no such certificate or key file: {path}")
        normalise(self.url)
        self.metadata(None)

    @property
    def encrypted(self) -> bool:
        """TLS is on where it is asked for, by option, by certificate or by address."""
        return self.tls or self.url.startswith("grpcs://") or any((self.ca, self.cert, self.key))

    @property
    def address(self) -> str:
        """Host and port as gRPC wants them."""
        return normalise(self.url)

    def metadata(self, headers: Mapping[str, str] | None) -> dict[str, str]:
        """gRPC metadata of one call: the client's headers, the token, then the call's own headers."""
        token = {"authorization": f"Bearer {self.token.strip()}"} if self.token and self.token.strip() else {}
        merged = {name.lower(): value for name, value in {**self.headers, **token, **(headers or {})}.items()}
        for name, value in merged.items():
            if not (value.isascii() and value.isprintable()):
                raise ValueError(f"header {name!r} holds characters that cannot be sent")
        return merged

    def connection(self) -> dict[str, Any]:
        """Keywords of tritonclient's InferenceServerClient."""
        channel: dict[str, Any] = dict(_CHANNEL)
        if self.address.startswith(_LOOPBACK):
            channel["grpc.enable_http_proxy"] = 0  # $http_proxy is never meant for this machine
        return {
            "url": self.address,
            "ssl": self.encrypted,
            "root_certificates": self.ca,
            "private_key": self.key,
            "certificate_chain": self.cert,
            "channel_args": list(channel.items()),
        }


def normalise(url: str) -> str:
    """``host``, ``host:port``, ``grpc://host:port``, ``[::1]:port`` or ``unix:path`` -> gRPC address.

    Raises ValueError for anything else.
    """
    if url.startswith("unix:"):
        return url
    scheme, _, rest = url.rpartition("://")
    host = rest.rstrip("/")
    if scheme not in ("", "grpc", "grpcs") or not host or "/" in host or any(c.isspace() for c in host):
        raise ValueError(f"url must be host:port of Triton's gRPC endpoint, like localhost:{PORT}, not {url!r}")
    has_port = ":" in host.rpartition("]")[2]
    return host if has_port else f"{host}:{PORT}"
