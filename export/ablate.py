"""A table of trainings that differ in one thing each -> what each thing is worth, on test and on a source left out.

Reads a TOML file (configs/ablations.toml): settings that all runs share, and runs that change some of them, each
perhaps without one source in training. A run is trained once and its scores are kept; an interrupted table goes on.
Writes ablations.json and ablations.md. A difference is paired: to the first run that leaves out the same source, over
the same resampled photographs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from reports import machine
from serving.files import digest

from . import metrics
from .chain import CONFIGS, tomllib
from .data.faces import DataConfig, Face, collect, digest_of, folder_of, of_split, real_of
from .errors import ExportError
from .synthesis.batches import Loader, Material
from .synthesis.identity_blend import Donors
from .synthesis.material import gather
from .synthesis.reconstruct import Reconstructions
from .training.config import TrainConfig
from .training.train import logits, train
from .training.weights import starting_network

ROUNDS = 1000
COLUMNS = {
    "test": "test, same sources",
    "left_out": "the source left out",
    "self_blended": "self-blended fakes of test",
}


@dataclass(frozen=True)
class Variant:
    """One run: what it is called, its settings, and the source that it never trains on (empty: none)."""

    name: str
    train: TrainConfig
    leave_out: str = ""


@dataclass(frozen=True)
class Ablations:
    """A configuration file."""

    data: DataConfig
    reconstructions: Reconstructions | None
    variants: tuple[Variant, ...]

    @classmethod
    def read(cls, path: Path) -> Ablations:
        """Raises ValueError, naming the file, for what does not belong there."""
        try:
            return cls.of(tomllib.loads(path.read_text()))
        except (ValueError, TypeError) as exc:
            raise ValueError(f"{path}: {exc}") from exc

    @classmethod
    def of(cls, tables: dict[str, Any]) -> Ablations:
        """From the tables of a file: [train] is shared, [[run]] has `name`, and may have `leave_out` and `train`."""
        unknown = set(tables) - {"data", "reconstructions", "train", "run"}
        if unknown or not tables.get("run"):
            raise ValueError(f"needs [[run]], takes [data], [reconstructions] and [train]; unknown: {sorted(unknown)}")
        variants = tuple(
            Variant(**{**run, "train": _changed(tables.get("train", {}), run.get("train", {}))})
            for run in tables["run"]
        )
        if len({variant.name for variant in variants}) < len(variants):
            raise ValueError("two runs have the same name")
        made = tables.get("reconstructions")
        return cls(DataConfig(**tables.get("data", {})), Reconstructions(**made) if made else None, variants)


def _changed(shared: dict[str, Any], own: dict[str, Any]) -> TrainConfig:
    recipe = {**shared.get("recipe", {}), **own.get("recipe", {})}
    return TrainConfig.of({**shared, **own, "recipe": recipe})


def ablate(config: Ablations, data: Path, out: Path, init: Path | None) -> list[dict]:
    """Trains and scores what is not there yet; the rows of the table, in the order of the file.

    Args:
        init: the starting weights of every run. They must not have seen what a run leaves out.
    """
    collection = collect(data, out, config.data)
    faces, folder = collection.faces, folder_of(data)
    for variant in config.variants:
        if variant.leave_out and variant.leave_out not in {face.source for face in faces}:
            raise ExportError(f"{variant.name} leaves out {variant.leave_out!r}, which is no source of {data}")
    recipes = [variant.train.recipe for variant in config.variants]
    material = gather(recipes, config.reconstructions, faces, folder, out)
    runs = []
    for variant in config.variants:
        print(f"\n== {variant.name}", flush=True)
        runs.append((variant, _scores(variant, faces, folder, out / variant.name, init, material)))
    return rows(runs)


def _scores(
    variant: Variant, faces: list[Face], data: Path, out: Path, init: Path | None, material: Material
) -> dict[str, dict[str, list]]:
    """Labels, logits and groups of each column, from the run's folder where they are there."""
    kept = out / "scores.json"
    seen = [face for face in faces if face.source != variant.leave_out]
    made_of = {"run": json.loads(json.dumps(asdict(variant))), "init": digest(init) if init else None}
    made_of["faces"] = digest_of(faces)
    if kept.exists():
        before = json.loads(kept.read_text())
        if {name: before.get(name) for name in made_of} != made_of:
            raise ValueError(f"{kept} is of other settings, weights or faces; remove {out} to train it anew")
        return before["columns"]
    out.mkdir(parents=True, exist_ok=True)
    material = replace(material, donors=_donors(material, seen))
    net = train(variant.train, seen, data, out, starting_network(variant.train, init), (), material)
    loader = Loader(data, variant.train.batch_size, variant.train.seed)
    test = of_split(seen, "test")
    real = real_of(test)
    table = {"test": _column(test, *logits(net, loader.plain(test)))}
    if variant.leave_out:
        unseen = [face for face in faces if face.source == variant.leave_out]
        others = [face for face in test if face.label != unseen[0].label]
        table["left_out"] = _column([*unseen, *others], *logits(net, loader.plain([*unseen, *others])))
    pairs = [logits(net, batches) for batches in (loader.plain(real), loader.blended(real))]
    table["self_blended"] = _column(real * 2, *(np.concatenate(parts) for parts in zip(*pairs, strict=True)))
    kept.write_text(json.dumps({**made_of, "columns": table}))
    return table


