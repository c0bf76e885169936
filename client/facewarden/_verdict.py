"""Answers about pictures, the rule that turns a probability into a label, and their JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from ._errors import FacewardenError

Label: TypeAlias = Literal["real", "review", "fake", "no_face"]
LABELS: tuple[Label, ...] = get_args(Label)
Box: TypeAlias = tuple[float, float, float, float]  # x0, y0, x1, y1


@dataclass(frozen=True)
class Threshold:
    """The label rule: ``fake`` from ``fake_from`` on, ``real`` below ``real_below``, ``review`` between; both 0..1.

    Raises ValueError where the two are out of order or out of range.
    """

    real_below: float
    fake_from: float

    def __post_init__(self) -> None:
        if not 0 <= self.real_below <= self.fake_from <= 1:
            raise ValueError(f"thresholds must be 0 <= real_below <= fake_from <= 1, not {self.to_json()}")

    def label(self, fake_probability: float) -> Label:
        """The label of one face."""
        if fake_probability >= self.fake_from:
            return "fake"
        return "real" if fake_probability < self.real_below else "review"

    def to_json(self) -> list[float]:
        """[real_below, fake_from]."""
        return [_rounded(self.real_below), _rounded(self.fake_from)]


@dataclass(frozen=True)
class Quality:
    """How well the face was seen: variance of the crop's Laplacian, brightness 0..1, side in original pixels."""

    sharpness: float
    brightness: float
    side_px: float | None = None  # None from check_face, which knows no face box

    def to_json(self) -> dict[str, float | None]:
        """Its three numbers by name."""
        side_px = None if self.side_px is None else _rounded(self.side_px, 2)
        return {"sharpness": _rounded(self.sharpness, 3), "brightness": _rounded(self.brightness), "side_px": side_px}


@dataclass(frozen=True)
class Face:
    """One face: ``box`` is x0, y0, x1, y1 in pixels of the upright picture, probabilities and confidence are 0..1."""

    box: Box
    confidence: float
    fake_probability: float
    quality: Quality
    threshold: Threshold
    model_version: int
    landmark: NDArray[np.float32] = field(repr=False, compare=False)  # (k, 2) pixels of the upright picture
    heatmap: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)  # (14, 14) 0..1 over the crop

    @property
    def label(self) -> Label:
        """The label of this face alone."""
        return self.threshold.label(self.fake_probability)

    def to_json(self) -> dict[str, Any]:
        """``box``, ``confidence``, ``fake_probability`` and ``quality``."""
        return {
            "box": [_rounded(value, 2) for value in self.box],
            "confidence": _rounded(self.confidence),
            "fake_probability": _rounded(self.fake_probability),
            "quality": self.quality.to_json(),
        }


@dataclass(frozen=True)
class Verdict:
    """The answer for one image; with an ``error`` there is no label, and ``faces`` is empty."""

    label: Label | None
    fake_probability: float | None  # of the most suspicious face; None without a face
    faces: tuple[Face, ...] = ()
    threshold: Threshold | None = None  # None without a face
    model_version: int | None = None  # None without a face
    image_size: tuple[int, int] | None = None  # height, width of the upright picture
    latency_ms: float = 0.0  # of the call: reading or encoding the image, waiting and retries included
    path: str | None = None  # None for bytes and arrays
    error: FacewardenError | None = None

    @classmethod
    def failed(cls, error: FacewardenError, path: str | None = None, latency_ms: float = 0.0) -> Verdict:
        """The verdict that carries an error."""
        return cls(None, None, path=path, latency_ms=latency_ms, error=error)

    @property
    def face(self) -> Face | None:
        """The most suspicious face."""
        return max(self.faces, key=lambda face: face.fake_probability, default=None)

    def to_json(self) -> dict[str, Any]:
        """One line of ``facewarden check --json``."""
        return {
            "path": self.path,
            "label": self.label,
            "fake_probability": None if self.fake_probability is None else _rounded(self.fake_probability),
            "faces": [face.to_json() for face in self.faces],
            "threshold": None if self.threshold is None else self.threshold.to_json(),
            "model_version": self.model_version,
            "latency_ms": _rounded(self.latency_ms, 2),
            "error": None if self.error is None else str(self.error),
        }


@dataclass(frozen=True)
class FaceVerdict:
    """The answer of ``check_face`` for one crop."""

    label: Label
    fake_probability: float  # calibrated, 0..1
    logit: float
    quality: Quality
    threshold: Threshold
    model_version: int
    latency_ms: float
    heatmap: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)  # (14, 14) 0..1 over the crop


def _rounded(value: float, digits: int = 6) -> float:
    """FP32 has seven digits; further ones are noise."""
    return round(float(value), digits)
