"""Faces of a batch with something of each other: keeps a network from learning a small training set by heart.

`mix` makes one face of two, and says how fake it then is; `restyle` lends colour and light alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

ALPHA = 0.4  # of the Beta distribution: mostly one of the two, with some of the other
MAX_RADIUS = 3  # cycles across the picture, of what is lent: light and shade of a side of a face, no features


def mixed(
    pixels: Tensor, labels: Tensor, seed: Sequence[int], often: float, restyled: float = 0.0
) -> tuple[Tensor, Tensor]:
    """A batch that may be restyled, and mixed, with these probabilities 0..1; the same seed gives the same."""
    rng, style = np.random.default_rng(seed), np.random.default_rng([*seed, 1])
    if style.random() < restyled:
        pixels = restyle(pixels, style)
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


def restyle(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Every face in the colour and light of another one of the batch, to a random degree; its label stays.

    The amplitudes of the lowest frequencies are lent, the phases kept (Yang and Soatto, FDA, CVPR 2020): sources of
    faces differ in light as well, and a network takes the studio's for the generator's.

    Args:
        pixels: (B, C, H, W), 0..255.
    """
    other = torch.from_numpy(rng.permutation(len(pixels)))
    degree = torch.from_numpy(rng.random((len(pixels), 1, 1, 1), np.float32))
    radius = int(rng.integers(MAX_RADIUS + 1))
    spectrum = torch.fft.rfft2(pixels)
    for rows in (slice(0, radius + 1), slice(spectrum.shape[-2] - radius, None)):  # of both signs; the columns have one
        low = spectrum[..., rows, : radius + 1]
        amplitude = low.abs()
        lent = torch.lerp(amplitude, amplitude[other], degree)
        spectrum[..., rows, : radius + 1] = torch.polar(lent, low.angle())
    return torch.fft.irfft2(spectrum, s=pixels.shape[-2:]).clamp(0, 255).contiguous(memory_format=torch.channels_last)
