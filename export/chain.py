"""Data -> every stage of a configuration -> a new version in the model repository: what `make export` runs.

Reads a TOML file (configs/*.toml say what each value is for); each stage has a folder of its own in OUT and is done
once, so that an interrupted run goes on where it was. Fails where a stage or a gate fails; nothing is published then.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from serving.files import digest
from serving.paths import REPOSITORY
from serving.supervisor.versions import newest

from .conversion.publish import ALLOW_WORSE, publish, require_publishable
from .data.faces import DataConfig, Face, collect, folder_of, known_faces, of_split, require_both_classes, table
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

    @classmethod
    def of(cls, given: dict[str, Any]) -> Stage:
        """From its table of a file; TypeError or ValueError for what does not belong there."""
        if "average" in given and set(given) != {"name", "average"}:
            raise ValueError(f"stage {given.get('name')}: average goes with name alone, got {sorted(given)}")
        made = {**given, **{name: tuple(given[name]) for name in ("teachers", "average") if name in given}}
        if "prune" in given:
            made["prune"] = PruneConfig(**given["prune"])
        return cls(**{**made, "train": TrainConfig.of(given.get("train", {}))})


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
        stages = tuple(Stage.of(given) for given in tables["stage"])
        if len({stage.name for stage in stages}) < len(stages):
            raise ValueError("two stages have the same name")
        made = tables.get("reconstructions")
        return cls(DataConfig(**tables.get("data", {})), Reconstructions(**made) if made else None, stages)


def run(
    config: ChainConfig,
    data: Path,
    out: Path,
    init: Path | None = None,
    check: Callable[[list[Face]], None] = lambda faces: None,
) -> tuple[Path, list[Face]]:
    """Every stage; returns the last one's checkpoint and the faces.

    Args:
        init: starting weights of stages that name none.
        check: raises for faces that nothing should be trained on.
    """
    _check_files(config, out)
    collection = collect(data, out, config.data)
    faces, folder = collection.faces, folder_of(data)
    print(table(collection), flush=True)
    require_both_classes(faces, ("train", "val", "test"))  # before hours of training, not after
    check(faces)
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
    checkpoint = out / stage.name / "checkpoint.pt"
    if stage.average:
        save_network(*averaged([_path(out, name) for name in stage.average]), checkpoint)
        return checkpoint
    start = _path(out, stage.init) if stage.init else init
    teachers = [_path(out, name) for name in stage.teachers]
    _claim(out / stage.name, stage, start, teachers)
    if stage.prune:
        pruned = out / stage.name / "pruned.pt"
        if not pruned.exists():
            net = starting_network(stage.train, start)
            prune_to(
                pruned, net, stage.train, stage.prune, faces, Loader(folder, stage.train.batch_size, stage.train.seed)
            )
        start = pruned
    net = starting_network(stage.train, start)
    train(stage.train, faces, folder, out / stage.name, net, [trained(path)[0] for path in teachers], material)
    return checkpoint


def _claim(folder: Path, stage: Stage, start: Path | None, teachers: list[Path]) -> None:
    """Notes what a stage's folder is made of; ValueError where it was made of something else."""
    made_of = {
        "stage": json.loads(json.dumps(asdict(stage))),
        "init": digest(start) if start else None,
        "teachers": [digest(path) for path in teachers],
    }
    note, results = folder / "stage.json", [folder / name for name in ("pruned.pt", "checkpoint.pt")]
    known = note.exists() and any(path.exists() for path in results)
    if known and (before := json.loads(note.read_text())) != made_of:
        changed = [name for name in made_of if before.get(name) != made_of[name]]
        raise ValueError(f"{folder} was made with another {', '.join(changed)}; remove it to make it anew")
    note.write_text(json.dumps(made_of, indent=2) + "\n")


def _published(checkpoint: Path, repository: Path) -> int | None:
    """Number of the served version where it was made of this checkpoint."""
    manifest = newest(repository / "classifier") / "manifest.json"
    if not manifest.exists():
        return None
    told = json.loads(manifest.read_text())
    return told["model_version"] if told["parents"].get("checkpoint") == digest(checkpoint) else None


def _parents(config: ChainConfig, out: Path, init: Path | None) -> dict[str, Path]:
    """Everything that the stages were made of, by its name in the configuration."""
    names = {name for stage in config.stages for name in (stage.init, *stage.teachers, *stage.average, stage.name)}
    given = {"init": init} if init else {}
    return given | {name: _path(out, name) for name in sorted(names - {""})}


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
    parser.add_argument("--allow-worse", action="store_true", help=ALLOW_WORSE)
    arguments = parser.parse_args()
    out = arguments.out or Path("runs") / arguments.config.stem
    chain = ChainConfig.read(arguments.config)
    known = known_faces(arguments.known, out / "known") if arguments.known else ()

    def check(faces: list[Face]) -> None:
        if not arguments.no_publish:
            require_publishable(of_split(faces, "test"), arguments.repository, arguments.allow_worse)

    checkpoint, faces = run(chain, arguments.data, out, arguments.init, check)
    if arguments.no_publish:
        return 0
    if (number := _published(checkpoint, arguments.repository)) is not None:
        print(f"this network is version {number} already, the one that is served; nothing was published")
        return 0
    net, config = trained(checkpoint)
    manifest = publish(
        net,
        config,
        folder_of(arguments.data),
        faces,
        parents={"checkpoint": checkpoint, "configuration": arguments.config, **_parents(chain, out, arguments.init)},
        repository=arguments.repository,
        known=known,
        allow_worse=arguments.allow_worse,
    )
    print(json.dumps({name: manifest[name] for name in ("model_version", "calibration", "metrics")}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
