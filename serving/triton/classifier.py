"""Hosts the classifier in Triton's Python backend: OpenVINO on a CPU, TensorRT on a GPU, ONNX Runtime on both.

On the CPU it decodes as well, so that a face passes one process and waits in one queue (docs/performance.md).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from serving.classifier.runtimes import on_cpu, on_device, on_gpu

from .config import Config
from .errors import failed
from .tensors import output


class TritonPythonModel:
    """Faces -> B rows of every output of the graph.

    On a CPU it takes IMAGE (B, L) uint8 encoded and ROI (B, 4), on a GPU FACE (B, 224, 224, 3) uint8 RGB.
    """

    def initialize(self, args: dict[str, str]) -> None:
        config, version = Config(args), Path(args["model_repository"], args["model_version"])
        if args["model_instance_kind"] == "GPU":
            self.faces = given
            self.graph = on_gpu(version, int(args["model_instance_device_id"]))
        else:
            from .decoder import Decoder  # brings DALI, which a GPU's classifier has no use for

            self.faces = Decoder(config).faces
            precision = config.parameter("precision", "int8")
            self.graph = on_cpu(version, config.threads(), config.model["max_batch_size"], precision)

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        try:
            faces = self.faces(requests)
            good = [face for face in faces if not isinstance(face, Exception)]
            results, end = self.graph(good) if good else {}, 0
            answers = []
            for request, face in zip(requests, faces, strict=True):
                if isinstance(face, Exception):
                    answers.append(failed(face))
                else:
                    begin, end = end, end + len(face)
                    answers.append(answer(request, results, slice(begin, end)))
            return answers
        except Exception as exc:  # left alone, its traceback with the server's paths would reach the callers
            return [failed(exc) for _ in requests]


def given(requests: list[pb_utils.InferenceRequest]) -> list[Any]:
    """FACE of each request as a CuPy array."""
    return [on_device(pb_utils.get_input_tensor_by_name(request, "FACE")) for request in requests]


def answer(
    request: pb_utils.InferenceRequest, results: dict[str, np.ndarray], rows: slice
) -> pb_utils.InferenceResponse:
    """Response with these rows of what the request asked for; an unrequested HEATMAP is never copied."""
    return pb_utils.InferenceResponse([output(name, results[name][rows]) for name in request.requested_output_names()])
