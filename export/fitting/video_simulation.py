"""The decision about a video -> what it promises against what it keeps, on streams of the classifier's own scores.

`python -m export simulate-video` writes video_simulation.json and .svg into export/results.

A stream of one class has a level of its own and a part that is forgotten, as `sprt` assumes. The scores are not
Gaussian: they have the distribution that the shipped classifier has on its validation split (a Gaussian copula). The
decision itself is the served code. Everything is seeded.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Annotated, Any

import numpy as np
from tyro.conf import arg

from serving.paths import REPOSITORY
from serving.streams.cusum import Cusum
from serving.streams.sprt import Evidence, Rates, ScoreCalibration

SERVED = REPOSITORY / "deepfake_video" / "1" / "calibration.json"
RESULTS = Path(__file__).parents[1] / "results"
EVIDENCE = RESULTS / "video_decision.json"  # what the served constants were made of

GRID = np.linspace(-6, 6, 2001)
CDF = np.array([NormalDist().cdf(z) for z in GRID])


@dataclass(frozen=True)
class ScoreQuantiles:
    """The classifier's logits on its validation split: quantiles, evenly spaced in 0..1, a class."""

    real: np.ndarray
    fake: np.ndarray

    @staticmethod
    def load() -> ScoreQuantiles:
        """As `fit-video` wrote them."""
        kept = json.loads(EVIDENCE.read_text())["logit_quantiles"]
        return ScoreQuantiles(np.array(kept["real"]), np.array(kept["fake"]))


def calibration() -> ScoreCalibration:
    """The one that is served."""
    kept = json.loads(SERVED.read_text())
    return ScoreCalibration(**{name: kept[name] for name in ScoreCalibration.__dataclass_fields__})


def streams(quantiles: np.ndarray, used: ScoreCalibration, shape: tuple[int, int], fps: float, seed: int) -> np.ndarray:
    """(N, T) logits of N streams of one class at `fps`: level, forgetting part, then the distribution of the scores."""
    rng = np.random.default_rng(seed)
    n, frames = shape
    r = math.exp(-1 / fps / used.correlation_s)
    level, part = rng.standard_normal(n), rng.standard_normal(n)
    z = np.empty(shape)
    for t in range(frames):
        z[:, t] = math.sqrt(used.persistence) * level + math.sqrt(1 - used.persistence) * part
        part = r * part + math.sqrt(1 - r * r) * rng.standard_normal(n)
    return np.interp(np.interp(z, GRID, CDF), np.linspace(0, 1, len(quantiles)), quantiles)


def paths(logits: np.ndarray, used: ScoreCalibration, fps: float) -> np.ndarray:
    """(N, T) log-likelihood ratios after each frame, by the served code."""
    evidence, found = Evidence(), np.empty(logits.shape)
    for t, logit in enumerate(logits.T):
        evidence.add(used.ratio(logit), t / fps, used)
        found[:, t] = evidence.ratio(used)
    return found


