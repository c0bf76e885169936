"""Pictures -> the same pictures after what happens to them on the way to a server, and curves over its strength.

One thing changes at a time. Scaled, blurred and noisy pictures are sent as PNG, so that no second compression joins in.
Both classes get the same. Strengths are in the picture's own pixels and levels of 0..255.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from facewarden import Client

from .analysis import robustness_point
from .pictures import LabelledPicture
from .served import JudgedPicture, judge


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


def curves(
    client: Client, data: Path, judged: list[JudgedPicture], per_class: int, threshold: float, rounds: int, seed: int
) -> dict:
    """`robustness` of a random part of one split, for each kind and strength of damage; empty with one class only."""
    known = {j.picture: j for j in judged if j.found}
    chosen = subset(list(known), per_class, seed)
    if not chosen:
        return {}
    settings = (threshold, rounds, seed)
    found = []
    for damage in DAMAGES:
        points = []
        for strength in damage.strengths:
            images = damaged(data, chosen, damage, strength, seed)
            verdicts = judge(client, images, len(chosen), f"{chosen[0].split}: {damage.unit} {strength:g}")
            pairs = [JudgedPicture(picture, verdict) for picture, verdict in zip(chosen, verdicts, strict=True)]
            points.append({"strength": strength} | robustness_point(pairs, *settings))
        found.append({"name": damage.name, "unit": damage.unit, "points": points})
    untouched = robustness_point([known[picture] for picture in chosen], *settings)
    return {"robustness": {"untouched": untouched, "curves": found}}


def damaged(
    data: Path, pictures: Sequence[LabelledPicture], damage: Damage, strength: float, seed: int
) -> Iterator[bytes]:
    """Each picture after one change; the same seed and place in the list give the same picture."""
    for index, picture in enumerate(pictures):
        with Image.open(data / picture.path) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
        yield damage.apply(upright, strength, np.random.default_rng([seed, index]))


def subset(pictures: Sequence[LabelledPicture], per_class: int, seed: int) -> list[LabelledPicture]:
    """As many pictures of each class, at most `per_class`, drawn at random over all sources."""
    classes = [[picture for picture in pictures if picture.label == label] for label in (0, 1)]
    count = min(per_class, *map(len, classes))
    rng = np.random.default_rng(seed)
    return [members[i] for members in classes for i in sorted(rng.permutation(len(members))[:count])]


def _png(picture: Image.Image) -> bytes:
    return _encode(picture, "PNG", compress_level=1)


def _encode(picture: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()
