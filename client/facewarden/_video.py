"""Anything that PyAV opens, or images as they come -> numbered frames with their times. PyAV is needed only for the
first.

A packet that does not decode is left out, as players do; its number is missing then.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ._errors import VideoError
from ._image import Image, checked

if TYPE_CHECKING:
    import av
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

Source: TypeAlias = "str | os.PathLike[str] | Iterable[Image]"
Drop: TypeAlias = Literal["oldest"]
MAX_SIDE_PX = 1280  # a face of a sixth of the height still fills the classifier's 224 px
OPEN_S, READ_S = 10.0, 10.0  # what a network source may take to open, and to send on
LIVE = {"/dev/video": ("v4l2", {}), "rtsp": (None, {"rtsp_transport": "tcp"})}  # address: format, options


class Frame(NamedTuple):
    """One picture of a stream."""

    number: int
    image: Image
    time_s: float  # from the start of the video; for bare images since the first


def ahead(frames: object, drop: Drop | None, window: int, fps: float | None, max_side_px: int | None) -> bool:
    """Whether frames are fetched before their turn; ValueError for options that cannot work."""
    if fps is not None and not fps > 0:
        raise ValueError(f"fps must be above 0, not {fps}")
    if max_side_px is not None and max_side_px < 1:
        raise ValueError(f"max_side_px must be at least 1, not {max_side_px}")
    if drop not in (None, "oldest"):
        raise ValueError(f"drop must be 'oldest' or None, not {drop!r}")
    if window < 1:
        raise ValueError(f"window must be at least 1, not {window}")
    return drop is not None or isinstance(frames, str | os.PathLike)


def timed_frames(
    frames: Source, fps: float | None = None, max_side_px: int | None = MAX_SIDE_PX
) -> Generator[Frame, None, None]:
    """Frames of a video as JPEG, or the caller's images, arrays as JPEG where PyAV is there."""
    if isinstance(frames, str | os.PathLike):
        yield from _decode(os.fsdecode(frames), max_side_px)
        return
    clock = _Clock(fps)
    for number, image in enumerate(frames):
        yield Frame(number, _smaller(image, max_side_px), clock(number))


async def timed_frames_async(
    frames: Source | AsyncIterable[Image], fps: float | None = None, max_side_px: int | None = MAX_SIDE_PX
) -> AsyncGenerator[Frame, None]:
    """``timed_frames`` that decodes in a thread; the caller's images may come asynchronously."""
    if isinstance(frames, AsyncIterable):
        clock, number = _Clock(fps), 0
        async for image in frames:
            yield Frame(number, await asyncio.to_thread(_smaller, image, max_side_px), clock(number))
            number += 1
        return
    source = timed_frames(frames, fps, max_side_px)
    try:
        while (frame := await asyncio.to_thread(next, source, None)) is not None:
            yield frame
    finally:
        with suppress(ValueError):  # a cancelled task leaves a thread in it, which ends with its frame
            source.close()


class _Clock:
    """Times of bare images: by their rate, else by when they come."""

    def __init__(self, fps: float | None) -> None:
        self._fps = fps
        self._begin_s: float | None = None

    def __call__(self, number: int) -> float:
        if self._fps:
            return number / self._fps
        now_s = time.monotonic()
        self._begin_s = now_s if self._begin_s is None else self._begin_s
        return now_s - self._begin_s


def frame_count(path: str) -> int | None:
    """How many frames the file says it holds; None where it does not say."""
    try:
        with _open(path) as container:
            return container.streams.video[0].frames or None
    except VideoError:
        return None


def _open(path: str) -> av.container.InputContainer:
    try:
        import av
    except ImportError as exc:
        raise VideoError("Reading a video file needs PyAV: pip install 'facewarden[video]'.") from exc
    form, options = next((how for begin, how in LIVE.items() if path.startswith(begin)), (None, {}))
    try:
        container = av.open(path, format=form, options=dict(options), timeout=(OPEN_S, READ_S))
    except (av.error.FFmpegError, OSError, ValueError) as exc:
        raise VideoError(f"'{path}' cannot be opened: {getattr(exc, 'strerror', None) or exc}.") from exc
    if not container.streams.video:
        container.close()
        raise VideoError(f"'{path}' holds no video.")
    return container


def _decode(path: str, max_side_px: int | None) -> Generator[Frame, None, None]:
    with _open(path) as container:
        from av.error import FFmpegError

        stream = container.streams.video[0]
        stream.thread_type = "AUTO"  # frames in parallel: without it one core decodes alone
        rate, number = float(stream.average_rate or 25), -1
        try:
            for number, frame in enumerate(_good_frames(container, stream)):
                time_s = number / rate if frame.time is None else frame.time
                yield Frame(number, encode_jpeg(frame, max_side_px), time_s)
        except FFmpegError as exc:
            raise VideoError(f"'{path}' cannot be decoded further: {exc.strerror}.") from exc
        if number < 0:
            raise VideoError(f"'{path}' holds no frame that can be decoded.")


def _good_frames(container: av.container.InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    from av.error import InvalidDataError

    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except InvalidDataError:
            continue


def _smaller(image: Image, max_side_px: int | None) -> Image:
    """Arrays become JPEG, in the size that is sent; without PyAV, and whatever is encoded, they stay as they are."""
    if not isinstance(image, np.ndarray):
        return image
    try:
        from av import VideoFrame
    except ImportError:
        return image
    return encode_jpeg(VideoFrame.from_ndarray(np.ascontiguousarray(checked(image)), format="rgb24"), max_side_px)


def encode_jpeg(frame: VideoFrame, max_side_px: int | None = None) -> bytes:
    """An upright JPEG of a decoded frame, no side longer than ``max_side_px``.

    JPEG and not PNG: a sixth of the bytes and half of the time, and a video has been compressed harder before. All
    of the chroma and the lowest quantiser, so that this second compression leaves no trace that a detector could learn:
    mean error 1.0 of 255 on a 640x480 frame, 10 ms.
    """
    from av import CodecContext, VideoFrame

    scale = min(1.0, (max_side_px or max(frame.width, frame.height)) / max(frame.width, frame.height))
    size = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    smaller = frame if scale == 1 else frame.reformat(*size, interpolation="AREA")
    rgb: NDArray[Any] = smaller.to_ndarray(format="rgb24")  # (H, W, 3), in the frame's own colour space and range
    if frame.rotation % 360:
        rgb = np.ascontiguousarray(np.rot90(rgb, frame.rotation // 90))
    upright = VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuvj444p")
    codec = CodecContext.create("mjpeg", "w")
    codec.width, codec.height, codec.pix_fmt = upright.width, upright.height, upright.format.name
    codec.time_base = Fraction(1, 25)  # FFmpeg wants one, JPEG has none
    codec.options = {"qmin": "1", "qmax": "2"}
    return b"".join(bytes(packet) for packet in [*codec.encode(upright), *codec.encode(None)])
