"""The losses against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from export.network import Output
from export.training.losses import agrees, distillation_loss, focal_loss, one_teacher


def output(*logits: float, evidence: float = 0.0, attention: float = 0.5, grid: int = 4) -> Output:
    maps = torch.ones(len(logits), 1, grid, grid)
    gates = torch.full((len(logits), 3), 1 / 3)
    return Output(torch.tensor(logits)[:, None], evidence * maps, attention * maps, gates)


def test_focal_loss_is_cross_entropy_at_zero_and_weighs_easy_samples_down():
    logit, label = torch.tensor([0.0, 2.0, 2.0]), torch.tensor([1.0, 1.0, 0.0])
    torch.testing.assert_close(
        focal_loss(logit, label, 0), torch.tensor([math.log(2), math.log1p(math.exp(-2)), 2 + math.log1p(math.exp(-2))])
    )
    p = torch.sigmoid(torch.where(label > 0, logit, -logit))
    torch.testing.assert_close(focal_loss(logit, label, 2), -((1 - p) ** 2) * torch.log(p))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_a_student_that_agrees_owes_nothing(temperature):
    verdict, maps = distillation_loss(output(-3.0, 1.5), output(-3.0, 1.5, grid=8), temperature)
    torch.testing.assert_close(verdict, torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(maps, torch.zeros(2))


def test_distillation_grows_with_the_gap_and_its_gradient_pulls_to_the_teacher():
    gaps = [distillation_loss(output(value), output(2.0), 2.0)[0].item() for value in (2.0, 1.0, 0.0, -3.0)]
    assert gaps == sorted(gaps)
    student = output(0.0)
    student.logit.requires_grad_()
    distillation_loss(student, output(2.0), 2.0)[0].sum().backward()
    # d/ds of T^2 KL = T (sigmoid(s / T) - sigmoid(t / T))
    assert student.logit.grad.item() == pytest.approx(2 * (0.5 - torch.sigmoid(torch.tensor(1.0)).item()), abs=1e-5)


def test_maps_are_compared_as_attention_and_as_local_probability():
    _, maps = distillation_loss(output(0.0, attention=0.2), output(0.0, attention=0.7, grid=8), 2.0)
    assert maps.item() == pytest.approx(0.25)
    _, maps = distillation_loss(output(0.0, evidence=40.0), output(0.0, evidence=-40.0), 2.0)
    assert maps.item() == pytest.approx(1.0)


def test_a_teachers_mistakes_are_told():
    assert agrees(output(1.0, -1.0, 1.0, -1.0), torch.tensor([1.0, 1.0, 0.0, 0.0])).tolist() == [1, 0, 0, 1]


def test_several_teachers_speak_as_the_mean_of_those_that_are_right():
    first = output(1.0, -1.0, -1.0, evidence=1.0, attention=0.2)
    second = output(3.0, 3.0, -5.0, evidence=3.0, attention=0.6, grid=8)
    mean, known = one_teacher([first, second], torch.tensor([1.0, 0.9, 1.0]))
    assert mean.logit[:, 0].tolist() == [2, 3, -3]
    assert known.tolist() == [1, 1, 0]
    assert mean.attention.shape == (3, 1, 4, 4)
    for maps, values in ((mean.attention, [0.4, 0.6, 0.4]), (mean.evidence, [2.0, 3.0, 2.0])):
        torch.testing.assert_close(maps, torch.tensor(values)[:, None, None, None].expand(3, 1, 4, 4))
