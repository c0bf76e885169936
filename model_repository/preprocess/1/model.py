"""Hosts the DALI pipeline `preprocess` in Triton's Python backend on a GPU: check, batch, decode, answer one by one."""

from __future__ import annotations

import triton_python_backend_utils as pb_utils

from decoder import Decoder
from python_host import Config, failed


class TritonPythonModel:
    """IMAGE (B, L) uint8 encoded and ROI (B, 4) -> FACE (B, 224, 224, 3) uint8 RGB, in the GPU's memory."""

    def initialize(self, args: dict[str, str]) -> None:
        self.decoder = Decoder(Config(args), int(args["model_instance_device_id"]))

    def execute(self, requests: list) -> list:
        try:
            faces = self.decoder.faces(requests)
        except Exception as exc:  # left alone, its traceback with the server's paths would reach the callers
            return [failed(exc) for _ in requests]
        return [failed(face) if isinstance(face, Exception) else answer(face) for face in faces]


def answer(faces) -> pb_utils.InferenceResponse:
    """CuPy arrays as a tensor that the next model finds on the GPU."""
    return pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack("FACE", faces)])
