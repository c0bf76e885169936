"""Judge pictures: one line each, in the order given. For a picture that fails, the line holds the error."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from contextlib import closing, nullcontext
from itertools import takewhile

from ._client import Client
from ._errors import FacewardenError, ImageError, OverloadedError
from ._files import Results, find_images
from ._terminal import HEADER, Progress, verdict_line, wants_colour
from ._verdict import Verdict


class ServerLostError(Exception):
    """The server is gone for good; a sentence."""


def run(args: Namespace, client: Client) -> int:
    """0: all answered; 1: some image failed. Raises ServerLostError where the server is gone for good."""
    with Results(args.output) if args.output else nullcontext() as results:
        paths, failed = _remaining(find_images(args.paths), results)
        if paths:
            client.ping()
            with Progress(len(paths)) as progress:
                failed += _check(paths, client, _Printer(args, progress), results)
    return 1 if failed else 0


def _remaining(paths: list[str], results: Results | None) -> tuple[list[str], int]:
    """The paths that an earlier run left, and how many of its answers were errors."""
    if results is None:
        return paths, 0
    earlier = [(path, results.take_answer(path)) for path in paths]
    left = [path for path, failed in earlier if failed is None]
    if len(left) < len(paths):
        print(f"{len(paths) - len(left)} of {len(paths)} images were answered before.", file=sys.stderr)
    return left, sum(failed is True for _, failed in earlier)


def _check(paths: list[str], client: Client, printer: _Printer, results: Results | None) -> int:
    """How many images failed."""
    failed = answered = 0
    lost: FacewardenError | None = None
    with closing(client.check_images(takewhile(lambda _: lost is None, paths))) as verdicts:
        for verdict in verdicts:
            unanswered = about_server(verdict.error)
            if unanswered and (lost or (maybe_lost(verdict.error) and not healthy(client))):
                lost = verdict.error
                continue
            if results and not unanswered:
                results.write(verdict)  # only answers are kept: a run that resumes asks for the rest
            printer.show(verdict)
            answered += not unanswered
            failed += verdict.error is not None
    if lost:
        raise ServerLostError(f"The server is lost: {lost} {answered} of {len(paths)} images are answered.")
    return failed


def about_server(error: FacewardenError | None) -> bool:
    """Whether the error is about the server, not about the picture."""
    return error is not None and not isinstance(error, ImageError)


def maybe_lost(error: FacewardenError | None) -> bool:
    """Whether the server may be gone for good. One whose queue is full is there, and has enough to do."""
    return about_server(error) and not isinstance(error, OverloadedError)


def healthy(client: Client) -> bool:
    """Whether the server has just answered a real inference."""
    try:
        return client.status().healthy
    except FacewardenError:
        return False


class _Printer:
    """Prints a line for each verdict on stdout, and the progress on stderr."""

    def __init__(self, args: Namespace, progress: Progress) -> None:
        self._json, self._progress = args.json, progress
        self._colour = wants_colour(sys.stdout)
        if not self._json:
            print(HEADER)

    def show(self, verdict: Verdict) -> None:
        self._progress.clear()
        line = json.dumps(verdict.to_json()) if self._json else verdict_line(verdict, self._colour)
        print(line, flush=True)
        self._progress.advance()
