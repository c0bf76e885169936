"""The gates of publication: known pictures keep their truth, and no network replaces a better one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serving.supervisor.versions import newest, versions

from ..data.faces import TrainingFace
from ..data.sources import REAL
from ..errors import GateError
from ..metrics import beside
from ..network import GraphCalibration
from ..synthesis.batches import Loader
from .calibrate import label
from .scores import ScoredFaces, graph_scores

MIN_GROUPS = 20  # photographs, persons or videos, below which a bootstrap's interval is too narrow


def require_known(graph: Path, loader: Loader, known: Sequence[TrainingFace], calibration: GraphCalibration) -> None:
    """Raises GateError, naming them, for known faces that get the opposite of their truth; `review` is not that."""
    if not known:
        return
    _, scores = graph_scores(graph)(loader.plain(known))
    if len(scores) < len(known):
        raise GateError(f"{len(known) - len(scores)} of {len(known)} known pictures cannot be decoded")
    told = [(face, p, label(p, calibration)) for face, p in zip(known, scores.tolist(), strict=True)]
    wrong = [row for row in told if row[2] == ("fake" if row[0].label == REAL else "real")]
    if wrong:
        lines = "".join(f"\n  {face.path}: {p:.3f}, {said}" for face, p, said in wrong)
        raise GateError(f"{len(wrong)} of {len(known)} known pictures would get the opposite of their truth:{lines}")


def gain(table: ScoredFaces, other: ScoredFaces) -> dict[str, Any]:
    """How much higher the AUC of `table` is than that of another graph on the same faces, and of how many groups."""
    return {"groups": len(np.unique(table.groups)), **beside(table.labels, table.scores, other.scores, table.groups)}


def require_no_worse(gains: Mapping[str, dict], replaced: int) -> None:
    """Raises GateError where the whole interval of a gain lies below zero, or the split test is too small to tell."""
    if gains["test"]["groups"] < MIN_GROUPS or not np.isfinite(gains["test"]["gain_interval"]).all():
        raise GateError(_too_few(gains["test"]["groups"], replaced))
    lines = []
    for name, row in gains.items():
        low, high = row["gain_interval"]
        if row["groups"] >= MIN_GROUPS and high < 0:
            now = row["auc"] + row["gain"]
            lines.append(f"{name}: AUC {now:.3f} instead of {row['auc']:.3f} (difference {low:+.3f} to {high:+.3f})")
    if lines:
        head = f"the network is worse than version {replaced}, which is served; train on, or give --allow-worse:"
        raise GateError("\n  ".join([head, *lines]))


def require_publishable(test: Sequence[TrainingFace], repository: Path, allow_worse: bool) -> None:
    """Raises GateError for faces of the split test that publication will refuse, whatever the network is.

    Args:
        allow_worse: as of `publish`.
    """
    model, groups = repository / "classifier", len({face.group for face in test})
    if versions(model) and not allow_worse and groups < MIN_GROUPS:
        raise GateError(_too_few(groups, int(newest(model).name)))


def _too_few(groups: int, replaced: int) -> str:
    return (
        f"{groups} photographs, persons or videos in the split test cannot tell whether a network is worse than "
        f"version {replaced}, which is served; give {MIN_GROUPS} at least, real and fake, or --allow-worse"
    )
