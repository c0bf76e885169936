"""One graph of the student and of CLIP's image encoder: what both say together."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from serving.errors import SetupError
from serving.files import replacing

NUMBER_ADDED = 1000  # to the number of the student; twice that where CLIP is asked only in doubt
BLOCK_END = re.compile(r"encoder/layers\.(\d+)/Add_1$")  # the node behind each block, in the wheel's graph
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)  # of CLIP's training, RGB 0..1
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
REFIT = "fit it with: python -m export fit-clip-ensemble (docs/export.md)"
Doubt = tuple[float, float]

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass(frozen=True)
class ClipEnsemble:
    """What two networks say together: LOGIT = student * LOGIT of the student + weight . class tokens + bias.

    Args:
        weight: (blocks x width,) float32, of the class tokens behind the encoder's blocks, one block after the other.
        real_below, fake_from: thresholds of the probability.
        student_sha256, encoder_sha256: of the graphs that it was fitted to.
    """

    weight: np.ndarray
    bias: float
    student: float
    real_below: float
    fake_from: float
    student_sha256: str
    encoder_sha256: str

    @classmethod
    def load(cls, path: Path) -> ClipEnsemble:
        """Raises SetupError where the file is missing or another."""
        try:
            with np.load(io.BytesIO(path.read_bytes())) as kept:
                values: dict[str, Any] = {field.name: kept[field.name] for field in fields(cls)}
        except (OSError, KeyError, ValueError, BadZipFile) as exc:
            raise SetupError(f"{path} cannot be read ({exc}); {REFIT}") from exc
        return cls(values.pop("weight"), **{name: value.item() for name, value in values.items()})

    def save(self, path: Path) -> None:
        """Writes it whole or not at all."""
        with replacing(path) as draft:
            np.savez(draft, **vars(self))


def number_added(doubt: Doubt | None) -> int:
    """What the number of the version of both is higher by than the student's."""
    return NUMBER_ADDED * (2 if doubt else 1)


def together(
    student: ModelProto, encoder: ModelProto, ensemble: ClipEnsemble, doubt: Doubt | None = None
) -> ModelProto:
    """One graph of both, for one face: FACE (1, 224, 224, 3) uint8 RGB to the outputs of the student.

    HEATMAP and QUALITY are the student's own. The batch is one, since the encoder's scale of quantisation is that of
    all it is shown at once: a face would get other numbers beside others. `doubt` is that of `make`.
    """
    from onnx import TensorProto, compose, helper

    student, tokens = compose.add_prefix(student, "student/"), tokens_graph(encoder, student.opset_import[0].version)
    nodes, constants = _logit(tokens, ensemble, doubt)
    constants += _initializers(
        threshold=np.array([[ensemble.real_below, ensemble.fake_from]], np.float32),
        added=np.array([[number_added(doubt)]], np.int32),
    )
    ends = [
        helper.make_node("Sigmoid", ["LOGIT"], ["FAKE_PROBABILITY"]),
        helper.make_node("Add", ["student/MODEL_VERSION", "added"], ["MODEL_VERSION"]),
        helper.make_node("Identity", ["threshold"], ["THRESHOLD"]),
        helper.make_node("Identity", ["student/HEATMAP"], ["HEATMAP"]),
        helper.make_node("Identity", ["student/QUALITY"], ["QUALITY"]),
    ]
    outputs = []
    for value in student.graph.output:
        shape = [1, *(d.dim_value for d in value.type.tensor_type.shape.dim[1:])]
        name = value.name.removeprefix("student/")
        outputs.append(helper.make_tensor_value_info(name, value.type.tensor_type.elem_type, shape))
    graph = helper.make_graph(
        [helper.make_node("Identity", ["FACE"], ["student/FACE"]), *student.graph.node, *nodes, *ends],
        "clip_ensemble",
        [helper.make_tensor_value_info("FACE", TensorProto.UINT8, [1, 224, 224, 3])],
        outputs,
        [*student.graph.initializer, *constants],
    )
    return helper.make_model(graph, opset_imports=student.opset_import, ir_version=student.ir_version)


