"""Bytes and regions are refused for the right reason, and nothing good is refused."""

import zlib

import numpy as np
import pytest
from PIL import Image

from serving.pictures.check import ImageError, ImageInfo, PictureLimits, check_image, check_roi

LIMITS = PictureLimits()
INFO = ImageInfo("JPEG", 480, 640)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_format_and_size_of_good_images(encode, kind):
    assert check_image(encode(Image.new("RGB", (40, 30)), kind), LIMITS) == ImageInfo(kind, 30, 40)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_gives_the_upright_size(encode, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    info = check_image(encode(Image.new("RGB", (40, 30)), exif=exif), LIMITS)
    assert (info.height, info.width) == ((40, 30) if orientation >= 5 else (30, 40))


@pytest.mark.parametrize("progressive", [False, True], ids=["baseline", "progressive"])
def test_a_jpeg_is_refused_wherever_it_is_cut(encode, portrait, progressive):
    data = encode(portrait, quality=80, progressive=progressive)
    check_image(data, LIMITS)
    for end in [*range(1, 40), *range(40, len(data) - 1, 997), len(data) - 1]:
        with pytest.raises(ImageError):
            check_image(data[:end], LIMITS)


def test_the_end_marker_of_a_thumbnail_does_not_count(encode, portrait):
    thumbnail = encode(portrait.resize((64, 64)))
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    data = encode(portrait)
    with_thumbnail = data[:2] + segment + data[2:]
    check_image(with_thumbnail, LIMITS)
    with pytest.raises(ImageError, match="truncated"):
        check_image(with_thumbnail[:-2], LIMITS)


def test_bytes_behind_the_end_marker_are_harmless(portrait_jpeg):
    check_image(portrait_jpeg + b"\0" * 1000, LIMITS)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_other_formats_are_refused_when_cut(encode, portrait, kind, share):
    data = encode(portrait.resize((128, 128)), kind)
    with pytest.raises(ImageError):
        check_image(data[: int(len(data) * share)], LIMITS)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b"hello, world", "no format we know", id="text"),
        pytest.param(b"%PDF-1.7\n", "a PDF", id="pdf"),
        pytest.param(b"GIF89a" + b"\0" * 20, "a GIF", id="gif"),
        pytest.param(b"II*\0" + b"\0" * 20, "a TIFF", id="tiff"),
        pytest.param(b"\0\0\0\x18ftypheic" + b"\0" * 20, "HEIC", id="heic"),
        pytest.param(b"\xff\xd8\xff", "JPEG header", id="magic-alone"),
    ],
)
def test_what_is_no_image_is_named(data, reason):
    with pytest.raises(ImageError, match=reason):
        check_image(data, LIMITS)


def test_limits_speak_in_numbers(encode):
    data = encode(Image.new("RGB", (100, 100)))
    with pytest.raises(ImageError, match=f"{len(data)} bytes; the limit is 10"):
        check_image(data, PictureLimits(max_bytes=10))
    with pytest.raises(ImageError, match="100x100 pixels; the limit is 9999"):
        check_image(data, PictureLimits(max_pixels=9999))
    with pytest.raises(ValueError, match="positive"):
        PictureLimits(max_bytes=0)


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


PIECES = {  # each would take Pillow seconds to minutes in a file of the largest size
    "Exif segments": ("JPEG", segment(0xE1, b"Exif\0\0II*\0\x08" + bytes(13))),
    "empty segments": ("JPEG", segment(0xE0, b"")),
    "restart markers": ("JPEG", b"\xff\xd0"),
    "empty chunks": ("PNG", chunk(b"teSt")),
}


@pytest.mark.parametrize(("kind", "piece"), PIECES.values(), ids=PIECES)
def test_a_header_of_endless_pieces_is_refused_before_they_are_read(encode, kind, piece):
    data, at = encode(Image.new("RGB", (64, 64)), kind), {"JPEG": 2, "PNG": 33}[kind]
    check_image(data[:at] + 20 * piece + data[at:], LIMITS)
    with pytest.raises(ImageError, match="too many pieces; save it anew"):
        check_image(data[:at] + 2000 * piece + data[at:], LIMITS)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_exif_block_of_endless_entries_is_refused_before_they_are_read(encode, kind):
    entries = 65_535
    block = b"II*\0\x08\0\0\0" + entries.to_bytes(2, "little") + bytes(12 * entries)
    if kind == "JPEG":  # in pieces, which Pillow puts together
        data = encode(Image.new("RGB", (64, 64)))
        pieces = [segment(0xE1, b"Exif\0\0" + block[i : i + 60_000]) for i in range(0, len(block), 60_000)]
        data = data[:2] + b"".join(pieces) + data[2:]
    else:
        data = encode(Image.new("RGB", (64, 64)), kind, exif=block)
    with pytest.raises(ImageError, match="bytes of EXIF; save it anew"):
        check_image(data, LIMITS)


def test_metadata_in_a_hundred_pieces_is_no_reason_to_refuse(encode, portrait):
    data = encode(portrait, quality=80)
    depth_map = segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"x" * 60_000)
    assert check_image(data[:2] + 100 * depth_map + data[2:], LIMITS).width == portrait.width


@pytest.mark.parametrize(
    ("roi", "reason"),
    [
        pytest.param([0, 0, 1, np.nan], "not finite", id="nan"),
        pytest.param([0, 0, np.inf, 1], "not finite", id="infinite"),
        pytest.param([-0.1, 0, 1, 1], "outside", id="below-0"),
        pytest.param([0, 0, 1, 1.01], "outside", id="above-1"),
        pytest.param([0.6, 0, 0.4, 1], "inverted", id="inverted"),
        pytest.param([0.5, 0.5, 0.5, 0.5], "empty", id="zero"),
        pytest.param([0, 0, 7.9 / 640, 1], "at least 8", id="7.9-px-wide"),
        pytest.param([0, 0, 1, 7.9 / 480], "at least 8", id="7.9-px-high"),
    ],
)
def test_bad_regions_are_refused(roi, reason):
    with pytest.raises(ImageError, match=reason):
        check_roi(np.array(roi, np.float32), INFO)


@pytest.mark.parametrize("roi", [[0, 0, 1, 1], [0, 0, 8 / 640, 8 / 480], [0.98, 0.98, 1, 1]], ids=str)
def test_good_regions_pass(roi):
    check_roi(np.array(roi, np.float32), INFO)
