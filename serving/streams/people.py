"""One tracked person's verdict: evidence until it decides, then a watch for changes, and what was found on the way."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from facewarden.wire import STATES

from .cusum import Cusum
from .events import Told
from .sprt import Evidence, Rates, ScoreCalibration, decide

COLLECTING, REAL, FAKE, REVIEW, NO_FACE = STATES
SCORE_MEMORY = 5  # scores whose median a jump is measured from


@dataclass(frozen=True)
class DecisionSettings:
    """How one server judges streams."""

    rates: Rates
    calibration: ScoreCalibration
    change_bound: float  # evidence for a change at which it counts
    jump: float  # change of one frame's ratio against the median of those before that is worth telling
    review_after_s: float = 10.0  # a face that is not decided after so long needs a person


@dataclass
class Person:
    """The verdict about one track; a change begins it anew."""

    label: str = COLLECTING
    evidence: Evidence = field(default_factory=Evidence)
    to_fake: Cusum = field(default_factory=lambda: Cusum(1))
    to_real: Cusum = field(default_factory=lambda: Cusum(-1))
    frames: int = 0
    poor_frames: int = 0  # seen and not counted: too dark, blurred or small
    first_s: float | None = None
    last_s: float = 0.0
    decided_s: float | None = None  # of the first decision
    decided_frames: int | None = None  # frames that the first decision took
    peak: float = -math.inf  # largest evidence at which the label was fake
    was_subject: bool = False
    scores: deque[float] = field(default_factory=lambda: deque(maxlen=SCORE_MEMORY))
    begun_s: float = 0.0  # of the evidence that is gathered now

    def ratio(self, settings: DecisionSettings) -> float:
        """Log-likelihood ratio, fake against real, of what was seen since the last change."""
        return float(self.evidence.ratio(settings.calibration))

    @property
    def verdict(self) -> str:
        """Of the whole time: a face that once was fake stays so in the summary."""
        return FAKE if self.peak > -math.inf else self.label

    def add(self, logit: float, frame: int, time_s: float, settings: DecisionSettings) -> list[Told]:
        """Count one frame's score; returns events with their evidence."""
        if self.first_s is None:
            self.first_s = self.begun_s = time_s
        self.frames, self.last_s = self.frames + 1, time_s
        score = float(settings.calibration.ratio(logit))
        events = self._jump(score, settings)
        before = self.ratio(settings)
        self.evidence.add(score, time_s, settings.calibration)
        events += self._changed(score, before, frame, time_s, settings)
        return events + self._decided(time_s, settings)

    def _jump(self, score: float, settings: DecisionSettings) -> list[Told]:
        usual = sorted(self.scores)[len(self.scores) // 2] if self.scores else score
        self.scores.append(score)
        if abs(score - usual) < settings.jump:
            return []
        self.scores.clear()  # told once; the new level is the usual one from here on
        self.scores.append(score)
        return [("score_jump", {"before": round(usual, 2), "after": round(score, 2)})]

    def _changed(
        self, score: float, before: float, frame: int, time_s: float, settings: DecisionSettings
    ) -> list[Told]:
        found = []
        for cusum, was, now in ((self.to_fake, REAL, FAKE), (self.to_real, FAKE, REAL)):
            evidence = cusum.add(score, before, frame, time_s, settings.calibration)
            if evidence >= settings.change_bound:
                since = {"since_s": round(cusum.begin_s, 3), "since_frame": cusum.begin_frame}
                found.append(("swap", {"before": was, "after": now, "evidence": round(evidence, 2), **since}))
                self.evidence, self.begun_s = cusum.stretch or Evidence(), cusum.begin_s
                self.to_fake, self.to_real = Cusum(1), Cusum(-1)
                break
        return found

    def _decided(self, time_s: float, settings: DecisionSettings) -> list[Told]:
        ratio, before = self.ratio(settings), self.label
        decision = decide(ratio, settings.rates)
        if decision is None and before == COLLECTING and time_s - self.begun_s >= settings.review_after_s:
            decision = REVIEW
        if decision == FAKE:
            self.peak = max(self.peak, ratio)
        if decision in (None, before):
            return []
        self.label = decision
        if self.decided_s is None and decision != REVIEW:
            self.decided_s, self.decided_frames = time_s, self.frames
        return [("verdict", {"before": before, "after": decision, "evidence": round(ratio, 2), "frames": self.frames})]
