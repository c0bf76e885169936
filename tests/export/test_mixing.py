"""Faces with something of each other: mixed, the label is the share of fake pixels; restyled, features stay."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from export.training.mixing import MAX_RADIUS, mix, restyle

SIDE_PX = 32


@pytest.mark.parametrize("seed", range(8))
def test_the_label_is_the_share_of_what_is_fake(seed):
    labels = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0])
    pixels = labels[:, None, None, None].expand(-1, 3, SIDE_PX, SIDE_PX) * 255
    mixed, shares = mix(pixels, labels, np.random.default_rng(seed))
    torch.testing.assert_close(mixed.mean((1, 2, 3)) / 255, shares.float())
    assert torch.equal(pixels, labels[:, None, None, None].expand_as(pixels) * 255), "what was given stays"


def test_both_kinds_come_and_the_same_seed_gives_the_same():
    labels, pixels = torch.arange(2.0), torch.arange(2.0)[:, None, None, None].expand(-1, 1, SIDE_PX, SIDE_PX)
    kinds = {len(mix(pixels, labels, np.random.default_rng(seed))[0][0].unique()) for seed in range(20)}
    assert kinds == {1, 2}, "a blend has one value, a face with a rectangle of the other has two"
    first, second = (mix(pixels, labels, np.random.default_rng(3)) for _ in range(2))
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])


def test_restyled_faces_lend_light_and_keep_their_features():
    generator = torch.Generator().manual_seed(0)
    levels = torch.tensor([70.0, 120.0, 180.0])[:, None, None, None]
    pixels = levels + 20 * torch.rand(3, 3, SIDE_PX, SIDE_PX, generator=generator)
    given = pixels.clone()
    lent = [restyle(pixels, np.random.default_rng(seed)) for seed in range(12)]
    assert torch.equal(pixels, given), "what was given stays"
    for picture in lent:
        before, after = (torch.fft.fft2(p, norm="forward") for p in (pixels, picture))
        torch.testing.assert_close(*(s[..., MAX_RADIUS + 1 : SIDE_PX - MAX_RADIUS, :] for s in (before, after)))
        torch.testing.assert_close(*(s[..., MAX_RADIUS + 1 : SIDE_PX - MAX_RADIUS] for s in (before, after)))
    means = torch.stack([picture.mean((1, 2, 3)) for picture in lent])
    assert (means.amax(0) - means.amin(0) > 10).all(), "each takes some of another's brightness"
    assert torch.equal(lent[3], restyle(pixels, np.random.default_rng(3)))
