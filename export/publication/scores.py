"""Figures of a converted graph on the splits that it was not trained on, for its manifest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime

from .. import metrics
from ..data.faces import TrainingFace, of_split, real_of
from ..network import GraphCalibration
from ..synthesis.batches import Batch, Loader
from .calibrate import review_share


class ScoredFaces(NamedTuple):
    """What a graph makes of some faces: labels, calibrated probabilities, and what each was photographed from."""

    labels: np.ndarray
    scores: np.ndarray
    groups: np.ndarray


def scored(onnx_path: Path, loader: Loader, faces: list[TrainingFace]) -> dict[str, ScoredFaces]:
    """The splits val, test and cross, and `test_self_blended`: real faces of `test` and a fake of each."""
    splits = {name: of_split(faces, name) for name in ("val", "test", "cross")}
    batches = {name: (loader.plain(chosen), chosen) for name, chosen in splits.items() if chosen}
    real = real_of(splits["test"])
    batches["test_self_blended"] = chain(loader.plain(real), loader.blended(real)), real + real
    return {
        name: ScoredFaces(*score(onnx_path, given), np.array([face.group for face in shown]))
        for name, (given, shown) in batches.items()
    }


def evaluate(tables: Mapping[str, ScoredFaces], faces: list[TrainingFace], calibration: GraphCalibration) -> dict:
    """Figures of each table of `scored`, of a split by source as well."""
    report = {name: summary(*table, calibration) for name, table in tables.items()}
    for name in report.keys() - {"test_self_blended"}:
        sources = np.array([face.source for face in of_split(faces, name)])
        report[name]["by_source"] = by_source(tables[name].labels, tables[name].scores, sources, calibration)
    return report


def score(onnx_path: Path, batches: Iterable[Batch]) -> tuple[np.ndarray, np.ndarray]:
    """(N,) labels and (N,) calibrated probabilities of the served graph."""
    session = onnxruntime.InferenceSession(str(onnx_path), providers=["CPUExecutionProvider"])
    pairs = [(b.labels, session.run(["FAKE_PROBABILITY"], {"FACE": b.faces})[0][:, 0]) for b in batches]
    return np.concatenate([label for label, _ in pairs]), np.concatenate([p for _, p in pairs])


def summary(labels: np.ndarray, scores: np.ndarray, groups: np.ndarray, calibration: GraphCalibration) -> dict:
    """Figures of one split; accuracy, FPR and FNR at the single threshold `fake_from`; intervals draw whole groups."""
    return {
        "images": len(labels),
        "auc": metrics.auc(labels, scores),
        "auc_95": metrics.bootstrap(labels, scores, groups=groups),
        "eer": metrics.equal_error_rate(labels, scores),
        "threshold": calibration.fake_from,
        **metrics.rates(labels, scores, calibration.fake_from),
        "review_share": review_share(scores, calibration),
        "calibration_error": metrics.expected_calibration_error(labels, scores),
    }


def by_source(labels: np.ndarray, scores: np.ndarray, sources: np.ndarray, calibration: GraphCalibration) -> dict:
    """Share of each source's images that are called fake."""
    return {
        str(source): {
            "images": int((sources == source).sum()),
            "label": "fake" if labels[sources == source][0] else "real",
            "called_fake": float((scores[sources == source] >= calibration.fake_from).mean()),
        }
        for source in np.unique(sources)
    }
