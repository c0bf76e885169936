"""The wire: tensors, codes, label names, the label rule, requests, and how their answers are read.

Each model's ``config.pbtxt`` is the contract. L is the length of an encoded image, N the number of faces.

deepfake_face   IMAGE uint8 (1, L), ROI float32 (1, 4)
                -> FAKE_PROBABILITY, LOGIT float32 (1, 1); QUALITY, THRESHOLD float32 (1, 2); MODEL_VERSION int32 (1, 1)
deepfake_image  IMAGE uint8 (L,), optional MAX_FACES int32 (1,)
                -> BOX float32 (N, 4); CONFIDENCE, FAKE_PROBABILITY float32 (N,); LANDMARK float32 (N, k, 2);
                QUALITY float32 (N, 3); THRESHOLD float32 (N, 2); MODEL_VERSION int32 (N,); IMAGE_SIZE int32 (2,)
deepfake_video  IMAGE uint8 (1, L), TIME float64 (1, 1) seconds, FRAME int64 (1, 1), optional RESUME uint8 (1, R)
                -> STATE int32 (1, 1); FAKE_PROBABILITY float32 (1, 1); EVENT, DETAIL JSON (1, 1); RESUME uint8 (1, R)

Every model has one more output, HEATMAP float32 (1 or N, 14, 14); it is sent only where a request asks for it.

This module needs numpy and the standard library alone; only ``Request.arguments`` imports tritonclient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import numpy as np

from ._answers import Answer, Array, read_face, read_frame, read_image, read_tensor
from ._errors import ImageError
from ._stream import STATES, FrameVerdict, StreamLabel
from ._verdict import LABELS, FaceVerdict, Label, Threshold, Verdict

__all__ = [
    "FACE_OUTPUTS", "HEATMAP", "IMAGE_OUTPUTS", "LABELS", "PRIORITIES", "STATES", "STREAM_OUTPUTS", "WHOLE_PICTURE",
    "Answer", "Array", "Label", "Priority", "Request", "RequestOptions", "Roi", "StreamLabel", "Threshold",
    "face_request", "frame_request", "image_request", "read_face", "read_frame", "read_image", "read_tensor",
]  # fmt: skip

T = TypeVar("T")
Roi: TypeAlias = Sequence[float]  # x0, y0, x1, y1 as fractions of the upright picture
Priority: TypeAlias = Literal["interactive", "bulk"]

PRIORITIES: dict[Priority, int] = {"interactive": 1, "bulk": 2}
WHOLE_PICTURE: Roi = (0.0, 0.0, 1.0, 1.0)
FACE_OUTPUTS = ("FAKE_PROBABILITY", "LOGIT", "QUALITY", "MODEL_VERSION", "THRESHOLD")
IMAGE_OUTPUTS = (
    "BOX", "CONFIDENCE", "LANDMARK", "FAKE_PROBABILITY", "QUALITY", "MODEL_VERSION", "THRESHOLD", "IMAGE_SIZE",
)  # fmt: skip
STREAM_OUTPUTS = ("STATE", "FAKE_PROBABILITY", "EVENT", "DETAIL", "RESUME")
HEATMAP = "HEATMAP"


@dataclass(frozen=True)
class RequestOptions:
    """What a caller may choose for each picture; ValueError for an unknown priority or ``max_faces`` below 1."""

    heatmap: bool = False
    max_faces: int | None = None  # None: the server's own limit
    priority: Priority = "interactive"
    threshold: Threshold | None = None  # instead of the model's

    def __post_init__(self) -> None:
        if self.priority not in PRIORITIES:
            raise ValueError(f"priority must be one of {', '.join(PRIORITIES)}, not {self.priority!r}")
        if self.max_faces is not None and self.max_faces < 1:
            raise ValueError(f"max_faces must be at least 1, not {self.max_faces}")


@dataclass(frozen=True)
class Request(Generic[T]):
    """One inference: what is sent, and how its answer is read."""

    model_name: str
    inputs: Mapping[str, Array]
    outputs: Sequence[str]
    read: Callable[[Answer, float], T]  # the answer and the latency in ms -> what the caller gets
    priority: int = 0  # 0: the model's default
    sequence: Mapping[str, Any] = field(default_factory=dict)  # the stream's ID, and whether it starts or ends
    retry: Request[T] | None = None  # what a retry sends; None: the same again

    def arguments(self) -> dict[str, Any]:
        """Keywords of tritonclient's ``infer`` over gRPC."""
        from tritonclient.grpc import InferInput, InferRequestedOutput
        from tritonclient.utils import np_to_triton_dtype

        inputs = [
            InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)).set_data_from_numpy(array)
            for name, array in self.inputs.items()
        ]
        outputs = [InferRequestedOutput(name) for name in self.outputs]
        named = {"model_name": self.model_name, "inputs": inputs, "outputs": outputs, "priority": self.priority}
        return {**named, **self.sequence}

    def retry_arguments(self) -> dict[str, Any]:
        """The keywords that a retry changes."""
        return self.retry.arguments() if self.retry else {}


