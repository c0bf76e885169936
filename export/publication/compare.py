"""Checkpoints side by side, each calibrated as publication would -> which to publish, before anything is converted.

Reads trained networks and the splits val, test and cross as served; prints a table, and the verdict of each network on
known pictures, such as those of a demonstration or of a dispute: a mean may rise while one of them turns wrong.
Networks here, not the server: figures differ from published ones by what conversion changes, and those of self-blended
fakes by the seed, which is a network's own there and one for all here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tabulate import tabulate
from tyro.conf import Positional

from ..conversion.verify import BATCH
from ..data.faces import TrainingFace, find_faces, known_faces, of_split, real_of, require_both_classes
from ..data.sources import REAL, folder_of
from ..network import GraphCalibration, TimmNet
from ..options import Data, Out
from ..synthesis.batches import Loader
from ..training.train import logits
from ..training.weights import trained
from .calibrate import calibrate, label, probabilities
from .scores import summary

SEED = 0  # of the self-blended fakes
COLUMNS = {
    "val AUC": ("val", "auc"),
    "val EER": ("val", "eer"),
    "test AUC": ("test", "auc"),
    "test EER": ("test", "eer"),
    "accuracy": ("test", "accuracy"),
    "FPR": ("test", "fpr"),
    "FNR": ("test", "fnr"),
    "review": ("test", "review_share"),
    "passed": ("test", "passed"),
    "blends AUC": ("blends", "auc"),
    "blends passed": ("blends", "passed"),
    "cross AUC": ("cross", "auc"),
    "cross passed": ("cross", "passed"),
}


def judge(net: TimmNet, loader: Loader, faces: list[TrainingFace]) -> tuple[GraphCalibration, dict[str, dict]]:
    """What publication would fix, and the figures of val, test, cross and of self-blended fakes of test (`blends`).

    `passed` is the share of fakes below `real_below`. ManifestError where val or test lacks a class; cross may be
    missing.
    """
    require_both_classes(faces, ("val", "test"))
    splits = {name: of_split(faces, name) for name in ("val", "test", "cross")}
    scored = {name: logits(net, loader.plain(split)) for name, split in splits.items() if split}
    blended = {name: logits(net, loader.blended(real_of(splits[name])))[1] for name in ("val", "test")}
    calibration, _ = calibrate(*scored["val"], blended["val"], version=1)
    labels, values = scored["test"]
    real = values[labels == REAL]
    scored["blends"] = np.repeat([0, 1], [len(real), len(blended["test"])]), np.append(real, blended["test"])
    splits["blends"] = real_of(splits["test"]) * 2
    groups = {name: np.array([face.group for face in splits[name]]) for name in scored}
    return calibration, {name: _figures(*pair, groups[name], calibration) for name, pair in scored.items()}


def _figures(labels: np.ndarray, values: np.ndarray, groups: np.ndarray, calibration: GraphCalibration) -> dict:
    scores = probabilities(values, calibration)
    return summary(labels, scores, groups, calibration) | {
        "passed": float((scores[labels == 1] < calibration.real_below).mean())
    }


def verdicts(net: TimmNet, loader: Loader, faces: list[TrainingFace], calibration: GraphCalibration) -> list[str]:
    """`0.437 fake` for each face: its probability of fake, and the verdict that the served graph would give."""
    scores = probabilities(logits(net, loader.plain(faces))[1], calibration) if faces else []
    return [f"{score:.3f} {label(score, calibration)}" for score in scores]


def cells(figures: Mapping[str, dict]) -> list[str]:
    """One row of COLUMNS, an AUC with its 95 % interval; `-` where the data lacks the split."""

    def text(split: str, figure: str) -> str:
        if split not in figures:
            return "-"
        row = figures[split]
        return "{:.3f} ({:.3f}-{:.3f})".format(row["auc"], *row["auc_95"]) if figure == "auc" else f"{row[figure]:.1%}"

    return [text(*where) for where in COLUMNS.values()]


def _named(text: str) -> tuple[str, Path]:
    name, _, path = text.rpartition("=")
    return name or Path(path).stem, Path(path)


def main(checkpoints: Positional[tuple[str, ...]], data: Data, out: Out, known: Path | None = None) -> int:
    """Prints the tables.

    Args:
        checkpoints: CHECKPOINT or NAME=CHECKPOINT, one or more.
        known: pictures to show the verdicts on, one by one, given as --data is.
    """
    faces = find_faces(data, out)
    pictures = known_faces(known, out / "known") if known else []
    loader = Loader(folder_of(data), BATCH, SEED)
    rows, told = [], []
    for name, checkpoint in map(_named, checkpoints):
        net, _ = trained(checkpoint)
        calibration, figures = judge(net, loader, faces)
        rows.append([name, *cells(figures)])
        told.append([name, *verdicts(net, loader, pictures, calibration)])
        print(f"{name} measured", flush=True)
    print("\n" + tabulate(rows, ["network", *COLUMNS], tablefmt="github"))
    if pictures:
        print("\n" + tabulate(told, ["network", *(Path(face.path).name for face in pictures)], tablefmt="github"))
    return 0
