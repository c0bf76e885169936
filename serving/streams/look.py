"""A frame seen small: enough to follow a face to the next frame, and to notice that a picture was seen before.

Nothing here reaches the classifier, whose pixels come from the DALI pipeline alone.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from serving.pictures.check import UPRIGHT, ImageInfo

SIDE_PX = 160  # longer side: a JPEG of 640x480 is decoded at a quarter, which is all that libjpeg must transform
HASH_CELLS = 16
WINDOW_PX = 16  # smallest side of the patch that is followed


@dataclass(frozen=True)
class Look:
    """gray: (h, w) uint8, the longer side 160 px; hash: (32,) uint8, 256 bits."""

    gray: np.ndarray
    hash: np.ndarray


def look_at(data: bytes, info: ImageInfo) -> Look:
    """The small picture of an encoded one, upright; `info` is what the check said of it."""
    with Image.open(io.BytesIO(data)) as image:
        scale = SIDE_PX / max(image.size)
        image.draft("L", tuple(int(side * scale) for side in image.size))
        gray = image.convert("L")
    if info.orientation in UPRIGHT:  # Pillow's exif_transpose would also ask XMP, which DALI does not
        gray = gray.transpose(UPRIGHT[info.orientation])
    scale = SIDE_PX / max(gray.size)
    gray = gray.resize([max(1, round(side * scale)) for side in gray.size], Image.Resampling.BOX)
    return Look(np.asarray(gray), difference_hash(gray))


def difference_hash(gray: Image.Image) -> np.ndarray:
    """(32,) uint8: for each of 16x16 cells one bit, whether its right neighbour is brighter (Krawetz, 2013)."""
    cells = np.asarray(gray.resize((HASH_CELLS + 1, HASH_CELLS), Image.Resampling.BOX), np.int16)  # (16, 17)
    return np.packbits(cells[:, 1:] > cells[:, :-1])


def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How many of 256 bits differ: (..., 32) uint8 against (32,)."""
    return np.asarray(BITS[np.bitwise_xor(a, b)].sum(-1))


BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(1)


def shift(before: Look, now: Look, box: np.ndarray) -> tuple[np.ndarray, float]:
    """How far what was in `box` has moved: ((2,) x, y in fractions of the picture, confidence 0..1).

    Phase correlation (Kuglin and Hines, 1975) of the patch around the box in the two small pictures.
    """
    height, width = before.gray.shape
    if now.gray.shape != before.gray.shape:
        return np.zeros(2), 0.0
    size = np.array([width, height])
    centre, side = (box[:2] + box[2:]) / 2 * size, np.clip((box[2:] - box[:2]) * size * 1.5, WINDOW_PX, size)
    low = np.clip(np.round(centre - side / 2), 0, size - np.round(side)).astype(int)
    high = low + np.round(side).astype(int)
    a, b = (look.gray[low[1] : high[1], low[0] : high[0]].astype(np.float32) for look in (before, now))
    rows, columns = a.shape
    hann = np.outer(np.hanning(rows), np.hanning(columns)).astype(np.float32)
    spectrum = np.fft.rfft2((b - b.mean()) * hann) * np.fft.rfft2((a - a.mean()) * hann).conj()
    surface = np.fft.irfft2(spectrum / (np.abs(spectrum) + 1e-3), (rows, columns))
    y, x = np.unravel_index(surface.argmax(), surface.shape)
    moved = np.array([_signed(surface[y], x), _signed(surface[:, x], y)])
    return moved / size, float(surface[y, x])


def _signed(line: np.ndarray, peak: np.intp) -> float:
    """Place of a peak on a circular axis, refined by a parabola through its neighbours."""
    left, middle, right = line[peak - 1], line[peak], line[(peak + 1) % len(line)]
    curve = left - 2 * middle + right
    place = float(peak + (0.5 * (left - right) / curve if curve else 0.0))
    return place - len(line) if place > len(line) / 2 else place
