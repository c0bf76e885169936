"""Network and its calibration -> the ONNX graphs that are served: FP32, and a half-precision twin for TensorRT.

TensorRT 11 takes every precision from the graph (strongly typed networks). In the twin the backbone is FP16, except its
stem and first two stages, which lose most. With the second stage in FP16, the logit of one network, not yet
calibrated, was off by 0.042 at most over 1,098 faces; without it, by 0.019. What surrounds the backbone stays FP32:
normalisation of pixels, pooling, head, temperature, sigmoid, and QUALITY, whose variance exceeds FP16's 65,504. Both
graphs have a dynamic batch and no BatchNorm. A conversion fails, and leaves `path` as it was, where the graph breaks
ONNX's rules or mixes types. `verify.py` checks whether it computes the same.
"""

from __future__ import annotations

import copy
from pathlib import Path

import onnx
import onnxruntime
import torch

from serving.files import replacing

from ..errors import ConversionError
from ..network import GraphCalibration, GraphOutputs, ServedGraph, TimmNet

OPSET = 18
FACE_SHAPE = (224, 224, 3)  # height, width, RGB; uint8
FP32_STAGES = 2  # of the backbone, before FP16 begins


def convert(net: TimmNet, calibration: GraphCalibration, path: Path, half: bool = False) -> None:
    """Writes the served graph to `path`, its backbone in FP16 with `half`; raises ConversionError."""
    graph = ServedGraph(copy.deepcopy(net).cpu(), calibration).eval()
    if half:
        halve(graph.net.backbone)
    with replacing(path) as draft:
        torch.onnx.export(
            graph,
            (torch.zeros(2, *FACE_SHAPE, dtype=torch.uint8),),
            str(draft),
            dynamo=True,
            external_data=False,
            verbose=False,
            opset_version=OPSET,
            input_names=["FACE"],
            output_names=list(GraphOutputs._fields),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
        strip_traces(draft)
        check_graph(draft)


def strip_traces(path: Path) -> None:
    """Takes out what the exporter notes at every node: the files and lines of code that it came from."""
    model = onnx.load(path)
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    onnx.save(model, path)


class ToHalf(torch.nn.Module):
    """The border between FP32 and FP16."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values.half()


def halve(backbone: torch.nn.Module) -> None:
    """FP16 from the third stage on, in place; all of a backbone that has no `blocks`, as timm's EfficientNets have."""
    blocks = getattr(backbone, "blocks", None)
    if blocks is None:
        backbone.half()
        return
    for stage in blocks[FP32_STAGES:]:
        stage.half()
    blocks[FP32_STAGES] = torch.nn.Sequential(ToHalf(), blocks[FP32_STAGES])


def check_graph(path: Path) -> None:
    """Raises ConversionError where the file is no valid ONNX, has a BatchNorm, a fixed batch or mixed types.

    TensorRT refuses nodes whose inputs should share a type and do not. Not every release of ONNX's own checker compares
    them; ONNX Runtime does as it loads a graph.
    """
    try:
        onnx.checker.check_model(str(path), full_check=True)
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as exc:  # ONNX Runtime's have no base class of their own
        raise ConversionError(f"{path.name} is not valid ONNX: {exc}") from exc
    graph = onnx.load(path).graph
    faults = [f"{n.name} is left" for n in graph.node if n.op_type == "BatchNormalization"]
    faults += [
        f"{v.name} has a fixed batch"
        for v in [*graph.input, *graph.output]
        if not v.type.tensor_type.shape.dim[0].dim_param
    ]
    if faults:
        raise ConversionError(f"{path.name} cannot be served: {'; '.join(faults[:5])}")
