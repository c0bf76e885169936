"""Hosts the classifier in Triton's Python backend: OpenVINO on the CPU; TensorRT or ONNX Runtime on a GPU."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "preprocess" / "1"))

from python_host import Config, failed, input_array, output  # noqa: E402
from runtimes import on_device, on_gpu, openvino  # noqa: E402


class TritonPythonModel:
    """FACE (B, 224, 224, 3) uint8 RGB -> every output of the graph, each with B rows."""

    def initialize(self, args: dict[str, str]) -> None:
        config = Config(args)
        self.outputs = [output["name"] for output in config.model["output"]]
        self.gpu = args["model_instance_kind"] == "GPU"
        if self.gpu:
            self.graph = on_gpu(HERE, int(args["model_instance_device_id"]))
        else:
            precision = config.parameter("precision", "f32")
            self.graph = openvino(HERE / "model.onnx", config.threads(), config.model["max_batch_size"], precision)

    def execute(self, requests: list) -> list:
        try:
            faces = [self.face(request) for request in requests]
            results = self.graph(faces)
        except Exception as exc:
            return [failed(exc) for _ in requests]
        ends = np.cumsum([len(face) for face in faces])[:-1]
        rows = {name: np.split(results[name], ends) for name in self.outputs}
        return [answer(request, rows, i) for i, request in enumerate(requests)]

    def face(self, request):
        """FACE where the runtime wants it: NumPy's on the CPU, CuPy's on a GPU."""
        if self.gpu:
            return on_device(pb_utils.get_input_tensor_by_name(request, "FACE"))
        return input_array(request, "FACE")


def answer(request, rows: dict[str, list[np.ndarray]], index: int) -> pb_utils.InferenceResponse:
    """Response with what the request asked for; an unrequested HEATMAP is never copied."""
    return pb_utils.InferenceResponse([output(name, rows[name][index]) for name in request.requested_output_names()])
