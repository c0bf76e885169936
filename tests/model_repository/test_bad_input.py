"""Every bad input is refused alone, in a sentence, and the server lives on."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from tritonclient.utils import InferenceServerException

from facewarden import Client, FacewardenError, ImageError

CUTS = [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99]
LEAKS = ("/", "Traceback", ".py", "ensemble", "DALI", "nvidia", "stub", "model '")


def png_claiming(width: int, height: int) -> bytes:
    """A well-formed PNG whose header claims more pixels than it holds: a decompression bomb."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.fixture(scope="module")
def client(server):
    with Client(server.url, timeout_s=60) as client:
        yield client


@pytest.fixture(scope="module")
def bad_images(portrait, portrait_jpeg, encode) -> dict[str, bytes]:
    small = portrait.resize((64, 64))
    return {
        "empty": b"",
        "text": b"this is not a picture",
        "pdf": b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\n%%EOF",
        "gif": encode(small, "GIF"),
        "bmp": encode(small, "BMP"),
        "tiff": encode(small, "TIFF"),
        "bomb": png_claiming(60_000, 60_000),
        "png-without-pixels": png_claiming(600, 600),
        "png-of-broken-pixels": png_with_broken_pixels(encode(small, "PNG")),
        "header-alone": portrait_jpeg[:20],
        **{f"cut-at-{int(cut * 100)}-percent": portrait_jpeg[: int(len(portrait_jpeg) * cut)] for cut in CUTS},
    }


def png_with_broken_pixels(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(200) + data[middle + 200 :]


NAMES = [
    *(
        "empty",
        "text",
        "pdf",
        "gif",
        "bmp",
        "tiff",
        "bomb",
        "png-without-pixels",
        "png-of-broken-pixels",
        "header-alone",
    ),
    *(f"cut-at-{int(cut * 100)}-percent" for cut in CUTS),
]


def assert_sentence(error: FacewardenError) -> None:
    text = str(error)
    assert text[0].isupper(), text
    assert text.endswith("."), text
    assert not any(leak in text for leak in LEAKS), text


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", ["check_image", "check_face"])
def test_a_bad_image_is_refused_in_a_sentence(client, bad_images, name, method):
    with pytest.raises(ImageError) as caught:
        getattr(client, method)(bad_images[name])
    assert_sentence(caught.value)


def test_good_images_among_bad_ones_are_all_answered_in_order(client, bad_images, portrait_jpeg):
    mixed = [item for bad in bad_images.values() for item in (portrait_jpeg, bad)]
    verdicts = list(client.check_images(mixed))
    assert len(verdicts) == len(mixed)
    for i, verdict in enumerate(verdicts):
        assert (verdict.error is None) == (i % 2 == 0), f"image {i}: {verdict.error}"
        assert len(verdict.faces) == (1 if i % 2 == 0 else 0)


@pytest.mark.parametrize(
    "roi",
    [
        pytest.param((0, 0, 1.5, 1), id="outside"),
        pytest.param((-0.2, 0, 1, 1), id="negative"),
        pytest.param((0.8, 0, 0.2, 1), id="inverted"),
        pytest.param((0, 0, float("nan"), 1), id="nan"),
        pytest.param((0.5, 0.5, 0.5, 0.5), id="zero"),
        pytest.param((0.5, 0.5, 0.505, 0.505), id="tiny"),
    ],
)
def test_a_bad_region_is_refused_by_the_server(infer, portrait_jpeg, as_array, roi):
    """Asked without our client, which would refuse some of them itself."""
    with pytest.raises(InferenceServerException) as caught:
        infer("deepfake_face", {"IMAGE": as_array(portrait_jpeg)[None], "ROI": np.array([roi], np.float32)})
    assert "INVALID_ARGUMENT" in caught.value.status()
    assert "ROI" in caught.value.message()
    assert "/" not in caught.value.message()


def test_100_megabytes_are_refused_by_the_server(client):
    with pytest.raises(ImageError, match="limit is 33554432"):
        client.check_image(b"\xff\xd8\xff\xe0" + bytes(100 * 2**20))


@pytest.mark.parametrize("seed", range(8))
def test_random_bytes_behind_a_header_never_hang_or_crash(client, portrait_jpeg, seed):
    scan = portrait_jpeg.index(b"\xff\xda") + 14
    data = portrait_jpeg[:scan] + np.random.default_rng(seed).bytes(30_000) + b"\xff\xd9"
    for method in (client.check_image, client.check_face):
        try:
            assert 0 <= (method(data).fake_probability or 0) <= 1
        except ImageError as exc:
            assert_sentence(exc)


def test_the_server_is_well_after_all_of_this(server, client, portrait_jpeg):
    from serving.supervisor.watchdog import Watchdog

    assert Watchdog(server).check() is None
    assert len(client.check_image(portrait_jpeg).faces) == 1


def test_an_unexpected_request_does_not_show_the_servers_insides(infer):
    with pytest.raises(InferenceServerException) as caught:
        infer("deepfake_image", {"IMAGE": np.zeros((0,), np.uint8)})
    assert "/" not in caught.value.message()


def test_a_small_picture_has_no_room_for_a_face_crop(client, encode):
    with pytest.raises(ImageError, match="at least 8"):
        client.check_face(encode(Image.new("RGB", (5, 5)), "PNG"))
