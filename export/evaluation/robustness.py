"""Pictures -> the same pictures after what happens to them on the way to a server, for curves over its strength.

Only one thing changes at a time: scaled, blurred and noisy pictures are sent without loss (PNG), so that no second
compression joins in. Both classes get the same. Strengths are in the picture's own pixels and levels of 0..255.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from .samples import Sample


@dataclass(frozen=True)
class Damage:
    """One kind of change and its strengths, mildest first; `unit` is the axis of its curve."""

    name: str
    unit: str
    strengths: tuple[float, ...]
    apply: Callable[[Image.Image, float, np.random.Generator], bytes]


def _jpeg(picture: Image.Image, quality: float, _: np.random.Generator) -> bytes:
    return _encode(picture, "JPEG", quality=int(quality))


def _scale(picture: Image.Image, factor: float, _: np.random.Generator) -> bytes:
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    return _png(picture.resize(size, Image.Resampling.BICUBIC))


def _blur(picture: Image.Image, sigma: float, _: np.random.Generator) -> bytes:
    return _png(picture.filter(ImageFilter.GaussianBlur(sigma)))


def _noise(picture: Image.Image, sigma: float, rng: np.random.Generator) -> bytes:
    noisy = np.asarray(picture) + rng.normal(0, sigma, (picture.height, picture.width, 3))
    return _png(Image.fromarray(np.clip(np.round(noisy), 0, 255).astype(np.uint8)))


DAMAGES = (
    Damage("JPEG compression", "JPEG quality", (95, 80, 60, 40, 20), _jpeg),
    Damage("Smaller pictures", "scale", (0.75, 0.5, 0.35, 0.25), _scale),
    Damage("Blur", "blur sigma (px)", (0.5, 1, 2, 3), _blur),
    Damage("Noise", "noise sigma (of 255)", (4, 8, 16, 32), _noise),
)


def damaged(data: Path, samples: Sequence[Sample], damage: Damage, strength: float, seed: int) -> Iterator[bytes]:
    """Each picture after one change; the same seed and place in the list give the same picture."""
    for index, sample in enumerate(samples):
        with Image.open(data / sample.path) as image:
            picture = ImageOps.exif_transpose(image).convert("RGB")
        yield damage.apply(picture, strength, np.random.default_rng([seed, index]))


def subset(samples: Sequence[Sample], per_class: int, seed: int) -> list[Sample]:
    """As many pictures of each class, at most `per_class`, drawn at random over all sources."""
    classes = [[sample for sample in samples if sample.label == label] for label in (0, 1)]
    count = min(per_class, *map(len, classes))
    rng = np.random.default_rng(seed)
    return [members[i] for members in classes for i in sorted(rng.permutation(len(members))[:count])]


def _png(picture: Image.Image) -> bytes:
    return _encode(picture, "PNG", compress_level=1)


def _encode(picture: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()
