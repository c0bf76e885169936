"""A whole photograph: none, one and many faces, upright boxes, and every kind of file that must work."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from facewarden import Client

FACE = (184, 64, 270, 176)  # of the portrait, x0 y0 x1 y1, as a person would draw it
ORIENTATIONS = {  # EXIF orientation: how the stored picture must be turned so that a viewer shows it upright
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def overlap(a, b) -> float:
    """Intersection over union."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if min(width, height) <= 0:
        return 0.0
    area = lambda box: (box[2] - box[0]) * (box[3] - box[1])  # noqa: E731
    return width * height / (area(a) + area(b) - width * height)


@pytest.fixture(scope="module")
def client(server):
    with Client(server.url) as client:
        yield client


def test_one_face(client, portrait_jpeg):
    verdict = client.check_image(portrait_jpeg, heatmap=True)
    (face,) = verdict.faces
    assert overlap(face.box, FACE) > 0.6
    assert verdict.fake_probability == face.fake_probability
    assert verdict.image_size == (512, 512)
    assert face.heatmap.shape == (14, 14)
    assert face.landmark.shape[1:] == (2,)
    assert face.quality.side_px == pytest.approx(1.3 * max(face.box[2] - face.box[0], face.box[3] - face.box[1]), abs=1)


def test_no_face_is_an_answer(client, encode):
    verdict = client.check_image(encode(Image.new("RGB", (640, 480), "gray")))
    assert (verdict.label, verdict.fake_probability, verdict.faces) == ("no_face", None, ())
    assert (verdict.threshold, verdict.model_version) == (None, None)


@pytest.fixture(scope="module")
def crowd(portrait) -> Image.Image:
    """Six copies of the face, each smaller than the one before."""
    head = portrait.crop((120, 0, 340, 240))
    picture = Image.new("RGB", (960, 640), (120, 130, 140))
    for i in range(6):
        side = 300 - 25 * i
        picture.paste(head.resize((side, side)), (320 * (i % 3), 320 * (i // 3)))
    return picture


def test_many_faces_come_largest_first(client, crowd, encode):
    faces = client.check_image(encode(crowd, quality=92)).faces
    assert len(faces) == 6
    areas = [(f.box[2] - f.box[0]) * (f.box[3] - f.box[1]) for f in faces]
    assert areas == sorted(areas, reverse=True)


def test_max_faces_keeps_the_largest(client, crowd, encode):
    data = encode(crowd, quality=92)
    every = client.check_image(data).faces
    assert [f.box for f in client.check_image(data, max_faces=2).faces] == [f.box for f in every[:2]]


def test_a_face_is_judged_as_deepfake_face_judges_its_crop(client, portrait_jpeg):
    from serving.pictures.crop import face_roi

    (face,) = client.check_image(portrait_jpeg).faces
    roi = face_roi(np.array(face.box), 512, 512)
    alone = client.check_face(portrait_jpeg, tuple(float(v) for v in roi))
    assert alone.fake_probability == pytest.approx(face.fake_probability, abs=1e-4)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_boxes_are_in_the_upright_picture(client, portrait, encode, orientation):
    picture = portrait.crop((0, 0, 512, 400))
    stored = picture.transpose(ORIENTATIONS[orientation]) if ORIENTATIONS[orientation] is not None else picture
    exif = Image.Exif()
    exif[0x0112] = orientation
    verdict = client.check_image(encode(stored, quality=92, exif=exif))
    assert verdict.image_size == (400, 512)
    assert overlap(verdict.faces[0].box, FACE) > 0.6


def palette(image: Image.Image) -> Image.Image:
    return image.quantize(256)


def sixteen_bit(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)


@pytest.mark.parametrize(
    ("convert", "kind"),
    [
        pytest.param(lambda image: image.convert("L"), "JPEG", id="gray-jpeg"),
        pytest.param(lambda image: image.convert("CMYK"), "JPEG", id="cmyk-jpeg"),
        pytest.param(lambda image: image.convert("L"), "PNG", id="gray-png"),
        pytest.param(sixteen_bit, "PNG", id="16-bit-png"),
        pytest.param(palette, "PNG", id="palette-png"),
        pytest.param(lambda image: image.convert("RGBA"), "PNG", id="alpha-png"),
        pytest.param(lambda image: image, "WEBP", id="webp"),
        pytest.param(lambda image: image.convert("RGBA"), "WEBP", id="alpha-webp"),
    ],
)
def test_every_kind_of_picture_works(client, portrait, encode, convert, kind):
    (face,) = client.check_image(encode(convert(portrait), kind)).faces
    assert overlap(face.box, FACE) > 0.6


def test_of_an_animation_the_first_frame_counts(client, portrait, encode):
    blank = Image.new("RGB", portrait.size)
    first_face = encode(portrait, "WEBP", save_all=True, append_images=[blank, blank], duration=100)
    first_blank = encode(blank, "WEBP", save_all=True, append_images=[portrait], duration=100)
    assert len(client.check_image(first_face).faces) == 1
    assert client.check_image(first_blank).label == "no_face"


def test_one_pixel_has_no_face(client, encode):
    assert client.check_image(encode(Image.new("RGB", (1, 1)), "PNG")).label == "no_face"


def test_twenty_megapixels(client, portrait, encode):
    verdict = client.check_image(encode(portrait.resize((4480, 4480)), quality=80))
    assert overlap(np.array(verdict.faces[0].box) / 8.75, FACE) > 0.6
