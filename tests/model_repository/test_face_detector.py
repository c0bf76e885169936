"""The real detector: DALI decodes, CenterFace looks, on the astronaut's portrait and pictures made of it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving.faces.centerface import LANDMARKS, iou
from serving.faces.detector import TIERS, FaceDetector, Faces, Net, net_size
from serving.pictures.check import ImageError, PictureLimits, check_image
from serving.pictures.shrink import shrunk_jpeg

FACE = np.array([[183, 67, 269, 175]], np.float32)  # in the 512x512 portrait
EYES = np.array([[207, 103], [247, 104]], np.float32)
EXIF_ORIENTATION = 0x0112
TURNED_BACK = {  # EXIF orientation: how a stored picture is made from the upright one
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector()


def encode(image: Image.Image, format_name: str = "JPEG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format_name, **options)
    return stream.getvalue()


def find(detector: FaceDetector, image: Image.Image, format_name: str = "JPEG", **options) -> Faces:
    faces = detector.detect([encode(image, format_name, **options)])[0]
    assert isinstance(faces, Faces), faces
    return faces


def test_the_portrait_has_one_face_at_its_place(detector: FaceDetector, portrait: Image.Image) -> None:
    faces = find(detector, portrait)
    assert faces.box.shape == (1, 4)
    assert iou(faces.box, FACE)[0, 0] > 0.85  # a pixel of the net is 4 of the picture
    assert faces.confidence[0] > 0.7
    assert faces.image_size.tolist() == [512, 512]
    assert [array.dtype for array in (faces.box, faces.confidence, faces.landmark)] == [np.float32] * 3
    assert faces.image_size.dtype == np.int32


def test_landmarks_are_ordered_as_named(detector: FaceDetector, portrait: Image.Image) -> None:
    landmark = find(detector, portrait).landmark[0]
    assert landmark.shape == (len(LANDMARKS), 2)
    np.testing.assert_allclose(landmark[:2], EYES, atol=5)
    eyes, nose, mouth = landmark[:2, 1].mean(), landmark[2, 1], landmark[3:, 1].mean()
    assert eyes < nose < mouth
    assert landmark[0, 0] < landmark[1, 0] and landmark[3, 0] < landmark[4, 0]


@pytest.mark.parametrize("orientation", TURNED_BACK)
def test_exif_orientation_gives_boxes_of_the_upright_picture(
    detector: FaceDetector, portrait: Image.Image, orientation: int
) -> None:
    upright = portrait.crop((0, 0, 512, 384))
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    faces = find(detector, upright.transpose(TURNED_BACK[orientation]), exif=exif)
    assert faces.image_size.tolist() == [384, 512]
    assert iou(faces.box, FACE)[0, 0] > 0.85


@pytest.mark.parametrize("size", [(512, 384), (1280, 720), (2400, 3200)], ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("orientation", [1, 6], ids=["upright", "turned"])
def test_a_shrunk_jpeg_is_the_picture_that_dali_gives(
    detector: FaceDetector, portrait: Image.Image, size: tuple[int, int], orientation: int
) -> None:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    jpeg = encode(portrait.resize(size), exif=exif)
    info = check_image(jpeg, PictureLimits())
    sides = net_size(info.height, info.width)
    (whole,) = detector.pictures.run(IMAGE=[np.frombuffer(jpeg, np.uint8)], SIZE=[np.array(sides, np.float32)])
    shrunk = shrunk_jpeg(jpeg, info, *sides)
    assert shrunk.shape == whole.shape == (*sides, 3)
    assert np.abs(shrunk.astype(int) - whole).mean() < 8  # 0..255; DALI takes points, libjpeg means of blocks


@pytest.mark.parametrize(
    ("format_name", "mode"),
    [("JPEG", "CMYK"), ("JPEG", "L"), ("PNG", "RGBA"), ("PNG", "P"), ("PNG", "I;16"), ("WEBP", "RGB")],
    ids=["CMYK JPEG", "gray JPEG", "PNG with alpha", "palette PNG", "16-bit PNG", "WebP"],
)
def test_every_accepted_kind_of_image(
    detector: FaceDetector, portrait: Image.Image, format_name: str, mode: str
) -> None:
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(portrait.convert("L")).astype(np.uint16) * 257)
    else:
        picture = portrait.convert(mode)
    faces = find(detector, picture, format_name)
    assert iou(faces.box, FACE)[0, 0] > 0.8


@pytest.mark.parametrize("size", [(256, 256), (640, 640), (1280, 1280), (2400, 2400)], ids=lambda size: f"{size[0]} px")
def test_every_tier_finds_the_face(detector: FaceDetector, portrait: Image.Image, size: tuple[int, int]) -> None:
    faces = find(detector, portrait.resize(size))
    assert len(faces.box) == 1
    assert iou(faces.box, FACE * size[0] / 512)[0, 0] > 0.75


def test_two_faces_the_clearer_one_first(detector: FaceDetector, portrait: Image.Image) -> None:
    pair = Image.new("RGB", (1024, 512))
    pair.paste(portrait, (0, 0))
    pair.paste(portrait.resize((256, 256)), (512, 128))
    faces = find(detector, pair)
    assert len(faces.box) == 2
    assert (np.diff(faces.confidence) <= 0).all()
    expected = np.concatenate([FACE, FACE / 2 + np.array([512, 128, 512, 128], np.float32)])
    assert (iou(expected, faces.box).max(-1) > 0.6).all()  # 11 px wide in the net: a pixel there costs 0.15


def test_boxes_are_clipped_to_the_picture(detector: FaceDetector, portrait: Image.Image) -> None:
    faces = find(detector, portrait.crop((200, 70, 290, 190)))
    assert len(faces.box) == 1
    assert (faces.box >= 0).all()
    assert (faces.box[:, 2:] <= [90, 120]).all()


@pytest.mark.parametrize(
    "picture",
    [
        Image.new("RGB", (640, 480), "gray"),
        Image.new("RGB", (1, 1)),
        Image.new("RGB", (3000, 2)),
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)),
    ],
    ids=["flat", "1x1", "a line", "noise"],
)
def test_no_face_is_an_answer(detector: FaceDetector, picture: Image.Image) -> None:
    faces = find(detector, picture, "PNG")
    assert faces.box.shape == (0, 4)
    assert faces.confidence.shape == (0,)
    assert faces.landmark.shape == (0, 5, 2)
    assert faces.image_size.tolist() == [picture.height, picture.width]


def test_a_bad_image_fails_alone_and_in_order(detector: FaceDetector, portrait_jpeg: bytes) -> None:
    flat = encode(Image.new("RGB", (64, 32)))
    broken = flat[:-40] + b"\xff\xd9"
    found = detector.detect([portrait_jpeg, b"text", flat, broken, b"", portrait_jpeg])
    assert [isinstance(item, Faces) for item in found[:3]] == [True, False, True]
    assert isinstance(found[4], ImageError)
    np.testing.assert_array_equal(found[0].box, found[5].box)
    assert found[2].image_size.tolist() == [32, 64]


def test_an_image_that_dali_refuses_fails_alone(detector: FaceDetector, portrait: Image.Image) -> None:
    png = bytearray(encode(portrait, "PNG"))
    png[len(png) // 2 : len(png) // 2 + 64] = bytes(64)
    good = encode(portrait)
    found = detector.detect([good, bytes(png), good])
    assert isinstance(found[1], ImageError)
    assert "/" not in str(found[1])
    np.testing.assert_array_equal(found[0].box, found[2].box)
    np.testing.assert_array_equal(detector.detect([good])[0].box, found[0].box)


def test_formats_mix_and_keep_their_order(detector: FaceDetector, portrait: Image.Image) -> None:
    sizes = [(96, 64), (512, 512), (64, 96), (512, 512), (32, 32)]
    kinds = ["JPEG", "PNG", "WEBP", "JPEG", "PNG"]
    found = detector.detect([encode(portrait.resize(size), kind) for size, kind in zip(sizes, kinds, strict=True)])
    assert [tuple(faces.image_size[::-1]) for faces in found] == sizes


def test_more_images_than_a_batch_holds(portrait: Image.Image) -> None:
    found = FaceDetector(max_batch_size=2).detect([encode(portrait, "PNG")] * 5)
    assert all((faces.box == found[0].box).all() for faces in found)
    assert len(found) == 5


def test_no_images_no_faces(detector: FaceDetector) -> None:
    assert detector.detect([]) == []


def test_arrays_are_taken_as_well_as_bytes(detector: FaceDetector, portrait_jpeg: bytes) -> None:
    of_bytes, of_array = detector.detect([portrait_jpeg, np.frombuffer(portrait_jpeg, np.uint8)])
    np.testing.assert_array_equal(of_bytes.box, of_array.box)


def test_limits_hold(portrait_jpeg: bytes) -> None:
    found = FaceDetector(limits=PictureLimits(max_pixels=1000)).detect([portrait_jpeg])
    assert isinstance(found[0], ImageError)


def test_a_higher_confidence_finds_less(portrait_jpeg: bytes) -> None:
    assert len(FaceDetector(confidence=0.99).detect([portrait_jpeg])[0].box) == 0


def test_missing_weights_say_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"python -m serving fetch-weights"):
        FaceDetector(tmp_path / "centerface.onnx")


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (480, 640, (96, 128)),
        (100, 50, (100, 50)),
        (1, 1, (1, 1)),
        (1, 5000, (1, 128)),
        (720, 1280, (144, 256)),
        (1080, 1920, (216, 384)),
        (3648, 5472, (341, 512)),
    ],
)
def test_net_size_keeps_the_shape_and_never_enlarges(height: int, width: int, expected: tuple[int, int]) -> None:
    assert net_size(height, width) == expected


def test_tiers_ascend() -> None:
    pixels, sides = zip(*TIERS, strict=True)
    assert list(pixels) == sorted(pixels) and list(sides) == sorted(sides)


def test_fixed_and_dynamic_shapes_agree(detector: FaceDetector, portrait: Image.Image) -> None:
    picture = np.asarray(portrait.resize((128, 96)))
    net: Net = detector.net
    fixed = [np.array(values) for values in net(picture)]
    small, net.small = net.small, {}
    try:
        dynamic = [np.array(values) for values in net(picture)]
    finally:
        net.small = small
    for a, b in zip(fixed, dynamic, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)
