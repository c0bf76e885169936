"""Request and response of every model: tensors are named here and nowhere else in the client."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.utils import np_to_triton_dtype

from ._errors import ImageError, ServerError
from ._verdict import Face, FaceVerdict, Quality, Threshold, Verdict

T = TypeVar("T")
Array: TypeAlias = NDArray[Any]
Tensors: TypeAlias = Callable[[str], Array | None]  # an output by name, None where the answer lacks it
Roi: TypeAlias = Sequence[float]  # x0, y0, x1, y1 as fractions of the upright picture
Priority: TypeAlias = Literal["interactive", "bulk"]

PRIORITIES: dict[Priority, int] = {"interactive": 1, "bulk": 2}
WHOLE: Roi = (0.0, 0.0, 1.0, 1.0)
FACE_OUTPUTS = ("FAKE_PROBABILITY", "LOGIT", "QUALITY", "MODEL_VERSION", "THRESHOLD")
IMAGE_OUTPUTS = (
    "BOX", "CONFIDENCE", "LANDMARK", "FAKE_PROBABILITY", "QUALITY", "MODEL_VERSION", "THRESHOLD", "IMAGE_SIZE",
)  # fmt: skip


@dataclass(frozen=True)
class Call(Generic[T]):
    """One inference: its tensors, and how to read the answer given the tensors and the latency in ms."""

    model_name: str
    inputs: list[InferInput]
    outputs: list[InferRequestedOutput]
    priority: int
    read: Callable[[Tensors, float], T]
    sequence: Mapping[str, Any] = field(default_factory=dict)  # which stream, whether it starts or ends
    again: Mapping[str, Any] = field(default_factory=dict)  # arguments that a retry changes

    @property
    def arguments(self) -> dict[str, Any]:
        """Keywords of tritonclient's ``infer``."""
        names = ("model_name", "inputs", "outputs", "priority")
        return {**{name: getattr(self, name) for name in names}, **self.sequence}


@dataclass(frozen=True)
class Asked:
    """What a caller asks of a picture besides its verdict."""

    heatmap: bool = False
    max_faces: int | None = None
    priority: Priority = "interactive"
    threshold: Threshold | None = None  # overrides the model's

    @property
    def more(self) -> list[str]:
        """Outputs that only some callers want."""
        return ["HEATMAP"] if self.heatmap else []

    def __post_init__(self) -> None:
        if self.priority not in PRIORITIES:
            raise ValueError(f"priority must be one of {', '.join(PRIORITIES)}, not {self.priority!r}")
        if self.max_faces is not None and self.max_faces < 1:
            raise ValueError(f"max_faces must be at least 1, not {self.max_faces}")


def image_call(data: bytes, asked: Asked, path: str | None = None) -> Call[Verdict]:
    """Encoded bytes -> a request of ``deepfake_image``."""
    inputs = [tensor("IMAGE", _bytes(data))]  # (L,)
    if asked.max_faces is not None:
        inputs.append(tensor("MAX_FACES", np.array([asked.max_faces], np.int32)))
    return Call(
        "deepfake_image",
        inputs,
        outputs([*IMAGE_OUTPUTS, *asked.more]),
        PRIORITIES[asked.priority],
        lambda tensors, latency_ms: read_image(tensors, asked.threshold, latency_ms, path),
    )


def face_call(data: bytes, roi: Roi, asked: Asked) -> Call[FaceVerdict]:
    """Encoded bytes and a region -> a request of ``deepfake_face``."""
    return Call(
        "deepfake_face",
        [tensor("IMAGE", _bytes(data)[None]), tensor("ROI", _roi(roi)[None])],  # (1, L), (1, 4)
        outputs([*FACE_OUTPUTS, *asked.more]),
        PRIORITIES[asked.priority],
        lambda tensors, latency_ms: read_face(tensors, asked.threshold, latency_ms),
    )


