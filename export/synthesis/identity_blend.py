"""Two people -> a fake: one face is warped onto the other of similar pose, recoloured and blended in.

This is what a face swap leaves: noise, sharpness and light of two pictures in one, and a seam around the inner face.
The points of the face mesh give warp and mask. The donor is drawn from the faces whose points lie nearest.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageStat

from .masks import WHOLE, Blend, Region, blend, face_mask, region_of

NEAREST = 12  # faces among which the donor is drawn
MIN_RELATIVE_SIZE = 0.6  # of the donor's face to the target's: less would be a blur that no swap has
RATIOS = (0.75, 1.0, 1.0, 1.0)  # less would show two faces through each other
GAINS = ((0.5, 2.0), (0.7, 1.4), (0.7, 1.4))  # of luma and the two colours: more tints shadows
EDGE_PX = 3  # of the donor's picture are not used: its border would show


class Donors:
    """Faces that others can be blended with.

    Args:
        landmarks: (468, 2) points by path; all of it is searched.
        groups: photograph or identity by path: a face is never blended with its own group.
    """

    def __init__(self, landmarks: Mapping[str, np.ndarray], groups: Mapping[str, str]) -> None:
        self.paths = list(landmarks)
        self.groups = np.array([groups.get(path, path) for path in self.paths])
        points = np.stack(list(landmarks.values())).astype(np.float32)
        self.shapes, self.sizes = _shapes(points)

    def nearest(self, landmarks: np.ndarray, group: str, rng: np.random.Generator) -> str:
        """Path of a face of another group with a similar pose; raises ValueError where there is none."""
        shape, size = _shapes(landmarks[None])
        distance = np.linalg.norm(self.shapes - shape, axis=1)
        distance[(self.groups == group) | (self.sizes < MIN_RELATIVE_SIZE * size)] = np.inf
        usable = int(np.isfinite(distance).sum())
        if not usable:
            raise ValueError("No face of another person is large enough to be blended in; give more real faces.")
        return self.paths[np.argsort(distance, kind="stable")[rng.integers(min(NEAREST, usable))]]


def _shapes(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, 468, 2) points to (N, 936) without position and size (rotation stays: it is pose), and the sizes (N,)."""
    centred = points - points.mean(1, keepdims=True)
    sizes = np.sqrt((centred**2).sum((1, 2)) / points.shape[1])
    return (centred / sizes[:, None, None]).reshape(len(points), -1), sizes


def identity_blended_pair(
    target: np.ndarray,
    target_landmarks: np.ndarray,
    source: np.ndarray,
    source_landmarks: np.ndarray,
    rng: np.random.Generator,
) -> Blend:
    """The target, and the target with the source's face in it.

    Args:
        target, source: (H, W, 3) uint8 RGB, of different sizes if need be.
        target_landmarks, source_landmarks: (468, 2) x, y in pixels of their pictures.
        rng: source of every random choice; the same state gives the same picture.
    """
    picture = Image.fromarray(target)
    matrix = affine(target_landmarks, source_landmarks)
    seen = _inside(source.shape[1], source.shape[0], matrix, picture.size)
    part = WHOLE if rng.random() < 0.8 else None
    mask = face_mask(picture.size, target_landmarks, rng, part, seen)
    region = region_of(mask)
    donor = _warp(Image.fromarray(source), matrix, region)
    donor = _recolour(donor, picture.crop(region), mask.crop(region), rng.uniform(0.6, 1.0))
    return blend(picture, donor, mask, region, float(rng.choice(RATIOS)))


def affine(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """(2, 3) matrix of the affine map with the least squared error from points (K, 2) to points (K, 2)."""
    ones = np.ones((len(start), 1))
    return np.linalg.lstsq(np.concatenate([start, ones], 1), end, rcond=None)[0].T


def _warp(source: Image.Image, matrix: np.ndarray, region: Region) -> Image.Image:
    """The source as seen from the target's pixels in `region`; `matrix` leads from target to source."""
    factor = max(1, int(np.sqrt(abs(np.linalg.det(matrix[:, :2])))))  # averaged down first: no aliasing
    moved = np.concatenate([matrix[:, :2], matrix @ np.array([[region[0]], [region[1]], [1]])], 1) / factor
    size = (region[2] - region[0], region[3] - region[1])
    return source.reduce(factor).transform(
        size, Image.Transform.AFFINE, moved.ravel().tolist(), Image.Resampling.BICUBIC
    )


def _inside(width: int, height: int, matrix: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """L picture: 255 where the warped source has pixels."""
    valid = Image.new("L", (width, height), 0)
    valid.paste(255, (EDGE_PX, EDGE_PX, width - EDGE_PX, height - EDGE_PX))
    return valid.transform(size, Image.Transform.AFFINE, matrix.ravel().tolist())


def _recolour(donor: Image.Image, target: Image.Image, mask: Image.Image, strength: float) -> Image.Image:
    """The donor with the target's mean and spread of luma and colour inside the mask (Reinhard et al., 2001)."""
    tables: list[int] = []
    ours, theirs = donor.convert("YCbCr"), target.convert("YCbCr")
    inside = mask.point([0] * 128 + [255] * 128)
    if not inside.getbbox():
        return donor
    own, wanted = ImageStat.Stat(ours, inside), ImageStat.Stat(theirs, inside)
    for channel, limits in enumerate(GAINS):
        ratio = wanted.stddev[channel] / max(own.stddev[channel], 1e-3)
        gain = float(np.clip(ratio, *limits)) * strength + 1 - strength
        middle = own.mean[channel] + (wanted.mean[channel] - own.mean[channel]) * strength
        values = (np.arange(256) - own.mean[channel]) * gain + middle
        tables += np.clip(np.rint(values), 0, 255).astype(int).tolist()
    return ours.point(tables).convert("RGB")
