"""Frames of a video file: upright, in the right colours, cleanly refused."""

import asyncio
import io
import struct
import threading
from collections.abc import Iterator
from contextlib import aclosing
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facewarden import VideoError
from facewarden.video import frame_count, timed_frames, timed_frames_async

av = pytest.importorskip("av")

LEFT, RIGHT = (200, 30, 40), (20, 160, 90)


def picture() -> Any:
    rgb = np.empty((96, 128, 3), np.uint8)
    rgb[:, :64], rgb[:, 64:] = LEFT, RIGHT
    return rgb


def make_video(path: Path, colorspace: str = "ITU601", pix_fmt: str = "yuv420p") -> str:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4" if pix_fmt == "yuv420p" else "ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 128, 96, pix_fmt
        stream.codec_context.colorspace = {"ITU601": 5, "ITU709": 1}[colorspace]
        for i in range(5):
            frame = av.VideoFrame.from_ndarray(picture(), "rgb24").reformat(format=pix_fmt, dst_colorspace=colorspace)
            frame.pts, frame.time_base = i, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return str(path)


def decoded(image: Any) -> Any:
    opened = Image.open(io.BytesIO(image))
    assert opened.format == "JPEG"
    return np.asarray(opened.convert("RGB")).astype(int)


@pytest.mark.parametrize("colorspace", ["ITU601", "ITU709"])
def test_frames_come_in_order_with_times_and_true_colours(tmp_path: Path, colorspace: str) -> None:
    path = make_video(tmp_path / "clip.mkv", colorspace)
    frames = list(timed_frames(path))
    assert [frame.time_s for frame in frames] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    for frame in frames:
        rgb = decoded(frame.image)
        assert rgb.shape == (96, 128, 3)
        assert abs(rgb[48, 20] - LEFT).max() < 8 and abs(rgb[48, 100] - RIGHT).max() < 8


def test_a_task_that_is_cancelled_in_the_middle_of_a_frame_is_cancelled() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> Iterator[bytes]:
        begun.set()
        go_on.wait()
        yield b""

    async def watch() -> None:
        async with aclosing(timed_frames_async(slow())) as frames:
            async for _ in frames:
                pass

    async def cancelled() -> bool:
        task = asyncio.create_task(watch())
        await asyncio.to_thread(begun.wait)
        task.cancel()
        await asyncio.wait([task])
        go_on.set()
        return task.cancelled()

    assert asyncio.run(cancelled())


QUARTER_TURN = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 96 << 16, 0, 1 << 30)  # as telephones write it


def test_frames_come_upright(tmp_path: Path) -> None:
    path = Path(make_video(tmp_path / "clip.mp4"))
    data = path.read_bytes()
    matrix = data.index(b"tkhd") + 4 + 40  # ISO 14496-12, version 0
    path.write_bytes(data[:matrix] + QUARTER_TURN + data[matrix + 36 :])
    rgb = decoded(next(timed_frames(path)).image)
    assert rgb.shape == (128, 96, 3)
    assert abs(rgb[20, 48] - LEFT).max() < 8 and abs(rgb[100, 48] - RIGHT).max() < 8  # what was left is on top


def test_frames_without_colour_are_taken(tmp_path: Path) -> None:
    (frame, *_) = timed_frames(make_video(tmp_path / "clip.mkv", pix_fmt="gray"))
    assert decoded(frame.image).shape == (96, 128, 3)


def test_the_number_of_frames_is_told_where_the_file_says_it(tmp_path: Path) -> None:
    assert frame_count(make_video(tmp_path / "clip.mp4")) == 5
    assert frame_count(str(tmp_path / "missing.mp4")) is None


def test_bare_images_pass_as_they_are() -> None:
    assert [tuple(frame) for frame in timed_frames([b"a", b"b"], fps=2)] == [(0, b"a", 0.0), (1, b"b", 0.5)]


def test_what_is_no_video_is_a_video_error(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    for path in (tmp_path / "missing.mp4", tmp_path / "text.mp4", tmp_path):
        with pytest.raises(VideoError, match=str(path)):
            list(timed_frames(path))


def test_a_cut_file_gives_the_frames_it_holds(tmp_path: Path) -> None:
    whole = Path(make_video(tmp_path / "clip.mkv", pix_fmt="gray")).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) * 2 // 3])
    frames = []
    try:
        frames += timed_frames(tmp_path / "cut.mkv")
    except VideoError as exc:
        assert str(exc).endswith(".")
    assert len(frames) < 5
