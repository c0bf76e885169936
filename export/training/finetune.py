"""Checkpoint + corrected cases -> checkpoint: learns what it got wrong without forgetting what it knew.

Reads the data it was trained on, a CSV of cases (columns path and truth, real or fake; split where one is wanted;
group, where several show one person; others, such as the verdict, are ignored) and the checkpoint; writes a checkpoint
and `finetune.json`, and prints both networks' figures on the old test split and on the cases that were held back. The
former network teaches where it was right (learning without forgetting, Li and Hoiem, ECCV 2016); old faces are replayed
beside the new ones.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from .. import metrics
from ..conversion.calibrate import sigmoid
from ..data.duplicates import across_splits
from ..data.faces import Collection, DataConfig, Face, collect, of_split
from ..data.sources import folder_of
from ..errors import ManifestError
from ..network import TimmNet
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


def figures(net: TimmNet, loader: Loader, faces: list[Face]) -> dict[str, float]:
    """AUC, and the rates at probability 0.5, of uncalibrated logits."""
    labels, raw = logits(net, loader.plain(faces))
    return {"images": len(faces), "auc": metrics.auc(labels, raw), **metrics.rates(labels, sigmoid(raw), 0.5)}


def apart(known: Collection, cases: Collection) -> tuple[list[Face], list[Face]]:
    """Known faces and cases without those of later splits that show nearly the same as what the others learn from."""
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


def main() -> int:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="python -m export finetune", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="what the network was trained on")
    parser.add_argument("--cases", type=Path, required=True, help="CSV with path and truth (real or fake)")
    parser.add_argument(
        "--checkpoint", type=Path, required=True, help="for example model_repository/classifier/7/network.pt"
    )
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    parser.add_argument("--epochs", type=int, default=2, help="default %(default)s")
    parser.add_argument("--learning-rate", type=float, default=1e-4, help="default %(default)s")
    a = parser.parse_args()
    _, config = trained(a.checkpoint)
    recipe = replace(config.recipe, reconstruction=0.0)
    rates = {"learning_rate": a.learning_rate, "head_learning_rate": a.learning_rate}
    config = replace(config, epochs=a.epochs, distinct_epochs=0, distill_share=0.5, recipe=recipe, **rates)
    report = finetune(config, a.checkpoint, a.data, read_cases(a.cases, a.out / "cases"), a.out)
    (a.out / "finetune.json").write_text(json.dumps({"config": asdict(config), "figures": report}, indent=2) + "\n")
    for name, states in report.items():
        for state, values in states.items():
            print(f"{name:<6} {state:<7}" + " ".join(f"{key} {np.round(value, 4)}" for key, value in values.items()))
    print(f"{a.out}/checkpoint.pt; publish it with: python -m export publish --data {a.data} --out {a.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
