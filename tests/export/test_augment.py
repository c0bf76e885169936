"""Training examples: determinism, twins that take the same journey, and what the journey does."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from export.data.faces import of_split
from export.synthesis import degrade
from export.synthesis.augment import FAKE, REAL, Donor, Example, Twin, training_example, training_pair
from export.synthesis.batches import Loader, Recipe

BOX = np.array([184, 64, 270, 176])
NET = np.array([100.0, 100, 200, 220])


def pixels(example: Example) -> np.ndarray:
    with Image.open(io.BytesIO(example.image.tobytes())) as image:
        return np.asarray(image.convert("RGB"))


def assert_marked(picture: Image.Image, box: np.ndarray, atol: float) -> None:
    """The dark rectangle lies in the box."""
    rows, columns = np.nonzero(np.asarray(picture.convert("L"), float) < 100)
    found = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    np.testing.assert_allclose(box, found, atol=atol)


@pytest.fixture(scope="session")
def pairs(portrait, portrait_jpeg, portrait_mesh, encode):
    """Every kind of pair: make(kind, degradation, seed, video)."""
    mirror = portrait.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    donor = Donor(encode(mirror), portrait_mesh * (-1, 1) + (portrait.width - 1, 0))
    twin = Twin(encode(portrait.crop((128, 16, 336, 240)), quality=50), (128, 16, 336, 240))
    kinds = {"self-blended": {}, "other face": {"donor": donor}, "reconstruction": {"twin": twin}}

    def make(kind: str, degradation: float, seed: int, video: float = 0.0) -> tuple[Example, Example]:
        rng, made_of = np.random.default_rng(seed), {"landmarks": portrait_mesh, **kinds[kind]}
        return training_pair(portrait_jpeg, BOX, degradation, rng, video=video, **made_of)

    return make


KINDS = pytest.mark.parametrize("kind", ["self-blended", "other face", "reconstruction"])


@KINDS
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("shares", [(1.0, 0.0), (0.0, 1.0)], ids=["degraded", "video call"])
def test_twins_differ_in_label_and_forgery_alone(pairs, kind, seed, shares):
    real, fake = pairs(kind, shares[0], seed, shares[1])
    assert (real.label, fake.label) == (REAL, FAKE)
    np.testing.assert_array_equal(real.roi, fake.roi)
    with Image.open(io.BytesIO(real.image.tobytes())) as ours, Image.open(io.BytesIO(fake.image.tobytes())) as theirs:
        assert (ours.format, ours.size) == (theirs.format, theirs.size)
        assert getattr(ours, "quantization", None) == getattr(theirs, "quantization", None)
    assert (pixels(real) != pixels(fake)).any()


@KINDS
def test_a_seed_makes_one_pair(pairs, kind):
    for first, second in zip(pairs(kind, 0.7, 3), pairs(kind, 0.7, 3), strict=True):
        np.testing.assert_array_equal(first.image, second.image)
        np.testing.assert_array_equal(first.roi, second.roi)


def test_outside_the_mask_twins_stay_equal(pairs):
    """Compression aside: the corners of the crop are far from the face's hull."""
    real, fake = (pixels(example).astype(int) for example in pairs("self-blended", 0.0, 1))
    assert np.abs(real - fake)[:16].max() <= 2
    assert np.abs(real - fake).max() > 10


def test_another_face_needs_a_mesh(portrait_jpeg, portrait_mesh):
    with pytest.raises(ValueError, match="find_landmarks"):
        training_pair(portrait_jpeg, BOX, 0.0, np.random.default_rng(0), donor=Donor(portrait_jpeg, portrait_mesh))


def test_a_rotated_file_is_cut_where_the_upright_picture_has_its_face(portrait, encode):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side
    lying = encode(portrait.transpose(Image.Transpose.ROTATE_90), quality=97, exif=exif)
    upright, turned = (
        training_example(data, BOX, FAKE, 0.0, np.random.default_rng(0))
        for data in (encode(portrait, quality=97), lying)
    )
    assert np.abs(pixels(upright).astype(int) - pixels(turned)).mean() < 3


