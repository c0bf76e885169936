"""Hosts FaceDetector in Triton's Python backend: bytes in, faces out, one answer a request."""

from __future__ import annotations

import ctypes
import time

import triton_python_backend_utils as pb_utils

from detector import CONFIDENCE, FaceDetector, Faces
from image_check import ImageError
from python_host import Config, failed, input_array, output

M_MMAP_THRESHOLD = -3  # mallopt(3)
PICTURE_BYTES = 2**19  # larger buffers get pages of their own: pictures of many sizes would leave gaps in the heap
TRIM_PERIOD_S = 10.0  # what gaps there are go back to the system so often


class TritonPythonModel:
    """IMAGE (L,) uint8 encoded -> BOX (N, 4), CONFIDENCE (N,), LANDMARK (N, 5, 2), IMAGE_SIZE (2,); N may be 0."""

    def initialize(self, args: dict[str, str]) -> None:
        config = Config(args)
        self.heap = Heap()
        self.detector = FaceDetector(
            confidence=float(config.parameter("confidence", str(CONFIDENCE))),
            threads=config.threads(),
            device_id=int(args["model_instance_device_id"]) if args["model_instance_kind"] == "GPU" else None,
            limits=config.limits(),
        )

    def execute(self, requests: list) -> list:
        images = [input_array(request, "IMAGE") for request in requests]
        try:
            return [answer(found) for found in self.detector.detect(images)]
        except Exception as exc:  # left alone, its traceback with the server's paths would reach the caller
            return [failed(exc) for _ in requests]
        finally:
            self.heap.trim_now_and_then()


class Heap:
    """Keeps this process's heap small under pictures of many sizes. Does nothing where there is no glibc."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None)
        self.trim = getattr(libc, "malloc_trim", None)
        self.trim_at_s = time.monotonic() + TRIM_PERIOD_S
        if mallopt := getattr(libc, "mallopt", None):
            mallopt(M_MMAP_THRESHOLD, PICTURE_BYTES)

    def trim_now_and_then(self) -> None:
        """Gives free memory back, at most once in TRIM_PERIOD_S."""
        if self.trim and time.monotonic() >= self.trim_at_s:
            self.trim(ctypes.c_size_t(0))
            self.trim_at_s = time.monotonic() + TRIM_PERIOD_S


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