def read_image(tensors: Tensors, override: Threshold | None, latency_ms: float, path: str | None) -> Verdict:
    """Answer of ``deepfake_image`` -> verdict; its label is that of the most suspicious face."""
    height, width = (int(side) for side in get(tensors, "IMAGE_SIZE", (2,)))
    faces = _faces(tensors, override)
    worst = max(faces, key=lambda face: face.fake_probability, default=None)
    return Verdict(
        label=worst.label if worst else "no_face",
        fake_probability=worst.fake_probability if worst else None,
        faces=faces,
        threshold=worst.threshold if worst else None,
        model_version=worst.model_version if worst else None,
        image_size=(height, width),
        latency_ms=latency_ms,
        path=path,
    )


def read_face(tensors: Tensors, override: Threshold | None, latency_ms: float) -> FaceVerdict:
    """Answer of ``deepfake_face`` -> verdict."""
    probability = float(get(tensors, "FAKE_PROBABILITY", (1, 1))[0, 0])
    threshold = override or _threshold(get(tensors, "THRESHOLD", (1, 2))[0])
    heatmap = tensors("HEATMAP")  # (1, 14, 14)
    return FaceVerdict(
        label=threshold.label(probability),
        fake_probability=probability,
        logit=float(get(tensors, "LOGIT", (1, 1))[0, 0]),
        quality=Quality(*map(float, get(tensors, "QUALITY", (1, 2))[0])),
        threshold=threshold,
        model_version=int(get(tensors, "MODEL_VERSION", (1, 1))[0, 0]),
        latency_ms=latency_ms,
        heatmap=None if heatmap is None else heatmap[0],
    )


def _faces(tensors: Tensors, override: Threshold | None) -> tuple[Face, ...]:
    box = get(tensors, "BOX", (-1, 4))
    count = len(box)
    confidence = get(tensors, "CONFIDENCE", (count,))
    probability = get(tensors, "FAKE_PROBABILITY", (count,))
    quality = get(tensors, "QUALITY", (count, 3))
    threshold = get(tensors, "THRESHOLD", (count, 2))
    landmark = get(tensors, "LANDMARK", (count, -1, 2))
    version = get(tensors, "MODEL_VERSION", (-1,))  # (N,) or (1,)
    heatmap = tensors("HEATMAP")  # (N, 14, 14), or not asked for
    return tuple(
        Face(
            box=_box(box[i]),
            confidence=float(confidence[i]),
            fake_probability=float(probability[i]),
            quality=Quality(*map(float, quality[i])),
            threshold=override or _threshold(threshold[i]),
            model_version=int(version[min(i, len(version) - 1)]),
            landmark=landmark[i],
            heatmap=None if heatmap is None else heatmap[i],
        )
        for i in range(count)
    )


def get(tensors: Tensors, name: str, shape: tuple[int, ...]) -> Array:
    """An output of the expected shape (-1: any) whose values are finite; ServerError otherwise."""
    array = tensors(name)
    if array is None:
        raise ServerError(f"The server answered without {name}; is it a Facewarden server?")
    if array.ndim != len(shape) or any(want not in (-1, got) for want, got in zip(shape, array.shape, strict=True)):
        raise ServerError(f"The server answered {name} with shape {array.shape}, not {shape}.")
    if not np.isfinite(array).all():
        raise ServerError(f"The server answered {name} with a value that is no number.")
    return array


def _box(row: Array) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (float(value) for value in row)
    return x0, y0, x1, y1


def _threshold(row: Array) -> Threshold:
    return Threshold(float(row[0]), float(row[1]))


def _bytes(data: bytes) -> Array:
    return np.frombuffer(data, np.uint8)  # (L,)


def _roi(roi: Roi) -> Array:
    array = np.asarray(roi, np.float32)
    if array.shape != (4,):
        raise ImageError(f"A ROI is x0, y0, x1, y1 as fractions of the picture, not {roi!r}.")
    return array


def tensor(name: str, array: Array) -> InferInput:
    """An input of a request."""
    return InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)).set_data_from_numpy(array)


def outputs(names: Sequence[str]) -> list[InferRequestedOutput]:
    """The outputs that a request asks for."""
    return [InferRequestedOutput(name) for name in names]
