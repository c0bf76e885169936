"""Paths, bytes and arrays -> bytes for the wire; Pillow reads back what the PNG encoder wrote."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facewarden import ImageError
from facewarden._image import encode_png, image_bytes, image_path

RNG = np.random.default_rng(7)
NOISE = RNG.integers(0, 256, (31, 17, 3), np.uint8)
ARRAYS = {
    "noise": NOISE,
    "one pixel": NOISE[:1, :1],
    "one row": NOISE[:1],
    "one column": NOISE[:, :1],
    "upside down view": NOISE[::-1],
    "BGR view": NOISE[..., ::-1],
    "every second pixel": NOISE[::2, ::2],
    "Fortran order": np.asfortranarray(NOISE),
    "gradient": np.broadcast_to(np.arange(200, dtype=np.uint8)[:, None, None], (200, 300, 3)),
}


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_png_is_read_back_bit_for_bit(array: Any) -> None:
    picture = Image.open(io.BytesIO(encode_png(array)))
    assert (picture.format, picture.mode) == ("PNG", "RGB")
    np.testing.assert_array_equal(np.asarray(picture), array)


def test_arrays_are_sent_as_png() -> None:
    assert image_bytes(NOISE) == encode_png(NOISE)


@pytest.mark.parametrize("data", [b"abc", bytearray(b"abc"), memoryview(b"abc")], ids=lambda data: type(data).__name__)
def test_bytes_are_sent_as_they_are(data: bytes) -> None:
    assert image_bytes(data) == b"abc"
    assert image_path(data) is None


@pytest.mark.parametrize("kind", [str, Path], ids=["str", "Path"])
def test_files_are_read(tmp_path: Path, kind: Any) -> None:
    (tmp_path / "a.jpg").write_bytes(b"abc")
    path = kind(tmp_path / "a.jpg")
    assert (image_bytes(path), image_path(path)) == (b"abc", str(tmp_path / "a.jpg"))


BAD: dict[str, Any] = {
    "missing file": "nowhere/a.jpg",
    "empty path": "",
    "NUL in the path": "a\0b",
    "float array": NOISE.astype(np.float32),
    "gray array": NOISE[..., 0],
    "RGBA array": np.zeros((4, 4, 4), np.uint8),
    "empty array": NOISE[:0],
    "None": None,
    "number": 7,
}


@pytest.mark.parametrize("image", BAD.values(), ids=BAD)
def test_everything_else_is_an_image_error_in_a_sentence(image: Any) -> None:
    with pytest.raises(ImageError) as caught:
        image_bytes(image)
    assert str(caught.value).endswith(".")


def test_a_folder_is_not_an_image(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is a folder"):
        image_bytes(tmp_path)


def test_a_file_beyond_one_message_is_not_sent(tmp_path: Path) -> None:
    with open(tmp_path / "huge.jpg", "wb") as file:
        file.truncate(300 * 2**20)  # sparse
    with pytest.raises(ImageError, match="larger than 256 MiB"):
        image_bytes(tmp_path / "huge.jpg")
