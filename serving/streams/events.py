"""What an operator wants to be told about a stream, beside its verdict. Nothing here decides about real or fake.

Each watcher is fed frame by frame and keeps a small, bounded state. Its limits are seconds, bits, or fractions; those
that depend on the classifier or on real footage come from `calibration.json`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .look import distance

Told = tuple[str, dict[str, Any]]  # the name of an event, and its evidence

FROZEN_S = 0.6
LOOP_S = 1.0  # so long must a stretch repeat an earlier one
RING = 512  # frames whose hashes are kept: 20 s at 25 frames/s, 16 KB
SAME_BITS = 3  # of 256: one picture compressed twice; 0.5 s apart a live face on a fixed camera differs by 12 or more
LOOP_BITS = (
    8  # a stretch compressed twice, frame by frame; a live face comes no closer than 20 to itself of a second ago
)
MOVED_BITS = 16  # a stretch in which nothing moves repeats itself by nature
GAP_S = 0.5  # and three times the usual interval: a gap in the frame timing
JITTER_MEMORY = 12  # detections


@dataclass
class Lasting:
    """Tells once that a condition has held for `after_s`, and again only after it was gone for as long."""

    after_s: float
    told: bool = False
    since_s: float | None = None  # of the condition, or once told of its absence

    def update(self, holds: bool, time_s: float) -> bool:
        """True where it is time to tell."""
        if holds == self.told:
            self.since_s = None
            return False
        self.since_s = time_s if self.since_s is None else self.since_s
        if time_s - self.since_s < self.after_s:
            return False
        self.told, self.since_s = holds, None
        return holds


@dataclass
class Repeats:
    """Frozen and looped pictures, from one perceptual hash a frame."""

    hashes: np.ndarray = field(default_factory=lambda: np.zeros((RING, 32), np.uint8))
    times: np.ndarray = field(default_factory=lambda: np.zeros(RING))
    runs: np.ndarray = field(default_factory=lambda: np.zeros(RING, np.int32))  # frames that matched, by lag
    count: int = 0
    frozen: Lasting = field(default_factory=lambda: Lasting(0.0))
    looped: Lasting = field(default_factory=lambda: Lasting(0.0))

    def add(self, hash_: np.ndarray, time_s: float) -> list[Told]:
        """Count one frame; returns events with their evidence."""
        at = self.count % RING
        known = min(self.count, RING - 1)
        places = (at - 1 - np.arange(known)) % RING  # of the frames before, by lag - 1
        bits = distance(self.hashes[places], hash_)
        self.runs[:known] = np.where(bits <= LOOP_BITS, self.runs[:known] + 1, 0)
        self.hashes[at], self.times[at] = hash_, time_s
        self.count += 1
        return self._frozen(bits, places, time_s) + self._looped(bits, places, at, time_s)

    def _frozen(self, bits: np.ndarray, places: np.ndarray, time_s: float) -> list[Told]:
        same = len(bits) if (bits <= SAME_BITS).all() else int((bits > SAME_BITS).argmax())
        seconds = time_s - self.times[places[same - 1]] if same else 0.0
        told = self.frozen.update(seconds >= FROZEN_S, time_s)
        return [("frozen", {"seconds": round(float(seconds), 2), "frames": same + 1})] if told else []

    def _looped(self, bits: np.ndarray, places: np.ndarray, at: int, time_s: float) -> list[Told]:
        lag = int(self.runs[: len(bits)].argmax()) if len(bits) else 0
        run = int(self.runs[lag])
        if run < 2 or self.frozen.told:
            self.looped.update(False, time_s)
            return []
        stretch = (at - np.arange(min(run, RING))) % RING
        seconds = float(time_s - self.times[stretch[-1]])
        apart = float(time_s - self.times[places[lag]])
        moved = distance(self.hashes[stretch], self.hashes[at]).max() >= MOVED_BITS
        told = self.looped.update(bool(seconds >= LOOP_S and apart >= FROZEN_S and moved), time_s)
        return [("looped", {"seconds": round(seconds, 2), "seconds_ago": round(apart, 2)})] if told else []


@dataclass
class Timing:
    """The interval between frames: gaps, and clocks that stand or go back."""

    last_s: float | None = None
    usual_s: float | None = None  # moving average of the interval
    odd: bool = False

    def add(self, time_s: float) -> list[Told]:
        """Count one frame; returns an event where its time is odd and the one before was not."""
        if self.last_s is None:
            self.last_s = time_s
            return []
        step_s, usual_s, before = time_s - self.last_s, self.usual_s, self.odd
        self.last_s = max(self.last_s, time_s)
        self.odd = step_s <= 0 or (usual_s is not None and step_s > max(GAP_S, 3 * usual_s))
        if not self.odd:
            self.usual_s = step_s if usual_s is None else 0.9 * usual_s + 0.1 * step_s
        if not self.odd or before:
            return []
        return [("timing", {"interval_s": round(step_s, 3), "usual_s": None if usual_s is None else round(usual_s, 3)})]


@dataclass
class Jitter:
    """How much the landmarks move against each other between detections, as a share of their spread.

    What a similarity transform (position, size, turn of the head in the picture) explains is taken out first. Faces
    that are made anew frame by frame tremble; a photograph held before the camera is stiffer than a face that talks.
    """

    recent: deque[float] = field(default_factory=lambda: deque(maxlen=JITTER_MEMORY))
    last: np.ndarray | None = None

    def add(self, landmark: np.ndarray) -> float | None:
        """Count the landmarks (k, 2) of one detection; median of the recent residuals, None while they are few."""
        points = landmark[:, 0] + 1j * landmark[:, 1]
        points = points - points.mean()
        if self.last is not None and np.abs(points).max() > 0 and np.abs(self.last).max() > 0:
            turn = np.vdot(self.last, points) / np.vdot(self.last, self.last)
            residual = np.abs(points - turn * self.last) ** 2
            self.recent.append(float(np.sqrt(residual.mean() / (np.abs(points) ** 2).mean())))
        self.last = points
        return float(np.median(self.recent)) if len(self.recent) == JITTER_MEMORY else None
