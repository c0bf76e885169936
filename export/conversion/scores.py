"""Figures of a converted graph on the splits that it was not trained on, for its manifest."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnxruntime

from .. import metrics
from ..data.faces import Face, of_split, real_of
from ..network import Calibration
from ..synthesis.batches import Batch, Loader
from .calibrate import review_share


def evaluate(onnx_path: Path, loader: Loader, faces: list[Face], calibration: Calibration) -> dict:
    """Figures of the splits val, test and cross, and of self-blended fakes of `test`."""
    report = {}
    for name in ("val", "test", "cross"):
        chosen = of_split(faces, name)
        if chosen:
            labels, scores = score(onnx_path, loader.plain(chosen))
            sources = np.array([face.source for face in chosen])
            report[name] = summary(labels, scores, calibration) | {
                "by_source": by_source(labels, scores, sources, calibration)
            }
    report["test_self_blended"] = _self_blended(onnx_path, loader, of_split(faces, "test"), calibration)
    return report


def score(onnx_path: Path, batches: Iterable[Batch]) -> tuple[np.ndarray, np.ndarray]:
    """(N,) labels and (N,) calibrated probabilities of the served graph."""
    session = onnxruntime.InferenceSession(str(onnx_path), providers=["CPUExecutionProvider"])
    pairs = [(b.labels, session.run(["FAKE_PROBABILITY"], {"FACE": b.faces})[0][:, 0]) for b in batches]
    return np.concatenate([label for label, _ in pairs]), np.concatenate([p for _, p in pairs])


def summary(labels: np.ndarray, scores: np.ndarray, calibration: Calibration) -> dict:
    """Figures of one split; accuracy, FPR and FNR at the single threshold `fake_from`."""
    return {
        "images": len(labels),
        "auc": metrics.auc(labels, scores),
        "auc_95": metrics.bootstrap(labels, scores),
        "eer": metrics.equal_error_rate(labels, scores),
        "threshold": calibration.fake_from,
        **metrics.rates(labels, scores, calibration.fake_from),
        "review_share": review_share(scores, calibration),
        "calibration_error": metrics.expected_calibration_error(labels, scores),
    }


def by_source(labels: np.ndarray, scores: np.ndarray, sources: np.ndarray, calibration: Calibration) -> dict:
    """Share of each source's images that are called fake."""
    return {
        str(source): {
            "images": int((sources == source).sum()),
            "label": "fake" if labels[sources == source][0] else "real",
            "called_fake": float((scores[sources == source] >= calibration.fake_from).mean()),
        }
        for source in np.unique(sources)
    }


def _self_blended(onnx_path: Path, loader: Loader, faces: list[Face], calibration: Calibration) -> dict:
    real = real_of(faces)
    pairs = [score(onnx_path, batches) for batches in (loader.plain(real), loader.blended(real))]
    labels, scores = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    return summary(labels, scores, calibration)
