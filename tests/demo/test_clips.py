"""Clips of other portraits than the demo's: where the camera looks, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from demo.clips import REACH, demo_subject, genuine, posed, swapped, views
from export.synthesis.self_blend import self_blended_pair


def test_the_demo_portrait_is_posed_as_it_is() -> None:
    demo = demo_subject()
    picture, face = posed(*demo)
    x0, y0, x1, y1 = REACH
    np.testing.assert_array_equal(picture[y0:y1, x0:x1], demo.picture[y0:y1, x0:x1])
    np.testing.assert_array_equal(face, demo.face)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_a_photograph_of_any_size_is_shown_from_the_same_distance(scale: float) -> None:
    demo = demo_subject()
    size = tuple(round(side * scale) for side in demo.picture.shape[1::-1])
    resized = np.asarray(Image.fromarray(demo.picture).resize(size, Image.Resampling.LANCZOS))
    subject = posed(resized, demo.face * scale)
    np.testing.assert_allclose(subject.face, demo.face, atol=1)
    (frame,), (expected,) = genuine(1, 0, subject), genuine(1)
    assert np.abs(frame.astype(int) - expected).mean() < 6


def test_a_face_near_the_edge_is_shown_larger_and_one_that_fills_the_picture_is_refused() -> None:
    demo = demo_subject()
    near = posed(demo.picture[:, 60:], demo.face - [60, 0, 60, 0])
    assert near.face[2] - near.face[0] > 1.25 * (demo.face[2] - demo.face[0])
    assert np.ptp(near.picture[REACH[1] :, REACH[0] :], axis=2).any(axis=0).all(), "nothing beyond the edge is shown"
    with pytest.raises(ValueError, match="too little around the face"):
        posed(demo.picture[60:180, 180:275], demo.face - [180, 60, 180, 60])


@pytest.mark.parametrize("seed", [0, 1])
def test_only_the_face_of_a_subject_is_swapped_and_only_from_the_middle_on(seed: int) -> None:
    subject = posed(demo_subject().picture[:, ::-1].copy(), np.array([242, 64, 328, 176]))
    real = self_blended_pair(*subject, np.random.default_rng(seed), ratio=1.0).real
    changed = (np.array(swapped(4, seed, subject)) != np.array(list(views(real, 4, seed)))).any(-1)
    assert not changed[:2].any() and changed[2:].any(axis=(1, 2)).all()
    assert not changed[:, :, :100].any(), "beside the face"
