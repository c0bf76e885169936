"""What a caller may hand over as an image -> the encoded bytes that cross the wire."""

from __future__ import annotations

import os
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ._errors import ImageError
from ._png import encode_png

Image: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | NDArray[np.uint8]
MAX_IMAGE_BYTES = 256 * 2**20  # one gRPC message; the server refuses far smaller images in its own words


def image_path(image: Image) -> str | None:
    """The path that names this image, None for bytes and arrays."""
    return os.fsdecode(image) if isinstance(image, str | os.PathLike) else None


def image_bytes(image: Image) -> bytes:
    """Encoded bytes of a path, of bytes (as they are) or of a (H, W, 3) uint8 RGB array (as PNG).

    Raises ImageError for an unreadable file and for an array of another shape or type.
    """
    path = image_path(image)
    if path is not None:
        return _read(path)
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, np.ndarray):
        return encode_png(checked(image))
    raise ImageError(f"An image is a path, bytes or a uint8 RGB array, not {type(image).__name__}.")


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_IMAGE_BYTES + 1)
    except IsADirectoryError as exc:
        raise ImageError(f"'{path}' is a folder and holds no image (.jpg, .jpeg, .png, .webp).") from exc
    except (OSError, ValueError) as exc:  # ValueError: a NUL byte in the path
        raise ImageError(f"'{path}' cannot be read: {getattr(exc, 'strerror', None) or exc}.") from exc
    if len(data) > MAX_IMAGE_BYTES:
        raise ImageError(f"'{path}' is larger than {MAX_IMAGE_BYTES // 2**20} MiB.")
    return data


def checked(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An array that is a picture; ImageError for any other."""
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise ImageError(f"An array must be uint8 RGB (H, W, 3), not {array.dtype} {array.shape}.")
    return array
