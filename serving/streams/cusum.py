"""A face changes, in the middle of a stream: Page's cumulative sum, on the same evidence as the decision.

Page, "Continuous inspection schemes" (1954): keep the log-likelihood ratio of the newest stretch of frames. Begin anew
whenever it says that nothing has changed. Alarm when it passes a bound. The stretch that begins anew begins with a
whole frame's evidence (another face owes nothing to the one before), so a swap shows at once.

A change is a change from something: there must be evidence for the other class before the stretch. (Against "all
real" the ratio of "first real, then fake" is the stretch's evidence, against "all fake" it is that of what came
before.)

Assumption beside those of `sprt`: what is there after the change is drawn from the other class. The bound buys quiet
with delay. For independent frames the mean time between false alarms is at least exp(bound) frames (Lorden, 1971);
for these it comes from the simulation in `export/fitting/video_simulation.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from .sprt import Evidence, ScoreCalibration

SETTLED = 1.0  # so much evidence must have spoken for the other class before the stretch, decided or not


@dataclass
class Cusum:
    """Watches for a change to fake (`sign` 1) or to real (-1)."""

    sign: int
    stretch: Evidence | None = None
    begin_s: float = 0.0  # when the change that is suspected began
    begin_frame: int = 0
    before: float = 0.0  # evidence for fake up to there

    def add(self, ratio: float, before: float, frame: int, time_s: float, calibration: ScoreCalibration) -> float:
        """Count one frame, `before` it the evidence for fake was so much; returns the evidence for a change, 0 for
        none.
        """
        if self.stretch is None:
            self.stretch, self.begin_s, self.begin_frame, self.before = Evidence(), time_s, frame, before
        self.stretch.add(ratio, time_s, calibration)
        evidence = self.sign * self.stretch.ratio(calibration)
        if evidence <= 0:
            self.stretch = None
            return 0.0
        return evidence if self.sign * self.before <= -SETTLED else 0.0
