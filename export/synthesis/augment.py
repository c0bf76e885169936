"""One photograph -> training examples: the encoded bytes and the region that the server would get.

Every change happens before encoding, at the picture's own scale. So what the network sees has gone through the same
decoder and the same resize as in serving. Real and fake get the same treatment and differ in the forgery alone.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from serving.pictures.crop import face_roi

from ..data.sources import FAKE, REAL
from .degrade import CLEAN_QUALITY, degrade, encode, save, video_call
from .identity_blend import identity_blended_pair
from .masks import Blend
from .self_blend import self_blend, self_blended_pair

CONTEXT = 1.8  # of the box is kept around it: more than any jittered crop needs
WORKING_FACE_PX = (224, 352)  # larger faces are scaled down to a side drawn here: the network gets 224 px of 1.3 boxes
RESAMPLING = Image.Resampling.BICUBIC


@dataclass(frozen=True)
class Example:
    """What the pipeline takes and what the network should say."""

    image: np.ndarray  # (L,) uint8 encoded
    roi: np.ndarray  # (4,) float32
    label: int


@dataclass(frozen=True)
class Donor:
    """Another person's photograph for a cross-identity blend, and its face mesh, (468, 2) pixels."""

    data: bytes
    landmarks: np.ndarray


@dataclass(frozen=True)
class Twin:
    """A reconstruction's file, and x0, y0, x1, y1 of what it shows of the original."""

    data: bytes
    crop: Sequence[int]


def plain_example(data: bytes, box: np.ndarray, height: int, width: int, label: int) -> Example:
    """The file as it is, with the region that serving would cut."""
    return Example(np.frombuffer(data, np.uint8), face_roi(box, height, width), label)


def training_example(
    data: bytes, box: np.ndarray, label: int, degradation: float, rng: np.random.Generator, *, video: float = 0.0
) -> Example:
    """A photograph flipped and cut at random; `degradation` and `video` are as in `training_pair`."""
    face = Surroundings.cut(decode(data), box, None, rng)
    return _finish(face.pixels, face.box, label, degradation, video, rng)


def training_pair(
    data: bytes,
    box: np.ndarray,
    degradation: float,
    rng: np.random.Generator,
    *,
    video: float = 0.0,
    landmarks: np.ndarray | None = None,
    donor: Donor | None = None,
    twin: Twin | None = None,
) -> tuple[Example, Example]:
    """A real example and its fake twin, which differ in the forgery alone: both then take the same journey.

    Args:
        data, box: the real photograph's file, and its face in pixels of the upright picture.
        degradation: probability of a journey (degrade.py), 0..1.
        video: probability of a video call instead of it, 0..1 - degradation.
        landmarks: (468, 2) face mesh of the photograph; `donor` needs it, self-blending works better with it.
        donor: makes the fake a cross-identity blend.
        twin: makes the fake this reconstruction; without both it is a self-blended image.
    """
    if donor is not None and landmarks is None:
        raise ValueError("A cross-identity blend needs the landmarks of the target; find_landmarks gives them.")
    picture = decode(data)
    if twin is not None:
        real, fake, box = _reconstructed(picture, np.asarray(box, np.float64), twin, rng)
    else:
        face = Surroundings.cut(picture, box, landmarks, rng)
        made = _blended(face, donor, rng)
        real, fake, box = made.real, made.fake, face.box
    journey = int(rng.integers(1 << 62))
    return (
        _finish(real, box, REAL, degradation, video, np.random.default_rng(journey)),
        _finish(fake, box, FAKE, degradation, video, np.random.default_rng(journey)),
    )


def blended_example(
    data: bytes, box: np.ndarray, rng: np.random.Generator, landmarks: np.ndarray | None = None
) -> Example:
    """A self-blended fake without further changes, for validation."""
    face = Surroundings.cut(decode(data), box, landmarks, None)
    fake = self_blend(face.pixels, face.box, rng, None, face.landmarks)
    return _encoded(save(Image.fromarray(fake), "JPEG", quality=90), face.box, fake.shape, FAKE)


