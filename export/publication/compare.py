"""Checkpoints -> a table of them side by side, to choose which to publish before anything is converted.

It reads trained networks and the splits val, test and cross as served, and calibrates each as publication would. It
prints a table, and the label that each network gives known pictures, such as those of a demonstration or a dispute: a
mean may rise while one of them turns wrong. It asks networks, not the server: published figures differ by what
conversion changes. Those of self-blended fakes differ by the seed, which here is one for all networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from tyro.conf import Positional

from reports.tables import markdown

from ..conversion.verify import BATCH
from ..data.faces import TrainingFace, find_faces, known_faces, require_both_classes
from ..data.sources import FAKE, folder_of
from ..errors import UsageError
from ..network import GraphCalibration, TimmNet
from ..options import Data, Out
from ..synthesis.batches import Loader
from ..training.train import logits
from ..training.weights import trained
from .calibrate import calibrated, label, probabilities
from .scores import scored, summary

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
    "blends AUC": ("test_self_blended", "auc"),
    "blends passed": ("test_self_blended", "passed"),
    "cross AUC": ("cross", "auc"),
    "cross passed": ("cross", "passed"),
}


def judge(net: TimmNet, loader: Loader, faces: list[TrainingFace]) -> tuple[GraphCalibration, dict[str, dict]]:
    """What publication would fix, and the figures of each table of `scored`.

    `passed` is the share of fakes below `real_below`. ManifestError where val or test lacks a class; cross may be
    missing.
    """
    require_both_classes(faces, ("val", "test"))
    calibration, _ = calibrated(net, loader, faces, version=1)
    figures = {}
    for name, (labels, said, groups) in scored(partial(logits, net), loader, faces).items():
        scores = probabilities(said, calibration)
        passed = float((scores[labels == FAKE] < calibration.real_below).mean())
        figures[name] = summary(labels, scores, groups, calibration) | {"passed": passed}
    return calibration, figures


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
    if not checkpoints:
        raise UsageError("name one checkpoint or more")
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
    print("\n" + markdown(["network", *COLUMNS], rows))
    if pictures:
        print("\n" + markdown(["network", *(Path(face.path).name for face in pictures)], told))
    return 0
