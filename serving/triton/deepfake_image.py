"""One photograph: faces from `face_detector`, one `deepfake_face` request a face, all in flight at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import triton_python_backend_utils as pb_utils

from serving.pictures.crop import face_roi

from .calls import infer_blocking
from .config import Config
from .errors import failed
from .tensors import input_array, output

DETECTED = ["BOX", "CONFIDENCE", "LANDMARK", "IMAGE_SIZE"]
JUDGED = {  # output of `deepfake_face`: what one row holds
    "FAKE_PROBABILITY": ((), np.float32),
    "HEATMAP": ((14, 14), np.float32),
    "QUALITY": ((2,), np.float32),
    "MODEL_VERSION": ((), np.int32),
    "THRESHOLD": ((2,), np.float32),
}
DEFAULT_MAX_FACES = 16


class TritonPythonModel:
    """IMAGE (L,) uint8 encoded, optional MAX_FACES (1,) int32 -> one row a face, largest face first."""

    def initialize(self, args: dict[str, str]) -> None:
        self.max_faces = int(Config(args).parameter("max_faces", str(DEFAULT_MAX_FACES)))
        if self.max_faces < 1:
            raise ValueError(f"max_faces is at least 1, got {self.max_faces}")
        self.threads = ThreadPoolExecutor(self.max_faces)  # they only wait

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        return [self.answer(request) for request in requests]

    def answer(self, request: pb_utils.InferenceRequest) -> pb_utils.InferenceResponse:
        try:
            rows = self.judge(request)
        except Exception as exc:  # left alone, its traceback with the server's paths would reach the caller
            return failed(exc)
        return pb_utils.InferenceResponse([output(name, rows[name]) for name in request.requested_output_names()])

    def judge(self, request: pb_utils.InferenceRequest) -> dict[str, np.ndarray]:
        """Every output of this model for one request, but only those of JUDGED that it asked for."""
        image = input_array(request, "IMAGE").copy()  # writable: each call to another model would copy it again
        wanted = [name for name in JUDGED if name in request.requested_output_names()]
        detected = infer_blocking("face_detector", DETECTED, {"IMAGE": image})
        largest = largest_first(detected["BOX"])[: self.limit(request)]
        rows = {name: detected[name][largest] for name in DETECTED[:3]} | {"IMAGE_SIZE": detected["IMAGE_SIZE"]}
        height, width = detected["IMAGE_SIZE"].tolist()
        rois = face_roi(rows["BOX"], height, width)  # (N, 4)
        verdicts = self.judge_faces(image, rois, wanted)
        for name in wanted:
            shape, dtype = JUDGED[name]
            rows[name] = np.array([verdict[name] for verdict in verdicts], dtype).reshape(-1, *shape)
        if "QUALITY" in rows:
            side_px = (rois[:, 2:3] - rois[:, :1]) * width  # (N, 1)
            rows["QUALITY"] = np.concatenate([rows["QUALITY"], side_px.astype(np.float32)], -1)
        return rows

    def judge_faces(self, image: np.ndarray, rois: np.ndarray, wanted: list[str]) -> list[dict[str, np.ndarray]]:
        """The wanted outputs of each region, all asked at once; one alone needs no other thread."""
        if len(rois) == 1:
            return [judge_face(image, rois[0], wanted)]
        return list(self.threads.map(lambda roi: judge_face(image, roi, wanted), rois))

    def limit(self, request: pb_utils.InferenceRequest) -> int:
        """How many faces to judge: MAX_FACES of the request within 1 and the configured maximum."""
        if pb_utils.get_input_tensor_by_name(request, "MAX_FACES") is None:
            return self.max_faces
        return int(np.clip(input_array(request, "MAX_FACES")[0], 1, self.max_faces))


def judge_face(image: np.ndarray, roi: np.ndarray, wanted: list[str]) -> dict[str, np.ndarray]:
    """The wanted outputs of `deepfake_face` for one region of the encoded image."""
    if not wanted:
        return {}
    return infer_blocking("deepfake_face", wanted, {"IMAGE": image[None], "ROI": roi[None]})


def largest_first(boxes: np.ndarray) -> np.ndarray:
    """Order of (N, 4) boxes by area, the largest first."""
    sizes = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None)
    return np.argsort(-sizes.prod(-1), kind="stable")
