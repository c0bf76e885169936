"""One stream's side of the protocol of ``deepfake_video``: what each request holds, what each answer means.

Every answer hands back RESUME, the server's state in a kilobyte. Whatever goes wrong, the frame is sent again as the
start of the stream, with the RESUME of the last answer that came: the server then stands where that answer left it,
whether it has meanwhile counted the frame, forgotten the stream or been restarted. So no frame counts twice, and none
is lost, unless a server of another release takes no RESUME of this one: then that frame fails and the stream begins
anew.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from typing import Any

import numpy as np

from ._codec import Array, Call, Tensors, get, outputs, tensor
from ._errors import FacewardenError, ImageError, ServerError
from ._stream import LABELS, Event, FrameVerdict, StreamFace, Summary, Track
from ._verdict import Quality

OUTPUTS = ("STATE", "FAKE_PROBABILITY", "EVENT", "DETAIL", "RESUME")
END_S = 2.0  # how long the end of a stream may take: a courtesy to the server
NOTHING = b"\0"  # an image that is never looked at: a frame that was counted


class Session:
    """A stream; frames are asked about one after the other."""

    def __init__(self, heatmap: bool = False) -> None:
        self._outputs = (*OUTPUTS, *(["HEATMAP"] if heatmap else []))
        self._id = uuid.uuid4().hex
        self._resume: Array | None = None
        self._started = False
        self._last = -1  # last frame that was answered
        self._shown = FrameVerdict(-1, 0.0, None, None, Summary())  # the last answer

    def call(self, frame: int, time_s: float, image: bytes, dropped: int = 0) -> Call[FrameVerdict]:
        """The request for one frame; ``dropped`` frames in all were left out before it."""

        def read(tensors: Tensors, latency_ms: float) -> FrameVerdict:
            verdict = self._read(tensors, frame, time_s)
            self._started, self._last, self._resume = True, frame, get(tensors, "RESUME", (1, -1))
            summary = replace(verdict.so_far, failed=self._shown.so_far.failed, dropped=dropped)
            self._shown = replace(verdict, so_far=summary, image=image, latency_ms=latency_ms)
            return self._shown

        return self._call(frame, time_s, image, read)

    def failed(self, error: FacewardenError, frame: int, time_s: float, latency_ms: float) -> FrameVerdict:
        """What to answer for a frame that was not judged."""
        self._started &= isinstance(error, ImageError)  # any other error leaves open what the server knows
        if isinstance(error, ImageError) and "RESUME" in str(error):
            self._resume = None  # a server of another release does not take it: the stream begins anew
        so_far = self._shown.so_far
        so_far = replace(so_far, failed=so_far.failed + 1)
        self._shown = replace(self._shown, so_far=so_far)
        label, probability = self._shown.label, self._shown.fake_probability
        return FrameVerdict(frame, time_s, label, probability, so_far, latency_ms=latency_ms, error=error)

    def end(self) -> Call[FrameVerdict] | None:
        """The request that ends the stream; None where the server knows none."""
        if not self._started:
            return None
        call = self._call(self._last, 0.0, NOTHING, lambda tensors, latency_ms: self._shown)
        return replace(call, sequence={**call.sequence, "sequence_end": True})

    def _call(self, frame: int, time_s: float, image: bytes, read: Any) -> Call[FrameVerdict]:
        inputs = [
            tensor("IMAGE", np.frombuffer(image, np.uint8)[None]),  # (1, L)
            tensor("TIME", np.array([[time_s]], np.float64)),
            tensor("FRAME", np.array([[frame]], np.int64)),
        ]
        resumed = inputs if self._resume is None else [*inputs, tensor("RESUME", self._resume)]
        again = {"inputs": resumed, "sequence_start": True}
        call = Call("deepfake_video", inputs, outputs(self._outputs), 0, read, {"sequence_id": self._id}, again)
        if self._started:
            return call
        return replace(call, inputs=resumed, sequence={**call.sequence, "sequence_start": True})

    def _read(self, tensors: Tensors, frame: int, time_s: float) -> FrameVerdict:
        label = LABELS[int(get(tensors, "STATE", (1, 1))[0, 0])]
        probability = float(get(tensors, "FAKE_PROBABILITY", (1, 1))[0, 0])
        detail = _json(tensors, "DETAIL")
        summary = detail["summary"]
        tracks = tuple(Track(**track) for track in summary["tracks"])
        heatmap = tensors("HEATMAP")  # (1, 14, 14)
        return FrameVerdict(
            frame,
            time_s,
            label,
            None if label == "no_face" else probability,
            Summary(**{**summary, "tracks": tracks}),
            tuple(map(_face, detail["faces"])),
            tuple(map(_event, _json(tensors, "EVENT"))),
            heatmap=None if heatmap is None or not detail["faces"] else heatmap[0],
        )


def _json(tensors: Tensors, name: str) -> Any:
    value = tensors(name)
    if value is None or value.size != 1:
        raise ServerError(f"The server answered without {name}; is it a Facewarden server?")
    return json.loads(value.item())


def _face(face: dict[str, Any]) -> StreamFace:
    x0, y0, x1, y1 = face["box"]
    quality = Quality(**face["quality"]) if "quality" in face else None
    known = (face["track"], (x0, y0, x1, y1), face["state"], face["fake_probability"])
    return StreamFace(*known, face.get("frame_probability"), quality, tuple(face.get("poor", ())))


def _event(event: dict[str, Any]) -> Event:
    place = {name: event.pop(name, None) for name in ("event", "frame", "time_s", "track")}
    return Event(**place, evidence=event)
