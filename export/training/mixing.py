"""Faces of a batch -> the same, mixed with each other, so that no network learns a small training set by heart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

ALPHA = 0.4  # of the Beta distribution: mostly one of the two, with some of the other


def mixed(pixels: Tensor, labels: Tensor, seed: Sequence[int], often: float) -> tuple[Tensor, Tensor]:
    """A batch, mixed with the probability `often` 0..1; the same seed gives the same."""
    rng = np.random.default_rng(seed)
    return mix(pixels, labels, rng) if rng.random() < often else (pixels, labels)


def mix(pixels: Tensor, labels: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Every face with another one of the batch: half the time as a blend, half the time as a rectangle in it.

    mixup (Zhang et al., ICLR 2018) and CutMix (Yun et al., ICCV 2019). The label is the share of what is fake. Genuine
    faces are mixed with each other, too, so that the edge of a rectangle gives nothing away.

    Args:
        pixels: (B, C, H, W).
        labels: (B,) 0..1.
    """
    share = rng.beta(ALPHA, ALPHA)  # of the face itself
    other = torch.from_numpy(rng.permutation(len(labels)))
    if rng.random() < 0.5:
        mixed = share * pixels + (1 - share) * pixels[other]
    else:
        height, width = pixels.shape[-2:]
        h, w = round(height * (1 - share) ** 0.5), round(width * (1 - share) ** 0.5)
        top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
        mixed = pixels.clone()
        mixed[..., top : top + h, left : left + w] = pixels[other, :, top : top + h, left : left + w]
        share = 1 - h * w / (height * width)
    return mixed, share * labels + (1 - share) * labels[other]
