"""The gate before publication: network, FP32, FP16, INT8 and, where there is one, engine must say the same.

It reads a version's folder and labelled faces. For every output it prints the largest difference from the reference
over all faces; then the share of verdicts that change, and the loss of AUC. Each stands beside what is allowed. The
gate is shut (exit code 1) where one is over, or where a file is not the one that `manifest.json` describes. The
reference is the network of `--checkpoint`. Without it, as for a version that came from elsewhere, it is model.onnx.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import torch
from tabulate import tabulate
from tyro.conf import Positional

from reports.machine import gpu
from serving.classifier.manifest import check_files
from serving.classifier.runtimes import openvino, tensorrt

from .. import metrics
from ..data.faces import find_faces
from ..data.sources import folder_of
from ..errors import GateError
from ..network import GraphCalibration, GraphOutputs, ServedGraph, TimmNet
from ..options import Data, Out
from ..synthesis.batches import Batch, Loader
from ..training.weights import trained
from .onnx_to_engine import builder_library, check_plan

EXACT = {
    "FAKE_PROBABILITY": 1e-4,
    "LOGIT": 1e-3,
    "HEATMAP": 1e-3,
    "QUALITY": 0.1,  # a variance of pixels, up to some thousands
    "MODEL_VERSION": 0,
    "THRESHOLD": 0,
}
# Version 7, FP16 from its third stage on, differs by 0.017, 0.079 and 0.033 at most over 1,571 faces.
HALF = EXACT | {"FAKE_PROBABILITY": 0.02, "LOGIT": 0.1, "HEATMAP": 0.05}
# Its INT8 graph by 0.172, 1.88 and 0.54, and 11 verdicts change to or from `review`.
BYTES = EXACT | {"FAKE_PROBABILITY": 0.25, "LOGIT": 2.5, "HEATMAP": 0.75}
MAX_CHANGED = 0.02  # of the verdicts
MAX_AUC_DROP = 0.001
INT8 = "model.int8.onnx"
BATCH = 32

RunGraph = Callable[[np.ndarray], Mapping[str, np.ndarray]]  # FACE (B, 224, 224, 3) uint8 -> outputs by name


class ParityCheck(NamedTuple):
    """One line of the table: how far a graph is from the reference in one quantity."""

    graph: str
    quantity: str
    value: float
    allowed: float

    @property
    def passed(self) -> bool:
        """False for NaN too."""
        return self.value <= self.allowed


def compare(
    reference: RunGraph, graphs: Mapping[str, tuple[RunGraph, Mapping[str, float]]], batches: Iterable[Batch]
) -> list[ParityCheck]:
    """How far each graph is off; raises GateError for faces of one class.

    For each graph: the largest absolute difference of each output, the share of verdicts that change, the loss of AUC;
    in INT8 the least that it is with 95 %.

    Args:
        graphs: by name, each with what is allowed for every output.
        batches: labelled faces, read once.
    """
    labels, parts = [], {name: [] for name in ("", *graphs)}  # "" is the reference
    for batch in batches:
        labels.append(batch.labels)
        for name, graph in {"": reference, **{name: graph for name, (graph, _) in graphs.items()}}.items():
            parts[name].append(graph(batch.faces))
    truth, said = np.concatenate(labels), {name: _joined(part) for name, part in parts.items()}
    if len(np.unique(truth)) < 2:
        raise GateError(f"the gate needs real and fake faces, got {len(truth)} of one class")
    expected, checks = said[""], []
    for name, (_, allowed) in graphs.items():
        got = said[name]
        for output in GraphOutputs._fields:
            difference = np.abs(got[output].astype(np.float64) - expected[output]).max()
            checks.append(ParityCheck(name, output, float(difference), allowed[output]))
        changed = float((_verdicts(got) != _verdicts(expected)).mean())
        checks.append(ParityCheck(name, "verdicts changed", changed, MAX_CHANGED))
        scores, before = got["LOGIT"][:, 0], expected["LOGIT"][:, 0]
        if allowed is BYTES:  # of few faces some pairs change places by chance
            gain = metrics.beside(truth, scores, before, np.arange(len(truth)))["gain_interval"][1]
            checks.append(ParityCheck(name, "AUC drop, at least", -gain, MAX_AUC_DROP))
        else:
            drop = metrics.auc(truth, before) - metrics.auc(truth, scores)
            checks.append(ParityCheck(name, "AUC drop", drop, MAX_AUC_DROP))
    return checks


def _joined(parts: list[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {output: np.concatenate([part[output] for part in parts]) for output in GraphOutputs._fields}


def _verdicts(outputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """(N,) number of thresholds that the probability reaches: 0 real, 1 review, 2 fake."""
    return (outputs["FAKE_PROBABILITY"] >= outputs["THRESHOLD"]).sum(axis=1)


def require(checks: list[ParityCheck]) -> list[ParityCheck]:
    """The checks; raises GateError, with their table, where one did not pass."""
    if not all(check.passed for check in checks):
        raise GateError(f"the converted graphs differ from the network:\n{table(checks)}")
    return checks


def table(checks: Iterable[ParityCheck]) -> str:
    """The checks as text, one a line."""
    rows = [(*check, "ok" if check.passed else "FAILED") for check in checks]
    return tabulate(rows, ("graph", "quantity", "difference", "allowed", ""), tablefmt="plain", floatfmt=".2g")


def torch_graph(net: TimmNet, calibration: GraphCalibration) -> RunGraph:
    """The network itself, in FP32 on the CPU."""
    graph = ServedGraph(copy.deepcopy(net).cpu(), calibration).eval()

    @torch.inference_mode()
    def run(faces: np.ndarray) -> dict[str, np.ndarray]:
        return {name: value.numpy() for name, value in graph(torch.from_numpy(faces))._asdict().items()}

    return run


def onnx_graph(path: Path) -> RunGraph:
    """An ONNX file in ONNX Runtime on the CPU."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = list(GraphOutputs._fields)
    return lambda faces: dict(zip(names, session.run(names, {"FACE": faces}), strict=True))


