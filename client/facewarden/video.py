"""What PyAV opens, or images as they come -> numbered frames with their times, and a decoded frame -> JPEG.

Only video files and JPEG need PyAV. A packet that does not decode is left out, as players do.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ._errors import VideoError
from ._image import Image, require_rgb

if TYPE_CHECKING:
    import av
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

Source: TypeAlias = "str | os.PathLike[str] | Iterable[Image]"
Drop: TypeAlias = Literal["oldest"]
MAX_SIDE_PX = 1280  # a face of a sixth of the height still fills the classifier's 224 px
OPEN_TIMEOUT_S, READ_TIMEOUT_S = 10.0, 10.0  # of a network source
LIVE_SOURCES = {"/dev/video": ("v4l2", {}), "rtsp": (None, {"rtsp_transport": "tcp"})}  # start: FFmpeg format, options


class Frame(NamedTuple):
    """One picture of a stream."""

    number: int
    image: Image
    time_s: float  # from the start of the video; for bare images since the first


def reads_ahead(frames: object, drop: Drop | None, window: int, fps: float | None, max_side_px: int | None) -> bool:
    """Whether frames are pulled before the server is free for them; ValueError for options that cannot work."""
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
    """Frames of a video as JPEG, or the caller's images; where PyAV is there, arrays become JPEG too.

    fps: frames a second of the caller's images; None: each gets the time at which it comes
    max_side_px: larger videos and arrays are scaled down to it; None: never

    Raises VideoError where a video cannot be opened or decoded.
    """
    if isinstance(frames, str | os.PathLike):
        yield from _decode(os.fsdecode(frames), max_side_px)
        return
    times_s = _times_s(fps)
    for number, image in enumerate(frames):
        yield Frame(number, _as_jpeg(image, max_side_px), next(times_s))


async def timed_frames_async(
    frames: Source | AsyncIterable[Image], fps: float | None = None, max_side_px: int | None = MAX_SIDE_PX
) -> AsyncGenerator[Frame, None]:
    """``timed_frames`` that decodes in a thread; the caller's images may come asynchronously."""
    if isinstance(frames, AsyncIterable):
        numbers, times_s = itertools.count(), _times_s(fps)
        async for image in frames:
            yield Frame(next(numbers), await asyncio.to_thread(_as_jpeg, image, max_side_px), next(times_s))
        return
    source = timed_frames(frames, fps, max_side_px)
    try:
        while (frame := await asyncio.to_thread(next, source, None)) is not None:
            yield frame
    finally:
        with suppress(ValueError):  # a cancelled task leaves a thread in it, which ends with its frame
            source.close()


def _times_s(fps: float | None) -> Iterator[float]:
    """Times of the caller's images: by their rate, else by when they come."""
    if fps:
        for number in itertools.count():
            yield number / fps
    begin_s = time.monotonic()
    yield 0.0
    while True:
        yield time.monotonic() - begin_s


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
    form, options = next((how for begin, how in LIVE_SOURCES.items() if path.startswith(begin)), (None, {}))
    try:
        container = av.open(path, format=form, options=dict(options), timeout=(OPEN_TIMEOUT_S, READ_TIMEOUT_S))
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
        with suppress(InvalidDataError):
            yield from packet.decode()


def _as_jpeg(image: Image, max_side_px: int | None) -> Image:
    """An array as JPEG of at most this size; without PyAV the array itself, and encoded images as they are."""
    if not isinstance(image, np.ndarray):
        return image
    try:
        from av import VideoFrame
    except ImportError:
        return image
    return encode_jpeg(VideoFrame.from_ndarray(np.ascontiguousarray(require_rgb(image)), format="rgb24"), max_side_px)


def encode_jpeg(frame: VideoFrame, max_side_px: int | None = None) -> bytes:
    """An upright JPEG of a decoded frame, no side longer than ``max_side_px``.

    JPEG takes a sixth of PNG's bytes and half of its time, and a video has been compressed harder before. All of the
    chroma and the lowest quantiser are kept, so that no trace is left that a detector could learn: on a 640x480 frame
    the mean error is 1.0 of 255. Such a frame takes 10 ms.
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
