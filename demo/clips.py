"""Clips with a known story, made of a portrait: for tests and for the measurements of `perf.studies.video`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from PIL import Image

from demo.media import portrait
from export.synthesis.self_blend import self_blended_pair
from facewarden.video import encode_jpeg

SIZE = (640, 480)
TICKS = 90_000  # a second, in the container's clock
REACH = np.array([15, 1, 505, 360])  # of a portrait, x0, y0, x1, y1: what the camera of `views` can show
MAX_FACE_PX = 220  # wider, it fills the camera's picture


class Subject(NamedTuple):
    """Who is filmed: (H, W, 3) uint8 RGB, at least REACH, and the face in it, x0, y0, x1, y1."""

    picture: np.ndarray
    face: np.ndarray


def demo_subject() -> Subject:
    """The demo's public-domain portrait."""
    return Subject(portrait(), np.array([184, 64, 270, 176]))


def posed(photograph: np.ndarray, face: np.ndarray) -> Subject:
    """A photograph as the demo's portrait: its face as large and at the same place, larger where it has not as much
    around it.

    Args:
        photograph: (H, W, 3) uint8 RGB.
        face: x0, y0, x1, y1 in pixels.

    Raises:
        ValueError: the face nearly fills the photograph.
    """
    example, size = demo_subject().face, np.array(photograph.shape[1::-1])
    goal, centre = example.reshape(2, 2).mean(0), np.reshape(face, (2, 2)).mean(0)
    extent = float(np.prod(np.subtract(face[2:], face[:2]))) ** 0.5
    wanted = float(np.prod(example[2:] - example[:2])) ** 0.5 / extent
    scale = max(wanted, *(goal - REACH[:2]) / centre, *(REACH[2:] - goal) / (size - centre))
    if scale * extent > MAX_FACE_PX:
        raise ValueError(
            f"too little around the face: it would be shown {scale / wanted:.1f} times as large as the demo's"
        )
    corner = centre - goal / scale
    box = (*(corner + REACH[:2] / scale).clip(0), *(corner + REACH[2:] / scale).clip(None, size))
    shown = Image.fromarray(photograph).resize(tuple(REACH[2:] - REACH[:2]), Image.Resampling.LANCZOS, box=box)
    padding = ((REACH[1], 0), (REACH[0], 0), (0, 0))  # which the camera does not reach
    moved = (np.reshape(face, (2, 2)) - corner) * scale
    return Subject(np.pad(np.asarray(shown), padding), moved.round().astype(int).ravel())


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


def genuine(count: int, seed: int = 0, subject: Subject | None = None) -> list[np.ndarray]:
    """The portrait as it is; the demo's if no other is given."""
    return list(views((subject or demo_subject()).picture, count, seed))


def swapped(count: int, seed: int = 0, subject: Subject | None = None) -> list[np.ndarray]:
    """A camera's movement over a portrait whose face is swapped from the middle on, and nothing else.

    As `genuine`, but each seed makes a swap of its own, and half of them show the portrait recoloured and softened or
    sharpened throughout.
    """
    pair = self_blended_pair(*(subject or demo_subject()), np.random.default_rng(seed), ratio=1.0)
    both = zip(views(pair.real, count, seed), views(pair.fake, count, seed), strict=True)
    return [fake if i >= count // 2 else real for i, (real, fake) in enumerate(both)]


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


def jpegs(frames: Iterable[np.ndarray]) -> list[bytes]:
    """Frames as a client sends them."""
    return [encode_jpeg(av.VideoFrame.from_ndarray(frame, format="rgb24")) for frame in frames]


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
