"""The page of ``facewarden watch --report``: one HTML file, for whoever must explain a verdict."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from string import Template

import numpy as np

from ._stream import Event, FrameVerdict, Summary, Track
from ._terminal import in_words
from ._verdict import Box
from .video import encode_jpeg

XOfTime = Callable[[float], float]  # seconds -> x in the drawing
MAX_PICTURES, PICTURE_EVERY_S = 8, 0.5  # of the most suspicious frames; one of each half second at most
THUMBNAIL_PX = 480
WIDTH, PLOT, LEFT = 1000, 180, 46  # of the drawing, in its own units
MAX_POINTS = 1500  # frames in the drawing; of a longer video only each n-th is drawn
CROP = 1.3  # side of the classifier's crop / longer side of the face's box


class Report:
    """Collects frames, keeps the pictures of the most suspicious ones, and writes the page."""

    def __init__(self) -> None:
        self._frames: list[FrameVerdict] = []
        self._pictures: dict[int, tuple[float, FrameVerdict]] = {}  # half second -> score and frame

    def add(self, frame: FrameVerdict) -> None:
        """Take one frame in."""
        self._frames.append(replace(frame, image=b"", heatmap=None, so_far=Summary()))  # what is drawn of every frame
        if frame.error is None and frame.faces and frame.faces[0].frame_probability is not None:
            self._keep(frame.faces[0].frame_probability, frame)

    def _keep(self, score: float, frame: FrameVerdict) -> None:
        kept, slot = self._pictures, int(frame.time_s // PICTURE_EVERY_S)
        if slot not in kept or score > kept[slot][0]:
            kept[slot] = score, frame
        if len(kept) > MAX_PICTURES:
            del kept[min(kept, key=lambda slot: kept[slot][0])]

    def write(self, path: str, video: str, summary: Summary) -> None:
        """Write the page, with its style and pictures inside."""
        events = [event for frame in self._frames for event in frame.events]
        page = Template(files("facewarden").joinpath("report.html").read_text("utf-8"))
        parts = {
            "title": html.escape(Path(video).name),
            "label": summary.label or "error",
            "word": in_words(summary.label or "no answer"),
            "facts": _facts(summary),
            "timeline": self._timeline(summary, events),
            "tracks": "".join(map(_track_row, summary.tracks)),
            "events": "".join(map(_event_row, events)) or '<tr><td colspan="4">Nothing happened.</td></tr>',
            "pictures": "".join(_picture(frame) for _, (_, frame) in sorted(self._pictures.items())),
        }
        Path(path).write_text(page.substitute(parts), "utf-8")

    def _timeline(self, summary: Summary, events: list[Event]) -> str:
        """SVG: the running verdict as a ribbon, scores of frames and of people, events, and who was there when."""
        first_s = self._frames[0].time_s if self._frames else 0.0
        span_s = max(1e-3, self._frames[-1].time_s - first_s) if self._frames else 1.0

        def x(time_s: float) -> float:
            return LEFT + (time_s - first_s) / span_s * (WIDTH - LEFT - 10)

        drawn = self._frames[:: max(1, len(self._frames) // MAX_POINTS)]
        parts = [
            *_grid(first_s, span_s, x),
            *_ribbon(self._frames, x),
            *_dots(drawn, x),
            *_lines(drawn, x),
            *(_mark(event, x) for event in events),
            *(_lane(track, row, x) for row, track in enumerate(summary.tracks)),
        ]
        size = f'viewBox="0 0 {WIDTH} {PLOT + 62 + 22 * len(summary.tracks)}"'
        return f'<svg {size} role="img" aria-label="Scores over time">{"".join(parts)}</svg>'


def _y(probability: float) -> float:
    return 30 + (1 - probability) * (PLOT - 10)


def _grid(first_s: float, span_s: float, x: XOfTime) -> Iterable[str]:
    for p in (0, 0.5, 1):
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - 10}" y1="{_y(p)}" y2="{_y(p)}"/>'
        yield f'<text x="{LEFT - 8}" y="{_y(p) + 4}" text-anchor="end">{p:g}</text>'
    step = next((s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600) if span_s / s <= 10), 1800)
    for t in np.arange(np.ceil(first_s / step), (first_s + span_s) / step + 1e-9) * step:
        yield f'<text x="{x(t):.1f}" y="{PLOT + 58}" text-anchor="middle">{t:g} s</text>'


def _ribbon(frames: list[FrameVerdict], x: XOfTime) -> Iterable[str]:
    runs = [(label, next(run).time_s) for label, run in groupby(frames, lambda frame: frame.label or "error")]
    ends = [begin_s for _, begin_s in runs[1:]] + [frame.time_s for frame in frames[-1:]]
    for (label, begin_s), end_s in zip(runs, ends, strict=True):
        place = f'x="{x(begin_s):.1f}" y="8" width="{max(2, x(end_s) - x(begin_s)):.1f}" height="14"'
        yield f'<rect class="state {label}" {place}><title>{in_words(label)}</title></rect>'


def _dots(frames: list[FrameVerdict], x: XOfTime) -> Iterable[str]:
    for frame in frames:
        for face in frame.faces:
            if face.frame_probability is not None:
                place = f'cx="{x(frame.time_s):.1f}" cy="{_y(face.frame_probability):.1f}"'
                yield f'<circle class="t{face.track % 6}" {place} r="1.7"/>'


def _lines(frames: list[FrameVerdict], x: XOfTime) -> Iterable[str]:
    points: dict[int, list[str]] = {}
    for frame in frames:
        for face in frame.faces:
            points.setdefault(face.track, []).append(f"{x(frame.time_s):.1f},{_y(face.fake_probability):.1f}")
    for track, line in points.items():
        yield f'<polyline class="t{track % 6}" points="{" ".join(line)}"/>'


def _mark(event: Event, x: XOfTime) -> str:
    loud = "loud" if event.event in ("swap", "new_face") else ""
    title = html.escape(f"{event.time_s:.2f} s  {in_words(event.event)}: {_evidence(event)}")
    at = f"{x(event.time_s):.1f}"
    line = f'<line x1="{at}" x2="{at}" y1="24" y2="{PLOT + 34}"/>'
    return f'<g class="mark {loud}">{line}<circle cx="{at}" cy="{PLOT + 38}" r="4"><title>{title}</title></circle></g>'


def _lane(track: Track, row: int, x: XOfTime) -> str:
    begin, end, y = x(track.first_s or 0.0), x(track.last_s), PLOT + 72 + 22 * row
    name = f'<text x="{LEFT - 8}" y="{y + 9}" text-anchor="end">#{track.track}</text>'
    place = f'x="{begin:.1f}" y="{y}" width="{max(3, end - begin):.1f}" height="11" rx="5"'
    return f'{name}<rect class="state {track.label}" {place}/>'


def _facts(summary: Summary) -> str:
    probability = "-" if summary.fake_probability is None else f"{summary.fake_probability:.3f}"
    decided = [t.decided_s - (t.first_s or 0.0) for t in summary.tracks if t.subject and t.decided_s is not None]
    facts = {
        "probability of fake": probability,
        "decided after": f"{decided[0]:.2f} s" if decided else "-",
        "frames": summary.frames,
        "with a face": summary.frames_with_face,
        "failed": summary.failed,
        "classifier version": "-" if summary.model_version is None else summary.model_version,
    }
    return "".join(f"<div><b>{value}</b><span>{name}</span></div>" for name, value in facts.items())


def _track_row(track: Track) -> str:
    return _row(
        f'<i class="dot t{track.track % 6}"></i>#{track.track}{" subject" if track.subject else ""}',
        f'<span class="badge {track.label}">{track.label}</span>',
        f"{track.fake_probability:.3f}",
        f"{track.first_s or 0.0:.2f} - {track.last_s:.2f} s",
        f"{track.frames}" + (f" (+{track.poor_frames} too poor)" if track.poor_frames else ""),
        "undecided" if track.decided_s is None else f"{track.decided_s:.2f} s, {track.decided_frames} frames",
    )


def _event_row(event: Event) -> str:
    track = "" if event.track is None else f"#{event.track}"
    return _row(f"{event.time_s:.2f} s", html.escape(in_words(event.event)), track, html.escape(_evidence(event)))


def _row(*cells: str) -> str:
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _evidence(event: Event) -> str:
    return ", ".join(f"{in_words(name)} {value}" for name, value in event.evidence.items())


def _picture(frame: FrameVerdict) -> str:
    from av import open as av_open

    with av_open(io.BytesIO(frame.image)) as container:
        decoded = next(container.decode(video=0))
    width, height = decoded.width, decoded.height
    data = base64.b64encode(encode_jpeg(decoded, THUMBNAIL_PX)).decode()
    face = frame.faces[0]
    x0, y0, x1, y1 = face.box
    image = f'<image href="data:image/jpeg;base64,{data}" width="{width}" height="{height}"/>'
    box = f'<rect class="box" x="{x0:.0f}" y="{y0:.0f}" width="{x1 - x0:.0f}" height="{y1 - y0:.0f}" rx="4"/>'
    drawn = f'<svg viewBox="0 0 {width} {height}">{image}{_heatmap(frame, face.box, width, height)}{box}</svg>'
    scores = f"this frame {face.frame_probability:.3f}, so far {face.fake_probability:.3f}"
    return f"<figure>{drawn}<figcaption><b>{frame.time_s:.2f} s</b> {scores}</figcaption></figure>"


def _heatmap(frame: FrameVerdict, box: Box, width: int, height: int) -> str:
    """The heatmap over the classifier's crop, blurred from its 14x14 cells."""
    if frame.heatmap is None:
        return ""
    side = min(CROP * max(box[2] - box[0], box[3] - box[1]), width, height)
    left = min(max(0.0, (box[0] + box[2] - side) / 2), width - side)
    top = min(max(0.0, (box[1] + box[3] - side) / 2), height - side)
    cell = side / len(frame.heatmap)
    cells = "".join(
        f'<rect x="{left + column * cell:.1f}" y="{top + row * cell:.1f}" width="{cell:.1f}" height="{cell:.1f}" '
        f'fill-opacity="{value * 0.6:.2f}"/>'
        for (row, column), value in np.ndenumerate(frame.heatmap)
        if value > 0.05
    )
    return f'<g class="heat" style="filter:blur({cell * 0.6:.1f}px)">{cells}</g>'