def both_classes(
    scores: ScoreQuantiles, used: ScoreCalibration, shape: tuple[int, int], fps: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """(N, T) log-likelihood ratios of N real and of N fake streams."""
    real, fake = streams(scores.real, used, shape, fps, seed), streams(scores.fake, used, shape, fps, seed + 1)
    return paths(real, used, fps), paths(fake, used, fps)


def decisions(ratios: np.ndarray, fake_from: float, real_below: float) -> tuple[np.ndarray, np.ndarray]:
    """For each stream the first decision (1 fake, -1 real, 0 none) and the frames that it took (T where none)."""
    out = (ratios >= fake_from) | (ratios <= real_below)
    first = np.where(out.any(1), out.argmax(1), ratios.shape[1] - 1)
    decided = np.where(out.any(1), np.sign(ratios[np.arange(len(ratios)), first]), 0)
    return decided.astype(int), first + 1


def error_rates(
    scores: ScoreQuantiles, used: ScoreCalibration, rates: Rates, fps: float, n: int, seed: int
) -> dict[str, float]:
    """FPR, FNR, undecided share and median frames of the sequential decision within 10 s."""
    real, fake = both_classes(scores, used, (n, int(10 * fps)), fps, seed)
    (on_real, took_real), (on_fake, took_fake) = (decisions(r, rates.fake_from, rates.real_below) for r in (real, fake))
    return {
        "fpr": float((on_real > 0).mean()),
        "fnr": float((on_fake < 0).mean()),
        "undecided": float(np.concatenate([on_real == 0, on_fake == 0]).mean()),
        "median_frames": float(np.median(np.concatenate([took_real, took_fake]))),
    }


def against_vote(
    scores: ScoreQuantiles, used: ScoreCalibration, fps: float, n: int, seed: int, vote: int = 32
) -> dict[str, Any]:
    """A fixed vote over `vote` frames, and the sequential decision that errs no more than it does.

    The vote is the best there is: the same evidence after `vote` frames, called fake above 0. The bounds of the
    sequential decision are the closest, in steps of 0.05, at which neither of its two errors is above the vote's. It
    may take longer than the vote for a hard face: `mean_frames` says what that costs. After ten seconds, or `vote`
    frames where those are more, it is called as the vote would.
    """
    real, fake = both_classes(scores, used, (n, max(vote, round(10 * fps))), fps, seed)
    fpr, fnr = float((real[:, vote - 1] > 0).mean()), float((fake[:, vote - 1] <= 0).mean())
    for bound in np.arange(0.5, 12, 0.05):
        (on_real, took_real), (on_fake, took_fake) = (decisions(r, bound, -bound) for r in (real, fake))
        wrong_real = ((on_real > 0) | ((on_real == 0) & (real[:, -1] > 0))).mean()
        wrong_fake = ((on_fake < 0) | ((on_fake == 0) & (fake[:, -1] <= 0))).mean()
        if wrong_real <= fpr and wrong_fake <= fnr:
            break
    took = np.concatenate([took_real, took_fake])
    return {
        "vote": {"frames": vote, "fpr": fpr, "fnr": fnr},
        "sequential": {
            "bound": round(float(bound), 2),
            "fpr": float(wrong_real),
            "fnr": float(wrong_fake),
            "median_frames": float(np.median(took)),
            "mean_frames": round(float(took.mean()), 2),
        },
    }


def swap_peaks(
    scores: ScoreQuantiles, used: ScoreCalibration, fps: float, seconds: float, n: int, seed: int
) -> np.ndarray:
    """(N,) largest evidence for a swap to fake that each of N real faces ever shows within `seconds`."""
    logits = streams(scores.real, used, (n, int(seconds * fps)), fps, seed)
    return np.array([_peak(row, used, fps) for row in logits])


def _peak(logits: np.ndarray, used: ScoreCalibration, fps: float) -> float:
    cusum, evidence, peak = Cusum(1), Evidence(), 0.0
    for t, ratio in enumerate(used.ratio(logits).tolist()):
        before = evidence.ratio(used)
        evidence.add(ratio, t / fps, used)
        peak = max(peak, cusum.add(ratio, before, t, t / fps, used))
    return peak


def main(n: Annotated[int, arg(name="streams")] = 4000, seed: int = 1) -> int:
    """Simulates, and prints what was found.

    Args:
        n: streams of each class.
    """
    scores, used, rates = ScoreQuantiles.load(), calibration(), Rates()
    found = {
        "streams": n,
        "seed": seed,
        "nominal": {"alpha": rates.alpha, "beta": rates.beta},
        "calibration": vars(used),
        "sequential": {f"{fps} fps": error_rates(scores, used, rates, fps, n, seed) for fps in (1, 5, 25)},
        "against_vote": {f"{fps} fps": against_vote(scores, used, fps, n, seed) for fps in (1, 5, 25)},
    }
    (RESULTS / "video_simulation.json").write_text(json.dumps(found, indent=2) + "\n")
    plot(RESULTS / "video_simulation.svg", scores, used, rates, seed)
    print(json.dumps(found, indent=2))
    return 0


def plot(path: Path, scores: ScoreQuantiles, used: ScoreCalibration, rates: Rates, seed: int, fps: float = 5.0) -> None:
    """Draws forty streams of each class over four seconds, between the bounds, as SVG."""
    from reports import drawing

    shape = (40, int(4 * fps))
    with drawing.plt.rc_context({**drawing.STYLE, "svg.hashsalt": "the same file each time"}):
        figure, ((axes,),) = drawing.panels(width=7.6)
        for colour, ratios in zip(("#1f9d61", "#d43d4e"), both_classes(scores, used, shape, fps, seed), strict=True):
            axes.plot(np.arange(shape[1]) / fps, ratios.T, color=colour, alpha=0.45, linewidth=1)
        for bound, word in ((rates.fake_from, "fake from"), (rates.real_below, "real below")):
            axes.axhline(bound, color=drawing.OURS, linestyle="--", linewidth=1)
            axes.text(shape[1] / fps, bound + 0.15, f"{word} {bound:.2f}", ha="right")
        axes.set(xlabel="seconds", ylabel="log-likelihood ratio, fake against real")
        axes.set_title(f"40 simulated streams of each class, {fps:g} frames/s", loc="left")
        figure.savefig(path, facecolor="white", metadata={"Date": None})  # a document shows it on any background
        drawing.plt.close(figure)