def image_request(data: bytes, options: RequestOptions, path: str | None = None) -> Request[Verdict]:
    """Encoded bytes -> a request of ``deepfake_image``; ``path`` goes into the verdict."""
    inputs = {"IMAGE": _bytes(data)}  # (L,)
    if options.max_faces is not None:
        inputs["MAX_FACES"] = np.array([options.max_faces], np.int32)
    return Request(
        "deepfake_image",
        inputs,
        _with_heatmap(IMAGE_OUTPUTS, options.heatmap),
        lambda answer, latency_ms: read_image(answer, options.threshold, latency_ms, path),
        PRIORITIES[options.priority],
    )


def face_request(data: bytes, roi: Roi, options: RequestOptions) -> Request[FaceVerdict]:
    """Encoded bytes and a region -> a request of ``deepfake_face``; ImageError unless a ROI is four numbers."""
    region = np.asarray(roi, np.float32)
    if region.shape != (4,):
        raise ImageError(f"A ROI is x0, y0, x1, y1 as fractions of the picture, not {roi!r}.")
    return Request(
        "deepfake_face",
        {"IMAGE": _bytes(data)[None], "ROI": region[None]},  # (1, L), (1, 4)
        _with_heatmap(FACE_OUTPUTS, options.heatmap),
        lambda answer, latency_ms: read_face(answer, options.threshold, latency_ms),
        PRIORITIES[options.priority],
    )


def frame_request(
    data: bytes,
    time_s: float,
    frame: int,
    stream_id: str,
    *,
    start: bool = False,
    resume: Array | None = None,
    heatmap: bool = False,
) -> Request[FrameVerdict]:
    """One frame of a stream, as encoded bytes -> a request of ``deepfake_video``.

    stream_id: the sequence's correlation ID; the frames of a stream are sent one after the other
    start: begin the stream, or continue it where the answer that held ``resume`` (1, R) left it
    """
    inputs = {
        "IMAGE": _bytes(data)[None],  # (1, L)
        "TIME": np.array([[time_s]], np.float64),
        "FRAME": np.array([[frame]], np.int64),
    }
    if resume is not None:
        inputs["RESUME"] = resume
    return Request(
        "deepfake_video",
        inputs,
        _with_heatmap(STREAM_OUTPUTS, heatmap),
        lambda answer, latency_ms: replace(read_frame(answer, frame, time_s), image=data, latency_ms=latency_ms),
        sequence={"sequence_id": stream_id, "sequence_start": start},
    )


def _with_heatmap(outputs: tuple[str, ...], heatmap: bool) -> tuple[str, ...]:
    return (*outputs, HEATMAP) if heatmap else outputs


def _bytes(data: bytes) -> Array:
    return np.frombuffer(data, np.uint8)  # (L,)
