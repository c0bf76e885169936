"""Watch a video: a line for each event, then a verdict for each person and for the whole. --json prints every frame."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from contextlib import closing
from typing import Any

from ._check import ServerLostError, healthy, maybe_lost
from ._client import Client
from ._errors import VideoError
from ._files import require_writable
from ._report import Report
from ._stream import FrameVerdict, Summary
from ._terminal import Progress, event_line, live_line, printable, summary_lines, wants_colour
from .video import Drop, frame_count


def run(args: Namespace, client: Client) -> int:
    """0: every frame answered; 1: a frame or the video failed. ServerLostError where the server is gone for good."""
    report = Report() if args.report else None
    if args.report:
        require_writable(args.report)
    client.ping()
    with Progress(None if args.live else frame_count(args.video)) as progress:
        printer = _Printer(args, progress)
        summary, error = _frames(args, client, printer, report)
        printer.summary(summary, error)
    if report:
        report.write(args.report, args.video, summary)
    if isinstance(error, ServerLostError | KeyboardInterrupt):
        raise error
    return 1 if error or summary.failed else 0


def _frames(
    args: Namespace, client: Client, printer: _Printer, report: Report | None
) -> tuple[Summary, VideoError | ServerLostError | KeyboardInterrupt | None]:
    summary = Summary()
    drop: Drop | None = "oldest" if args.live else None
    try:
        with closing(client.watch(args.video, heatmap=report is not None, drop=drop)) as frames:
            for frame in frames:
                summary = frame.so_far
                printer.frame(frame)
                if report:
                    report.add(frame)
                if maybe_lost(frame.error) and not healthy(client):
                    raise ServerLostError(f"The server is lost: {frame.error} {summary.frames} frames were counted.")
    except (VideoError, ServerLostError, KeyboardInterrupt) as exc:  # Ctrl-C is how a camera's stream ends
        return summary, exc
    return summary, None


class _Printer:
    """Prints JSON Lines; or, for a person, events and the summary on stdout and the progress on stderr."""

    def __init__(self, args: Namespace, progress: Progress) -> None:
        self._json, self._path, self._progress = args.json, args.video, progress
        self._colour = wants_colour(sys.stdout)

    def frame(self, frame: FrameVerdict) -> None:
        self._progress.clear()
        if self._json:
            _print_json(frame.to_json())
        for event in frame.events:
            _print_json(event.to_json()) if self._json else print(event_line(event, self._colour), flush=True)
        self._progress.advance(live_line(frame))

    def summary(self, summary: Summary, error: BaseException | None) -> None:
        self._progress.clear()
        if self._json:
            message = None if error is None else str(error) or "Interrupted."
            _print_json({**summary.to_json(), "path": self._path, "error": message})
            return
        print("\n".join(summary_lines(summary, self._path, self._colour)))
        if isinstance(error, VideoError):
            print(printable(str(error)), file=sys.stderr)


def _print_json(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)
