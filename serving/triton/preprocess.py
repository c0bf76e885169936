"""Hosts the DALI pipeline `preprocess` in Triton's Python backend: check, batch, decode, answer one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from .config import Config
from .decoder import Decoder
from .errors import failed
from .tensors import output


class TritonPythonModel:
    """IMAGE (B, L) uint8 encoded and ROI (B, 4) -> FACE (B, 224, 224, 3) uint8 RGB, on a GPU in its memory."""

    def initialize(self, args: dict[str, str]) -> None:
        on_gpu = args["model_instance_kind"] == "GPU"
        self.decoder = Decoder(Config(args), int(args["model_instance_device_id"]) if on_gpu else None)

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        try:
            faces = self.decoder.faces(requests)
            return [failed(face) if isinstance(face, Exception) else answer(face) for face in faces]
        except Exception as exc:  # left alone, its traceback with the server's paths would reach the callers
            return [failed(exc) for _ in requests]


def answer(faces: Any) -> pb_utils.InferenceResponse:
    """The faces as a tensor; those of CuPy stay on the GPU, where the next model finds them."""
    tensor = output if isinstance(faces, np.ndarray) else pb_utils.Tensor.from_dlpack
    return pb_utils.InferenceResponse([tensor("FACE", faces)])
