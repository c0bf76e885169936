"""The crop rule of the contract, pinned."""

import numpy as np
import pytest

from serving.pictures.crop import face_roi


def pixels(roi: np.ndarray, height: int, width: int) -> list[float]:
    return (roi * [width, height, width, height]).round(3).tolist()


def test_side_is_1_3_times_the_longer_side_centred_on_the_box():
    roi = face_roi(np.array([100, 100, 180, 200]), 480, 640)
    assert pixels(roi, 480, 640) == [75, 85, 205, 215]


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        pytest.param([0, 0, 100, 100], [0, 0, 130, 130], id="top-left-corner"),
        pytest.param([540, 380, 640, 480], [510, 350, 640, 480], id="bottom-right-corner"),
        pytest.param([-50, 200, 50, 300], [0, 185, 130, 315], id="reaching-outside"),
    ],
)
def test_the_square_is_shifted_inside_the_picture(box, expected):
    assert pixels(face_roi(np.array(box), 480, 640), 480, 640) == expected


def test_the_side_never_exceeds_the_picture():
    assert pixels(face_roi(np.array([0, 0, 640, 480]), 480, 640), 480, 640) == [80, 0, 560, 480]


def test_a_tiny_box_still_gets_a_crop_that_can_be_judged():
    x0, y0, x1, y1 = pixels(face_roi(np.array([50, 50, 52, 52]), 480, 640), 480, 640)
    assert (x1 - x0, y1 - y0) == (8, 8)


@pytest.mark.parametrize("size", [(8, 8), (480, 640), (5472, 3648), (9, 10_000)], ids=str)
def test_rois_are_always_inside_and_ordered(size):
    height, width = size
    rng = np.random.default_rng(0)
    corners = rng.uniform(-0.5, 1.5, (500, 2, 2)) * [width, height]
    boxes = np.concatenate([corners.min(1), corners.max(1)], -1)
    rois = face_roi(boxes, height, width)
    assert rois.dtype == np.float32
    assert (rois >= 0).all()
    assert (rois <= 1).all()
    assert (rois[:, :2] < rois[:, 2:]).all()
