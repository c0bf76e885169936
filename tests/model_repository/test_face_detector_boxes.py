"""Boxes from maps, in numbers that one can check by hand."""

from __future__ import annotations

import numpy as np
import pytest

from serving.faces.centerface import Maps, canvas, faces, iou, suppress


def maps(*peaks: tuple[int, int, float]) -> Maps:
    """Maps of 8x8 cells with a 16x12 px face (height, width) at each peak (row, column, confidence)."""
    heat = np.zeros((1, 1, 8, 8), np.float32)
    for row, column, confidence in peaks:
        heat[0, 0, row, column] = confidence
    scale = np.broadcast_to(np.log([4.0, 3.0]).astype(np.float32)[None, :, None, None], (1, 2, 8, 8))
    landmark = np.full((1, 10, 8, 8), 0.5, np.float32)
    return Maps(heat, scale, np.zeros((1, 2, 8, 8), np.float32), landmark)


def test_a_peak_becomes_a_box_around_its_cell() -> None:
    box, confidence, landmark = faces(maps((3, 4, 0.9)), 0.3)
    np.testing.assert_allclose(box, [[12, 6, 24, 22]], rtol=1e-6)  # centre x 18, y 14
    np.testing.assert_allclose(confidence, [0.9])
    np.testing.assert_allclose(landmark, np.broadcast_to([18.0, 14.0], (1, 5, 2)), rtol=1e-6)


def test_faces_come_most_confident_first() -> None:
    _, confidence, _ = faces(maps((0, 0, 0.5), (7, 7, 0.8), (0, 7, 0.6)), 0.3)
    np.testing.assert_allclose(confidence, [0.8, 0.6, 0.5])


def test_a_weaker_neighbour_is_the_same_face() -> None:
    box, confidence, _ = faces(maps((3, 4, 0.7), (3, 5, 0.9)), 0.3)
    assert len(box) == 1
    assert confidence[0] == np.float32(0.9)


def test_nothing_below_the_confidence() -> None:
    box, confidence, landmark = faces(maps((3, 4, 0.29)), 0.3)
    assert (box.shape, confidence.shape, landmark.shape) == ((0, 4), (0,), (0, 5, 2))


def test_a_picture_full_of_peaks_is_bounded() -> None:
    everywhere = Maps(*(np.ones((1, channels, 128, 128), np.float32) for channels in (1, 2, 2, 10)))
    box, _, _ = faces(everywhere, 0.3)
    assert 0 < len(box) <= 1000


@pytest.mark.parametrize(
    ("boxes", "kept"),
    [
        ([], []),
        ([[0, 0, 10, 10]], [0]),
        ([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]], [0, 2]),
        ([[0, 0, 10, 10], [6, 0, 16, 10]], [0, 1]),
        ([[0, 0, 10, 10], [0, 0, 10, 10]], [0]),
    ],
    ids=["none", "one", "an overlapping pair and a third", "neighbours", "twice the same"],
)
def test_suppress_keeps_each_face_once(boxes: list[list[float]], kept: list[int]) -> None:
    assert suppress(np.array(boxes, np.float32).reshape(-1, 4), 0.3).tolist() == kept


def test_iou_of_halves_and_strangers() -> None:
    a = np.array([[0, 0, 10, 10], [50, 50, 60, 60]], np.float32)
    b = np.array([[0, 0, 10, 5]], np.float32)
    np.testing.assert_allclose(iou(a, b), [[0.5], [0.0]])


def test_iou_of_empty_boxes_is_zero() -> None:
    assert iou(np.zeros((1, 4)), np.zeros((1, 4))).item() == 0


@pytest.mark.parametrize(("size", "expected"), [((120, 160), (128, 160)), ((1, 1), (32, 32)), ((160, 33), (160, 64))])
def test_canvas_is_the_next_multiple_of_32(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert canvas(*size) == expected
