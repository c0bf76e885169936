"""One real face -> a fake made of nothing else (self-blended images, Shiohara and Yamasaki, CVPR 2022).

A copy of the picture is recoloured, softened or sharpened, and shifted by a few percent. Then it is blended back
inside a soft mask over the face. Only the blend tells the result from the original: face swaps leave the same trace.
It needs NumPy and Pillow alone, so the demo can make one as well.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from .masks import BLEND_RATIOS, Blend, Region, blend, face_mask, face_points, region_of


def self_blend(
    image: np.ndarray,
    box: np.ndarray,
    rng: np.random.Generator,
    ratio: float | None = None,
    landmarks: np.ndarray | None = None,
) -> np.ndarray:
    """A manipulated version of `image`; arguments as of `self_blended_pair`."""
    return self_blended_pair(image, box, rng, ratio, landmarks).fake


def self_blended_pair(
    image: np.ndarray,
    box: np.ndarray,
    rng: np.random.Generator,
    ratio: float | None = None,
    landmarks: np.ndarray | None = None,
) -> Blend:
    """A fake and the real picture that differs from it in the blend alone: `image`, or its altered copy.

    Args:
        image: (H, W, 3) uint8 RGB.
        box: (4,) x0, y0, x1, y1 of the face in pixels.
        rng: source of every random choice; the same state gives the same picture.
        ratio: how much of the altered face shows inside the mask, 0..1; drawn where None.
        landmarks: (468, 2) of the face mesh, for a mask that follows the face; without it an ellipse in the box.
    """
    picture = Image.fromarray(image)
    altered = _alter(picture, rng)
    source, target = (altered, picture) if rng.random() < 0.5 else (picture, altered)
    mask = face_mask(picture.size, face_points(box) if landmarks is None else landmarks, rng)
    region = region_of(mask)
    source = _shifted(source, region, float(max(box[2] - box[0], box[3] - box[1])), rng)
    return blend(target, source, mask, region, float(rng.choice(BLEND_RATIOS)) if ratio is None else ratio)


def _alter(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Another camera's rendering of the same picture: colour, light, and softer or sharper detail."""
    contrast, brightness, shift = rng.uniform(0.9, 1.1), rng.uniform(0.9, 1.1), rng.integers(-20, 21, 3)
    values = ((np.arange(256) + shift[:, None]) * brightness - 128) * contrast + 128  # (3, 256)
    altered = picture.point(np.clip(np.rint(values), 0, 255).astype(int).ravel().tolist())
    altered = ImageEnhance.Color(altered).enhance(rng.uniform(0.7, 1.3))
    if rng.random() < 0.5:
        return altered.filter(ImageFilter.UnsharpMask(radius=2, percent=int(rng.integers(80, 200)), threshold=0))
    factor = rng.uniform(1.5, 4.0)
    small = altered.resize(
        (max(1, int(altered.width / factor)), max(1, int(altered.height / factor))), Image.Resampling.BILINEAR
    )
    return small.resize(altered.size, Image.Resampling.BICUBIC)


def _shifted(picture: Image.Image, region: Region, side: float, rng: np.random.Generator) -> Image.Image:
    """What lies up to 3 % of the face's side beside the region, 1.5 % above or below, 5 % larger or smaller."""
    low, high = np.array(region[:2], float), np.array(region[2:], float)
    move, scale = rng.uniform((-0.03, -0.015), (0.03, 0.015)) * side, rng.uniform(0.95, 1.05)
    extent = np.minimum((high - low) * scale, picture.size)
    start = np.clip((low + high) / 2 + move - extent / 2, 0, picture.size - extent)  # no border of nothing
    size = (region[2] - region[0], region[3] - region[1])
    return picture.resize(size, Image.Resampling.BICUBIC, tuple(np.concatenate([start, start + extent]).tolist()))
