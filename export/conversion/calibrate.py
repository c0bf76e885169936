"""Logits of the validation split -> the constants that publication fixes in the graph, and how good they are.

Reads labels and uncalibrated logits; gives temperature and bias, the thresholds by the rule of `metrics.thresholds`,
and a report: calibration error before and after, error rates at each threshold, and the share of images that come out
as `review`, against its target. A share above the target is reported, never hidden; it does not stop publication,
since an operator may widen or narrow the band.
"""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from .. import metrics
from ..network import Calibration

MAX_REVIEW_SHARE = 0.10


def calibrate(labels: np.ndarray, logits: np.ndarray, version: int) -> tuple[Calibration, dict]:
    """The constants of model version `version`, and their report for the manifest.

    Args:
        labels: (N,) 0 real, 1 fake; both must occur.
        logits: (N,) uncalibrated.

    Raises ValueError where a class is missing.
    """
    if len(np.unique(labels)) < 2:
        raise ValueError(f"calibration needs real and fake faces in the split val, got {len(labels)} of one class")
    temperature, bias = metrics.platt(labels, logits)
    scores = sigmoid((logits - bias) / temperature)
    calibration = Calibration(version, temperature, *metrics.thresholds(labels, scores), bias)
    return calibration, asdict(calibration) | _report(labels, sigmoid(logits), scores, calibration)


def review_share(scores: np.ndarray, calibration: Calibration) -> float:
    """Share of probabilities that are neither `real` nor `fake`."""
    return float(((scores >= calibration.real_below) & (scores < calibration.fake_from)).mean())


def sigmoid(values: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), without overflow."""
    return np.exp(-np.logaddexp(0, -values))


def _report(labels: np.ndarray, before: np.ndarray, after: np.ndarray, calibration: Calibration) -> dict:
    share = review_share(after, calibration)
    return {
        "images": len(labels),
        "calibration_error_before": metrics.expected_calibration_error(labels, before),
        "calibration_error": metrics.expected_calibration_error(labels, after),
        "fpr_at_fake_from": metrics.rates(labels, after, calibration.fake_from)["fpr"],
        "fnr_at_real_below": metrics.rates(labels, after, calibration.real_below)["fnr"],
        "review_share": share,
        "review_share_allowed": MAX_REVIEW_SHARE,
        "review_share_passed": share <= MAX_REVIEW_SHARE,
    }