def openvino_graph(path: Path) -> RunGraph:
    """An ONNX file face by face, as a CPU serves it: where the batch is open, INT8 is rounded otherwise."""
    graph = openvino(path, threads=1, max_batch_size=1)
    return lambda faces: graph([faces])


def engine_graph(plan: Path) -> RunGraph:
    """A TensorRT engine by the code that serves it; raises EngineError where it was built for something else."""
    check_plan(plan, builder_library().__version__, gpu())
    import cupy

    graph = tensorrt(plan, device_id=0)
    return lambda faces: graph([cupy.asarray(faces)])


def graphs_of(folder: Path) -> dict[str, tuple[RunGraph, Mapping[str, float]]]:
    """What a version's folder holds beside its reference, each with its tolerance; INT8 and engine where they are."""
    graphs = {
        "fp32": (onnx_graph(folder / "model.onnx"), EXACT),
        "fp16": (onnx_graph(folder / "model.fp16.onnx"), HALF),
    }
    if (folder / INT8).exists():
        graphs["int8"] = (openvino_graph(folder / INT8), BYTES)
    if (folder / "model.plan").exists():
        graphs["engine"] = (engine_graph(folder / "model.plan"), HALF)
    return graphs


def check_version(folder: Path) -> dict:
    """The manifest of a version; raises VersionError or GateError where files or the graph's number differ from it."""
    manifest = check_files(folder)
    (said,) = np.unique(onnx_graph(folder / "model.onnx")(np.zeros((1, 224, 224, 3), np.uint8))["MODEL_VERSION"])
    if said != manifest["model_version"]:
        raise GateError(f"{folder / 'model.onnx'} calls itself version {said}; publish it again")
    return manifest


def verify(folder: Path, batches: Iterable[Batch], net: TimmNet | None = None) -> list[ParityCheck]:
    """Checks the files of a version and compares its graphs with `net`, else with its own FP32 graph."""
    manifest = check_version(folder)
    graphs = graphs_of(folder)
    if net is None:
        reference, _ = graphs.pop("fp32")
    else:
        constants = manifest["calibration"]
        reference = torch_graph(
            net, GraphCalibration(**{name: constants[name] for name in GraphCalibration.__annotations__})
        )
    return compare(reference, graphs, batches)


def main(
    folder: Positional[Path],
    data: Data,
    out: Out,
    checkpoint: Path | None = None,
    splits: tuple[str, ...] = ("val", "test"),
) -> int:
    """Prints the table. Exit code: 0 everything agrees, 1 the gate is shut, 2 usage.

    Args:
        folder: of the version, for example model_repository/classifier/7.
        checkpoint: the network that it was converted from.
        splits: of labelled faces.
    """
    faces = [face for face in find_faces(data, out) if face.split in splits]
    net = trained(checkpoint)[0] if checkpoint else None
    checks = verify(folder, Loader(folder_of(data), BATCH, 0).plain(faces), net)
    print(f"{len(faces)} faces\n{table(checks)}")
    return 0 if all(check.passed for check in checks) else 1
