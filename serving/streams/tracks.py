"""Faces of single frames -> people: who is the same face as before, where it is between two detections, who the
subject is.

Boxes are fractions of the upright picture, so a sender may change the size of its frames. A detection belongs to the
track whose box it overlaps most; a track that a detection does not find is lost, and found again where the same place
holds a face within `LOST_S`. Simple on purpose: a person who talks to a camera moves by less than a face between two
detections.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from serving.faces.boxes import iou

from .look import Look, shift

SAME_IOU = 0.25
NEW_CONFIDENCE = 0.5  # the detector shows boxes from 0.25 on: enough to go on with a face, not to begin with one
LOST_S = 2.0
FOLLOW_CONFIDENCE = 0.08  # of the phase correlation; below it the face is looked for again
MAX_STEP = 0.4  # of the face's side between two frames: more is no movement of the same face


@dataclass
class TrackedFace:
    """One person: where, since when, how much of the picture for how long."""

    id: int
    box: np.ndarray  # (4,) x0, y0, x1, y1 in 0..1
    landmark: np.ndarray | None  # (k, 2) in 0..1; None while followed
    seen_s: float  # last frame that showed it
    detections: int = 1
    visible: bool = True
    presence: float = 0.0  # area x seconds

    @property
    def area(self) -> float:
        """Share of the picture, 0..1."""
        return float((self.box[2:] - self.box[:2]).clip(0).prod())


@dataclass
class Tracker:
    """The people of one stream, `faces` at most at a time."""

    faces: int
    tracks: list[TrackedFace] = field(default_factory=list)
    next_id: int = 1
    uncertain: bool = True  # a face was lost, or none known: look again at the next frame

    @property
    def visible(self) -> list[TrackedFace]:
        """Tracks on the newest frame, the subject first."""
        return sorted((t for t in self.tracks if t.visible), key=lambda t: -(t.presence + 1e-6 * t.area))

    @property
    def subject(self) -> TrackedFace | None:
        """Who the stream is about: of those on the frame the one with the largest area x time, largest and longest."""
        return next(iter(self.visible), None)

    def detected(self, box: np.ndarray, confidence: np.ndarray, landmark: np.ndarray, time_s: float) -> None:
        """Faces that a detection found, (N, 4), (N,), (N, k, 2), in fractions of the picture."""
        self.tracks = [t for t in self.tracks if time_s - t.seen_s <= LOST_S]
        free = list(np.argsort(-(box[:, 2:] - box[:, :2]).prod(-1)))  # largest first
        for track in sorted(self.tracks, key=lambda t: -t.presence):
            overlaps = iou(track.box[None], box)[0]
            best = max(free, key=lambda i: overlaps[i], default=None)
            if best is None or overlaps[best] < SAME_IOU:
                track.visible = False
                continue
            free.remove(best)
            self._seen(track, box[best], time_s)
            track.landmark, track.detections = landmark[best], track.detections + 1
        fresh = [i for i in free if confidence[i] >= NEW_CONFIDENCE]
        for i in fresh[: max(0, self.faces - len(self.visible))]:
            self.tracks.append(TrackedFace(self.next_id, box[i], landmark[i], time_s))
            self.next_id += 1
        self.tracks = [t for t in self.tracks if t.visible or t.detections > 1]
        self.uncertain = not all(t.visible for t in self.tracks) or not self.tracks

    def follow(self, before: Look, now: Look, time_s: float) -> None:
        """Move every visible box as its patch has moved since the frame before."""
        for track in self.visible:
            moved, confidence = shift(before, now, track.box)
            side = (track.box[2:] - track.box[:2]).max()
            if confidence < FOLLOW_CONFIDENCE or np.abs(moved).max() > MAX_STEP * side:
                self.uncertain = True
            else:
                self._seen(track, track.box + np.tile(moved, 2), time_s)
            track.landmark = None

    def _seen(self, track: TrackedFace, box: np.ndarray, time_s: float) -> None:
        track.presence += track.area * max(0.0, time_s - track.seen_s) if track.visible else 0.0
        track.box, track.seen_s, track.visible = np.clip(box, 0, 1), time_s, True
