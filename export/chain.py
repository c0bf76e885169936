"""Data -> every stage of a configuration -> a new version in the model repository: what `make export` runs.

Reads a TOML file (configs/*.toml say what each value is for); each stage has a folder of its own in OUT and is done
once, so that an interrupted run goes on where it was. Fails where a stage or a gate fails; nothing is published then.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .conversion.publish import publish
from .data.faces import DataConfig, Face, collect, folder_of, known_faces, table
from .data.preprocessing import REPOSITORY
from .synthesis.batches import Loader, Material
from .synthesis.material import gather
from .synthesis.reconstruct import Reconstructions
from .training.config import TrainConfig
from .training.prune import PruneConfig, prune_to
from .training.train import train
from .training.weights import averaged, save_network, starting_network, trained

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CONFIGS = Path(__file__).with_name("configs")


@dataclass(frozen=True)
class Stage:
    """One training, or the mean of earlier ones. Stages are named, later ones build on earlier ones."""

    name: str
    init: str = ""  # an earlier stage, a checkpoint, or a backbone's file; empty: timm's weights, or none
    teachers: tuple[str, ...] = ()  # earlier stages or checkpoints
    average: tuple[str, ...] = ()  # instead of training: the mean of the weights of these stages
    prune: PruneConfig | None = None  # before training
    train: TrainConfig = field(default_factory=TrainConfig)


@dataclass(frozen=True)
class ChainConfig:
    """A configuration file."""

    data: DataConfig
    reconstructions: Reconstructions | None
    stages: tuple[Stage, ...]

    @classmethod
    def read(cls, path: Path) -> ChainConfig:
        """Raises ValueError, naming the file, for what does not belong there."""
        try:
            return cls.of(tomllib.loads(path.read_text()))
        except (ValueError, TypeError) as exc:
            raise ValueError(f"{path}: {exc}") from exc

    @classmethod
    def of(cls, tables: dict[str, Any]) -> ChainConfig:
        """From the tables of a file."""
        unknown = set(tables) - {"data", "reconstructions", "stage"}
        if unknown or not tables.get("stage"):
            raise ValueError(f"needs [[stage]] and takes [data] and [reconstructions]; unknown: {sorted(unknown)}")
        stages = tuple(
            Stage(
                name=given["name"],
                init=given.get("init", ""),
                teachers=tuple(given.get("teachers", ())),
                average=tuple(given.get("average", ())),
                prune=PruneConfig(**given["prune"]) if "prune" in given else None,
                train=TrainConfig.of(given.get("train", {})),
            )
            for given in tables["stage"]
        )
        made = tables.get("reconstructions")
        return cls(DataConfig(**tables.get("data", {})), Reconstructions(**made) if made else None, stages)


def run(config: ChainConfig, data: Path, out: Path, init: Path | None = None) -> tuple[Path, list[Face]]:
    """Every stage; returns the last one's checkpoint and the faces.

    Args:
        init: starting weights of stages that name none.
    """
    _check_files(config, out)
    collection = collect(data, out, config.data)
    faces, folder = collection.faces, folder_of(data)
    print(table(collection), flush=True)
    recipes = [stage.train.recipe for stage in config.stages]
    material = gather(recipes, config.reconstructions, faces, folder, out)
    checkpoint = out / "checkpoint.pt"
    for stage in config.stages:
        print(f"\n== {stage.name}", flush=True)
        (out / stage.name).mkdir(parents=True, exist_ok=True)
        checkpoint = _train(stage, faces, folder, out, init, material)
    return checkpoint, faces


def _check_files(config: ChainConfig, out: Path) -> None:
    """Raises ValueError where a stage builds on what will not be there: before hours of others, not after."""
    earlier: set[str] = set()
    for stage in config.stages:
        for name in (stage.init, *stage.teachers, *stage.average):
            if name and name not in earlier and not _path(out, name).exists():
                raise ValueError(f"stage {stage.name}: {name} is neither an earlier stage nor a file")
        earlier.add(stage.name)


def _path(out: Path, name: str) -> Path:
    """What a stage calls by this name: the checkpoint of an earlier one, or a file."""
    earlier = out / name / "checkpoint.pt"
    return earlier if earlier.exists() else Path(name)


def _train(stage: Stage, faces: list[Face], folder: Path, out: Path, init: Path | None, material: Material) -> Path:
    if stage.average:
        save_network(*averaged([_path(out, name) for name in stage.average]), out / stage.name / "checkpoint.pt")
        return out / stage.name / "checkpoint.pt"
    start = _path(out, stage.init) if stage.init else init
    if stage.prune:
        pruned = out / stage.name / "pruned.pt"
        if not pruned.exists():
            net = starting_network(stage.train, start)
            prune_to(
                pruned, net, stage.train, stage.prune, faces, Loader(folder, stage.train.batch_size, stage.train.seed)
            )
        start = pruned
    net = starting_network(stage.train, start)
    teachers = [trained(_path(out, name))[0] for name in stage.teachers]
    train(stage.train, faces, folder, out / stage.name, net, teachers, material)
    return out / stage.name / "checkpoint.pt"


def main() -> int:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="python -m export run", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="CSV manifest, or folder with one or real/ and fake/")
    parser.add_argument("--config", type=Path, default=CONFIGS / "own.toml", help="default %(default)s")
    parser.add_argument("--out", type=Path, help="the run's folder (default: runs/NAME of the configuration)")
    parser.add_argument("--init", type=Path, help="starting weights of stages that name none: checkpoint or backbone")
    parser.add_argument("--no-publish", action="store_true", help="end with the checkpoint")
    parser.add_argument("--repository", type=Path, default=REPOSITORY, help="default %(default)s")
    parser.add_argument("--known", type=Path, help="pictures that must not get the opposite of their truth: as --data")
    parser.add_argument("--allow-worse", action="store_true", help="publish what is worse than the served version, too")
    arguments = parser.parse_args()
    out = arguments.out or Path("runs") / arguments.config.stem
    known = known_faces(arguments.known, out / "known") if arguments.known else ()
    checkpoint, faces = run(ChainConfig.read(arguments.config), arguments.data, out, arguments.init)
    if arguments.no_publish:
        return 0
    net, config = trained(checkpoint)
    manifest = publish(
        net,
        config,
        folder_of(arguments.data),
        faces,
        parents={"checkpoint": checkpoint},
        repository=arguments.repository,
        known=known,
        allow_worse=arguments.allow_worse,
    )
    print(json.dumps({name: manifest[name] for name in ("model_version", "calibration", "metrics")}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
