"""The servers that measurements start."""

from __future__ import annotations

from typing import Any

from serving.paths import CACHE
from serving.supervisor.options import Options
from serving.supervisor.server import Server


def own_server(name: str, **options: Any) -> Server:
    """A server on free ports with these `Options`, not started; its log is `.cache/logs/<name>.log`."""
    log = CACHE / "logs" / f"{name}.log"
    return Server(Options(grpc_port=0, http_port=0, metrics_port=0, log=log, **options))