@dataclass(frozen=True)
class Surroundings:
    """A face with its surroundings: (H, W, 3) uint8, and box and landmarks in its pixels."""

    pixels: np.ndarray
    box: np.ndarray
    landmarks: np.ndarray | None

    @classmethod
    def cut(
        cls, picture: Image.Image, box: np.ndarray, landmarks: np.ndarray | None, rng: np.random.Generator | None
    ) -> Surroundings:
        """Cuts it out of the photograph; where there is an `rng`, a large one is scaled down."""
        box = np.asarray(box, np.float64)
        centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).max() * CONTEXT / 2
        size = np.array(picture.size)
        low = np.clip(np.floor(centre - half), 0, size - 1).astype(int)
        high = np.clip(np.ceil(centre + half), low + 1, size).astype(int)
        limit = rng.uniform(*WORKING_FACE_PX) if rng is not None else np.inf
        scale = min(1.0, limit / float((box[2:] - box[:2]).max()))
        goal = np.maximum(1, np.rint((high - low) * scale)).astype(int)
        region = (*low.tolist(), *high.tolist())
        cut = picture.crop(region) if scale == 1 else picture.resize(tuple(goal.tolist()), RESAMPLING, region)
        scales = goal / (high - low)
        moved = None if landmarks is None else (landmarks - low) * scales
        return cls(np.asarray(cut), (box - np.tile(low, 2)) * np.tile(scales, 2), moved)


def _blended(face: Surroundings, donor: Donor | None, rng: np.random.Generator) -> Blend:
    """The fake of a face: with another person's face, or with its own."""
    if donor is None:
        return self_blended_pair(face.pixels, face.box, rng, None, face.landmarks)
    assert face.landmarks is not None
    points = donor.landmarks
    box = np.concatenate([points.min(0), points.max(0)])
    other = Surroundings.cut(decode(donor.data), box, points, rng)
    assert other.landmarks is not None
    return identity_blended_pair(face.pixels, face.landmarks, other.pixels, other.landmarks, rng)


def _reconstructed(
    picture: Image.Image, box: np.ndarray, twin: Twin, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same piece of the original and of its reconstruction at one size, and the face's box in them."""
    fake = decode(twin.data)
    crop = np.array(twin.crop)
    scales = np.array(fake.size) / (crop[2:] - crop[:2])
    box = (box - np.tile(crop[:2], 2)) * np.tile(scales, 2)
    real = picture.crop(tuple(crop.tolist()))
    if real.size != fake.size:
        real = real.resize(fake.size, Image.Resampling.LANCZOS)
    seed = int(rng.integers(1 << 62))
    ours, theirs = (Surroundings.cut(part, box, None, np.random.default_rng(seed)) for part in (real, fake))
    return ours.pixels, theirs.pixels, ours.box


def _finish(
    pixels: np.ndarray, box: np.ndarray, label: int, degradation: float, video: float, rng: np.random.Generator
) -> Example:
    """Flip, journey, cut and file; the same for every picture of one size under one state of `rng`."""
    picture = Image.fromarray(pixels)
    if rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        box = np.array([picture.width - box[2], box[1], picture.width - box[0], box[3]])
    draw = rng.random()
    degraded = draw < degradation
    if degraded:
        picture, box = degrade(picture, box, rng)
    elif draw < degradation + video:
        picture, box = video_call(picture, box, rng)
    box = _jitter(box, rng)
    data = encode(picture, rng) if degraded else save(picture, "JPEG", quality=CLEAN_QUALITY)
    return _encoded(data, box, (picture.height, picture.width), label)


def _encoded(data: bytes, box: np.ndarray, shape: Sequence[int], label: int) -> Example:
    return Example(np.frombuffer(data, np.uint8), face_roi(box, shape[0], shape[1]), label)


def decode(data: bytes) -> Image.Image:
    """The upright picture, as the detector saw it."""
    with Image.open(io.BytesIO(data)) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def _jitter(box: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The box as a slightly different detection would give it."""
    side = (box[2:] - box[:2]).max()
    centre = (box[:2] + box[2:]) / 2 + rng.uniform(-0.06, 0.06, 2) * side
    half = (box[2:] - box[:2]) / 2 * rng.uniform(0.88, 1.12)
    return np.concatenate([centre - half, centre + half])
