"""Faces with something of each other: the label is the share of fake pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from export.training.mixing import mix

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
