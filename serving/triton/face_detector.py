"""Hosts FaceDetector in Triton's Python backend: bytes in, faces out, one answer a request."""

from __future__ import annotations

from pathlib import Path

import triton_python_backend_utils as pb_utils

from serving.faces.detector import CONFIDENCE, WEIGHTS, FaceDetector, Faces
from serving.pictures.check import ImageError

from .config import Config
from .errors import failed
from .heap import Heap
from .tensors import input_array, output


class TritonPythonModel:
    """IMAGE (L,) uint8 encoded -> BOX (N, 4), CONFIDENCE (N,), LANDMARK (N, 5, 2), IMAGE_SIZE (2,); N may be 0."""

    def initialize(self, args: dict[str, str]) -> None:
        config = Config(args)
        self.heap = Heap()
        self.detector = FaceDetector(
            Path(args["model_repository"], args["model_version"], WEIGHTS.name),
            confidence=float(config.parameter("confidence", str(CONFIDENCE))),
            threads=config.threads(),
            device_id=int(args["model_instance_device_id"]) if args["model_instance_kind"] == "GPU" else None,
            limits=config.limits(),
        )

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        try:
            images = [input_array(request, "IMAGE") for request in requests]
            return [answer(found) for found in self.detector.detect(images)]
        except Exception as exc:  # left alone, its traceback with the server's paths would reach the caller
            return [failed(exc) for _ in requests]
        finally:
            self.heap.trim_now_and_then()


def answer(found: Faces | ImageError) -> pb_utils.InferenceResponse:
    """The faces of one picture, or the sentence that says why it was refused."""
    if isinstance(found, ImageError):
        return failed(found)
    return pb_utils.InferenceResponse(
        [
            output("BOX", found.box),
            output("CONFIDENCE", found.confidence),
            output("LANDMARK", found.landmark),
            output("IMAGE_SIZE", found.image_size),
        ]
    )