@pytest.mark.parametrize("size", [(200, 240), (201, 241)], ids=["even", "odd"])
def test_a_video_frame_keeps_its_size_and_loses_detail_with_the_rate(portrait, size):
    picture = portrait.crop((150, 30, 150 + size[0], 30 + size[1]))
    errors = [np.abs(np.asarray(degrade.video(picture, crf), int) - np.asarray(picture)).mean() for crf in (20, 40)]
    assert degrade.video(picture, 30).size == size
    assert 0 < errors[0] < errors[1] < 20


@pytest.mark.parametrize("seed", range(6))
def test_a_frame_of_a_video_call_has_its_face_in_the_box(seed):
    marked = Image.new("RGB", (300, 320), (180, 180, 180))
    marked.paste((40, 40, 40), tuple(NET.astype(int)))
    frame, box = degrade.video_call(marked, NET, np.random.default_rng(seed))
    assert_marked(frame, box, atol=3)


def test_a_picture_is_degraded_or_a_frame_of_a_video_call(pairs):
    clean, called = pairs("self-blended", 0.0, 5), pairs("self-blended", 0.0, 5, video=1.0)
    assert called[0].image.tobytes() != clean[0].image.tobytes()


@pytest.mark.parametrize("kind", [0.0, 1.0], ids=["plain", "self-blended"])
def test_a_recipe_sends_its_share_through_video_calls(data, faces, kind):
    loader, real = Loader(data, 2, 0), of_split(faces, "train")
    shares = [{"degradation": 0.0}, {"degradation": 0.0, "video": 1.0}]
    clean, called = (Recipe(self_blend=kind, **share) for share in shares)
    plan = loader.plan(real, 0, clean)
    for still, frame in zip(loader.load(plan, clean), loader.load(plan, called), strict=True):
        assert all((a != b).any() for a, b in zip(still.faces, frame.faces, strict=True))


def test_two_iterators_of_one_loader_do_not_meet_in_its_pipeline(data, faces):
    """DALI's pipeline takes one thread at a time: two make it wait for ever, or mix up their pictures."""
    loader, real = Loader(data, 2, 0), of_split(faces, "train") * 20
    expected = [batch.faces for batch in loader.plain(real)]
    for one, other, alone in zip(loader.plain(real), loader.plain(real), expected, strict=True):
        np.testing.assert_array_equal(one.faces, alone)
        np.testing.assert_array_equal(other.faces, alone)


def test_shares_beyond_one_are_refused():
    with pytest.raises(ValueError, match="both shares"):
        Recipe(degradation=0.7, video=0.4)


@pytest.mark.parametrize("seed", range(4))
def test_a_printed_and_scanned_photograph_has_no_empty_border_and_its_face_in_the_box(portrait, seed):
    marked = Image.new("RGB", (300, 320), (180, 180, 180))
    marked.paste((40, 40, 40), tuple(NET.astype(int)))
    scanned, box = degrade.print_and_scan(marked, NET, np.random.default_rng(seed))
    light = np.asarray(scanned.convert("L"), float)
    edge = np.concatenate([light[:3].ravel(), light[-3:].ravel(), light[:, :3].ravel(), light[:, -3:].ravel()])
    assert edge.min() > 100
    assert_marked(scanned, box, atol=4)


def test_a_journey_ends_in_files_that_the_server_takes(portrait_jpeg):
    formats = set()
    for seed in range(40):
        example = training_example(portrait_jpeg, BOX, REAL, 1.0, np.random.default_rng(seed))
        with Image.open(io.BytesIO(example.image.tobytes())) as image:
            formats.add(image.format)
        assert (example.roi >= 0).all()
        assert (example.roi <= 1).all()
        assert (example.roi[2:] > example.roi[:2]).all()
    assert formats == {"JPEG", "WEBP"}