def _logit(tokens: ModelProto, ensemble: ClipEnsemble, doubt: Doubt | None) -> tuple[list[Any], list[Any]]:
    """Nodes from the student's outputs and FACE to LOGIT, and their constants."""
    from onnx import TensorProto, helper

    constants = [
        *tokens.graph.initializer,
        *_initializers(
            weight=ensemble.weight.reshape(-1, 1),
            bias=np.array([[ensemble.bias]], np.float32),
            share=np.array([[ensemble.student]], np.float32),
        ),
    ]
    both = [
        *tokens.graph.node,
        helper.make_node("MatMul", ["TOKENS", "weight"], ["evidence"]),
        helper.make_node("Mul", ["student/LOGIT", "share"], ["of_student"]),
        helper.make_node("Sum", ["of_student", "evidence", "bias"], ["both"]),
    ]
    if not doubt:
        return [*both, helper.make_node("Identity", ["both"], ["LOGIT"])], constants
    stands = [helper.make_node("Identity", ["student/LOGIT"], ["student"])]
    ends = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1])] for name in ("both", "student")]
    branches = {  # with constants of its own, or ONNX Runtime fuses other nodes than where all are asked
        "then_branch": helper.make_graph(both, "both", [], ends[0], constants),
        "else_branch": helper.make_graph(stands, "student", [], ends[1]),
    }
    nodes = [
        helper.make_node("Squeeze", ["student/FAKE_PROBABILITY"], ["probability"]),
        helper.make_node("GreaterOrEqual", ["probability", "at_least"], ["not_real"]),
        helper.make_node("Less", ["probability", "below"], ["not_fake"]),
        helper.make_node("And", ["not_real", "not_fake"], ["doubt"]),
        helper.make_node("If", ["doubt"], ["LOGIT"], **branches),
    ]
    return nodes, _initializers(at_least=np.array(doubt[0], np.float32), below=np.array(doubt[1], np.float32))


def _initializers(**values: np.ndarray) -> list[Any]:
    from onnx import numpy_helper

    return [numpy_helper.from_array(value, name) for name, value in values.items()]


def tokens_graph(encoder: ModelProto, opset: int = 18) -> ModelProto:
    """FACE (1, 224, 224, 3) uint8 RGB to TOKENS (1, blocks x width) float32, the class tokens behind all blocks.

    Args:
        encoder: the graph of CLIP's vision tower, pixels (B, 3, 224, 224) to its embedding.

    Raises SetupError where its blocks have other names than those of the wheel.
    """
    from onnx import TensorProto, compose, helper, numpy_helper, version_converter

    encoder = compose.add_prefix(version_converter.convert_version(encoder, opset), "encoder/")
    found = {int(m[1]): node.output[0] for node in encoder.graph.node if (m := BLOCK_END.search(node.name))}
    if not found or sorted(found) != list(range(len(found))):
        raise SetupError(f"the encoder's graph has no blocks that this version of Facewarden knows: {sorted(found)}")
    tokens = [f"token/{i}" for i in range(len(found))]
    constants: dict[str, np.ndarray] = {
        "token/first": np.array(0, np.int64),
        "pixels/mean": 255 * MEAN[:, None, None],
        "pixels/std": 255 * STD[:, None, None],
    }
    nodes = [
        helper.make_node("Cast", ["FACE"], ["pixels/float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["pixels/float"], ["pixels/planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Sub", ["pixels/planes", "pixels/mean"], ["pixels/centred"]),
        helper.make_node("Div", ["pixels/centred", "pixels/std"], [encoder.graph.input[0].name]),
        *encoder.graph.node,
        *(helper.make_node("Gather", [found[i], "token/first"], [name], axis=1) for i, name in enumerate(tokens)),
        helper.make_node("Concat", tokens, ["TOKENS"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tokens",
        [helper.make_tensor_value_info("FACE", TensorProto.UINT8, [1, 224, 224, 3])],
        [helper.make_tensor_value_info("TOKENS", TensorProto.FLOAT, [1, None])],
        [*encoder.graph.initializer, *(numpy_helper.from_array(v, name) for name, v in constants.items())],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
