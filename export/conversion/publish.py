"""Network -> a new version of the classifier in the model repository.

Reads the trained network and the splits val, test and cross; writes `model_repository/classifier/<n>/` with its ONNX
graphs, the network to fine-tune from, the Python host and `manifest.json`, and keeps the versions that are there.
Nothing is published that the gate of `verify.py` does not pass, that says the opposite of the truth about a known
picture, or that is worse than the version it replaces. A version is made in a folder that Triton never scans and
renamed into place, so that a server sees all of it or none. The way back is `python -m serving roll-back`,
which needs no torch.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np

from reports import machine
from serving.classifier.manifest import FORMAT
from serving.errors import VersionError
from serving.files import digest
from serving.paths import REPOSITORY
from serving.supervisor.versions import move, newest, next_number, versions, withdrawn

from ..data.faces import Face, find_faces, known_faces, of_split
from ..data.sources import folder_of
from ..errors import GateError
from ..metrics import beside
from ..network import Calibration, TimmNet
from ..synthesis.augment import REAL
from ..synthesis.batches import Loader
from ..training.config import TrainConfig
from ..training.weights import save_network, trained
from .calibrate import calibrated, verdict
from .quantize import add_int8, keep_if_near
from .scores import Scored, evaluate, score, scored
from .torch_to_onnx import convert
from .verify import INT8, compare, graphs_of, require, torch_graph

ALLOW_WORSE = "publish what is worse than the served version, or cannot be told to be no worse, too"
MIN_GROUPS = 20  # photographs, persons or videos, below which a bootstrap's interval is too narrow
FILES = ("model.onnx", "model.fp16.onnx", INT8, "network.pt")


def publish(
    net: TimmNet,
    config: TrainConfig,
    data: Path,
    faces: list[Face],
    number: int | None = None,
    parents: Mapping[str, Path] | None = None,
    repository: Path = REPOSITORY,
    known: Sequence[Face] = (),
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
        parity = converted(net, calibration, folder, loader, faces)
        save_network(net, config, folder / "network.pt")
        require_known(folder / "model.onnx", loader, known, calibration)
        tables, gains = scored(folder / "model.onnx", loader, faces), {}
        if replaced is not None:
            others = scored(repository / "classifier" / str(replaced) / "model.onnx", loader, faces)
            gains = {name: gain(table, others[name]) for name, table in tables.items()}
            if not allow_worse:
                require_no_worse(gains, replaced)
        manifest = {
            "format": FORMAT,
            "model_version": number,
            "files": {name: digest(folder / name) for name in FILES if (folder / name).is_file()},
            "calibration": report,
            "parity": parity,
            "metrics": evaluate(tables, faces, calibration),
            "data": counts(faces),
            "config": asdict(config),
            "parents": {name: digest(path) for name, path in (parents or {}).items()},
            "replaces": replaced,
            "beside_replaced": gains,
            "commit": machine.commit(),
            "machine": machine.machine(),
            "versions": machine.versions(),
        }
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    return manifest


def converted(net: TimmNet, calibration: Calibration, folder: Path, loader: Loader, faces: list[Face]) -> dict:
    """The graphs of the network into `folder`; how near they are to it on val and test, else GateError.

    One in INT8 that is not near enough is left out.
    """
    convert(net, calibration, folder / "model.onnx")
    convert(net, calibration, folder / "model.fp16.onnx", half=True)
    labelled = of_split(faces, "val") + of_split(faces, "test")
    add_int8(folder, loader, faces)
    checks = compare(torch_graph(net, calibration), graphs_of(folder), loader.plain(labelled))
    keep_if_near(folder, checks)
    require([check for check in checks if check.graph != "int8"])
    return {"images": len(labelled), "checks": [check._asdict() for check in checks]}


def require_known(graph: Path, loader: Loader, known: Sequence[Face], calibration: Calibration) -> None:
    """Raises GateError, naming them, for known faces that get the opposite of their truth; `review` is not that."""
    if not known:
        return
    _, scores = score(graph, loader.plain(known))
    if len(scores) < len(known):
        raise GateError(f"{len(known) - len(scores)} of {len(known)} known pictures cannot be decoded")
    told = [(face, p, verdict(p, calibration)) for face, p in zip(known, scores.tolist(), strict=True)]
    wrong = [row for row in told if row[2] == ("fake" if row[0].label == REAL else "real")]
    if wrong:
        lines = "".join(f"\n  {face.path}: {p:.3f}, {label}" for face, p, label in wrong)
        raise GateError(f"{len(wrong)} of {len(known)} known pictures would get the opposite of their truth:{lines}")


def gain(table: Scored, other: Scored) -> dict:
    """How much higher the AUC of `table` is than that of another graph on the same faces, and of how many groups."""
    return {"groups": len(np.unique(table.groups)), **beside(table.labels, table.scores, other.scores, table.groups)}


def require_no_worse(gains: Mapping[str, dict], replaced: int) -> None:
    """Raises GateError where the whole interval of a gain lies below zero, or the split test is too small to tell."""
    lines = []
    if gains["test"]["groups"] < MIN_GROUPS or not np.isfinite(gains["test"]["gain_interval"]).all():
        raise GateError(_too_few(gains["test"]["groups"], replaced))
    for name, row in gains.items():
        low, high = row["gain_interval"]
        if row["groups"] >= MIN_GROUPS and high < 0:
            now = row["auc"] + row["gain"]
            lines.append(f"{name}: AUC {now:.3f} instead of {row['auc']:.3f} (difference {low:+.3f} to {high:+.3f})")
    if lines:
        head = f"the network is worse than version {replaced}, which is served; train on, or give --allow-worse:"
        raise GateError("\n  ".join([head, *lines]))


def require_publishable(test: Sequence[Face], repository: Path, allow_worse: bool) -> None:
    """Raises VersionError or GateError for what publication will refuse whatever the network is.

    Args:
        test: the faces of the split test.
        allow_worse: as of `publish`.
    """
    model = repository / "classifier"
    groups = len({face.group for face in test})
    if versions(model) and not allow_worse and groups < MIN_GROUPS:
        raise GateError(_too_few(groups, int(newest(model).name)))


def _too_few(groups: int, replaced: int) -> str:
    return (
        f"{groups} photographs, persons or videos in the split test cannot tell whether a network is worse than "
        f"version {replaced}, which is served; give {MIN_GROUPS} at least, real and fake, or --allow-worse"
    )


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


def counts(faces: list[Face]) -> dict[str, dict[str, dict[str, int]]]:
    """Faces by split, source and label."""
    table: dict[str, dict[str, dict[str, int]]] = {}
    for face in faces:
        row = table.setdefault(face.split, {}).setdefault(face.source, {"real": 0, "fake": 0})
        row["fake" if face.label else "real"] += 1
    return table


def main() -> int:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="python -m export publish", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="CSV manifest, or folder with one or real/ and fake/")
    parser.add_argument("--out", type=Path, required=True, help="the run's folder; its checkpoint.pt is published")
    parser.add_argument("--checkpoint", type=Path, help="another checkpoint")
    parser.add_argument("--version", type=int, help="number of the published model (default: the next free one)")
    parser.add_argument("--repository", type=Path, default=REPOSITORY, help="default %(default)s")
    parser.add_argument("--known", type=Path, help="pictures that must not get the opposite of their truth: as --data")
    parser.add_argument("--allow-worse", action="store_true", help=ALLOW_WORSE)
    a = parser.parse_args()
    checkpoint = a.checkpoint or a.out / "checkpoint.pt"
    net, config = trained(checkpoint)
    faces, parents = find_faces(a.data, a.out), {"checkpoint": checkpoint}
    known = known_faces(a.known, a.out / "known") if a.known else ()
    manifest = publish(net, config, folder_of(a.data), faces, a.version, parents, a.repository, known, a.allow_worse)
    print(json.dumps({name: manifest[name] for name in ("model_version", "calibration", "metrics")}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
