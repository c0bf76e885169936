"""A face -> the soft mask of a blend, drawn from the points of a face mesh or from a box alone.

It needs NumPy and Pillow alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

WHOLE = (0.0, 1.0)
PARTS = (WHOLE, WHOLE, WHOLE, (0.0, 0.55), (0.2, 0.75), (0.45, 1.0))  # of the face from forehead to chin
FOREHEAD, CHIN = 10, 152  # points of the mesh
OUTLINE_POINTS = 64
DENT = 0.22  # the outline is pushed in by at most this share of its distance to the centre
DRAWN_PX = 160
SOFTNESS = (0.02, 0.06)  # of the mask's shorter side: standard deviation of the blur
BLEND_RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)


Region = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels


class Blend(NamedTuple):
    """A real picture, the fake made of it, and how much of the other picture shows where: (H, W, 3), (H, W) uint8."""

    real: np.ndarray
    fake: np.ndarray
    mask: np.ndarray


def blend(target: Image.Image, source: Image.Image, mask: Image.Image, region: Region, ratio: float) -> Blend:
    """`source`, the content of `region`, over `target` inside `mask`; `ratio` 0..1 is how much of it shows."""
    mask = mask.point([round(value * ratio) for value in range(256)])
    fake = target.copy()
    fake.paste(source, region[:2], mask.crop(region))
    return Blend(np.asarray(target), np.asarray(fake), np.asarray(mask))


def region_of(mask: Image.Image) -> Region:
    """Where the mask is not 0; the whole picture where it is nowhere."""
    return mask.getbbox() or (0, 0, *mask.size)


def face_points(box: np.ndarray) -> np.ndarray:
    """Where there is no mesh: (36, 2) points on the ellipse that a face fills of its box, forehead to chin."""
    x0, y0, x1, y1 = np.asarray(box, np.float64)
    angles = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    ellipse = np.stack([0.46 * (x1 - x0) * np.sin(angles), -0.5 * (y1 - y0) * np.cos(angles)], -1)
    return ellipse + np.array([x0 + x1, y0 + y1]) / 2


def face_mask(
    size: tuple[int, int],
    points: np.ndarray,
    rng: np.random.Generator,
    part: tuple[float, float] | None = None,
    within: Image.Image | None = None,
) -> Image.Image:
    """A soft mask inside the hull of a face's points.

    Args:
        size: width, height of the picture.
        points: (K, 2) x, y in pixels: a face mesh, or `face_points`.
        rng: draws the part, the dents and the softness.
        part: from and to, as shares of the way from the forehead to the chin; drawn where None.
        within: an L picture outside of which the mask must be 0.

    Returns:
        an L picture, 0..255. Nothing of it lies outside the hull.
    """
    start, end = PARTS[rng.integers(len(PARTS))] if part is None else part
    down = _share_of_height(points)
    outline = _dented(hull(points[(down >= start) & (down <= end)]), rng)
    softness = rng.uniform(*SOFTNESS) * float((outline.max(0) - outline.min(0)).min())
    low, high = np.floor(outline.min(0) - 4 * softness), np.ceil(outline.max(0) + 4 * softness)
    region = (*low.astype(int).tolist(), *high.astype(int).tolist())  # may reach out of the picture
    scale = min(1.0, DRAWN_PX / (high - low).max())  # it is smooth: drawn small and enlarged, for speed
    drawn = Image.new("L", tuple(np.ceil((high - low) * scale).astype(int).tolist()), 0)
    scales = np.array(drawn.size) / (high - low)
    ImageDraw.Draw(drawn).polygon([(x, y) for x, y in ((outline - low) * scales).tolist()], fill=255)
    if within is not None:
        drawn = ImageChops.multiply(drawn, within.crop(region).resize(drawn.size, Image.Resampling.BOX))
    blur = softness * float(scales.min())
    inner = drawn.filter(ImageFilter.GaussianBlur(blur)).point([0] * 254 + [255] * 2)  # as much smaller ...
    soft = inner.filter(ImageFilter.GaussianBlur(blur * rng.uniform(0.3, 0.6)))  # ... as this makes it larger
    mask = Image.new("L", size, 0)
    mask.paste(soft.resize((region[2] - region[0], region[3] - region[1]), Image.Resampling.BILINEAR), region[:2])
    return mask


def hull(points: np.ndarray) -> np.ndarray:
    """Corners of the convex hull of (K, 2) points, in order (Andrew's monotone chain)."""
    ordered = sorted(map(tuple, np.asarray(points, np.float64).tolist()))

    def half(sequence: list[tuple[float, float]]) -> list[tuple[float, float]]:
        chain: list[tuple[float, float]] = []
        for point in sequence:
            while len(chain) > 1 and not _turns(chain[-2], chain[-1], point):
                chain.pop()
            chain.append(point)
        return chain[:-1]

    return np.array(half(ordered) + half(ordered[::-1]))


def _turns(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (b[0] - a[0]) * (c[1] - a[1]) > (b[1] - a[1]) * (c[0] - a[0])


def _share_of_height(points: np.ndarray) -> np.ndarray:
    """(K, 2) points to (K,): 0 at the forehead, 1 at the chin, along the face's own axis."""
    axis = points[CHIN] - points[FOREHEAD] if len(points) > CHIN else np.array([0.0, 1.0])
    along = points @ axis
    return (along - along.min()) / (along.max() - along.min())


def _dented(corners: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The outline, evenly sampled and pushed towards its centre by smooth random amounts: never outside the hull."""
    closed = np.concatenate([corners, corners[:1]])
    length = np.concatenate([[0], np.linalg.norm(np.diff(closed, axis=0), axis=1).cumsum()])
    at = np.linspace(0, length[-1], OUTLINE_POINTS, endpoint=False)
    outline = np.stack([np.interp(at, length, closed[:, axis]) for axis in range(2)], -1)
    turns = np.arange(1, 6)[:, None]  # waves around the outline
    angles = np.linspace(0, 2 * np.pi, OUTLINE_POINTS, endpoint=False)
    waves = (rng.normal(size=(5, 1)) * np.cos(turns * angles + rng.uniform(0, 2 * np.pi, (5, 1)))).sum(0)
    depth = (waves - waves.min()) / (waves.max() - waves.min()) * rng.uniform(0, DENT) + rng.uniform(0, 0.05)
    centre = outline.mean(0)
    return centre + (outline - centre) * (1 - depth)[:, None]
