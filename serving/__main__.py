"""`python -m serving`: run Triton with Facewarden's models in the foreground until Ctrl-C or SIGTERM.

SIGUSR1 makes it take up the classifier's version that is to be served now, after a publication or a rollback.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from .api import ApiError
from .errors import ServingError, SetupError, VersionError
from .installation import CACHE
from .options import PROFILES, Options
from .server import Server
from .versions import ROLLBACK, check_host, newest
from .watchdog import Watchdog

EXIT_DONE, EXIT_SERVER, EXIT_SETUP = 0, 1, 2


def parse(argv: list[str] | None = None) -> Options:
    """Options from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m serving",
        description=__doc__,
        epilog="Exit codes: 0 stopped as asked, 1 the server failed, 2 the machine lacks what the message names.",
    )
    default = Options
    parser.add_argument("--profile", default=default.profile, choices=PROFILES, help="default %(default)s")
    parser.add_argument("--host", default=default.host, help="address to listen on (default %(default)s)")
    parser.add_argument(
        "--http-host", default=default.http_host, help="address of HTTP, without TLS (default %(default)s)"
    )
    for name in ("cert", "key", "client-ca"):
        parser.add_argument(
            f"--tls-{name}", type=Path, help="PEM file; TLS on gRPC, mutual with the client's authority"
        )
    for name in ("grpc", "http", "metrics"):
        value = getattr(default, f"{name}_port")
        parser.add_argument(f"--{name}-port", type=int, default=value, help="0 takes a free one (default %(default)s)")
    parser.add_argument("--model-repository", type=Path, default=default.model_repository)
    parser.add_argument("--log", default=None, help="file for Triton's own log, - for stderr (default in .cache/logs)")
    parser.add_argument("--ready-timeout-s", type=float, default=default.ready_timeout_s, help="default %(default)s")
    parser.add_argument("--stop-timeout-s", type=int, default=default.stop_timeout_s, help="default %(default)s")
    parser.add_argument(
        "--canary-interval-s", type=float, default=default.canary_interval_s, help="default %(default)s"
    )
    parser.add_argument("--canary-timeout-s", type=float, default=default.canary_timeout_s, help="default %(default)s")
    parser.add_argument(
        "triton_arguments",
        nargs="*",
        help="after --: passed on to tritonserver, for example -- --log-verbose=1",
    )
    values = vars(parser.parse_args(argv))
    extra, log = tuple(values.pop("triton_arguments")), values.pop("log")
    options = Options(**values, extra_arguments=extra)
    return options if log == "-" else with_log(options, log)


def with_log(options: Options, log: str | None) -> Options:
    """The same options with Triton's log in a file."""
    path = Path(log) if log else CACHE / "logs" / f"triton-{options.grpc_port}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    return replace(options, log=path)


def serve(options: Options) -> None:
    """Runs a server with its watchdog until a signal asks it to stop."""
    _on_signals(signal.default_int_handler)
    # Waited for, not handled: in the middle of a canary, a load would look like a model that hangs.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    server = Server(options)
    try:
        server.start()
        server.wait_ready()
        print(
            f"ready: gRPC {server.url}, HTTP port {options.http_port}, metrics port {options.metrics_port}", flush=True
        )
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
        if server.options.profile == "embedded-cpu":
            check_host(folder)
        server.api.load("classifier", timeout_s=server.options.ready_timeout_s)
        print(f"classifier: version {folder.name}", flush=True)
    except VersionError as exc:
        print(f"the classifier stays as it was: {exc}", file=sys.stderr, flush=True)
    except ApiError as exc:
        print(
            f"the classifier stays as it was: {exc}; withdraw the version: {ROLLBACK} NUMBER",
            file=sys.stderr,
            flush=True,
        )


def _on_signals(handler: Callable[..., object] | signal.Handlers) -> None:
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, handler)


def main() -> int:
    """Command line entry."""
    try:
        serve(parse())
    except SetupError as exc:
        print(f"cannot serve: {exc}", file=sys.stderr)
        return EXIT_SETUP
    except ServingError as exc:
        print(f"the server failed: {exc}", file=sys.stderr)
        return EXIT_SERVER
    print("stopped")
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
