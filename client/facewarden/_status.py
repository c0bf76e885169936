"""What ``status`` answers. Readiness alone proves little: a model whose process died still calls itself ready."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ._codec import WHOLE, Asked, Call, face_call, image_call
from ._errors import FacewardenError
from ._png import encode_png
from ._session import Session
from ._stream import FrameVerdict
from ._verdict import FaceVerdict, Verdict

CANARIES = (
    "deepfake_face",
    "deepfake_image",
    "deepfake_video",
)  # what clients call; the rest is behind


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
        """Flat, errors as sentences."""
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
        return self.live and self.ready and {model.name for model in answered} == set(CANARIES)

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


def canary_calls() -> list[Call[Any]]:
    """One small request for each model that clients call."""
    ramp = np.arange(64, dtype=np.uint8)
    picture = np.broadcast_to(ramp[:, None, None] + ramp[None, :, None], (64, 64, 3))
    data, asked = encode_png(picture), Asked()
    stream = Session().call(0, 0.0, data)
    ended = replace(stream, sequence={**stream.sequence, "sequence_end": True})
    return [face_call(data, WHOLE, asked), image_call(data, asked), ended]


def canary_of(answer: FaceVerdict | Verdict | FrameVerdict) -> Canary:
    """A canary that lives."""
    version = answer.so_far.model_version if isinstance(answer, FrameVerdict) else answer.model_version
    return Canary(answer.latency_ms, version)


def loaded(statistics: Any) -> list[tuple[str, str]]:
    """Name and version of every model in Triton's statistics.

    The repository index would say the same, but it belongs to model control, which servers keep from clients.
    """
    return [(model.name, model.version) for model in statistics.model_stats]


def read_status(
    url: str,
    metadata: Any,
    live: bool,
    ready: bool,
    models: Mapping[tuple[str, str], bool],
    canaries: Mapping[str, Canary],
) -> Status:
    """Triton's metadata (protobuf), readiness of each model and the canaries -> status.

    A model that clients call and that is not loaded comes too, with version "-".
    """
    missing = {(name, "-"): False for name in CANARIES if name not in {name for name, _ in models}}
    rows = sorted({**models, **missing}.items())
    version = next((canary.model_version for canary in canaries.values() if canary.model_version is not None), None)
    listed = tuple(ModelStatus(*model, model_ready, canaries.get(model[0])) for model, model_ready in rows)
    return Status(url, metadata.name, metadata.version, live, ready, version, listed)
