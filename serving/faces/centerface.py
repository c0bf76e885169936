"""CenterFace in numbers: what size the net is fed, and how its maps become boxes, confidences and landmarks.

Pure numpy. Net: Xu et al., "CenterFace: Joint Face Detection and Alignment Using Face as Point", 2019
(arXiv:1911.03599). A face is a peak of the heat map at stride 4. At the same cell the other maps say how large
it is, where its centre lies within the cell, and where its landmarks are.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .boxes import iou

STRIDE_PX = 4  # of the output maps
MULTIPLE_PX = 32  # the feature pyramid adds maps of strides 4 to 32: both sides must divide
LANDMARKS = ("right eye", "left eye", "nose", "right mouth corner", "left mouth corner")  # of the person
SAME_FACE_IOU = 0.3
MAX_CANDIDATES = 1000  # bounds the suppression on a picture full of faces


class Maps(NamedTuple):
    """The net's outputs in its own order, one picture, h x w cells."""

    heat: np.ndarray  # (1, 1, h, w) confidence 0..1
    scale: np.ndarray  # (1, 2, h, w) log of height and width in strides
    offset: np.ndarray  # (1, 2, h, w) of the centre within the cell: y, x
    landmark: np.ndarray  # (1, 10, h, w) y, x of each, in box sides from the box's upper left corner


def canvas(height: int, width: int) -> tuple[int, int]:
    """Sides (height, width) of the net's input that holds a picture of this size: rounded up to 32."""
    return _round_up(height), _round_up(width)


def _round_up(side_px: int) -> int:
    return math.ceil(side_px / MULTIPLE_PX) * MULTIPLE_PX


def faces(maps: Maps, confidence: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (N, 4) x0, y0, x1, y1, confidences (N,) descending and landmarks (N, 5, 2) x, y; pixels of the net's input.

    Each face once (non-maximum suppression), none below `confidence`; boxes may reach outside of the picture.
    """
    heat = maps.heat[0, 0]
    row, column = np.nonzero(heat >= confidence)
    score = heat[row, column]
    best = np.argsort(-score, kind="stable")[:MAX_CANDIDATES]
    row, column, score = row[best], column[best], score[best]
    cell = np.stack([row, column], -1)  # (N, 2) y, x
    sides = np.exp(maps.scale[0, :, row, column]) * STRIDE_PX  # (N, 2) height, width
    centre = (cell + maps.offset[0, :, row, column] + 0.5) * STRIDE_PX
    corner = centre - sides / 2
    box = np.concatenate([corner[:, ::-1], (corner + sides)[:, ::-1]], -1)
    points = maps.landmark[0, :, row, column].reshape(-1, len(LANDMARKS), 2) * sides[:, None] + corner[:, None]
    keep = suppress(box, SAME_FACE_IOU)
    return box[keep].astype(np.float32), score[keep].astype(np.float32), points[keep, :, ::-1].astype(np.float32)


def suppress(box: np.ndarray, same_iou: float) -> np.ndarray:
    """Indices of the boxes (N, 4), best first, that overlap no better one by `same_iou` or more."""
    left, keep = np.arange(len(box)), []
    while len(left):
        keep.append(left[0])
        left = left[1:][iou(box[left[:1]], box[left[1:]])[0] < same_iou]
    return np.array(keep, np.intp)
