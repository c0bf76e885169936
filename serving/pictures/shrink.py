"""A JPEG in the size that the face detector asks for, out of a decoder that leaves out what would be scaled away.

libjpeg turns each 8x8 block into 8, 4, 2 or 1 pixels a side. Where a picture has to be decoded whole, that takes half
of DALI's time on one core, for 640x480 as for 12 megapixels. It is only for the CPU: a GPU decodes in full as fast.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from .check import TRANSPOSED, UPRIGHT, ImageError, ImageInfo, undecoded


def shrunk_jpeg(data: bytes, info: ImageInfo, height: int, width: int) -> np.ndarray | ImageError:
    """The upright picture (height, width, 3) uint8 RGB of a checked JPEG; an ImageError where it does not decode."""
    stored = (height, width) if info.orientation in TRANSPOSED else (width, height)
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            image.draft(None, stored)
            picture = image.resize(stored, Image.Resampling.BILINEAR).convert("RGB")
    except OSError as exc:
        return undecoded(exc)
    turn = UPRIGHT.get(info.orientation)
    return np.asarray(picture if turn is None else picture.transpose(turn))
