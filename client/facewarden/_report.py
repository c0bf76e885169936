"""The page of ``facewarden watch --report``: one HTML file, for whoever must explain a verdict."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np

from ._stream import Event, FrameVerdict, StreamFace, Summary, Track
from ._verdict import Box
from ._video import encode_jpeg

Place = Callable[[float], float]  # seconds -> horizontal place in the drawing
SHOWN, EVERY_S = 8, 0.5  # suspicious frames, at most one of each half second
THUMBNAIL_PX = 480
WIDTH, PLOT, LEFT = 1000, 180, 46  # of the drawing, in its own units
CROP = 1.3  # the classifier's crop: so many times the longer side of the box


class Report:
    """Collects frames, keeps the pictures of the most suspicious ones, and writes the page."""

    def __init__(self) -> None:
        self._frames: list[tuple[float, str | None, float | None, tuple[StreamFace, ...]]] = []
        self._events: list[Event] = []
        self._pictures: dict[int, tuple[float, FrameVerdict]] = {}  # by half second

    def add(self, frame: FrameVerdict) -> None:
        """Take one frame in."""
        self._frames.append((frame.time_s, frame.label, frame.fake_probability, frame.faces))
        self._events.extend(frame.events)
        if frame.error is None and frame.faces and frame.faces[0].frame_probability is not None:
            self._keep(frame.faces[0].frame_probability, frame)

    def _keep(self, score: float, frame: FrameVerdict) -> None:
        kept, slot = self._pictures, int(frame.time_s // EVERY_S)
        if slot not in kept or score > kept[slot][0]:
            kept[slot] = score, frame
        if len(kept) > SHOWN:
            del kept[min(kept, key=lambda slot: kept[slot][0])]

    def write(self, path: str, video: str, summary: Summary) -> None:
        """The page, with its style and pictures inside."""
        page = Template(files("facewarden").joinpath("report.html").read_text("utf-8"))
        parts = {
            "title": html.escape(Path(video).name),
            "label": summary.label or "error",
            "word": (summary.label or "no answer").replace("_", " "),
            "facts": _facts(summary),
            "timeline": self._timeline(summary),
            "tracks": "".join(map(_track, summary.tracks)),
            "events": "".join(map(_event, self._events)) or '<tr><td colspan="4">Nothing happened.</td></tr>',
            "pictures": "".join(_picture(frame) for _, (_, frame) in sorted(self._pictures.items())),
        }
        Path(path).write_text(page.substitute(parts), "utf-8")

    def _timeline(self, summary: Summary) -> str:
        """SVG: the running verdict as a ribbon, scores of frames and of people, events, and who was there when."""
        first_s = self._frames[0][0] if self._frames else 0.0
        span_s = max(1e-3, self._frames[-1][0] - first_s) if self._frames else 1.0

        def x(time_s: float) -> float:
            return LEFT + (time_s - first_s) / span_s * (WIDTH - LEFT - 10)

        drawn = _grid(first_s, span_s, x) + self._ribbon(x) + self._dots(x) + self._lines(x) + self._marks(x)
        lanes = "".join(_lane(track, i, x) for i, track in enumerate(summary.tracks))
        height = PLOT + 62 + 22 * len(summary.tracks)
        return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Scores over time">{drawn}{lanes}</svg>'

    def _ribbon(self, x: Place) -> str:
        parts, begin = [], 0
        for i in range(1, len(self._frames) + 1):
            if i == len(self._frames) or self._frames[i][1] != self._frames[begin][1]:
                start = x(self._frames[begin][0])
                end = x(self._frames[min(i, len(self._frames) - 1)][0])
                label = self._frames[begin][1] or "error"
                parts.append(
                    f'<rect class="state {label}" x="{start:.1f}" y="8" width="{max(2, end - start):.1f}" height="14">'
                    f"<title>{label.replace('_', ' ')}</title></rect>"
                )
                begin = i
        return "".join(parts)

    def _dots(self, x: Place) -> str:
        step = max(1, len(self._frames) // 1500)
        return "".join(
            f'<circle class="t{face.track % 6}" cx="{x(time_s):.1f}" cy="{_y(face.frame_probability):.1f}" r="1.7"/>'
            for time_s, _, _, faces in self._frames[::step]
            for face in faces
            if face.frame_probability is not None
        )

    def _lines(self, x: Place) -> str:
        points: dict[int, list[str]] = {}
        for time_s, _, _, faces in self._frames[:: max(1, len(self._frames) // 1500)]:
            for face in faces:
                points.setdefault(face.track, []).append(f"{x(time_s):.1f},{_y(face.fake_probability):.1f}")
        return "".join(f'<polyline class="t{i % 6}" points="{" ".join(line)}"/>' for i, line in points.items())

    def _marks(self, x: Place) -> str:
        return "".join(
            f'<g class="mark {"loud" if event.event in ("swap", "new_face") else ""}">'
            f'<line x1="{x(event.time_s):.1f}" x2="{x(event.time_s):.1f}" y1="24" y2="{PLOT + 34}"/>'
            f'<circle cx="{x(event.time_s):.1f}" cy="{PLOT + 38}" r="4"><title>{html.escape(_words(event))}</title>'
            "</circle></g>"
            for event in self._events
        )


def _y(probability: float) -> float:
    return 30 + (1 - probability) * (PLOT - 10)


def _grid(first_s: float, span_s: float, x: Place) -> str:
    step = next((s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600) if span_s / s <= 10), 1800)
    times = np.arange(np.ceil(first_s / step), (first_s + span_s) / step + 1e-9) * step
    rows = "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - 10}" y1="{_y(p)}" y2="{_y(p)}"/>'
        f'<text x="{LEFT - 8}" y="{_y(p) + 4}" text-anchor="end">{p:g}</text>'
        for p in (0, 0.5, 1)
    )
    return rows + "".join(f'<text x="{x(t):.1f}" y="{PLOT + 58}" text-anchor="middle">{t:g} s</text>' for t in times)


def _lane(track: Track, row: int, x: Place) -> str:
    begin, end, y = x(track.first_s or 0.0), x(track.last_s), PLOT + 72 + 22 * row
    return (
        f'<text x="{LEFT - 8}" y="{y + 9}" text-anchor="end">#{track.track}</text><rect class="state {track.label}" '
        f'x="{begin:.1f}" y="{y}" width="{max(3, end - begin):.1f}" height="11" rx="5"/>'
    )


def _facts(summary: Summary) -> str:
    probability = "-" if summary.fake_probability is None else f"{summary.fake_probability:.3f}"
    decided = [t.decided_s - (t.first_s or 0.0) for t in summary.tracks if t.subject and t.decided_s is not None]
    facts = {
        "probability of fake": probability,
        "decided after": f"{decided[0]:.2f} s" if decided else "-",
        "frames": f"{summary.frames}",
        "with a face": f"{summary.frames_with_face}",
        "failed": f"{summary.failed}",
        "classifier version": "-" if summary.model_version is None else f"{summary.model_version}",
    }
    return "".join(f"<div><b>{value}</b><span>{name}</span></div>" for name, value in facts.items())


def _track(track: Track) -> str:
    decided = "undecided" if track.decided_s is None else f"{track.decided_s:.2f} s, {track.decided_frames} frames"
    cells = (
        f'<i class="dot t{track.track % 6}"></i>#{track.track}{" subject" if track.subject else ""}',
        f'<span class="badge {track.label}">{track.label}</span>',
        f"{track.fake_probability:.3f}",
        f"{track.first_s or 0.0:.2f} - {track.last_s:.2f} s",
        f"{track.frames}" + (f" (+{track.poor_frames} too poor)" if track.poor_frames else ""),
        decided,
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _event(event: Event) -> str:
    track = "" if event.track is None else f"#{event.track}"
    cells = (f"{event.time_s:.2f} s", event.event.replace("_", " "), track, _evidence(event))
    return "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"


def _words(event: Event) -> str:
    return f"{event.time_s:.2f} s  {event.event.replace('_', ' ')}: {_evidence(event)}"


def _evidence(event: Event) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in event.evidence.items())


def _picture(frame: FrameVerdict) -> str:
    from av import open as av_open

    with av_open(io.BytesIO(frame.image)) as container:
        decoded = next(container.decode(video=0))
    width, height = decoded.width, decoded.height
    data = base64.b64encode(encode_jpeg(decoded, THUMBNAIL_PX)).decode()
    face = frame.faces[0]
    x0, y0, x1, y1 = face.box
    box = f'<rect class="box" x="{x0:.0f}" y="{y0:.0f}" width="{x1 - x0:.0f}" height="{y1 - y0:.0f}" rx="4"/>'
    return (
        f'<figure><svg viewBox="0 0 {width} {height}"><image href="data:image/jpeg;base64,{data}" width="{width}" '
        f'height="{height}"/>{_heat(frame, face.box, width, height)}{box}</svg><figcaption><b>{frame.time_s:.2f} s</b> '
        f"this frame {face.frame_probability:.3f}, so far {face.fake_probability:.3f}</figcaption></figure>"
    )


def _heat(frame: FrameVerdict, box: Box, width: int, height: int) -> str:
    """The heat map over the classifier's crop, blurred from its 14x14 cells."""
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
