"""What TensorRT made of a graph -> a report: the layers that it fused, and the precision in which each runs.

These are pure functions over the JSON of its engine inspector. TensorRT 10 gives a tensor's type as `Format/Datatype`,
TensorRT 11 as `DataType`.
"""

from __future__ import annotations

import re
from collections import Counter

ONNX_LAYER = re.compile(r"\[ONNX Layer: ([^\]]+)\]")
PRECISIONS = {"half": "FP16", "fp16": "FP16", "float": "FP32", "fp32": "FP32"}  # the graph knows no other floats


def fusion(before: list[str], inspected: dict) -> dict:
    """Layers before and after, and for each layer of the engine: name, kind, precision, the graph's nodes in it.

    Args:
        before: names of the network's layers as parsed.
        inspected: the engine inspector's JSON, built with detailed verbosity.
    """
    layers = [
        {
            "name": layer["Name"],
            "kind": layer.get("LayerType", ""),
            "precision": precision(layer),
            "nodes": sorted(set(ONNX_LAYER.findall(layer.get("Metadata", "")))),
        }
        for layer in inspected["Layers"]
    ]
    return {"layers_before": len(before), "layers_after": len(layers), "layers": layers}


def precision(layer: dict) -> str:
    """Types of a layer's outputs, such as FP16 or FP16+FP32; empty where the inspector names none."""
    stated = [str(t.get("DataType") or t.get("Format/Datatype") or "").lower() for t in layer.get("Outputs", [])]
    found = {name for text in stated for word, name in PRECISIONS.items() if word in text}
    return "+".join(sorted(found))


def table(about: dict) -> str:
    """The report as text: the totals, then one line for each layer of the engine."""
    kinds = Counter(layer["precision"] or "other" for layer in about["layers"])
    fused = sum(len(layer["nodes"]) > 1 for layer in about["layers"])
    head = (
        f"TensorRT {about['origin']['tensorrt']} on {about['origin']['gpu']}: {about['bytes'] >> 20} MiB,"
        f" {about['context_bytes'] >> 20} MiB for each execution context\n"
        f"{about['layers_before']} layers became {about['layers_after']}, {fused} of them fused; outputs: "
        + ", ".join(f"{count} {name}" for name, count in kinds.most_common())
    )
    lines = [f"{layer['precision']:<10} {layer['kind']:<20} {' + '.join(layer['nodes'])}" for layer in about["layers"]]
    return "\n".join([head, f"{'precision':<10} {'kind':<20} nodes of the graph", *lines])
