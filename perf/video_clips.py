"""Clips with a known story, made of one public-domain portrait: for tests and for the measurements of `perf.video`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from demo.media import manipulated, portrait

FACE = np.array([184, 64, 270, 176])  # of the portrait, x0, y0, x1, y1
SIZE = (640, 480)
TICKS = 90_000  # a second, in the container's clock


def views(picture: np.ndarray, count: int, seed: int = 0) -> Iterator[np.ndarray]:
    """(480, 640, 3) frames of a hand-held camera that pans and zooms over the portrait's face, with the sensor's
    noise.
    """
    rng = np.random.default_rng(seed)
    phase, amount = rng.uniform(0, 2 * np.pi, 3), rng.uniform(0.4, 1.0, 3)
    image = Image.fromarray(picture)
    for i in range(count):
        x, y, zoom = np.sin(i / 25 * np.array([1.1, 0.8, 0.6]) + phase) * amount
        width = 380 + 60 * zoom
        left, top = 40 + 25 * x, 15 + 14 * y
        frame = np.asarray(image.resize(SIZE, box=(left, top, left + width, top + width * 0.75)), np.float32)
        yield np.clip(frame + rng.normal(0, 2.0, (*frame.shape[:2], 1)), 0, 255).astype(np.uint8)


def genuine(count: int, seed: int = 0) -> list[np.ndarray]:
    """The portrait as it is."""
    return list(views(portrait(), count, seed))


def swapped(count: int, seed: int = 0, ratio: float = 1.0) -> list[np.ndarray]:
    """The same movement, but from the middle on the face is manipulated."""
    fake = views(manipulated(portrait(), FACE), count, seed)
    return [b if i >= count // 2 else a for i, (a, b) in enumerate(zip(genuine(count, seed), fake, strict=True))]


def two_people(count: int, seed: int = 0) -> list[np.ndarray]:
    """A second, smaller person comes in on the right after a third of the clip."""
    guest = Image.fromarray(portrait()).crop((140, 20, 320, 230)).resize((160, 187))
    frames = []
    for i, frame in enumerate(genuine(count, seed)):
        picture = Image.fromarray(frame)
        if i >= count // 3:
            picture.paste(guest, (470, 120))
        frames.append(np.asarray(picture))
    return frames


def black(count: int) -> list[np.ndarray]:
    """Nothing."""
    return [np.zeros((SIZE[1], SIZE[0], 3), np.uint8)] * count


def write(
    path: Path, frames: Iterable[np.ndarray], fps: float = 25, crf: int = 23, times_s: Iterable[float] | None = None
) -> str:
    """H.264 in the container of the path's ending; `times_s` for a variable frame rate."""
    frames = list(frames)
    times = [i / fps for i in range(len(frames))] if times_s is None else list(times_s)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps), options={"crf": str(crf), "preset": "veryfast"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.time_base = "yuv420p", Fraction(1, TICKS)
        stream.codec_context.time_base = Fraction(1, TICKS)
        for frame, time_s in zip(frames, times, strict=True):
            picture = av.VideoFrame.from_ndarray(frame, "rgb24")
            picture.pts, picture.time_base = round(time_s * TICKS), Fraction(1, TICKS)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return str(path)
