"""What a network or a graph says of the splits that it was not trained on, and the figures of that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import metrics
from ..conversion.verify import onnx_graph
from ..data.faces import TrainingFace, of_split, real_of
from ..data.sources import REAL
from ..network import GraphCalibration
from ..synthesis.batches import Batch, Loader
from .calibrate import review_share

Ask = Callable[[Iterable[Batch]], tuple[np.ndarray, np.ndarray]]  # labels (N,), and of each face what is said (N, ...)


class ScoredFaces(NamedTuple):
    """Labels (N,), what is said of each face, and what it was photographed from."""

    labels: np.ndarray
    scores: np.ndarray
    groups: np.ndarray


def scored(ask: Ask, loader: Loader, faces: list[TrainingFace]) -> dict[str, ScoredFaces]:
    """The splits val, test and cross, and `test_self_blended`: real faces of `test` and a fake of each."""
    shown = {name: chosen for name in ("val", "test", "cross") if (chosen := of_split(faces, name))}
    told = {name: ask(loader.plain(chosen)) for name, chosen in shown.items()}
    if real := real_of(shown.get("test", [])):
        labels, said = told["test"]
        _, blended = ask(loader.blended(real))
        told["test_self_blended"] = np.repeat([0, 1], len(real)), np.concatenate([said[labels == REAL], blended])
        shown["test_self_blended"] = real + real
    return {name: ScoredFaces(*told[name], np.array([face.group for face in shown[name]])) for name in told}


def graph_scores(onnx: Path) -> Ask:
    """Asks a served graph: (N,) calibrated probabilities of fake."""
    graph = onnx_graph(onnx)

    def ask(batches: Iterable[Batch]) -> tuple[np.ndarray, np.ndarray]:
        pairs = [(batch.labels, graph(batch.faces)["FAKE_PROBABILITY"][:, 0]) for batch in batches]
        return np.concatenate([label for label, _ in pairs]), np.concatenate([p for _, p in pairs])

    return ask


def evaluate(tables: Mapping[str, ScoredFaces], faces: list[TrainingFace], calibration: GraphCalibration) -> dict:
    """Figures of each table of `scored`, of a split by source as well."""
    report = {name: summary(*table, calibration) for name, table in tables.items()}
    for name in report.keys() - {"test_self_blended"}:
        sources = np.array([face.source for face in of_split(faces, name)])
        report[name]["by_source"] = by_source(tables[name].labels, tables[name].scores, sources, calibration)
    return report


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