def _donors(material: Material, seen: Sequence[Face]) -> Donors | None:
    """Those of the material who are seen: a source that is left out is not blended into others, either."""
    groups = {face.path: face.group for face in seen}
    points = {path: points for path, points in material.landmarks.items() if path in groups}
    return Donors(points, groups) if material.donors and points else None


def _column(faces: Sequence[Face], labels: np.ndarray, scores: np.ndarray) -> dict[str, list]:
    return {"labels": labels.tolist(), "logits": scores.tolist(), "groups": [face.group for face in faces]}


def rows(runs: Sequence[tuple[Variant, dict[str, dict[str, list]]]]) -> list[dict]:
    """AUC of each run and column with 95 % intervals, and its paired difference to the first run of its kind."""
    first: dict[str, dict[str, dict[str, list]]] = {}
    table = []
    for variant, scores in runs:
        base = first.setdefault(variant.leave_out, scores)
        cells = {name: _cell(column, None if base is scores else base[name]) for name, column in scores.items()}
        table.append({"name": variant.name, "leave_out": variant.leave_out, **cells})
    return table


def _cell(column: dict[str, list], base: dict[str, list] | None) -> dict:
    labels, own, groups = (np.array(column[name]) for name in ("labels", "logits", "groups"))
    other = own if base is None else np.array(base["logits"])

    def figures(y: np.ndarray, p: np.ndarray, q: np.ndarray) -> dict[str, float]:
        value = metrics.auc(y, p)
        return {"auc": value, "gain": value - metrics.auc(y, q)}

    values = figures(labels, own, other)
    spans = metrics.intervals(figures, (labels, own, other), groups, ROUNDS)
    cell = {"images": len(labels), "auc": values["auc"], "auc_95": spans["auc"]}
    return cell if base is None else cell | {"gain": values["gain"], "gain_95": spans["gain"]}


def markdown(table: Sequence[dict]) -> str:
    """The table for a document."""
    lines = ["| run | left out | " + " | ".join(COLUMNS.values()) + " |", "|---" * (2 + len(COLUMNS)) + "|"]
    for row in table:
        cells = [_text(row[name]) if name in row else "-" for name in COLUMNS]
        lines.append(f"| {row['name']} | {row['leave_out'] or '-'} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _text(cell: dict) -> str:
    text = "{:.3f} ({:.3f}-{:.3f})".format(cell["auc"], *cell["auc_95"])
    return text + (", {:+.3f} ({:+.3f} to {:+.3f})".format(cell["gain"], *cell["gain_95"]) if "gain" in cell else "")


def main() -> int:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="python -m export ablate", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="CSV manifest, or folder with one or real/ and fake/")
    parser.add_argument("--config", type=Path, default=CONFIGS / "ablations.toml", help="default %(default)s")
    parser.add_argument("--out", type=Path, default=Path("runs/ablations"), help="default %(default)s")
    parser.add_argument("--init", type=Path, help="starting weights of every run: a checkpoint or a backbone")
    arguments = parser.parse_args()
    table = ablate(Ablations.read(arguments.config), arguments.data, arguments.out, arguments.init)
    report = {"runs": table, "commit": machine.commit(), "machine": machine.machine(), "versions": machine.versions()}
    report["config"] = tomllib.loads(arguments.config.read_text())
    (arguments.out / "ablations.json").write_text(json.dumps(report, indent=2) + "\n")
    (arguments.out / "ablations.md").write_text(markdown(table))
    print("\n" + markdown(table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
