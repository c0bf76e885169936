"""Judge pictures: one line each, in the order given; a picture that fails is a line with an error."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import closing, nullcontext

from ._client import Client
from ._errors import FacewardenError, ImageError, OverloadedError
from ._files import Results, find_images
from ._show import HEAD, Progress, verdict_line, wants_colour
from ._verdict import Verdict


class LostError(Exception):
    """The server is gone for good; a sentence."""


class _Feed:
    """Paths for the client, until someone says stop."""

    def __init__(self, paths: list[str]) -> None:
        self._paths = paths
        self.stopped = False

    def __iter__(self) -> Iterator[str]:
        for path in self._paths:
            if self.stopped:
                return
            yield path


def run(args: Namespace, client: Client) -> int:
    """0: all answered; 1: some image failed. Raises LostError when the server is gone for good."""
    with Results(args.output) if args.output else nullcontext() as results:
        paths, failed = _remaining(find_images(args.paths), results)
        if paths:
            client.ping()
            with Progress(len(paths)) as progress:
                failed += _check(paths, client, _Printer(args, progress), results)
    return 1 if failed else 0


def _remaining(paths: list[str], results: Results | None) -> tuple[list[str], int]:
    """What an earlier run left to do, and how many of its answers were errors."""
    if results is None:
        return paths, 0
    before = [(path, results.answered(path)) for path in paths]
    left = [path for path, failed in before if failed is None]
    if len(left) < len(paths):
        print(f"{len(paths) - len(left)} of {len(paths)} images were answered before.", file=sys.stderr)
    return left, sum(failed is True for _, failed in before)


def _check(paths: list[str], client: Client, printer: _Printer, results: Results | None) -> int:
    feed, failed, answered, lost = _Feed(paths), 0, 0, None
    with closing(client.check_images(feed)) as verdicts:
        for verdict in verdicts:
            feed.stopped = feed.stopped or (maybe_lost(verdict.error) and not healthy(client))
            if feed.stopped and unanswered(verdict.error):
                lost = verdict.error
                continue
            if results and not unanswered(verdict.error):
                results.write(verdict)  # what is no answer is not kept: a run that resumes asks again
            printer.show(verdict)
            answered += not unanswered(verdict.error)
            failed += verdict.error is not None
    if feed.stopped:
        raise LostError(f"The server is lost: {lost} {answered} of {len(paths)} images are answered.")
    return failed


def unanswered(error: FacewardenError | None) -> bool:
    """Whether the error is about the server, not about the picture."""
    return error is not None and not isinstance(error, ImageError)


def maybe_lost(error: FacewardenError | None) -> bool:
    """Whether the server may be gone for good. One whose queue is full is there, and has enough to do."""
    return unanswered(error) and not isinstance(error, OverloadedError)


def healthy(client: Client) -> bool:
    """Whether the server has just answered a real inference."""
    try:
        return client.status().healthy
    except FacewardenError:
        return False


class _Printer:
    """One line a verdict on stdout, the progress on stderr."""

    def __init__(self, args: Namespace, progress: Progress) -> None:
        self._json, self._progress = args.json, progress
        self._colour = wants_colour(sys.stdout)
        if not self._json:
            print(HEAD)

    def show(self, verdict: Verdict) -> None:
        self._progress.clear()
        line = json.dumps(verdict.to_json()) if self._json else verdict_line(verdict, self._colour)
        print(line, flush=True)
        self._progress.advance()
