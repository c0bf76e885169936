"""Logits of the validation split -> the constants that publication fixes in the graph, and how good they are.

Temperature, bias and thresholds come from the split's own faces, by the rule of `metrics.thresholds`. Those faces hold
no face swap, and a network that is sure about generated faces would let most swaps pass. So `real_below` goes down
until self-blended fakes of the split keep the same FNR, or until `review` takes the share that is set aside for them.

The report has the calibration error before and after, error rates at each threshold, and the share of `review` against
its target. A share above the target is reported and does not stop publication: an operator may widen or narrow the
band.
"""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np

from facewarden.wire import Threshold

from .. import metrics
from ..data.faces import TrainingFace, of_split, real_of
from ..network import GraphCalibration, TimmNet
from ..synthesis.batches import Loader
from ..training.train import logits as logits_of

MAX_REVIEW_SHARE = 0.10
REVIEW_SHARE_FOR_BLENDS = 0.08  # of the split; below the target, which other pictures should keep, too


def calibrated(net: TimmNet, loader: Loader, faces: list[TrainingFace], version: int) -> tuple[GraphCalibration, dict]:
    """`calibrate` of what `net` makes of the split val; `faces` are of every split."""
    val = of_split(faces, "val")
    labels, logits = logits_of(net, loader.plain(val))
    _, blended = logits_of(net, loader.blended(real_of(val)))
    return calibrate(labels, logits, blended, version)


def calibrate(
    labels: np.ndarray, logits: np.ndarray, blended: np.ndarray, version: int
) -> tuple[GraphCalibration, dict]:
    """The constants of model version `version`, and their report for the manifest.

    Args:
        labels: (N,) 0 real, 1 fake; both must occur.
        logits: (N,) uncalibrated.
        blended: (M,) the same, of self-blended fakes of the real ones.

    Raises ValueError where a class is missing.
    """
    if len(np.unique(labels)) < 2:
        raise ValueError(f"calibration needs real and fake faces in the split val, got {len(labels)} of one class")
    temperature, bias = metrics.platt(labels, logits)
    scale = GraphCalibration(version, temperature, 0.0, 1.0, bias)
    scores, swaps = (probabilities(values, scale) for values in (logits, blended))
    real_below, fake_from = metrics.thresholds(labels, scores)
    real_below = min(real_below, metrics.real_below_for(swaps, scores, fake_from, REVIEW_SHARE_FOR_BLENDS))
    real_below = metrics.halfway_down(real_below, np.append(scores, swaps))
    calibration = replace(scale, real_below=real_below, fake_from=fake_from)
    return calibration, asdict(calibration) | _report(labels, sigmoid(logits), scores, swaps, calibration)


def review_share(scores: np.ndarray, calibration: GraphCalibration) -> float:
    """Share of probabilities that are neither `real` nor `fake`."""
    return float(((scores >= calibration.real_below) & (scores < calibration.fake_from)).mean())


def probabilities(logits: np.ndarray, calibration: GraphCalibration) -> np.ndarray:
    """Of fake, as the served graph makes them of its network's logits."""
    return sigmoid((logits - calibration.bias) / calibration.temperature)


def label(score: float, calibration: GraphCalibration) -> str:
    """`real`, `review` or `fake`, by the rule of the product."""
    return Threshold(calibration.real_below, calibration.fake_from).label(score)


def sigmoid(values: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), without overflow."""
    return np.exp(-np.logaddexp(0, -values))


def _report(
    labels: np.ndarray, before: np.ndarray, after: np.ndarray, swaps: np.ndarray, calibration: GraphCalibration
) -> dict:
    share = review_share(after, calibration)
    return {
        "images": len(labels),
        "calibration_error_before": metrics.expected_calibration_error(labels, before),
        "calibration_error": metrics.expected_calibration_error(labels, after),
        "fpr_at_fake_from": metrics.rates(labels, after, calibration.fake_from)["fpr"],
        "fnr_at_real_below": metrics.rates(labels, after, calibration.real_below)["fnr"],
        "blended_fnr_at_real_below": float((swaps < calibration.real_below).mean()),
        "review_share": share,
        "review_share_allowed": MAX_REVIEW_SHARE,
        "review_share_passed": share <= MAX_REVIEW_SHARE,
    }
