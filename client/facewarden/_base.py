"""What Client and AsyncClient share: everything but the waiting."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ._codec import Asked, Priority
from ._errors import ClosedError, FacewardenError, to_error
from ._options import Options
from ._retry import Retry, RetryPolicy
from ._verdict import Threshold

DEFAULT_URL = "localhost:8001"
DEFAULT_TIMEOUT_S = 30.0
DEFAULT_IN_FLIGHT = 16


class _FromOptions:
    """Stands for "as the client was told", where None means "none"."""

    def __repr__(self) -> str:
        return "<the client's>"


CLIENTS: Any = _FromOptions()
NOTHING_ELSE: Mapping[str, Any] = MappingProxyType({})


class BaseClient:
    """Options and pure steps of a client."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout_s: float | None = DEFAULT_TIMEOUT_S,
        retries: int = RetryPolicy.retries,
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
        timeout_s: a call's deadline, its retries included; None for none
        retries: attempts after the first, for errors that are safe to retry
        token: sent as ``authorization: Bearer ...`` with every call; without TLS it travels in the clear
        headers: more gRPC metadata for every call
        tls, ca, cert, key: TLS; PEM files of the authority to trust, and of this client (mTLS)
        priority: "interactive" or "bulk" for every call; None: checks of one image are interactive, of many bulk
        threshold: (real_below, fake_from) instead of the model's own
        in_flight: how many images ``check_images`` keeps under way

        Raises ValueError for an option that cannot work.
        """
        self._options = Options(
            url=url,
            timeout_s=timeout_s,
            retry=RetryPolicy(retries),
            token=token,
            headers=dict(headers or {}),
            tls=tls,
            ca=ca,
            cert=cert,
            key=key,
            priority=priority,
            threshold=Threshold(*threshold) if isinstance(threshold, tuple) else threshold,
            in_flight=in_flight,
        )
        self._asked("interactive")
        self._retry()
        self._open()

    def _open(self) -> None:
        """Make the connection's objects; nothing is sent."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    @property
    def url(self) -> str:
        """The address that this client calls."""
        return self._options.address

    def _asked(
        self, default: Priority, priority: Priority | None = None, heatmap: bool = False, max_faces: int | None = None
    ) -> Asked:
        chosen = priority or self._options.priority or default
        return Asked(heatmap, max_faces, chosen, self._options.threshold)

    def _retry(self, timeout_s: float | None = CLIENTS, retries: int | None = None) -> Retry:
        policy = self._options.retry if retries is None else RetryPolicy(retries)
        return Retry(policy, self._options.timeout_s if timeout_s is CLIENTS else timeout_s)

    def _error(self, exc: Any) -> FacewardenError:
        """tritonclient's InferenceServerException -> ours."""
        return to_error(exc.status() or "", exc.message() or "", self.url)

    def _closed_error(self) -> ClosedError:
        return ClosedError(f"The client of {self.url} is closed.")
