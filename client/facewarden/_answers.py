"""Tensors of an answer -> the verdict that they are; ServerError for tensors that the contract does not allow."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ._errors import ServerError
from ._stream import STATES, Event, FrameVerdict, StreamFace, Summary, Track
from ._verdict import Box, Face, FaceVerdict, Quality, Threshold, Verdict

Array: TypeAlias = NDArray[Any]
Answer: TypeAlias = Callable[[str], Array | None]  # an output by its name; None where the answer lacks it


def read_image(answer: Answer, override: Threshold | None, latency_ms: float, path: str | None) -> Verdict:
    """Answer of ``deepfake_image`` -> verdict; its label is that of the most suspicious face."""
    height, width = (int(side) for side in read_tensor(answer, "IMAGE_SIZE", (2,)))
    faces = _read_faces(answer, override)
    verdict = Verdict("no_face", None, faces, image_size=(height, width), latency_ms=latency_ms, path=path)
    if (worst := verdict.face) is None:
        return verdict
    of_worst = replace(verdict, label=worst.label, fake_probability=worst.fake_probability)
    return replace(of_worst, threshold=worst.threshold, model_version=worst.model_version)


def read_face(answer: Answer, override: Threshold | None, latency_ms: float) -> FaceVerdict:
    """Answer of ``deepfake_face`` -> verdict."""
    probability = float(read_tensor(answer, "FAKE_PROBABILITY", (1, 1))[0, 0])
    threshold = override or Threshold(*map(float, read_tensor(answer, "THRESHOLD", (1, 2))[0]))
    heatmap = answer("HEATMAP")  # (1, 14, 14)
    return FaceVerdict(
        label=threshold.label(probability),
        fake_probability=probability,
        logit=float(read_tensor(answer, "LOGIT", (1, 1))[0, 0]),
        quality=Quality(*map(float, read_tensor(answer, "QUALITY", (1, 2))[0])),
        threshold=threshold,
        model_version=int(read_tensor(answer, "MODEL_VERSION", (1, 1))[0, 0]),
        latency_ms=latency_ms,
        heatmap=None if heatmap is None else heatmap[0],
    )


def read_frame(answer: Answer, frame: int, time_s: float) -> FrameVerdict:
    """Answer of ``deepfake_video`` -> verdict."""
    label = STATES[int(read_tensor(answer, "STATE", (1, 1))[0, 0])]
    probability = float(read_tensor(answer, "FAKE_PROBABILITY", (1, 1))[0, 0])
    detail, events = _read_json(answer, "DETAIL"), _read_json(answer, "EVENT")
    summary, faces = detail["summary"], detail["faces"]
    tracks = tuple(Track(**track) for track in summary["tracks"])
    heatmap = answer("HEATMAP")  # (1, 14, 14)
    return FrameVerdict(
        frame,
        time_s,
        label,
        None if label == "no_face" else probability,
        Summary(**{**summary, "tracks": tracks}),
        tuple(map(_stream_face, faces)),
        tuple(map(_event, events)),
        heatmap=None if heatmap is None or not faces else heatmap[0],
    )


def read_tensor(answer: Answer, name: str, shape: tuple[int, ...]) -> Array:
    """An output of the expected shape (-1: any) whose values are finite."""
    array = answer(name)
    if array is None:
        raise ServerError(f"The server answered without {name}; is it a Facewarden server?")
    if array.ndim != len(shape) or any(want not in (-1, got) for want, got in zip(shape, array.shape, strict=True)):
        raise ServerError(f"The server answered {name} with shape {array.shape}, not {shape}.")
    if not np.isfinite(array).all():
        raise ServerError(f"The server answered {name} with a value that is not a number.")
    return array


def _read_faces(answer: Answer, override: Threshold | None) -> tuple[Face, ...]:
    box = read_tensor(answer, "BOX", (-1, 4))
    count = len(box)
    confidence = read_tensor(answer, "CONFIDENCE", (count,))
    probability = read_tensor(answer, "FAKE_PROBABILITY", (count,))
    quality = read_tensor(answer, "QUALITY", (count, 3))
    threshold = read_tensor(answer, "THRESHOLD", (count, 2))
    landmark = read_tensor(answer, "LANDMARK", (count, -1, 2))
    version = read_tensor(answer, "MODEL_VERSION", (-1,))  # (N,), or (1,) for all of them
    heatmap = answer("HEATMAP")  # (N, 14, 14); None where it was not asked for
    return tuple(
        Face(
            box=_box(box[i]),
            confidence=float(confidence[i]),
            fake_probability=float(probability[i]),
            quality=Quality(*map(float, quality[i])),
            threshold=override or Threshold(*map(float, threshold[i])),
            model_version=int(version[min(i, len(version) - 1)]),
            landmark=landmark[i],
            heatmap=None if heatmap is None else heatmap[i],
        )
        for i in range(count)
    )


def _read_json(answer: Answer, name: str) -> Any:
    value = answer(name)
    if value is None or value.size != 1:
        raise ServerError(f"The server answered without {name}; is it a Facewarden server?")
    return json.loads(value.item())


def _stream_face(face: dict[str, Any]) -> StreamFace:
    return StreamFace(
        track=face["track"],
        box=_box(face["box"]),
        label=face["state"],
        fake_probability=face["fake_probability"],
        frame_probability=face.get("frame_probability"),
        quality=Quality(**face["quality"]) if "quality" in face else None,
        poor=tuple(face.get("poor", ())),
    )


def _event(event: dict[str, Any]) -> Event:
    place = {name: event.pop(name, None) for name in ("event", "frame", "time_s", "track")}
    return Event(**place, evidence=event)


def _box(row: Any) -> Box:
    x0, y0, x1, y1 = (float(value) for value in row)
    return x0, y0, x1, y1
