"""What a person sees: lines, colours, a progress bar."""

from __future__ import annotations

import os
import shutil
import sys
import time
from types import TracebackType
from typing import TextIO

from ._status import ModelStatus, Status
from ._stream import Event, FrameVerdict, Summary, Track
from ._verdict import Verdict

_CHANGES = ("verdict", "swap", "score_jump")
_COLOURS = {"collecting": "2", "real": "32", "review": "33", "fake": "1;31", "no_face": "2", "error": "1;35"}
HEAD = f"{'verdict':<8} {'p(fake)':>7} {'time':>9}  {'face box':<24}  image"


def wants_colour(stream: TextIO) -> bool:
    """Only on a terminal, and not against the user's word (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def verdict_line(verdict: Verdict, colour: bool) -> str:
    """``real       0.021     31 ms  112,44 - 310,280  photos/a.jpg``."""
    label = verdict.label or "error"
    where = f"{_box(verdict):<24}  {printable(verdict.path or '-')}"
    reason = f": {printable(str(verdict.error))}" if verdict.error else ""
    probability, latency = _probability(verdict.fake_probability), f"{verdict.latency_ms:.0f} ms"
    return f"{painted(label, colour)} {probability:>7} {latency:>9}  {where}{reason}"


def event_line(event: Event, colour: bool) -> str:
    """``  12.40 s  swap           track 1: real -> fake, evidence 4.1``."""
    whose = "" if event.track is None else f"track {event.track}: "
    evidence = dict(event.evidence)
    change = (
        f"{evidence.pop('before')} -> {painted(evidence.pop('after'), colour).rstrip()}"
        if event.event in _CHANGES
        else ""
    )
    facts = [change, *(f"{name.replace('_', ' ')} {value}" for name, value in evidence.items())]
    return f"{event.time_s:>8.2f} s  {event.event.replace('_', ' '):<15} {whose}{', '.join(filter(None, facts))}"


def live_line(frame: FrameVerdict) -> str:
    """``12.40 s  real  p 0.021``: where the stream stands, for the progress line."""
    probability = _probability(frame.fake_probability)
    return f"{frame.time_s:8.2f} s  {frame.label or 'no answer':<10} p {probability:<5}  {len(frame.faces)} face(s)"


def summary_lines(summary: Summary, path: str, colour: bool) -> list[str]:
    """A line for each person, then the whole."""
    lines = [f"{'track':<6} {'verdict':<8} {'p(fake)':>7}  {'seen':<17} {'frames':>6}  decided"]
    lines += [_track(track, colour) for track in summary.tracks]
    label = painted(summary.label or "error", colour)
    counts = f"{summary.frames} frames, {summary.frames_with_face} with a face, {summary.failed} failed"
    dropped = f", {summary.dropped} left out" if summary.dropped else ""
    return [*lines, f"{label} {_probability(summary.fake_probability):>7}  {counts}{dropped}  {printable(path)}"]


def _track(track: Track, colour: bool) -> str:
    seen = f"{track.first_s or 0.0:.2f} - {track.last_s:.2f} s"
    decided = "-" if track.decided_s is None else f"at {track.decided_s:.2f} s, after {track.decided_frames} frames"
    verdict = f"{painted(track.label, colour)} {track.fake_probability:>7.3f}"
    return f"{track.track:<6} {verdict}  {seen:<17} {track.frames:>6}  {decided}"


def status_lines(status: Status) -> list[str]:
    """The server in a line or two, then its models."""
    state = "healthy" if status.healthy else "not healthy"
    version = "" if status.model_version is None else f", classifier version {status.model_version}"
    ready = "ready" if status.ready else "not ready"
    lines = [f"{status.url} is {state}: {status.server} {status.version}, {ready}{version}"]
    return lines + [f"  {_model(model)}" for model in status.models]


def painted(label: object, colour: bool) -> str:
    """The label, padded to a column, coloured."""
    text = f"{label!s:<8}"
    return f"\033[{_COLOURS[str(label)]}m{text}\033[0m" if colour and label in _COLOURS else text


def printable(text: str) -> str:
    """File names may hold anything; a terminal must not act on it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def _probability(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _box(verdict: Verdict) -> str:
    face = verdict.face
    if face is None:
        return "-"
    x0, y0, x1, y1 = (round(value) for value in face.box)
    more = f" (+{len(verdict.faces) - 1})" if len(verdict.faces) > 1 else ""
    return f"{x0},{y0} - {x1},{y1}{more}"


def _model(model: ModelStatus) -> str:
    line = f"{model.name:<16} {model.version:>3}  {'ready' if model.ready else 'not ready'}"
    if model.canary is None:
        return line
    if model.canary.error is not None:
        return f"{line}, no answer: {model.canary.error}"
    return f"{line}, answered a test image in {model.canary.latency_ms:.0f} ms"


class Progress:
    """A bar on stderr, only on a terminal and only for work that takes a while."""

    def __init__(self, total: int | None, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._on = self._stream.isatty()
        self._total, self._done = total, 0
        self._begin_s = time.monotonic()
        self._drawn_s = self._begin_s

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def advance(self, note: str = "") -> None:
        """One more is done, ``note`` tells what it was; redraws at most ten times a second."""
        self._done += 1
        if self._on and time.monotonic() - self._drawn_s > 0.1:
            self._drawn_s = time.monotonic()
            self._stream.write("\r\033[K" + "  ".join(filter(None, [note, self._bar()])))
            self._stream.flush()

    def clear(self) -> None:
        """Make room for a line."""
        if self._on:
            self._stream.write("\r\033[K")
            self._stream.flush()

    def _bar(self) -> str:
        rate = self._done / max(1e-9, time.monotonic() - self._begin_s)
        if not self._total:
            return f"{self._done}  {rate:.0f}/s"
        width = max(10, min(40, shutil.get_terminal_size().columns - 40))
        full = min(width, width * self._done // self._total)
        left_s = max(0, self._total - self._done) / max(1e-9, rate)
        return f"[{'#' * full}{'.' * (width - full)}] {self._done}/{self._total}  {rate:.0f}/s  {left_s:.0f} s left"
