"""Encoded images of Triton requests -> face crops, for the models of the Python backend that decode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from serving.pictures import pipelines
from serving.pictures.check import ImageError, check_all
from serving.pictures.pipeline_host import PipelineHost

from .config import Config
from .tensors import input_array


@dataclass
class Work:
    """One request: its images and regions, and the first thing that was wrong with any of them."""

    images: list[np.ndarray]
    rois: list[np.ndarray]
    error: Exception | None = None


class Decoder:
    """Checks and decodes a batch of requests. One object per instance of a model: not thread-safe.

    Args:
        config: of the model; DALI decodes with its `threads`.
        device_id: GPU that decodes and keeps the faces, or None for the CPU.
    """

    def __init__(self, config: Config, device_id: int | None = None) -> None:
        self.limits = config.limits()
        self.pipeline = PipelineHost(
            pipelines.preprocess, config.model["max_batch_size"], config.threads(), device_id, device_id is not None
        )

    def faces(self, requests: list[pb_utils.InferenceRequest]) -> list[Any]:
        """IMAGE (b, L) uint8 and ROI (b, 4) of each request -> its faces (b, 224, 224, 3) uint8 RGB, or its error.

        The faces are of NumPy on the CPU, of CuPy on a GPU. A request's fault never becomes its batch's.
        """
        works = [self._check(request) for request in requests]
        good = [work for work in works if work.error is None]
        images, rois = [i for work in good for i in work.images], [r for work in good for r in work.rois]
        faces = iter(self.pipeline.run(IMAGE=images, ROI=rois))
        return [work.error or together([next(faces) for _ in work.images]) for work in works]

    def _check(self, request: pb_utils.InferenceRequest) -> Work:
        work = Work(list(input_array(request, "IMAGE")), list(input_array(request, "ROI")))
        try:
            check_all(work.images, work.rois, self.limits)
        except Exception as exc:
            work.error = exc
        return work


def together(faces: list[Any]) -> Any:
    """One request's faces as one array, where they are; or the error that decoding one of them met."""
    error = next((face for face in faces if isinstance(face, ImageError)), None)
    if error:
        return error
    if isinstance(faces[0], np.ndarray):
        return faces[0][None] if len(faces) == 1 else np.stack(faces)
    import cupy

    stacked = cupy.stack(faces)
    cupy.cuda.get_current_stream().synchronize()  # who takes them over is another process: it does not know this stream
    return stacked
