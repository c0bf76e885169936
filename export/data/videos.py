"""A video -> a few of its frames, evenly spaced and upright, as PNG. From here on they are read like photographs."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from PIL import Image


class VideoError(ValueError):
    """The video, or a frame of it, cannot be read."""


def frames(path: Path, count: int) -> Iterator[tuple[int, bytes | VideoError]]:
    """(number of the frame, PNG) of `count` frames, each in the middle of an equal part; VideoError where one is lost.

    Frames are counted and decoded from the start: seeking by time is wrong in files with odd time stamps. FFmpeg
    conceals damage in a stream, and what it conceals looks like a picture.

    Raises:
        VideoError: nothing of the file can be read.
    """
    total = _frame_count(path)
    wanted = [(2 * i + 1) * total // (2 * count) for i in range(count)] if count < total else list(range(total))
    found = 0
    try:
        with av.open(str(path)) as container:
            for number, frame in enumerate(container.decode(video=0)):
                if number == wanted[found]:
                    yield number, VideoError("the frame is damaged") if frame.is_corrupt else _png(frame)
                    found += 1
                    if found == len(wanted):
                        return
        reason = f"the video ends before this frame, of {total} that it announces"
    except FFmpegError as exc:
        reason = f"cannot be decoded up to this frame: {exc.strerror}"
    yield from ((number, VideoError(reason)) for number in wanted[found:])


def _frame_count(path: Path) -> int:
    """What the header says, else the packets counted."""
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise VideoError("the file holds no video")
            stream = container.streams.video[0]
            count = stream.frames or sum(packet.size > 0 for packet in container.demux(stream))
    except FFmpegError as exc:
        raise VideoError(f"the video cannot be opened: {exc.strerror}") from exc
    if not count:
        raise VideoError("the video has no frames")
    return count


def _png(frame: av.VideoFrame) -> bytes:
    """The upright frame, lossless: a second compression would be a trace that a detector learns."""
    rgb = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)  # (H, W, 3)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(rgb)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
