"""The command ``facewarden``.

Exit status: 0 all answered, 1 some input failed (``status``: the server is not healthy), 2 usage, 3 no server or lost
for good, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from . import _check, _watch
from ._base import DEFAULT_IN_FLIGHT, DEFAULT_TIMEOUT_S, DEFAULT_URL
from ._call import DEFAULT_RETRIES
from ._client import Client
from ._errors import FacewardenError, UnavailableError
from ._files import ResultsError
from ._terminal import status_lines

FAILED, USAGE, NO_SERVER, INTERRUPTED = 1, 2, 3, 130
NEXT_STEP = "Start one with 'make serve', or name another with --url."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file name must never end a run
    try:
        args = parser().parse_args(argv)
        return _run(args)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader has seen enough; it may be `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _run(args: Namespace) -> int:
    try:
        client = connect(args)
    except ValueError as exc:
        return _fail(f"{exc}.", USAGE)
    with client:
        try:
            return int(args.run(args, client))
        except ResultsError as exc:
            return _fail(str(exc), USAGE)
        except (UnavailableError, _check.ServerLostError) as exc:
            return _fail(f"{exc} {NEXT_STEP}", NO_SERVER)
        except FacewardenError as exc:
            return _fail(str(exc), NO_SERVER)


def _fail(message: str, code: int) -> int:
    print(f"facewarden: {message}", file=sys.stderr)
    return code


def connect(args: Namespace) -> Client:
    """The client that the options describe; ValueError for an option that cannot work."""
    return Client(
        args.url,
        timeout_s=args.timeout_s,
        retries=args.retries,
        token=args.token or os.environ.get("FACEWARDEN_TOKEN"),
        headers=dict(args.header),
        tls=args.tls,
        ca=args.ca,
        cert=args.cert,
        key=args.key,
        threshold=tuple(args.threshold) if args.threshold else None,
        in_flight=args.in_flight,
    )


def _status(args: Namespace, client: Client) -> int:
    status = client.status()
    print(json.dumps(status.to_json()) if args.json else "\n".join(status_lines(status)))
    return 0 if status.healthy else FAILED


def parser() -> ArgumentParser:
    """The command line."""
    top = ArgumentParser("facewarden", description="Are the faces in these pictures genuine or synthetic?")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    shared = _shared()
    check = commands.add_parser("check", parents=[shared], help="judge pictures", description=_check.__doc__)
    check.add_argument("paths", nargs="+", metavar="PATH", help="a picture, or a folder to walk (jpg, jpeg, png, webp)")
    check.add_argument("--output", metavar="FILE", help="also keep the answers in FILE (.jsonl or .csv); the same "
                       "command continues an interrupted run")  # fmt: skip
    check.set_defaults(run=_check.run)
    watch = commands.add_parser("watch", parents=[shared], help="judge a video", description=_watch.__doc__)
    watch.add_argument("video", metavar="VIDEO", help="what FFmpeg opens: a video file, rtsp://..., /dev/video0")
    watch.add_argument("--live", action="store_true", help="leave frames out where the server cannot keep up")
    watch.add_argument("--report", metavar="FILE", help="also write an HTML page with scores, people and events")
    watch.set_defaults(run=_watch.run)
    status = commands.add_parser("status", parents=[shared], help="ask the server how it is, with a real inference")
    status.set_defaults(run=_status)
    return top


def _shared() -> ArgumentParser:
    shared = ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print JSON, one object a line")
    shared.add_argument("--url", default=DEFAULT_URL, help="gRPC address of the server (%(default)s)")
    calls = shared.add_argument_group("calls")
    calls.add_argument("--timeout-s", type=float, default=DEFAULT_TIMEOUT_S, metavar="S",
                       help="deadline for each picture, retries included (%(default)g s)")  # fmt: skip
    calls.add_argument("--retries", type=int, default=DEFAULT_RETRIES, metavar="N",
                       help="how often a call is repeated while the server restarts (%(default)d)")  # fmt: skip
    calls.add_argument("--in-flight", type=int, default=DEFAULT_IN_FLIGHT, metavar="N",
                       help="pictures under way at once (%(default)d)")  # fmt: skip
    calls.add_argument("--threshold", type=float, nargs=2, metavar=("REAL_BELOW", "FAKE_FROM"),
                       help="use these instead of the model's own, 0..1")  # fmt: skip
    access = shared.add_argument_group("access")
    access.add_argument("--token", help="bearer token; $FACEWARDEN_TOKEN is better, for other users cannot see it")
    access.add_argument("--header", type=_header, action="append", default=[], metavar="NAME=VALUE",
                        help="gRPC metadata for every call")  # fmt: skip
    access.add_argument("--tls", action="store_true", help="encrypt; implied by the options below")
    access.add_argument("--ca", metavar="FILE", help="PEM of the authority to trust")
    access.add_argument("--cert", metavar="FILE", help="PEM of this client's certificate (mTLS)")
    access.add_argument("--key", metavar="FILE", help="PEM of its key")
    return shared


def _header(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value
