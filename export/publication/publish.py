"""Network -> a new version of the classifier in the model repository.

It reads the trained network and the splits val, test and cross. It writes `model_repository/classifier/<n>/` with the
ONNX graphs, the network to fine-tune from and `manifest.json`, and keeps the versions that are there. A version is
data: the server brings the code that executes it. It publishes nothing that a gate refuses (`gates.py`, `verify.py`).
A version is made in a folder that Triton never scans and renamed into place, so a server sees all of it or none. The
way back is `python -m serving roll-back`, which needs no torch.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from reports import machine
from serving.classifier.manifest import FORMAT, NAME
from serving.errors import VersionError
from serving.files import digest
from serving.paths import REPOSITORY
from serving.supervisor.versions import move, next_number, versions, withdrawn

from ..conversion.quantize import add_int8, keep_if_near
from ..conversion.torch_to_onnx import convert
from ..conversion.verify import INT8, compare, graphs_of, require, torch_graph
from ..data.faces import TrainingFace, find_faces, known_faces, of_split
from ..data.sources import folder_of
from ..network import GraphCalibration, TimmNet
from ..options import AllowWorse, Data, Known, Out
from ..synthesis.batches import Loader
from ..training.config import TrainConfig
from ..training.weights import save_network, trained
from .calibrate import calibrated
from .gates import gain, require_known, require_no_worse
from .scores import evaluate, graph_scores, scored

FILES = ("model.onnx", "model.fp16.onnx", INT8, "network.pt")


def publish(
    net: TimmNet,
    config: TrainConfig,
    data: Path,
    faces: list[TrainingFace],
    number: int | None = None,
    parents: Mapping[str, Path] | None = None,
    repository: Path = REPOSITORY,
    known: Sequence[TrainingFace] = (),
    allow_worse: bool = False,
) -> dict:
    """Calibrates, converts, verifies and publishes `net`; returns the manifest.

    Args:
        number: of the version; the next free one where it is None.
        parents: files that the network came from, such as its checkpoint and its teacher's, named by their hash.
        repository: where the versions are; the folder beside it must be writable and on the same file system.
        known: faces whose truth is settled, their paths absolute: a real one must not be `fake`, a fake one not `real`.
        allow_worse: publish what is worse than the served version on these faces, or cannot be told to be no worse.

    Raises GateError, ConversionError or VersionError, and then leaves everything as it was.
    """
    number = number or next_number(repository)
    replaced = max(versions(repository / "classifier"), default=None)
    loader = Loader(data, config.batch_size, config.seed)
    with draft(repository, number) as folder:
        calibration, report = calibrated(net, loader, faces, number)
        graph = folder / "model.onnx"
        convert(net, calibration, graph)
        require_known(graph, loader, known, calibration)
        tables, gains = scored(graph_scores(graph), loader, faces), {}
        if replaced is not None:
            other = graph_scores(repository / "classifier" / str(replaced) / "model.onnx")
            others = scored(other, loader, faces)
            gains = {name: gain(table, others[name]) for name, table in tables.items()}
            if not allow_worse:
                require_no_worse(gains, replaced)
        parity = add_twins(net, calibration, folder, loader, faces)
        save_network(net, config, folder / "network.pt")
        manifest = {
            "format": FORMAT,
            "model_version": number,
            "files": {name: digest(folder / name) for name in FILES if (folder / name).is_file()},
            "calibration": report,
            "parity": parity,
            "metrics": evaluate(tables, faces, calibration),
            "data": counts(faces),
            "config": msgspec.to_builtins(config),
            "parents": {name: digest(path) for name, path in (parents or {}).items()},
            "replaces": replaced,
            "beside_replaced": gains,
            **made_with(),
        }
        (folder / NAME).write_text(json.dumps(manifest, indent=2) + "\n")
    return manifest


def made_with() -> dict[str, Any]:
    """Commit, machine and libraries of a publication."""
    return {"commit": machine.commit(), "machine": machine.machine(), "versions": machine.versions()}


def add_twins(
    net: TimmNet, calibration: GraphCalibration, folder: Path, loader: Loader, faces: list[TrainingFace]
) -> dict[str, Any]:
    """The graphs in FP16 and INT8 into `folder`; how near all three are to the network on val and test.

    An INT8 graph that is not near enough is left out. Raises GateError for the others.
    """
    convert(net, calibration, folder / "model.fp16.onnx", half=True)
    labelled = of_split(faces, "val") + of_split(faces, "test")
    add_int8(folder, loader, faces)
    checks = compare(torch_graph(net, calibration), graphs_of(folder), loader.plain(labelled))
    keep_if_near(folder, checks)
    require([check for check in checks if check.graph != "int8"])
    return {"images": len(labelled), "checks": [check._asdict() for check in checks]}


@contextmanager
def draft(repository: Path, number: int) -> Iterator[Path]:
    """A folder that becomes version `number` when the block ends, and vanishes when it raises."""
    model, aside = repository / "classifier", withdrawn(repository)
    if number in versions(model) + versions(aside):
        raise VersionError(f"version {number} was published before; the next free one is {next_number(repository)}")
    aside.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="draft-", dir=aside))
    try:
        yield folder
        folder.chmod(0o755)  # mkdtemp shuts out the user that the server runs as
        move(folder, model / str(number))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def counts(faces: list[TrainingFace]) -> dict[str, dict[str, dict[str, int]]]:
    """Faces by split, source and label."""
    table: dict[str, dict[str, dict[str, int]]] = {}
    for face in faces:
        row = table.setdefault(face.split, {}).setdefault(face.source, {"real": 0, "fake": 0})
        row["fake" if face.label else "real"] += 1
    return table


def summary(manifest: Mapping[str, Any]) -> str:
    """What a manifest says of its version first: number, constants, figures; JSON."""
    return json.dumps({name: manifest[name] for name in ("model_version", "calibration", "metrics")}, indent=2)


def main(
    data: Data,
    out: Out,
    checkpoint: Path | None = None,
    version: int | None = None,
    repository: Path = REPOSITORY,
    known: Known = None,
    allow_worse: AllowWorse = False,
) -> int:
    """Publishes the run's checkpoint.pt, or another checkpoint.

    Args:
        checkpoint: another one.
        version: number of the version; the next free one where it is not given.
        repository: the model repository that gets the new version.
    """
    checkpoint = checkpoint or out / "checkpoint.pt"
    net, config = trained(checkpoint)
    faces, parents = find_faces(data, out), {"checkpoint": checkpoint}
    settled = known_faces(known, out / "known") if known else []
    print(summary(publish(net, config, folder_of(data), faces, version, parents, repository, settled, allow_worse)))
    return 0
