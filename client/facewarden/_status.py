"""What ``status`` answers.

Readiness alone proves little: a model is still called ready when its process has died. So ``status`` sends a canary,
a small real inference, to each model that clients call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from ._errors import FacewardenError
from ._image import encode_png
from ._session import Session
from ._stream import FrameVerdict
from ._verdict import FaceVerdict, Verdict
from .wire import WHOLE_PICTURE, Request, RequestOptions, face_request, image_request

CALLED_MODELS = ("deepfake_face", "deepfake_image", "deepfake_video")  # by clients; these call the others
Model: TypeAlias = tuple[str, str]  # name, version


@dataclass(frozen=True)
class Canary:
    """The outcome of one real inference."""

    latency_ms: float | None = None
    model_version: int | None = None  # of the classifier that answered
    error: FacewardenError | None = None


@dataclass(frozen=True)
class ModelStatus:
    """One version of one model."""

    name: str
    version: str
    ready: bool
    canary: Canary | None = None  # None: a model that clients do not call

    def to_json(self) -> dict[str, Any]:
        """Its fields and its canary's on one level; an error as a sentence."""
        canary = self.canary or Canary()
        error = None if canary.error is None else str(canary.error)
        canary_ms = None if canary.latency_ms is None else round(canary.latency_ms, 2)
        state = {"name": self.name, "version": self.version, "ready": self.ready}
        return {**state, "canary_ms": canary_ms, "error": error}


@dataclass(frozen=True)
class Status:
    """One look at a server."""

    url: str
    server: str  # "triton"
    version: str
    live: bool
    ready: bool
    model_version: int | None  # of the classifier
    models: tuple[ModelStatus, ...]

    @property
    def healthy(self) -> bool:
        """The server is ready and every model that clients call has just answered a real request."""
        answered = [model for model in self.models if model.canary and model.canary.error is None]
        return self.live and self.ready and {model.name for model in answered} == set(CALLED_MODELS)

    def to_json(self) -> dict[str, Any]:
        """``facewarden status --json``."""
        return {
            "url": self.url,
            "server": self.server,
            "version": self.version,
            "live": self.live,
            "ready": self.ready,
            "healthy": self.healthy,
            "model_version": self.model_version,
            "models": [model.to_json() for model in self.models],
        }


def canary_requests() -> list[Request[Any]]:
    """One small request for each model that clients call."""
    ramp = np.arange(64, dtype=np.uint8)
    picture = np.broadcast_to(ramp[:, None, None] + ramp[None, :, None], (64, 64, 3))
    data, options = encode_png(picture), RequestOptions()
    frame = Session().request(0, 0.0, data)
    only_frame = replace(frame, sequence={**frame.sequence, "sequence_end": True})
    return [face_request(data, WHOLE_PICTURE, options), image_request(data, options), only_frame]


def to_canary(answer: FaceVerdict | Verdict | FrameVerdict) -> Canary:
    """The outcome of an inference that was answered."""
    version = answer.so_far.model_version if isinstance(answer, FrameVerdict) else answer.model_version
    return Canary(answer.latency_ms, version)


def loaded_models(statistics: Any) -> list[Model]:
    """Name and version of every model in Triton's statistics.

    Triton's repository index lists them too, but it belongs to model control, and servers may forbid that to clients.
    """
    return [(model.name, model.version) for model in statistics.model_stats]


def read_status(
    url: str, metadata: Any, live: bool, ready: bool, models: Mapping[Model, bool], canaries: Mapping[str, Canary]
) -> Status:
    """Triton's metadata (protobuf), the readiness of each model and the canaries -> status.

    A model that clients call is listed even where it is not loaded: with version "-".
    """
    missing = {(name, "-"): False for name in CALLED_MODELS if name not in {name for name, _ in models}}
    rows = sorted({**models, **missing}.items())
    version = next((canary.model_version for canary in canaries.values() if canary.model_version is not None), None)
    listed = tuple(ModelStatus(*model, model_ready, canaries.get(model[0])) for model, model_ready in rows)
    return Status(url, metadata.name, metadata.version, live, ready, version, listed)
