"""Encoded images to faces: decoded and scaled, OpenVINO runs CenterFace, `centerface` reads its maps.

Knows nothing of Triton: the served model, the export of training crops and the measurements share it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from openvino.preprocess import PrePostProcessor

from serving.paths import REPOSITORY
from serving.pictures import pipelines
from serving.pictures.check import ImageError, ImageInfo, PictureLimits, check_image
from serving.pictures.pipeline_host import PipelineHost
from serving.pictures.shrink import shrunk_jpeg

from . import centerface

WEIGHTS = REPOSITORY / "face_detector" / "1" / "centerface.onnx"
CONFIDENCE = 0.25  # 0.2 finds 0.2 % more faces and twice as many that are none
TIERS = (  # pictures of at most so many pixels: longer side in pixels that the net sees
    (400_000, 128),  # 640x480 within 8 ms on one core, decoding included; 160 takes 1.2 ms more
    (1_000_000, 256),  # a frame of 1280x720
    (4_000_000, 384),  # faces 13 px wide in 1024 px are found from here on
    (sys.maxsize, 512),  # decoding 20 megapixels takes longer than the net does at this size
)


@dataclass(frozen=True)
class Faces:
    """The faces of one picture, most confident first, in pixels of the upright picture.

    box: (N, 4) float32 x0, y0, x1, y1, clipped to the picture; confidence: (N,) float32 0..1;
    landmark: (N, 5, 2) float32 x, y in the order of `centerface.LANDMARKS`, not clipped;
    image_size: (2,) int32 height, width.
    """

    box: np.ndarray
    confidence: np.ndarray
    landmark: np.ndarray
    image_size: np.ndarray


class FaceDetector:
    """Finds faces in encoded images; one bad image fails alone.

    Not thread-safe: one object per instance of a model.

    Args:
        weights: CenterFace as ONNX, from `python -m serving fetch-weights`; FileNotFoundError where it is missing.
        confidence: no face below it, 0..1.
        threads: CPU threads of the decoder and of the net.
        device_id: GPU that decodes, or None for the CPU.
        max_batch_size: images decoded in one run; longer lists are run in pieces.
        limits: what one image may cost.
    """

    def __init__(
        self,
        weights: Path = WEIGHTS,
        *,
        confidence: float = CONFIDENCE,
        threads: int = 1,
        device_id: int | None = None,
        max_batch_size: int = 8,
        limits: PictureLimits | None = None,
    ) -> None:
        self.confidence, self.limits = confidence, limits or PictureLimits()
        self.net = Net(weights, threads)
        self.shrinks = device_id is None
        self.pictures = PipelineHost(pipelines.detector_input, max_batch_size, threads, device_id)

    def detect(self, images: Sequence[bytes | np.ndarray]) -> list[Faces | ImageError]:
        """Faces of every image (encoded bytes, or (L,) uint8) in order, an ImageError in the place of a bad one."""
        encoded = [bytes(image) for image in images]
        infos = [self._check(data) for data in encoded]
        found = zip(self._pictures(encoded, infos), infos, strict=True)
        return [picture if isinstance(picture, ImageError) else self._find(picture, info) for picture, info in found]

    def _pictures(self, encoded: list[bytes], infos: list[ImageInfo | ImageError]) -> list[np.ndarray | ImageError]:
        """What the net sees of every image: JPEGs one by one on a CPU, everything else through DALI in one batch."""
        found: list[Any] = list(infos)
        batch: list[tuple[int, np.ndarray, np.ndarray]] = []
        for i, (data, info) in enumerate(zip(encoded, infos, strict=True)):
            if isinstance(info, ImageError):
                continue
            size = net_size(info.height, info.width)
            if self.shrinks and info.format == "JPEG":
                found[i] = shrunk_jpeg(data, info, *size)
            else:
                batch.append((i, np.frombuffer(data, np.uint8), np.array(size, np.float32)))
        if batch:
            places, images, sizes = zip(*batch, strict=True)
            for i, picture in zip(places, self.pictures.run(IMAGE=images, SIZE=sizes), strict=True):
                found[i] = picture
        return found

    def _check(self, data: bytes) -> ImageInfo | ImageError:
        try:
            return check_image(data, self.limits)
        except ImageError as exc:
            return exc

    def _find(self, picture: np.ndarray, info: Any) -> Faces:
        box, confidence, landmark = centerface.faces(self.net(picture), self.confidence)
        size = np.array([info.width, info.height], np.float32)
        factor = size / np.array(picture.shape[1::-1], np.float32)  # per axis: both scaled sides were rounded
        box = np.clip(box.reshape(-1, 2, 2) * factor, 0, size).reshape(-1, 4)
        return Faces(box, confidence, landmark * factor, np.array([info.height, info.width], np.int32))


def net_size(height: int, width: int) -> tuple[int, int]:
    """Height and width that the net sees of a picture: never enlarged, at least 1 px."""
    side_px = next(side for pixels, side in TIERS if height * width <= pixels)
    scale = min(1.0, side_px / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


OPENVINO = {
    "NUM_STREAMS": 1,
    "INFERENCE_PRECISION_HINT": "f32",  # BF16, the default where a CPU has it, moved boxes by up to 1.4 px
    "ENABLE_CPU_PINNING": False,  # every instance would pin itself to the same first core
}


class Net:
    """CenterFace in OpenVINO. Small inputs have a compiled net each, larger ones share one of dynamic shape.

    A fixed shape saves a sixth of the time; a compiled net costs 0.3 s of the start, and its memory.
    """

    SMALL = ((96, 128), (128, 96), (128, 128))  # height, width: pictures of the first tier from 2:1 to 1:2

    def __init__(self, weights: Path, threads: int) -> None:
        if not weights.is_file():
            raise FileNotFoundError(f"{weights.name} is missing; fetch it with: python -m serving fetch-weights")
        self.weights, self.options = weights, OPENVINO | {"INFERENCE_NUM_THREADS": threads}
        self.any_size = self._compile(-1, -1)
        self.small = {sides: self._compile(*sides) for sides in self.SMALL}

    def __call__(self, picture: np.ndarray) -> centerface.Maps:
        """Maps of a picture (h, w, 3) uint8 RGB, padded with black on the right and below."""
        height, width, _ = picture.shape
        sides = centerface.canvas(height, width)
        padded = np.zeros((1, *sides, 3), np.uint8)
        padded[0, :height, :width] = picture
        request = self.small.get(sides, self.any_size)
        return centerface.Maps(*request.infer([padded], share_inputs=True).values())

    def _compile(self, height: int, width: int) -> openvino.InferRequest:
        core = openvino.Core()
        model = core.read_model(self.weights)
        model.reshape([1, 3, height, width])
        steps = PrePostProcessor(model)
        steps.input().tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
        steps.input().model().set_layout(openvino.Layout("NCHW"))
        return core.compile_model(steps.build(), "CPU", self.options).create_infer_request()
