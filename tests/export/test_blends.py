"""Blends: one seed, one picture; they show inside the face alone; the real twin differs in nothing else."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from export.synthesis.identity_blend import Donors, affine, identity_blended_pair
from export.synthesis.masks import face_mask, face_points, hull
from export.synthesis.self_blend import self_blend, self_blended_pair

BOX = np.array([184, 64, 270, 176])
SEEDS = range(8)


def outside(corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: pixels more than one away from the polygon."""
    canvas = Image.new("1", size)
    ImageDraw.Draw(canvas).polygon([tuple(corner) for corner in corners.tolist()], fill=1, outline=1, width=3)
    return ~np.asarray(canvas)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_makes_one_picture_and_it_differs_from_the_original(portrait, seed):
    image = np.asarray(portrait)
    first, second = (self_blend(image, BOX, np.random.default_rng(seed), ratio=1.0) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.shape == image.shape
    assert first.dtype == np.uint8
    x0, y0, x1, y1 = BOX
    assert np.abs(first[y0:y1, x0:x1].astype(int) - image[y0:y1, x0:x1]).mean() > 1


def test_without_a_share_nothing_but_one_rendering_is_left(portrait):
    """Ratio 0 shows the target alone, which is the picture itself or its altered copy."""
    image = np.asarray(portrait)
    unchanged = [np.array_equal(self_blend(image, BOX, np.random.default_rng(s), ratio=0.0), image) for s in range(20)]
    assert 0 < sum(unchanged) < 20


@pytest.mark.parametrize("mesh", [False, True], ids=["box", "mesh"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_self_blend_differs_from_its_real_twin_inside_the_face_alone(portrait, portrait_mesh, seed, mesh):
    points = portrait_mesh if mesh else None
    made = self_blended_pair(np.asarray(portrait), BOX, np.random.default_rng(seed), 1.0, points)
    changed = (made.real != made.fake).any(-1)
    assert changed.any()
    assert not (changed & (made.mask == 0)).any()
    assert not (changed & outside(hull(face_points(BOX) if points is None else points), portrait.size)).any()


@pytest.mark.parametrize("seed", SEEDS)
def test_another_face_shows_inside_the_face_alone(portrait, portrait_mesh, seed):
    image, other = np.asarray(portrait), np.asarray(portrait)[:, ::-1, ::-1]
    mirrored = portrait_mesh * (-1, 1) + (portrait.width - 1, 0)
    made = identity_blended_pair(image, portrait_mesh, other, mirrored, np.random.default_rng(seed))
    changed = (made.fake != image).any(-1)
    assert changed.any()
    assert not (changed & (made.mask == 0)).any()
    assert not (changed & outside(hull(portrait_mesh), portrait.size)).any()
    again = identity_blended_pair(image, portrait_mesh, other, mirrored, np.random.default_rng(seed))
    np.testing.assert_array_equal(made.fake, again.fake)


def test_a_warped_face_lands_on_its_target(portrait_mesh):
    matrix = affine(portrait_mesh, portrait_mesh @ np.array([[0, 2.0], [-2.0, 0]]) + 7)
    np.testing.assert_allclose(matrix, [[0, -2, 7], [2, 0, 7]], atol=1e-3)


def test_a_face_that_the_picture_cuts_off_shows_no_border_of_the_donor(portrait, portrait_mesh):
    """Half of the donor's face lies outside of its picture: the mask ends where its pixels do."""
    half = np.asarray(portrait)[:, : int(portrait_mesh[:, 0].mean())]
    target = np.full((512, 512, 3), 200, np.uint8)
    made = identity_blended_pair(target, portrait_mesh, half, portrait_mesh, np.random.default_rng(0))
    assert not made.mask[:, half.shape[1] :].any()
    assert made.mask.any()


def test_a_mask_is_soft_and_a_part_of_the_face_is_smaller(portrait_mesh):
    whole, eyes = (
        np.asarray(face_mask((512, 512), portrait_mesh, np.random.default_rng(1), part)) for part in ((0, 1), (0, 0.5))
    )
    assert len(np.unique(whole)) > 50
    assert 0 < eyes.sum() < 0.7 * whole.sum()


def test_the_donor_is_another_person_with_the_nearest_pose(portrait_mesh):
    turned = portrait_mesh * (0.6, 1)
    meshes = {"self": portrait_mesh, "near": portrait_mesh * 1.1, "turned": turned, "tiny": portrait_mesh * 0.1}
    donors = Donors(meshes, {"self": "a", "near": "b", "turned": "c", "tiny": "d"})
    drawn = {donors.nearest(portrait_mesh, "a", np.random.default_rng(seed)) for seed in range(20)}
    assert drawn == {"near", "turned"}
    with pytest.raises(ValueError, match="another person"):
        Donors({"self": portrait_mesh}, {"self": "a"}).nearest(portrait_mesh, "a", np.random.default_rng(0))
