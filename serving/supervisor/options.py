"""How one server runs: profile, addresses, limits. Validated on construction."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from serving.errors import SetupError
from serving.paths import REPOSITORY

CALLED = ("face_detector", "deepfake_face", "deepfake_image", "deepfake_video")  # the same in every profile
BEHIND = {  # profile: what `deepfake_face` is made of
    "embedded-cpu": ("classifier",),
    "embedded-gpu": ("preprocess", "classifier"),
    "container": ("image_check", "preprocess", "classifier"),
}
PROFILES = tuple(BEHIND)


def free_port() -> int:
    """A TCP port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Options:
    """Settings of one server. A port of 0 becomes a free one.

    Args:
        profile: where and with what the models run; which `configs/<profile>.pbtxt` they use.
        host: address of gRPC and metrics; loopback unless the network is trusted or TLS is on.
        http_host: address of HTTP, which has no TLS; the supervisor uses it itself.
        grpc_port: for clients; 0 takes a free one, as for the other two.
        http_port: for the supervisor.
        metrics_port: for Prometheus.
        model_repository: folder of the models.
        tls_cert: PEM file of the server's certificate, for TLS on gRPC.
        tls_key: PEM file of its key.
        tls_client_ca: PEM file of the authority whose clients are let in (mutual TLS).
        log: file for Triton's own log. The command writes it into .cache/logs; - leaves it on stderr.
        ready_timeout_s: from the start until the first answered canary.
        stop_timeout_s: what requests in flight get on a stop before the process group is killed.
        canary_interval_s: how often the watchdog asks every model.
        canary_timeout_s: how long one canary may take.
        extra_arguments: passed on to `tritonserver`; on the command line after --, for example -- --log-verbose=1.
    """

    profile: str = "embedded-cpu"
    host: str = "127.0.0.1"
    http_host: str = "127.0.0.1"
    grpc_port: int = 8001
    http_port: int = 8000
    metrics_port: int = 8002
    model_repository: Path = REPOSITORY
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    log: Path | None = None
    ready_timeout_s: float = 300.0
    stop_timeout_s: int = 10
    canary_interval_s: float = 5.0
    canary_timeout_s: float = 5.0
    extra_arguments: Positional[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise SetupError(f"no profile {self.profile!r}; choose one of {', '.join(PROFILES)}")
        if (self.tls_cert is None) != (self.tls_key is None) or (self.tls_client_ca and not self.tls_cert):
            raise SetupError("--tls-cert and --tls-key belong together, --tls-client-ca needs both")
        for file in filter(None, (self.tls_cert, self.tls_key, self.tls_client_ca)):
            if not file.is_file():
                raise SetupError(f"no such certificate or key: {file}")
        for name in ("grpc_port", "http_port", "metrics_port"):
            if getattr(self, name) == 0:
                object.__setattr__(self, name, free_port())
        if not all(0 < port < 65536 for port in self.ports().values()) or len(set(self.ports().values())) < 3:
            ports = ", ".join(f"{name} {port}" for name, port in self.ports().items())
            raise SetupError(f"ports are three different numbers from 1 to 65535, or 0 for a free one; got {ports}")
        for name in ("ready_timeout_s", "canary_interval_s", "canary_timeout_s"):
            if getattr(self, name) <= 0:
                raise SetupError(f"--{name.replace('_', '-')} is above 0, got {getattr(self, name):g}")

    @property
    def models(self) -> tuple[str, ...]:
        """The models to load, those that others are made of first."""
        return (*BEHIND[self.profile], *CALLED)

    @property
    def url(self) -> str:
        """Where this machine's clients reach gRPC."""
        return f"{_reachable(self.host)}:{self.grpc_port}"

    @property
    def http_url(self) -> str:
        """Where this machine reaches HTTP."""
        return f"{_reachable(self.http_host)}:{self.http_port}"

    def ports(self) -> dict[str, int]:
        """Port numbers by their option names."""
        return {"--grpc-port": self.grpc_port, "--http-port": self.http_port, "--metrics-port": self.metrics_port}


def _reachable(host: str) -> str:
    """A listening address as one to connect to."""
    return "127.0.0.1" if host == "0.0.0.0" else host
