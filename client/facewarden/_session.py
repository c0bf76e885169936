"""One stream's side of the protocol of ``deepfake_video``: what each request holds, what each answer means.

Every answer hands back RESUME, the server's state in a kilobyte. Where a call fails, the frame is sent again as the
start of the stream, with the RESUME of the last answer that came. The server then stands where that answer left it. It
does not matter whether it has counted the frame meanwhile, forgotten the stream or been restarted: no frame counts
twice, and none is lost.

A server of another release may refuse this RESUME. Then that frame fails, and the stream begins anew.
"""

from __future__ import annotations

import uuid
from dataclasses import replace

from ._errors import FacewardenError, ImageError
from ._stream import FrameVerdict, Summary
from .wire import Answer, Array, Request, frame_request, read_tensor

END_TIMEOUT_S = 2.0  # how long the end of a stream may take: the server does without it
NO_IMAGE = b"\0"  # the server looks at no image of a frame that it has counted


class Session:
    """A stream; its frames are sent one after the other."""

    def __init__(self, heatmap: bool = False) -> None:
        self._heatmap = heatmap
        self._stream_id = uuid.uuid4().hex
        self._resume: Array | None = None  # of the last answer
        self._started = False
        self._last_frame = -1  # that was answered
        self._last_verdict = FrameVerdict(-1, 0.0, None, None, Summary())

    def request(self, frame: int, time_s: float, image: bytes, dropped: int = 0) -> Request[FrameVerdict]:
        """The request for one frame; ``dropped`` frames in all were left out before it."""
        sent = self._request(frame, time_s, image)

        def read(answer: Answer, latency_ms: float) -> FrameVerdict:
            verdict = sent.read(answer, latency_ms)
            self._resume = read_tensor(answer, "RESUME", (1, -1))
            self._started, self._last_frame = True, frame
            so_far = replace(verdict.so_far, failed=self._last_verdict.so_far.failed, dropped=dropped)
            self._last_verdict = replace(verdict, so_far=so_far)
            return self._last_verdict

        return replace(sent, read=read)

    def failed(self, error: FacewardenError, frame: int, time_s: float, latency_ms: float) -> FrameVerdict:
        """The verdict for a frame that was not judged: the stream's last one, with the error."""
        if not isinstance(error, ImageError):
            self._started = False  # the server may or may not know the stream
        elif "RESUME" in str(error):
            self._resume = None  # a server of another release does not take it: the stream begins anew
        last = self._last_verdict
        so_far = replace(last.so_far, failed=last.so_far.failed + 1)
        self._last_verdict = replace(last, so_far=so_far)
        running = (last.label, last.fake_probability, so_far)
        return FrameVerdict(frame, time_s, *running, latency_ms=latency_ms, error=error)

    def end(self) -> Request[FrameVerdict] | None:
        """The request that ends the stream; None where the server knows none."""
        if not self._started:
            return None
        request = self._request(self._last_frame, 0.0, NO_IMAGE)
        sequence = {**request.sequence, "sequence_end": True}
        return replace(request, sequence=sequence, read=lambda answer, latency_ms: self._last_verdict)

    def _request(self, frame: int, time_s: float, image: bytes) -> Request[FrameVerdict]:
        of_frame = (image, time_s, frame, self._stream_id)
        first = frame_request(*of_frame, start=True, resume=self._resume, heatmap=self._heatmap)
        if not self._started:
            return first
        return replace(frame_request(*of_frame, heatmap=self._heatmap), retry=first)
