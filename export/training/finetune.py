"""Checkpoint and corrected cases -> checkpoint: it learns what it got wrong without forgetting what it knew.

It reads the data that the network was trained on, its checkpoint, and a CSV of cases. The CSV has the columns path and
truth (real or fake). It may have split, and group where several cases show one person; other columns are ignored.
It writes a checkpoint and `finetune.json`. It prints the figures of both networks on the old test split and on the
cases that were held back. The former network teaches where it was right (learning without forgetting, Li and Hoiem,
ECCV 2016), and old faces are replayed beside the new ones.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import msgspec
from msgspec.structs import replace
from tabulate import tabulate

from .. import metrics
from ..data.duplicates import across_splits
from ..data.faces import Collection, DataConfig, TrainingFace, collect, of_split
from ..data.sources import folder_of
from ..errors import ManifestError
from ..network import TimmNet
from ..options import Data, Out
from ..synthesis.batches import Loader
from ..synthesis.material import gather
from .config import TrainConfig
from .train import logits, train
from .weights import starting_network, trained

REPEATS = 4  # each case is shown so often in an epoch, in other alterations


def read_cases(path: Path, out: Path) -> Collection:
    """The faces of a reviewer's list, source `cases`; paths are relative to it. Raises ManifestError."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"path", "truth"} <= set(rows[0]):
        raise ManifestError(f"{path} needs the columns path and truth, and at least one row")
    out.mkdir(parents=True, exist_ok=True)
    manifest = out / "manifest.csv"
    with manifest.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "source", "split", "group"))
        for row in rows:
            where, group = (path.parent / row["path"]).resolve(), row.get("group") or row["path"]
            writer.writerow((where, row["truth"], "cases", row.get("split", ""), group))
    return collect(manifest, out, DataConfig(drop_duplicates=True))


def figures(net: TimmNet, loader: Loader, faces: list[TrainingFace]) -> dict[str, float]:
    """AUC, and the rates where more than half speaks for fake, of uncalibrated logits."""
    labels, raw = logits(net, loader.plain(faces))
    return {"images": len(faces), "auc": metrics.auc(labels, raw), **metrics.rates(labels, raw, 0.0)}


def apart(known: Collection, cases: Collection) -> tuple[list[TrainingFace], list[TrainingFace]]:
    """Known faces and cases, without faces of later splits that are nearly the same as one that is learned from."""
    found, hashes = [*known.found, *cases.found], [*known.hashes, *cases.hashes]
    pairs = across_splits(hashes, [face.split for face in found])
    like = {found[p.other].file for p in pairs if found[p.learned].split == "train"}
    return tuple(
        [face for face in part.faces if face.split == "train" or face.file not in like] for part in (known, cases)
    )


def finetune(config: TrainConfig, checkpoint: Path, data: Path, corrected: Collection, out: Path) -> dict:
    """Trains, and returns the figures before and after on `old` and `cases`."""
    (known, cases), folder = apart(collect(data, out), corrected), folder_of(data)
    learned = of_split(cases, "train") * REPEATS
    if not learned:
        raise ManifestError("no case is in the split train; give more cases, or a column split")
    material = gather([config.recipe], None, known, folder, out)
    start, (teacher, _) = starting_network(config, checkpoint), trained(checkpoint)
    after = train(config, known + learned, folder, out, start, [teacher], material)
    loader = Loader(folder, config.batch_size, config.seed)
    held_back = {"old": of_split(known, "test"), "cases": of_split(cases, "val") + of_split(cases, "test")}
    return {
        name: {state: figures(net, loader, shown) for state, net in (("before", teacher), ("after", after))}
        for name, shown in held_back.items()
        if shown
    }


def main(data: Data, cases: Path, checkpoint: Path, out: Out, epochs: int = 2, learning_rate: float = 1e-4) -> int:
    """Trains on, and prints the figures before and after.

    Args:
        cases: CSV with the columns path and truth (real or fake).
        checkpoint: for example model_repository/classifier/7/network.pt.
    """
    _, config = trained(checkpoint)
    rates = {"learning_rate": learning_rate, "head_learning_rate": learning_rate}
    recipe = replace(config.recipe, reconstruction=0.0)
    config = replace(config, epochs=epochs, distinct_epochs=0, distill_share=0.5, recipe=recipe, **rates)
    report = finetune(config, checkpoint, data, read_cases(cases, out / "cases"), out)
    told = {"config": msgspec.to_builtins(config), "figures": report}
    (out / "finetune.json").write_text(json.dumps(told, indent=2) + "\n")
    rows = [
        {"pictures": name, "network": state, **row} for name, states in report.items() for state, row in states.items()
    ]
    print(tabulate(rows, headers="keys", floatfmt=".4g"))
    print(f"{out}/checkpoint.pt; publish it with: python -m export publish --data {data} --out {out}")
    return 0
