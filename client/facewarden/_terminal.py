"""What a person sees on the terminal: lines, colours, a progress bar."""

from __future__ import annotations

import os
import shutil
import sys
import time
from typing import TextIO

from ._status import ModelStatus, Status
from ._stream import Event, FrameVerdict, Summary, Track
from ._verdict import Verdict

_CHANGES = ("verdict", "swap", "score_jump")  # events whose evidence is what was before and after
_COLOURS = {"collecting": "2", "real": "32", "review": "33", "fake": "1;31", "no_face": "2", "error": "1;35"}
HEADER = f"{'verdict':<8} {'p(fake)':>7} {'time':>9}  {'face box':<24}  image"


def wants_colour(stream: TextIO) -> bool:
    """Whether it is a terminal and the user does not forbid colour (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def verdict_line(verdict: Verdict, colour: bool) -> str:
    """``real       0.021     31 ms  112,44 - 310,280  photos/a.jpg``."""
    label = verdict.label or "error"
    where = f"{_box(verdict):<24}  {printable(verdict.path or '-')}"
    reason = f": {printable(str(verdict.error))}" if verdict.error else ""
    probability, latency = _probability(verdict.fake_probability), f"{verdict.latency_ms:.0f} ms"
    return f"{coloured(label, colour)} {probability:>7} {latency:>9}  {where}{reason}"


def event_line(event: Event, colour: bool) -> str:
    """``  12.40 s  swap           track 1: real -> fake, evidence 4.1``."""
    whose = "" if event.track is None else f"track {event.track}: "
    evidence, facts = dict(event.evidence), []
    if event.event in _CHANGES:
        facts = [f"{evidence.pop('before')} -> {coloured(evidence.pop('after'), colour).rstrip()}"]
    facts += [f"{in_words(name)} {value}" for name, value in evidence.items()]
    return f"{event.time_s:>8.2f} s  {in_words(event.event):<15} {whose}{', '.join(facts)}"


def live_line(frame: FrameVerdict) -> str:
    """``12.40 s  real  p 0.021``: the verdict so far, for the progress line."""
    probability = _probability(frame.fake_probability)
    return f"{frame.time_s:8.2f} s  {frame.label or 'no answer':<10} p {probability:<5}  {len(frame.faces)} face(s)"


def summary_lines(summary: Summary, path: str, colour: bool) -> list[str]:
    """A line for each person, then one for the whole stream."""
    lines = [f"{'track':<6} {'verdict':<8} {'p(fake)':>7}  {'seen':<17} {'frames':>6}  decided"]
    lines += [_track(track, colour) for track in summary.tracks]
    label = coloured(summary.label or "error", colour)
    counts = f"{summary.frames} frames, {summary.frames_with_face} with a face, {summary.failed} failed"
    dropped = f", {summary.dropped} left out" if summary.dropped else ""
    return [*lines, f"{label} {_probability(summary.fake_probability):>7}  {counts}{dropped}  {printable(path)}"]


def _track(track: Track, colour: bool) -> str:
    seen = f"{track.first_s or 0.0:.2f} - {track.last_s:.2f} s"
    decided = "-" if track.decided_s is None else f"at {track.decided_s:.2f} s, after {track.decided_frames} frames"
    verdict = f"{coloured(track.label, colour)} {track.fake_probability:>7.3f}"
    return f"{track.track:<6} {verdict}  {seen:<17} {track.frames:>6}  {decided}"


def status_lines(status: Status) -> list[str]:
    """A line about the server, then one for each of its models."""
    state = "healthy" if status.healthy else "not healthy"
    version = "" if status.model_version is None else f", classifier version {status.model_version}"
    ready = "ready" if status.ready else "not ready"
    lines = [f"{status.url} is {state}: {status.server} {status.version}, {ready}{version}"]
    return lines + [f"  {_model(model)}" for model in status.models]


def coloured(label: object, colour: bool) -> str:
    """The label, padded to the width of its column, in its colour."""
    text = f"{label!s:<8}"
    return f"\033[{_COLOURS[str(label)]}m{text}\033[0m" if colour and label in _COLOURS else text


def in_words(name: str) -> str:
    """A name of the wire as a person writes it: ``no_face`` -> ``no face``."""
    return name.replace("_", " ")


def printable(text: str) -> str:
    """The text with control characters escaped, for a file name may hold any, and a terminal would obey them."""
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
    """A bar on stderr, where that is a terminal; it appears after a tenth of a second."""

    def __init__(self, total: int | None, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._on = self._stream.isatty()
        self._total, self._done = total, 0
        self._begin_s = time.monotonic()
        self._drawn_s = self._begin_s

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.clear()

    def advance(self, note: str = "") -> None:
        """Count one more as done, and show ``note`` before the bar; redraws at most ten times a second."""
        self._done += 1
        if self._on and time.monotonic() - self._drawn_s > 0.1:
            self._drawn_s = time.monotonic()
            self._stream.write("\r\033[K" + "  ".join(filter(None, [note, self._bar()])))
            self._stream.flush()

    def clear(self) -> None:
        """Remove the bar, so that a line can be printed."""
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
