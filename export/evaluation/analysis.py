"""Verdicts about the pictures of one split -> its part of the report: pure functions, plain dictionaries."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from facewarden.wire import LABELS, Threshold

from .. import metrics
from .served import JudgedPicture, ScoreTable, columns

QUALITY_BINS = {  # fixed edges, so that reports can be compared
    "sharpness": (0, 10, 50, 200, 800, np.inf),
    "brightness": (0, 0.3, 0.4, 0.5, 0.6, 1.01),
    "side (px)": (0, 64, 128, 256, 512, np.inf),
}
MISTAKES = 8  # the most confident ones that a report lists by path
TRUTHS = ("real", "fake")  # by label
RATE_CLASS = {"fpr": 0, "fnr": 1}


def analyse(judged: list[JudgedPicture], rounds: int, seed: int) -> dict:
    """Every figure of one split but robustness and comparisons. Needs at least one picture with a face."""
    table = columns(judged)
    limits = next(j.verdict.threshold for j in judged if j.found)
    threshold = limits.fake_from  # the single one for accuracy, FPR and FNR
    return {
        "images": _counts(judged),
        "threshold": threshold,
        "level": {"image": level(table.labels, table.scores, table.groups, limits, rounds, seed)}
        | _video_level(table, limits, rounds, seed),
        "confusion": confusion(table.labels, table.scores, threshold),
        "labels": verdict_labels(judged),
        "reliability": _reliability(table.labels, table.scores),
        "by_source": by_source(table, threshold),
        "by_quality": by_quality(table, threshold),
        "mistakes": mistakes(judged, threshold),
    }


def _counts(judged: list[JudgedPicture]) -> dict:
    errors = [j for j in judged if j.verdict.error]
    without = [j for j in judged if not j.found and not j.verdict.error]
    return {
        "given": len(judged),
        "real": sum(j.picture.label == 0 for j in judged),
        "fake": sum(j.picture.label == 1 for j in judged),
        "groups": len({j.picture.group for j in judged}),
        "several_faces": sum(len(j.verdict.faces) > 1 for j in judged),
        "no_face": [j.picture.name for j in without],
        "refused": {j.picture.name: str(j.verdict.error) for j in errors},
    }


def level(
    labels: np.ndarray, scores: np.ndarray, groups: np.ndarray, limits: Threshold, rounds: int, seed: int
) -> dict:
    """Figures with intervals over groups; a share of exactly 0 or 1 gets Wilson's interval over the groups."""

    def figures(y: np.ndarray, p: np.ndarray, review: np.ndarray) -> dict[str, float]:
        return metrics.figures(y, p, limits.fake_from) | {"review": float(review.mean())}

    columns = labels, scores, np.array([limits.label(p) == "review" for p in scores])
    values = figures(*columns)
    spans = metrics.intervals(figures, columns, groups, rounds, seed)
    for name in ("accuracy", "fpr", "fnr", "review"):
        if values[name] in (0.0, 1.0):
            members = labels == RATE_CLASS[name] if name in RATE_CLASS else np.full(len(labels), True)
            spans[name] = metrics.wilson(values[name], len(np.unique(groups[members])))
    return {"count": len(labels), "values": values, "intervals": spans}


def _video_level(table: ScoreTable, limits: Threshold, rounds: int, seed: int) -> dict:
    """Whole videos, each by the mean probability of its frames with a face; empty where there are none."""
    clips = [table.clips == clip for clip in np.unique(table.clips[table.clips != ""])]
    if not clips:
        return {}
    labels = np.array([table.labels[frames][0] for frames in clips])
    scores = np.array([table.scores[frames].mean() for frames in clips])
    groups = np.array([table.groups[frames][0] for frames in clips])
    return {"video": level(labels, scores, groups, limits, rounds, seed)}


def confusion(labels: np.ndarray, scores: np.ndarray, threshold: float) -> dict[str, int]:
    """Counts of the four cells at one threshold."""
    called = scores >= threshold
    return {
        "true_real": int((~called & (labels == 0)).sum()),
        "false_fake": int((called & (labels == 0)).sum()),
        "false_real": int((~called & (labels == 1)).sum()),
        "true_fake": int((called & (labels == 1)).sum()),
    }


