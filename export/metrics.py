"""Figures of a detector from its scores: pure functions over labels (0 real, 1 fake) and probabilities of fake."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, roc_curve

MAX_FPR, MAX_FNR = 0.03, 0.02  # the operating points that the users ask for


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve, by ranks (Mann and Whitney, 1947); NaN where only one class is there.

    A bootstrap calls it thousands of times; it takes a fifteenth of the time of scikit-learn's.
    """
    fakes = int((labels == 1).sum())
    if not 0 < fakes < len(labels):
        return float("nan")
    surplus = rankdata(scores)[labels == 1].sum() - fakes * (fakes + 1) / 2
    return float(surplus / (fakes * (len(labels) - fakes)))


def average_precision(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under precision over recall, by steps; depends on the share of fakes. NaN with one class only."""
    return float(average_precision_score(labels, scores)) if len(np.unique(labels)) == 2 else float("nan")


def equal_error_rate(labels: np.ndarray, scores: np.ndarray) -> float:
    """The rate at which FPR and FNR are equal, linear between the points of the ROC curve; NaN with one class only."""
    if len(np.unique(labels)) < 2:
        return float("nan")
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    gap = fpr + tpr - 1  # FPR - FNR: rises from -1 to 1
    after = int(np.argmax(gap >= 0))
    share = -gap[after - 1] / (gap[after] - gap[after - 1])
    return float(fpr[after - 1] + share * (fpr[after] - fpr[after - 1]))


def rates(labels: np.ndarray, scores: np.ndarray, threshold: float) -> dict[str, float]:
    """Accuracy, FPR and FNR at one threshold; fake means score >= threshold. Nothing abstains."""
    called = scores >= threshold
    real, fake = labels == 0, labels == 1
    return {
        "accuracy": float((called == fake).mean()) if len(labels) else float("nan"),
        "fpr": float(called[real].mean()) if real.any() else float("nan"),
        "fnr": float((~called[fake]).mean()) if fake.any() else float("nan"),
    }


def thresholds(labels: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """(real_below, fake_from): the highest threshold with FNR < 2 %, the lowest with FPR < 3 %.

    The second goes halfway up to the next score: conversion changes a score's last digits, and the face that it is to
    leave below must stay there. Where they cross, both become their mean.
    """
    real, fake = np.sort(scores[labels == 0])[::-1], np.sort(scores[labels == 1])
    allowed_false = max(0, int(np.ceil(MAX_FPR * len(real))) - 1)  # reals that may score at or above fake_from
    fake_from = float(np.nextafter(real[allowed_false], 1, dtype=np.float32))
    real_below = _highest_below_max_fnr(fake)
    if real_below > fake_from:
        real_below = fake_from = (real_below + fake_from) / 2
    else:
        fake_from = (fake_from + float(scores[scores >= fake_from].min(initial=1.0))) / 2
    return real_below, min(fake_from, 1.0)


def halfway_down(threshold: float, scores: np.ndarray) -> float:
    """Halfway from a threshold to the next lower score: who was above stays so where conversion changes last digits."""
    return (threshold + float(scores[scores < threshold].max(initial=0.0))) / 2


def real_below_for(others: np.ndarray, scores: np.ndarray, fake_from: float, review_share: float) -> float:
    """The highest `real_below` with FNR < 2 % on `others`, fakes of another kind than those among `scores`.

    No lower than where `review` takes `review_share` of `scores`.
    """
    steps = np.append(fake_from, np.sort(scores[scores < fake_from])[::-1])  # each one lower: one more in `review`
    lowest = steps[min(int(review_share * len(scores)), len(steps) - 1)]
    return max(float(lowest), _highest_below_max_fnr(np.sort(others)))


def _highest_below_max_fnr(fakes: np.ndarray) -> float:
    """Threshold for sorted scores of fakes."""
    return float(fakes[max(0, int(np.ceil(MAX_FNR * len(fakes))) - 1)])


def platt(labels: np.ndarray, logits: np.ndarray) -> tuple[float, float]:
    """(temperature, bias) that minimise the negative log-likelihood of (logits - bias) / temperature.

    Temperature (Guo et al., ICML 2017) within 0.05..20; the bias (Platt, 1999) takes back the share of fakes in
    training, where every real face may have a twin.
    """

    def loss(parameters: np.ndarray) -> float:
        scaled = (logits - parameters[1]) / np.exp(parameters[0])
        return float(np.mean(np.logaddexp(0, scaled) - labels * scaled))

    spread = float(np.abs(logits).max()) + 1
    bounds = [(np.log(0.05), np.log(20)), (-spread, spread)]
    log_temperature, bias = minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=bounds).x
    return float(np.exp(log_temperature)), float(bias)


def figures(labels: np.ndarray, scores: np.ndarray, threshold: float) -> dict[str, float]:
    """Every figure of a report: accuracy, fpr and fnr at the threshold, and auc, eer, ap, ece that need none."""
    return {
        **rates(labels, scores, threshold),
        "auc": auc(labels, scores),
        "eer": equal_error_rate(labels, scores),
        "ap": average_precision(labels, scores),
        "ece": expected_calibration_error(labels, scores),
    }


def resamples(groups: np.ndarray, rounds: int, seed: int) -> Iterator[np.ndarray]:
    """Indices of bootstrap samples that draw whole groups: frames of one video come and go together."""
    _, member = np.unique(groups, return_inverse=True)
    count = int(member.max()) + 1
    rng = np.random.default_rng(seed)
    for _ in range(rounds):
        times = np.bincount(rng.integers(0, count, count), minlength=count)
        yield np.repeat(np.arange(len(groups)), times[member])


def intervals(
    statistics: Callable[..., dict[str, float]],
    arrays: tuple[np.ndarray, ...],
    groups: np.ndarray,
    rounds: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals of `statistics(*arrays)` over resampled groups (Efron and Tibshirani, 1993).

    Arrays are resampled together, so that a difference between two detectors' scores is a paired one.
    """
    drawn = [statistics(*(array[draw] for array in arrays)) for draw in resamples(groups, rounds, seed)]
    columns = {name: np.array([values[name] for values in drawn]) for name in drawn[0]}
    return {name: _percentiles(values[~np.isnan(values)]) for name, values in columns.items()}


def _percentiles(values: np.ndarray) -> tuple[float, float]:
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def bootstrap(
    labels: np.ndarray, scores: np.ndarray, rounds: int = 1000, seed: int = 0, groups: np.ndarray | None = None
) -> tuple[float, float]:
    """95 % interval of the AUC over resampled groups, each image its own where none are given."""
    units = np.arange(len(labels)) if groups is None else groups
    return intervals(lambda y, p: {"auc": auc(y, p)}, (labels, scores), units, rounds, seed)["auc"]


def beside(
    labels: np.ndarray, scores: np.ndarray, rival: np.ndarray, groups: np.ndarray, rounds: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """AUC of a rival on the same images, and how much higher that of `scores` is: a paired bootstrap over groups."""

    def statistics(y: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
        return {"rival": (value := auc(y, theirs)), "gain": auc(y, ours) - value}

    arrays = labels, scores, rival
    values, spans = statistics(*arrays), intervals(statistics, arrays, groups, rounds, seed)
    return {"auc": values["rival"], "interval": spans["rival"], "gain": values["gain"], "gain_interval": spans["gain"]}


def wilson(share: float, count: int) -> tuple[float, float]:
    """95 % interval of a share of `count` independent cases (Wilson, 1927); honest at 0 and 1, unlike a bootstrap."""
    if not count:
        return float("nan"), float("nan")
    z = 1.959964
    middle = share + z * z / (2 * count)
    half = z * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return max(0.0, float((middle - half) / scale)), min(1.0, float((middle + half) / scale))


def reliability(labels: np.ndarray, scores: np.ndarray, bins: int = 10) -> list[dict[str, float]]:
    """What was said and what was true in bins of equal width: images, mean stated probability, share of fakes."""
    index = np.minimum((scores * bins).astype(int), bins - 1)
    return [
        {
            "images": int((index == b).sum()),
            "stated": float(scores[index == b].mean()),
            "fakes": float(labels[index == b].mean()),
        }
        for b in np.unique(index)
    ]


def expected_calibration_error(labels: np.ndarray, scores: np.ndarray, bins: int = 10) -> float:
    """Mean gap between stated probability and share of fakes over the bins of `reliability`, weighted by size."""
    return sum(b["images"] * abs(b["stated"] - b["fakes"]) for b in reliability(labels, scores, bins)) / len(labels)
