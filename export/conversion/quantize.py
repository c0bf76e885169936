"""FP32 graph -> its INT8 twin for the CPU. NNCF takes ranges and corrected biases from faces of the split train.

Only the pointwise convolutions of the backbone's blocks become INT8: weights by output channel, activations by tensor.
Depthwise convolutions, gates and their means between them stay FP32. OpenVINO would have to convert back and forth for
them, which costs more than it brings (docs/decisions.md). Weights use seven of eight bits (NNCF's overflow fix,
docs.openvino.ai, Saturation Issue Workaround). CPUs without VNNI add products of bytes in 16 bits, which overflow
otherwise; so every CPU gives the same answers.

`publish` makes the twin with every version. The command makes it for a version that was published without. Where the
twin is not as near to the graph as `verify.py` asks, the version has none, and a CPU computes it in FP32.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterable
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import onnx
from tyro.conf import Positional

from serving.classifier.manifest import NAME, check_files
from serving.errors import VersionError
from serving.files import digest, replacing

from ..data.faces import TrainingFace, find_faces, of_split
from ..data.sources import folder_of
from ..errors import GateError
from ..options import Data, Out
from ..synthesis.batches import Loader
from .torch_to_onnx import check_graph
from .verify import INT8, ParityCheck, compare, graphs_of, onnx_graph, table

POINTWISE = ("conv_pw", "conv_pwl")  # timm's names for them in EfficientNet's blocks
FACES = 300  # to calibrate with; with 100 logits were off by as much


def quantize(graph: Path, faces: Iterable[np.ndarray], path: Path) -> bool:
    """Writes the INT8 twin of `graph` to `path`; False, and no file, where there is nothing to quantise.

    Args:
        faces: (224, 224, 3) uint8 each, as served.
    """
    model = onnx.load(graph)
    chosen = pointwise(model)
    if not chosen:
        return False
    os.environ.setdefault("NNCF_CI", "1")  # or importing it reports to Intel; it has no other switch
    import nncf

    nncf.set_log_level(logging.ERROR)
    samples = [face[None] for face in faces]
    with redirect_stdout(sys.stderr):  # its progress bars
        twin = nncf.quantize(
            model,
            nncf.Dataset(samples, lambda face: {"FACE": face}),
            preset=nncf.QuantizationPreset.MIXED,  # weights symmetric, activations not: hard-swish is not
            subset_size=len(samples),
            ignored_scope=nncf.IgnoredScope(names=[n.name for n in model.graph.node if n.name not in chosen]),
            advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
        )
    with replacing(path) as draft:
        onnx.save(twin, draft)
        check_graph(draft)
    return True


def pointwise(model: onnx.ModelProto) -> set[str]:
    """Names of the nodes that become INT8."""
    return {
        node.name
        for node in model.graph.node
        if node.op_type == "Conv" and any(f".{name}." in node.input[1] for name in POINTWISE)
    }


def add_int8(folder: Path, loader: Loader, faces: list[TrainingFace]) -> bool:
    """Gives a version its twin, from faces of train; False where its graph has nothing to quantise."""
    train = of_split(faces, "train") or of_split(faces, "val")
    chosen = [train[i] for i in np.random.default_rng(0).permutation(len(train))[:FACES]]
    crops = (face for batch in loader.plain(chosen) for face in batch.faces)
    return quantize(folder / "model.onnx", crops, folder / INT8)


def keep_if_near(folder: Path, checks: Iterable[ParityCheck]) -> bool:
    """Takes the twin away again where one of its checks did not pass, and says so."""
    failed = [check for check in checks if check.graph == "int8" and not check.passed]
    if failed:
        (folder / INT8).unlink()
        print(f"no INT8 graph, a CPU computes this version in FP32:\n{table(failed)}", file=sys.stderr)
    return not failed


def main(folder: Positional[Path], data: Data, out: Out) -> int:
    """Gives a version its twin. Exit code: 0 it has one now, 1 it cannot have one, 2 usage.

    Args:
        folder: of the version, for example model_repository/classifier/7.
    """
    manifest = check_files(folder)
    if INT8 in manifest["files"]:
        raise VersionError(f"{folder} has {INT8} already, and a version keeps what it was published with")
    faces, loader = find_faces(data, out), Loader(folder_of(data), 16, 0)
    if not add_int8(folder, loader, faces):
        raise GateError(f"{folder / 'model.onnx'} has no convolutions named {' or '.join(POINTWISE)}")
    labelled = of_split(faces, "val") + of_split(faces, "test")
    graphs = {"int8": graphs_of(folder)["int8"]}
    checks = compare(onnx_graph(folder / "model.onnx"), graphs, loader.plain(labelled))
    if not keep_if_near(folder, checks):
        return 1
    print(f"{len(labelled)} faces\n{table(checks)}")
    manifest["files"][INT8] = digest(folder / INT8)
    manifest["parity"]["checks"] += [check._asdict() for check in checks]
    with replacing(folder / NAME) as draft:
        draft.write_text(json.dumps(manifest, indent=2) + "\n")
    return 0
