"""What Client and AsyncClient share: everything but the waiting."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypeAlias

from ._call import DEFAULT_RETRIES, Call
from ._errors import ClosedError, FacewardenError, to_error
from ._image import MAX_IMAGE_BYTES
from .wire import Priority, RequestOptions, Threshold

PORT = 8001
DEFAULT_URL = f"localhost:{PORT}"
DEFAULT_TIMEOUT_S = 30.0
DEFAULT_IN_FLIGHT = 16
MAX_MESSAGE_BYTES = MAX_IMAGE_BYTES + 2**20  # the image, and room for the other tensors
_LOOPBACK = ("localhost:", "127.", "[::1]:", "unix:")
_CHANNEL_ARGUMENTS = {
    "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
    "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
    # gRPC would wait up to two minutes before it tries a restarted server again.
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1000,
    # gRPC would wait 20 s for a host that drops packets.
    "grpc.min_reconnect_backoff_ms": 5000,
}
Headers: TypeAlias = Mapping[str, str] | None


class _UseClientDefault:
    """Stands for the client's own value, where None means that there is none."""

    def __repr__(self) -> str:
        return "<the client's>"


USE_CLIENT_DEFAULT: Any = _UseClientDefault()


class BaseClient:
    """The options of a client, and its steps that do no I/O."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout_s: float | None = DEFAULT_TIMEOUT_S,
        retries: int = DEFAULT_RETRIES,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        tls: bool = False,
        ca: str | None = None,
        cert: str | None = None,
        key: str | None = None,
        priority: Priority | None = None,
        threshold: Threshold | tuple[float, float] | None = None,
        in_flight: int = DEFAULT_IN_FLIGHT,
    ) -> None:
        """Connect lazily: nothing is sent before the first call.

        url: ``host:port`` of the server's gRPC endpoint; ``grpcs://host:port`` is TLS
        timeout_s: a call's deadline, its retries included; None: no deadline
        retries: attempts after the first, for errors that are safe to retry
        token: sent as ``authorization: Bearer ...`` with every call; without TLS anyone on the way can read it
        headers: more gRPC metadata for every call
        tls, ca, cert, key: TLS; PEM files of the authority to trust, and of this client (mTLS)
        priority: "interactive" or "bulk" for every call; None: one image is interactive, many are bulk
        threshold: (real_below, fake_from) instead of the model's own
        in_flight: how many images ``check_images`` keeps under way

        Raises ValueError for an option that cannot work.
        """
        if in_flight < 1:
            raise ValueError(f"in_flight must be at least 1, not {in_flight}")
        if (cert is None) != (key is None):
            raise ValueError("cert and key belong together")
        for path in filter(None, (ca, cert, key)):
            if not os.path.isfile(path):
                raise ValueError(f"no such certificate or key file: {path}")
        self._address = grpc_address(url)
        self._encrypted = tls or url.startswith("grpcs://") or any((ca, cert, key))
        self._certificates = {"root_certificates": ca, "private_key": key, "certificate_chain": cert}
        bearer = {"authorization": f"Bearer {token.strip()}"} if token and token.strip() else {}
        self._headers = {**(headers or {}), **bearer}
        self._timeout_s, self._retries, self._in_flight = timeout_s, retries, in_flight
        self._priority = priority
        self._threshold = Threshold(*threshold) if isinstance(threshold, tuple) else threshold
        self._request_options("interactive")  # these two raise for the options that they use
        self._call()
        self._open()

    def _open(self) -> None:
        """Make the connection's objects; nothing is sent."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    @property
    def url(self) -> str:
        """The address that this client calls."""
        return self._address

    def _connection_arguments(self) -> dict[str, Any]:
        """Keywords of tritonclient's InferenceServerClient."""
        channel: dict[str, int] = dict(_CHANNEL_ARGUMENTS)
        if self._address.startswith(_LOOPBACK):
            channel["grpc.enable_http_proxy"] = 0  # $http_proxy is never meant for this machine
        where = {"url": self._address, "ssl": self._encrypted, "channel_args": list(channel.items())}
        return {**where, **self._certificates}

    def _metadata(self, headers: Headers = None) -> dict[str, str]:
        """gRPC metadata of one call: the client's headers and token, then the call's own headers."""
        merged = {name.lower(): value for name, value in {**self._headers, **(headers or {})}.items()}
        for name, value in merged.items():
            if not (value.isascii() and value.isprintable()):
                raise ValueError(f"header {name!r} holds characters that cannot be sent")
        return merged

    def _request_options(
        self, default: Priority, priority: Priority | None = None, heatmap: bool = False, max_faces: int | None = None
    ) -> RequestOptions:
        return RequestOptions(heatmap, max_faces, priority or self._priority or default, self._threshold)

    def _call(
        self, timeout_s: float | None = USE_CLIENT_DEFAULT, headers: Headers = None, retries: int | None = None
    ) -> Call:
        deadline_s = self._timeout_s if timeout_s is USE_CLIENT_DEFAULT else timeout_s
        return Call(self._retries if retries is None else retries, deadline_s, self._metadata(headers))

    def _error(self, exc: Any) -> FacewardenError:
        """tritonclient's InferenceServerException -> ours."""
        return to_error(exc.status() or "", exc.message() or "", self.url)

    def _closed_error(self) -> ClosedError:
        return ClosedError(f"The client of {self.url} is closed.")


def grpc_address(url: str) -> str:
    """``host``, ``host:port``, ``grpc://host:port``, ``[::1]:port`` or ``unix:path`` -> gRPC's form, or ValueError."""
    if url.startswith("unix:"):
        return url
    scheme, _, rest = url.rpartition("://")
    host = rest.rstrip("/")
    if scheme not in ("", "grpc", "grpcs") or not host or "/" in host or any(c.isspace() for c in host):
        raise ValueError(f"url must be host:port of Triton's gRPC endpoint, like {DEFAULT_URL}, not {url!r}")
    has_port = ":" in host.rpartition("]")[2]
    return host if has_port else f"{host}:{PORT}"
