"""Real inferences that prove a server healthy: its own readiness stays true when a Python stub is dead."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection

import numpy as np

from serving.paths import REPOSITORY

from .api import Api, ApiError, NoAnswerError

FACE_JPEG = REPOSITORY / "preprocess" / "warmup" / "face.jpg"
OVERLOADED = "Exceeds maximum queue size"  # busy is not broken


class CanaryError(Exception):
    """A model gave no answer to a good image, or (`silent`) none in time; `model` names it."""

    def __init__(self, model: str, reason: ApiError) -> None:
        super().__init__(f"{model}: {reason}")
        self.model, self.silent = model, isinstance(reason, NoAnswerError)


def _image() -> np.ndarray:
    return np.fromfile(FACE_JPEG, np.uint8)  # (L,)


def _decoded() -> dict[str, np.ndarray]:
    return {"FACE": np.full((1, 224, 224, 3), 127, np.uint8)}


def _face() -> dict[str, np.ndarray]:
    return {"IMAGE": _image()[None], "ROI": np.array([[0, 0, 1, 1]], np.float32)}


INPUTS: dict[str, Callable[[], dict[str, np.ndarray]]] = {
    "face_detector": lambda: {"IMAGE": _image()},
    "image_check": _face,
    "preprocess": _face,
    "classifier": _face,
    "deepfake_face": _face,
    "deepfake_image": lambda: {"IMAGE": _image()},
    "deepfake_video": lambda: {"IMAGE": _image()[None], "TIME": np.zeros((1, 1)), "FRAME": np.zeros((1, 1), np.int64)},
}


def inputs(model: str, models: Collection[str]) -> dict[str, np.ndarray]:
    """What `model` is asked where these `models` are loaded: the classifier decodes where nobody does it before."""
    return _decoded() if model == "classifier" and "preprocess" in models else INPUTS[model]()


def parameters(model: str) -> dict[str, int | bool]:
    """With what else `model` is asked: as an interactive request; a video as a stream of one frame."""
    if model == "deepfake_video":
        return {"sequence_id": secrets.randbelow(2**63 - 1) + 1, "sequence_start": True, "sequence_end": True}
    return {} if model == "face_detector" else {"priority": 1}  # which has no queue to go ahead in


def probe(api: Api, models: Collection[str], timeout_s: float) -> None:
    """One inference a model, in this order; CanaryError for the first without an answer."""
    for model in models:
        try:
            api.infer(model, inputs(model, models), timeout_s, **parameters(model))
        except ApiError as exc:
            if OVERLOADED not in str(exc):
                raise CanaryError(model, exc) from exc
