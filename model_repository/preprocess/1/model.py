"""Hosts the DALI pipeline `preprocess` in Triton's Python backend: check, batch, decode, answer one by one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import triton_python_backend_utils as pb_utils

import dali
from dali_host import DaliHost
from image_check import check_image, check_roi
from python_host import Config, failed, input_array, output


@dataclass
class Work:
    """One request: its images and regions, and the first thing that was wrong with any of them."""

    images: list[np.ndarray]
    rois: list[np.ndarray]
    error: Exception | None = None


class TritonPythonModel:
    """IMAGE (1, L) uint8 encoded and ROI (1, 4) -> FACE (1, 224, 224, 3) uint8 RGB."""

    def initialize(self, args: dict[str, str]) -> None:
        config = Config(args)
        self.limits = config.limits()
        device_id = int(args["model_instance_device_id"]) if args["model_instance_kind"] == "GPU" else None
        self.pipeline = DaliHost(
            dali.preprocess, config.model["max_batch_size"], config.threads(), device_id, device_id is not None
        )

    def execute(self, requests: list) -> list:
        works = [self.check(request) for request in requests]
        good = [work for work in works if work.error is None]
        images, rois = [i for work in good for i in work.images], [r for work in good for r in work.rois]
        try:
            faces = iter(self.pipeline.run(IMAGE=images, ROI=rois))
        except Exception as exc:  # left alone, its traceback with the server's paths would reach the callers
            return [failed(exc) for _ in requests]
        return [failed(work.error) if work.error else answer([next(faces) for _ in work.images]) for work in works]

    def check(self, request) -> Work:
        work = Work(list(input_array(request, "IMAGE")), list(input_array(request, "ROI")))
        try:
            for image, roi in zip(work.images, work.rois, strict=True):
                check_roi(roi, check_image(image.tobytes(), self.limits))
        except Exception as exc:  # one request's fault must not become its batch's
            work.error = exc
        return work


def answer(faces: list) -> pb_utils.InferenceResponse:
    """One request's response from its faces, or the error that decoding one of them met."""
    error = next((face for face in faces if isinstance(face, Exception)), None)
    if error:
        return failed(error)
    if isinstance(faces[0], np.ndarray):
        return pb_utils.InferenceResponse([output("FACE", np.stack(faces))])
    return pb_utils.InferenceResponse([on_gpu("FACE", faces)])


def on_gpu(name: str, arrays: list) -> pb_utils.Tensor:
    """CuPy arrays of one shape as a tensor that the next model finds on the GPU."""
    import cupy

    stacked = cupy.stack(arrays)
    cupy.cuda.get_current_stream().synchronize()  # the other process knows nothing of this stream
    return pb_utils.Tensor.from_dlpack(name, stacked)
