"""Data -> every stage of a configuration -> a new version in the model repository. `make export` runs this.

It reads a TOML file; those in configs/ say what each value is for. Each stage has a folder of its own in OUT and is
done once, so an interrupted run goes on where it was. Where a stage or a gate fails, nothing is published.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from msgspec import Meta, field

from serving.classifier.manifest import read_manifest
from serving.files import digest
from serving.paths import REPOSITORY
from serving.settings import Settings, read_toml
from serving.supervisor.versions import ROLL_BACK, TAKE_UP, newest

from .claim import claim
from .data.faces import DataConfig, TrainingFace, collect, known_faces, of_split, require_both_classes, table
from .data.sources import folder_of
from .options import AllowWorse, Data, Known
from .publication.gates import require_publishable
from .publication.publish import publish, summary
from .synthesis.batches import Loader, Material
from .synthesis.material import gather
from .synthesis.reconstruct import Reconstructions
from .training.config import TrainConfig
from .training.prune import PruneConfig, prune_to
from .training.train import train
from .training.weights import averaged, save_network, starting_network, trained

CONFIGS = Path(__file__).with_name("configs")


class Stage(Settings):
    """One training, or the mean of earlier ones. Stages are named, later ones build on earlier ones."""

    name: str
    init: str = ""  # an earlier stage, a checkpoint, or a backbone's file; empty: timm's weights, or none
    teachers: tuple[str, ...] = ()  # earlier stages or checkpoints
    average: tuple[str, ...] = ()  # instead of training: the mean of the weights of these stages
    prune: PruneConfig | None = None  # before training
    train: TrainConfig = TrainConfig()

    def __post_init__(self) -> None:
        if self.average and (self.init or self.teachers or self.prune or self.train != TrainConfig()):
            raise ValueError(f"stage {self.name}: average goes with name alone")


class ChainConfig(Settings):
    """A configuration file."""

    stages: Annotated[tuple[Stage, ...], Meta(min_length=1)] = field(name="stage")
    data: DataConfig = DataConfig()
    reconstructions: Reconstructions | None = None

    def __post_init__(self) -> None:
        if len({stage.name for stage in self.stages}) < len(self.stages):
            raise ValueError("two stages have the same name")


def run(
    config: ChainConfig,
    data: Path,
    out: Path,
    init: Path | None = None,
    check: Callable[[list[TrainingFace]], None] = lambda faces: None,
) -> tuple[Path, list[TrainingFace]]:
    """Every stage; returns the last one's checkpoint and the faces.

    Args:
        init: starting weights of stages that name none.
        check: raises for faces that nothing should be trained on.
    """
    check_files(config, out)
    collection = collect(data, out, config.data)
    faces = collection.faces
    print(table(collection), flush=True)
    require_both_classes(faces, ("train", "val", "test"))  # before hours of training, not after
    check(faces)
    return train_stages(config, faces, folder_of(data), out, out, init), faces


def check_files(config: ChainConfig, out: Path) -> None:
    """Raises ValueError where a stage builds on what will not be there: before hours of others, not after."""
    earlier: set[str] = set()
    for stage in config.stages:
        for name in (stage.init, *stage.teachers, *stage.average):
            if name and name not in earlier and not _path(out, name).exists():
                raise ValueError(f"stage {stage.name}: {name} is neither an earlier stage nor a file")
        earlier.add(stage.name)


def train_stages(
    config: ChainConfig, faces: Sequence[TrainingFace], folder: Path, out: Path, caches: Path, init: Path | None = None
) -> Path:
    """Trains every stage on these faces, each in a folder of its own in `out`; the last one's checkpoint."""
    recipes = [stage.train.recipe for stage in config.stages]
    material = gather(recipes, config.reconstructions, faces, folder, caches)
    for stage in config.stages:
        print(f"\n== {stage.name}", flush=True)
        (out / stage.name).mkdir(parents=True, exist_ok=True)
        _train(stage, list(faces), folder, out, init, material)
    return out / config.stages[-1].name / "checkpoint.pt"


def _path(out: Path, name: str) -> Path:
    """What a stage calls by this name: the checkpoint of an earlier one, or a file."""
    earlier = out / name / "checkpoint.pt"
    return earlier if earlier.exists() else Path(name)


def _train(
    stage: Stage, faces: list[TrainingFace], folder: Path, out: Path, init: Path | None, material: Material
) -> None:
    own, config = out / stage.name, stage.train
    if stage.average:
        save_network(*averaged([_path(out, name) for name in stage.average]), own / "checkpoint.pt")
        return
    start = _path(out, stage.init) if stage.init else init
    teachers, pruned = [_path(out, name) for name in stage.teachers], own / "pruned.pt"
    made_of = {"stage": stage, "init": digest(start) if start else None, "teachers": list(map(digest, teachers))}
    claim(own / "stage.json", made_of, begun=pruned.exists() or (own / "checkpoint.pt").exists())
    if stage.prune:
        if not pruned.exists():
            loader = Loader(folder, config.batch_size, config.seed)
            prune_to(pruned, starting_network(config, start), config, stage.prune, faces, loader)
        start = pruned
    net = starting_network(config, start)
    train(config, faces, folder, own, net, [trained(path)[0] for path in teachers], material)


def _published(checkpoint: Path, repository: Path) -> int | None:
    """Number of the served version where it was made of this checkpoint."""
    manifest = read_manifest(newest(repository / "classifier"))
    if manifest.get("parents", {}).get("checkpoint") == digest(checkpoint):
        return manifest["model_version"]
    return None


def _parents(config: ChainConfig, out: Path, init: Path | None) -> dict[str, Path]:
    """Everything that the stages were made of, by its name in the configuration."""
    names = {name for stage in config.stages for name in (stage.init, *stage.teachers, *stage.average, stage.name)}
    given = {"init": init} if init else {}
    return given | {name: _path(out, name) for name in sorted(names - {""})}


def main(
    data: Data,
    config: Path = CONFIGS / "own.toml",
    out: Path | None = None,
    init: Path | None = None,
    no_publish: bool = False,
    repository: Path = REPOSITORY,
    known: Known = None,
    allow_worse: AllowWorse = False,
) -> int:
    """Runs a configuration.

    Args:
        config: the configuration, a TOML file.
        out: the run's folder; runs/NAME of the configuration where it is not given.
        init: starting weights of stages that name none, a checkpoint or a backbone.
        no_publish: end with the checkpoint.
        repository: the model repository that gets the new version.
    """
    out = out or Path("runs") / config.stem
    chain = read_toml(config, ChainConfig)
    settled = known_faces(known, out / "known") if known else []

    def check(faces: list[TrainingFace]) -> None:
        if not no_publish:
            require_publishable(of_split(faces, "test"), repository, allow_worse)

    checkpoint, faces = run(chain, data, out, init, check)
    if no_publish:
        return 0
    if (number := _published(checkpoint, repository)) is not None:
        print(f"this network is version {number} already, the one that is served; nothing was published")
        return 0
    parents = {"checkpoint": checkpoint, "configuration": config, **_parents(chain, out, init)}
    net, settings = trained(checkpoint)
    more = {"parents": parents, "repository": repository, "known": settled, "allow_worse": allow_worse}
    print(summary(publish(net, settings, folder_of(data), faces, **more)))
    print(f"published; {TAKE_UP}; to go back: {ROLL_BACK}", file=sys.stderr)
    return 0
