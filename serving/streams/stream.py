"""One stream: which people its frames show, what each frame adds to their verdicts, what is worth telling. No I/O.

A frame goes through in three steps: is a detection due (`detection_due`), where are the faces (`detected`, or `follow`
for the known ones), what do their crops score (`count`).
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .events import Jitter, Lasting, Repeats, Timing, Told
from .look import Look
from .people import DecisionSettings, Person
from .tracks import TrackedFace, Tracker

PEOPLE = 16  # kept for the summary; those with the fewest frames go first
POOR_S = 1.0  # so long must a face be too dark, blurred or small before that is told
NEW_FACE_DETECTIONS = 2  # a second look, before another face is news


@dataclass(frozen=True)
class LookLimits:
    """When a look at a face says too little, and what is normal; from the pictures that the scores were calibrated
    on.
    """

    sharpness: float  # variance of the crop's Laplacian
    brightness: float  # 0..1
    side_px: float  # of the crop in pixels of the frame
    jitter: tuple[float, float]  # normal range of the landmarks' residual


@dataclass(frozen=True)
class Score:
    """What `deepfake_face` says of one face of one frame."""

    logit: float
    sharpness: float
    brightness: float
    side_px: float


@dataclass
class Stream:
    """State of one stream, bounded: 16 people, 20 s of hashes, one small picture."""

    settings: DecisionSettings
    limits: LookLimits
    faces: int  # judged at a time
    detect_every_s: float
    no_face_s: float = 0.5
    tracker: Tracker = field(init=False)
    people: dict[int, Person] = field(default_factory=dict)
    last_frame: int = -1
    time_s: float = 0.0
    detected_s: float = -math.inf
    frames: int = 0
    frames_with_face: int = 0
    told: Counter[str] = field(default_factory=Counter)  # events by name
    subject_id: int | None = None
    look: Look | None = None
    repeats: Repeats = field(default_factory=Repeats)
    timing: Timing = field(default_factory=Timing)
    jitter: dict[int, Jitter] = field(default_factory=dict)
    lasting: dict[str, Lasting] = field(default_factory=dict)
    fresh: list[dict[str, Any]] = field(default_factory=list)  # events of the newest frame
    shown: dict[int, Score] = field(default_factory=dict)  # scores of the newest frame
    picture: tuple[int, int] = (0, 0)  # height, width of the newest frame

    def __post_init__(self) -> None:
        self.tracker = Tracker(self.faces)

    def detection_due(self, time_s: float) -> bool:
        """Whether the next frame needs the face detector: nobody or not everybody is in sight, or it is time again."""
        return self.tracker.uncertain or self.look is None or not 0 <= time_s - self.detected_s < self.detect_every_s

    def follow(self, look: Look, time_s: float) -> bool:
        """Move the known faces to where they are on a new frame; False where a detection is needed after all."""
        assert self.look is not None, "the first frame of a stream is detected, not followed"
        self.tracker.follow(self.look, look, time_s)
        return not self.tracker.uncertain

    def detected(self, box: np.ndarray, confidence: np.ndarray, landmark: np.ndarray, time_s: float) -> None:
        """Faces that the detector found, in fractions of the picture."""
        self.tracker.detected(box, confidence, landmark, time_s)
        self.detected_s = time_s

    def count(self, frame: int, time_s: float, look: Look, picture: tuple[int, int], scores: dict[int, Score]) -> None:
        """Count a frame: `scores` by track. Raises nothing; the frame is counted when this returns."""
        self.fresh, self.shown, self.picture, self.look = [], scores, picture, look
        self.last_frame, self.frames = frame, self.frames + 1
        self._tell(self.timing.add(time_s), frame, time_s)
        self.time_s = time_s = max(self.time_s, time_s)
        self._tell(self.repeats.add(look.hash, time_s), frame, time_s)
        visible = self.tracker.visible
        self._presence(visible, frame, time_s)
        for track in visible:
            self._judge(track, scores[track.id], frame, time_s)
        self._forget()

    def _presence(self, visible: list[TrackedFace], frame: int, time_s: float) -> None:
        if visible:
            self.frames_with_face += 1
            self._subject(visible[0], frame, time_s)
        sure = sum(track.detections >= NEW_FACE_DETECTIONS for track in visible)
        self._lasting("no_face", not visible, self.no_face_s, frame, time_s, {})
        self._lasting("several_faces", sure > 1, 0.0, frame, time_s, {"faces": sure})

    def _subject(self, track: TrackedFace, frame: int, time_s: float) -> None:
        if track.id == self.subject_id or (self.subject_id is not None and track.detections < NEW_FACE_DETECTIONS):
            return
        if self.subject_id is not None:
            self._tell([("new_face", {"track": track.id, "instead_of": self.subject_id})], frame, time_s)
        self.subject_id = track.id

    def _judge(self, track: TrackedFace, score: Score, frame: int, time_s: float) -> None:
        person = self.people.setdefault(track.id, Person())
        person.was_subject |= track.id == self.subject_id
        if track.id == self.subject_id:
            self._quality(score, frame, time_s)
            self._jitter(track, frame, time_s)
        if self.poor(score):
            person.poor_frames += 1
            return
        self._tell(person.add(score.logit, frame, time_s, self.settings), frame, time_s, track.id)

    def poor(self, score: Score) -> list[str]:
        """Why a face cannot be judged; empty where it can."""
        limits = self.limits
        causes = {
            "too_dark": score.brightness < limits.brightness,
            "too_blurred": score.sharpness < limits.sharpness,
            "too_small": score.side_px < limits.side_px,
        }
        return [name for name, holds in causes.items() if holds]

    def _quality(self, score: Score, frame: int, time_s: float) -> None:
        causes = self.poor(score)
        evidence = {"sharpness": score.sharpness, "brightness": score.brightness, "side_px": score.side_px}
        rounded = {name: round(value, 3) for name, value in evidence.items()}
        for name in ("too_dark", "too_blurred", "too_small"):
            self._lasting(name, name in causes, POOR_S, frame, time_s, rounded)

    def _jitter(self, track: TrackedFace, frame: int, time_s: float) -> None:
        if track.landmark is None:
            return
        residual = self.jitter.setdefault(track.id, Jitter()).add(track.landmark * self.picture[::-1])
        if residual is not None:
            low, high = self.limits.jitter
            evidence = {"residual": round(residual, 4), "normal": [low, high]}
            self._lasting("landmark_jitter", not low <= residual <= high, 0.0, frame, time_s, evidence)

    def _lasting(
        self, name: str, holds: bool, after_s: float, frame: int, time_s: float, evidence: dict[str, Any]
    ) -> None:
        if self.lasting.setdefault(name, Lasting(after_s)).update(holds, time_s):
            self._tell([(name, evidence)], frame, time_s)

    def _tell(self, found: list[Told], frame: int, time_s: float, track: int | None = None) -> None:
        for name, evidence in found:
            self.told[name] += 1
            whose = {} if track is None else {"track": track}
            self.fresh.append({"event": name, "frame": frame, "time_s": round(time_s, 3), **whose, **evidence})

    def _forget(self) -> None:
        """Keeps memory bounded: people who are gone, those with the fewest frames first."""
        known = {track.id for track in self.tracker.tracks}
        gone = sorted((i for i in self.people if i not in known), key=lambda i: self.people[i].frames)
        for i in gone[: max(0, len(self.people) - PEOPLE)]:
            del self.people[i]
        self.jitter = {i: jitter for i, jitter in self.jitter.items() if i in known}
