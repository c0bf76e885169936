"""Frames of one face -> its verdict: a sequential probability ratio test on correlated, calibrated scores.

Wald, "Sequential tests of statistical hypotheses" (1945). Let L(n) be the log-likelihood ratio of everything seen, fake
against real. Decide fake as soon as L >= log((1 - beta) / alpha), real as soon as L <= log(beta / (1 - alpha)). Then at
most about alpha of the real faces are called fake, and at most about beta of the fake ones real. No test with the same
error rates needs fewer frames in the mean. The bounds need no independence (Ville, 1939): they hold for every process
that *is* a likelihood ratio. So the dependence between frames belongs into L, and that is the work done here.

Assumptions, in the order in which they will fail first:
1. The faces are like those that the scores were calibrated on. For others the error rates are not promised.
2. A frame's score is a calibrated log-likelihood ratio: a line maps the logit to it. The line was fitted on the
   validation split with both classes weighted alike, so its prior is out. A limit keeps the score to what a split of
   that size can say.
3. A score is the sum of two parts. One stays with a face for the whole video and holds the share `persistence` of the
   variance within a class. The other is forgotten with the time constant `correlation_s`. Both are Gaussian, of one
   variance in both classes. Simulations with the real distribution of the scores check what that costs.

From 3 follows, exactly. Let r = exp(-dt / correlation_s) for two frames dt apart. The innovation (x - r x_before) /
(1 + r) carries what the second frame adds. It is worth (1 - r) / (1 + r) of an independent frame. With their sums X and
m the ratio of all frames is L = X / (1 + (m - 1) persistence). A thousand frames of one face never say more than
1 / persistence independent pictures would: whoever is doubtful stays so, and the answer is `review`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

Number = Any  # a float, or an array with one element a face


@dataclass(frozen=True)
class Rates:
    """Error rates: `alpha` of real faces called fake (FPR), `beta` of fake ones called real (FNR)."""

    alpha: float = 0.03
    beta: float = 0.02

    def __post_init__(self) -> None:
        if not (0 < self.alpha < 0.5 and 0 < self.beta < 0.5):
            raise ValueError(f"alpha and beta must lie between 0 and 0.5, not {self.alpha} and {self.beta}")

    @property
    def fake_from(self) -> float:
        """Decide fake from this log-likelihood ratio on."""
        return math.log((1 - self.beta) / self.alpha)

    @property
    def real_below(self) -> float:
        """Decide real from this log-likelihood ratio down."""
        return math.log(self.beta / (1 - self.alpha))


@dataclass(frozen=True)
class ScoreCalibration:
    """How scores become evidence; made by `python -m export fit-video`, kept in `calibration.json`.

    slope, offset: ratio = slope x logit + offset; limit: largest ratio of one frame, both ways; correlation_s: time
    after which a score is forgotten (1/e); persistence: share of the variance that stays with a face, 0..1.
    """

    slope: float
    offset: float
    limit: float
    correlation_s: float
    persistence: float

    def ratio(self, logit: Number) -> Number:
        """Log-likelihood ratio of one frame alone."""
        return np.clip(self.slope * logit + self.offset, -self.limit, self.limit)


@dataclass
class Evidence:
    """The log-likelihood ratio of all frames of one face so far. Works on arrays too: one element a face."""

    total: Number = 0.0  # X above
    weight: float = 0.0  # m above: how many independent frames the correlated ones are worth, persistence apart
    last: Number = 0.0
    last_s: float = 0.0

    def add(self, ratio: Number, time_s: float, calibration: ScoreCalibration) -> None:
        """Count one frame; `time_s` does not go back."""
        r = math.exp(-max(0.0, time_s - self.last_s) / calibration.correlation_s) if self.weight else 0.0
        self.total = self.total + (ratio - r * self.last) / (1 + r)
        self.weight += (1 - r) / (1 + r)
        self.last, self.last_s = ratio, time_s

    def ratio(self, calibration: ScoreCalibration) -> Number:
        """Log-likelihood ratio, fake against real, of all frames together."""
        return self.total / (1 + max(0.0, self.weight - 1) * calibration.persistence)


def decide(ratio: float, rates: Rates) -> str | None:
    """ "fake", "real", or None while the evidence is between the bounds."""
    if ratio >= rates.fake_from:
        return "fake"
    return "real" if ratio <= rates.real_below else None
