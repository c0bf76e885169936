"""Serving in the foreground: a server, its watchdog, and what signals ask for."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from serving.classifier.manifest import read_manifest
from serving.errors import VersionError
from serving.paths import CACHE

from .api import ApiError
from .options import Options
from .server import Server
from .versions import ROLL_BACK, newest
from .watchdog import Watchdog


def with_log(options: Options) -> Options:
    """The same options with Triton's log in a file of its own; on stderr where it is to be -."""
    log = options.log or CACHE / "logs" / f"triton-{options.grpc_port}.log"
    return replace(options, log=None if log == Path("-") else log)


def serve(options: Options) -> None:
    """Runs a server with its watchdog until a signal asks it to stop."""
    _on_signals(signal.default_int_handler)
    # Waited for, not handled: in the middle of a canary, a load would look like a model that hangs.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    server = Server(options)
    try:
        server.start()
        server.wait_ready()
        ports = f"HTTP port {options.http_port}, metrics port {options.metrics_port}"
        print(f"ready: gRPC {server.url}, {ports}, pid {os.getpid()}", flush=True)
        watchdog = Watchdog(server)
        while True:
            if signal.sigtimedwait({signal.SIGUSR1}, options.canary_interval_s):
                take_up(server)
            else:
                watchdog.check()
    except KeyboardInterrupt:
        pass
    finally:
        _on_signals(signal.SIG_IGN)  # a second Ctrl-C must not leave half a server behind
        server.stop()


def take_up(server: Server) -> None:
    """Loads the newest version of the classifier; the old one answers until the new one does, and where it fails."""
    folder = newest(server.options.model_repository / "classifier")
    try:
        read_manifest(folder)
        server.api.load("classifier", timeout_s=server.options.ready_timeout_s)
        print(f"classifier: version {folder.name}", flush=True)
    except (VersionError, ApiError) as exc:
        remedy = "" if isinstance(exc, VersionError) else f"; withdraw the version: {ROLL_BACK} NUMBER"
        print(f"the classifier stays as it was: {exc}{remedy}", file=sys.stderr, flush=True)


def _on_signals(handler: Callable[..., object] | signal.Handlers) -> None:
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, handler)
