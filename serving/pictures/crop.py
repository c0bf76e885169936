"""The one crop rule: a face box becomes the square region that the classifier sees."""

from __future__ import annotations

import numpy as np

SCALE = 1.3  # of the box's longer side: chin, hairline and the blending border of a face swap stay inside
MIN_SIDE_PX = 8  # below this a crop holds no evidence


def face_roi(box: np.ndarray, height: int, width: int) -> np.ndarray:
    """Square region of interest around a face, in fractions of the upright picture.

    The side is min(1.3 x the longer side of the box, width, height), at least 8 px where the picture has
    them. The square is centred on the box and shifted inside the picture, never stretched.

    Args:
        box: (..., 4) x0, y0, x1, y1 in pixels of the upright picture; it may reach outside of it.
        height, width: size of the upright picture in pixels.

    Returns:
        (..., 4) float32 x0, y0, x1, y1 in 0..1.
    """
    box = np.asarray(box, np.float64)
    size = np.array([width, height], np.float64)
    low, high = box[..., :2], box[..., 2:]
    side = np.clip((high - low).max(-1, keepdims=True) * SCALE, MIN_SIDE_PX, min(width, height))
    start = np.clip((low + high) / 2 - side / 2, 0, size - side)
    roi = np.concatenate([start / size, (start + side) / size], -1)
    return np.asarray(np.clip(roi, 0, 1), np.float32)