def verdict_labels(judged: Iterable[JudgedPicture]) -> dict[str, dict[str, int]]:
    """How often each class got each label of the product, with its two thresholds."""
    counts = {truth: dict.fromkeys((*LABELS, "refused"), 0) for truth in TRUTHS}
    for j in judged:
        counts[TRUTHS[j.picture.label]][j.verdict.label or "refused"] += 1
    return counts


def _reliability(labels: np.ndarray, scores: np.ndarray) -> list[dict]:
    bins = metrics.reliability(labels, scores)
    return [b | {"interval": metrics.wilson(b["fakes"], b["images"])} for b in bins]


def by_source(table: ScoreTable, threshold: float) -> list[dict]:
    """Share of wrong answers of each source and class, and the AUC of the source against the other class's pictures."""
    rows = []
    for source, label in sorted(set(zip(table.sources.tolist(), table.labels.tolist(), strict=True))):
        own = (table.sources == source) & (table.labels == label)
        rivals = own | (table.labels != label)
        row = {"source": source, "label": TRUTHS[label], **_wrong(table, own, threshold)}
        rows.append(row | {"auc": metrics.auc(table.labels[rivals], table.scores[rivals])})
    return sorted(rows, key=lambda row: (row["label"] == "fake", -row["wrong"]))


def by_quality(table: ScoreTable, threshold: float) -> dict[str, list[dict]]:
    """Share of wrong answers of each class in bins of what QUALITY says about the face; empty bins are left out."""
    report = {}
    for column, (name, edges) in enumerate(QUALITY_BINS.items()):
        place = np.digitize(table.quality[:, column], edges) - 1
        report[name] = [
            {"from": edges[b], "to": edges[b + 1]}
            | {
                kind: _wrong(table, (place == b) & (table.labels == label), threshold)
                for label, kind in enumerate(TRUTHS)
            }
            for b in np.unique(place)
        ]
    return report


def _wrong(table: ScoreTable, members: np.ndarray, threshold: float) -> dict:
    """Images, share of wrong answers and its interval, with as many independent cases as there are groups."""
    count = int(members.sum())
    if not count:
        return {"images": 0, "wrong": float("nan"), "interval": (float("nan"),) * 2}
    wrong = float(((table.scores[members] >= threshold) != (table.labels[members] == 1)).mean())
    return {"images": count, "wrong": wrong, "interval": metrics.wilson(wrong, len(np.unique(table.groups[members])))}


def mistakes(judged: Iterable[JudgedPicture], threshold: float) -> list[dict]:
    """The wrong answers that were given with most confidence, worst first."""
    rows = [
        {"path": j.picture.name, "label": TRUTHS[j.picture.label]}
        | {"source": j.picture.source, "fake_probability": j.verdict.fake_probability}
        for j in judged
        if j.found and (j.verdict.fake_probability >= threshold) != bool(j.picture.label)
    ]
    return sorted(rows, key=lambda row: -abs(row["fake_probability"] - threshold))[:MISTAKES]


def robustness_point(judged: list[JudgedPicture], threshold: float, rounds: int, seed: int) -> dict:
    """One point of a robustness curve."""
    table = columns(judged)
    span = metrics.bootstrap(table.labels, table.scores, rounds, seed, table.groups) if len(table.labels) else None
    return {
        "images": len(judged),
        "without_face": len(judged) - len(table.labels),
        "auc": metrics.auc(table.labels, table.scores),
        "interval": span or (float("nan"),) * 2,
        **metrics.rates(table.labels, table.scores, threshold),
    }


def compare(table: ScoreTable, others: dict[str, np.ndarray], rounds: int, seed: int) -> dict[str, dict]:
    """AUC of each rival on the same pictures, and how much better the served model is."""
    return {
        name: metrics.beside(table.labels, table.scores, scores, table.groups, rounds, seed)
        for name, scores in others.items()
    }
