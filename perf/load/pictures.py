"""The pictures that loads are made of: one public-domain portrait in many shapes, and broken files. In memory."""

from __future__ import annotations

import io
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from PIL import Image

from demo.media import portrait
from serving.supervisor.canary import FACE_JPEG

FRAMES = 50  # of a clip, which is then played forwards and backwards


@dataclass(frozen=True)
class Case:
    """A picture of the mixed load, and how often it comes; `faces` is None where it is broken and has to be refused."""

    name: str
    weight: int
    data: bytes
    faces: int | None = 1


def prepare(ask: str) -> None:
    """Makes the pictures of a kind of load before its first request is due."""
    {"face": face, "image": photo, "mixed": cases, "stream": clip}[ask]()


@cache
def face() -> bytes:
    """A 256x256 JPEG that is a face, 13 KB."""
    return FACE_JPEG.read_bytes()


@cache
def photo() -> bytes:
    """A 640x480 JPEG with one face of about 108 px."""
    return jpeg(scene(640, 480))


def scene(width: int, height: int, faces: int = 1) -> Image.Image:
    """A picture of that size with so many portraits side by side."""
    canvas = Image.new("RGB", (width, height), (96, 110, 128))
    person = Image.fromarray(portrait()).crop((0, 0, 512, 480))
    side = min(height, width // faces)
    scale = side / 480 if faces == 1 else width / faces / 512
    person = person.resize((round(512 * scale), round(480 * scale)))
    for i in range(faces):
        left = (width - faces * person.width) // 2 + i * person.width
        canvas.paste(person, (left, height - person.height))
    return canvas


def jpeg(image: Image.Image, kind: str = "JPEG") -> bytes:
    """Encoded bytes, JPEG unless told otherwise, quality 90."""
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=90)
    return buffer.getvalue()


@cache
def cases() -> tuple[Case, ...]:
    """The table of the mixed load. Weights are a guess at an upload service: mostly phone pictures, some rubbish."""
    large = jpeg(scene(2560, 1920))
    return (
        Case("320x240", 15, jpeg(scene(320, 240))),
        Case("640x480", 35, photo()),
        Case("1280x960", 20, jpeg(scene(1280, 960))),
        Case("2560x1920", 5, large),
        Case("640x480 PNG", 5, jpeg(scene(640, 480), "PNG")),
        Case("3 faces", 10, jpeg(scene(1280, 480, 3)), faces=3),
        Case("no face", 5, jpeg(Image.new("RGB", (640, 480), (90, 120, 90))), faces=0),
        Case("truncated", 3, large[: len(large) // 2], faces=None),
        Case("not a picture", 2, b"GIF89a" + random.Random(0).randbytes(5000), faces=None),
    )


def draw(order: random.Random) -> Case:
    """The next picture of the mixed load."""
    return order.choices(cases(), [case.weight for case in cases()])[0]


@cache
def clip() -> tuple[bytes, ...]:
    """640x480 frames of a moving face as a client sends them."""
    from demo import clips  # brings PyAV

    return tuple(clips.jpegs(clips.genuine(FRAMES)))


def frames() -> Iterator[bytes]:
    """The clip forwards and backwards without end: a camera shows no picture twice in a row."""
    pictures = clip()
    return itertools.cycle([*pictures, *pictures[-2:0:-1]])
