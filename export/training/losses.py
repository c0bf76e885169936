"""Losses: pure functions of labels, logits and maps."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..network import Output


def focal_loss(logit: Tensor, label: Tensor, gamma: float) -> Tensor:
    """Focal loss (Lin et al., ICCV 2017), (B,): cross-entropy times (1 - p of the truth) ** gamma.

    It weighs hard samples up without sorting or mining them, and stays differentiable. gamma 0 is cross-entropy.

    Args:
        logit, label: (B,); 1 is fake.
    """
    entropy = F.binary_cross_entropy_with_logits(logit, label, reduction="none")
    return (1 - torch.exp(-entropy)) ** gamma * entropy


def distillation_loss(student: Output, teacher: Output, temperature: float) -> tuple[Tensor, Tensor]:
    """What the student owes its teacher: (B,) of the softened verdicts (Hinton et al., 2015), (B,) of the maps.

    The first is the divergence between the two probabilities at `temperature`, times its square so that its gradient
    does not depend on it; zero where they agree. The second is the mean squared difference of attention and of local
    probability of fake: where to look, and what to see there (Zagoruyko and Komodakis, ICLR 2017).
    """
    target = torch.sigmoid(teacher.logit[:, 0] / temperature)
    cross = F.binary_cross_entropy_with_logits(student.logit[:, 0] / temperature, target, reduction="none")
    divergence = temperature**2 * (cross - F.binary_cross_entropy(target, target, reduction="none"))
    grid = student.attention.shape[-2:]
    pairs = [
        (student.attention, teacher.attention),
        (torch.sigmoid(student.evidence / temperature), torch.sigmoid(teacher.evidence / temperature)),
    ]
    gaps = [(mine - F.adaptive_avg_pool2d(theirs, grid)).square().mean((1, 2, 3)) for mine, theirs in pairs]
    return divergence, sum(gaps, torch.zeros_like(divergence))


def agrees(teacher: Output, label: Tensor) -> Tensor:
    """(B,) 1 where the teacher is right; its mistakes are not taught."""
    return ((teacher.logit[:, 0] > 0) == (label > 0.5)).float()


def one_teacher(outputs: list[Output], label: Tensor) -> tuple[Output, Tensor]:
    """Several teachers as one: for each face, the mean of the logits and maps of the teachers that are right about it.

    So a teacher that is blind to one kind of fake takes nothing away from one that knows it.

    Returns:
        their mean, maps on the first one's grid, of all where none is right; (B,) 1 where one is.
    """
    right = torch.stack([agrees(output, label) for output in outputs])  # (T, B)
    known = right.amax(0)
    counted = torch.where(known > 0, right, 1.0)
    shares = counted / counted.sum(0)
    grid = outputs[0].attention.shape[-2:]

    def mean(name: str) -> Tensor:
        values = [getattr(out, name) for out in outputs]
        maps = torch.stack([F.interpolate(v, grid, mode="bilinear") if v.dim() == 4 else v for v in values])
        return (shares.view(*shares.shape, *[1] * (maps.dim() - 2)) * maps).sum(0)

    return Output(*(mean(name) for name in Output._fields)), known
