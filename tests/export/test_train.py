"""Training that resumes exactly, adapts its batches and follows a teacher; pruning; the network itself."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from torch.nn import Hardswish

from export.errors import PruneError
from export.network import FaceNet, fit_to
from export.synthesis.batches import Batch, Loader
from export.training.config import TrainConfig
from export.training.prune import PruneConfig, prune, prune_to, shares
from export.training.teacher import frozen
from export.training.train import Run, learning_rate_factor, to_pixels, train
from export.training.weights import averaged, save_network, starting_network, trained

CONFIG = TrainConfig(backbone="mobilenetv3_small_050", epochs=2, batch_size=2, side_px=64, ema_decay=0.5)
B0 = replace(CONFIG, backbone="efficientnet_b0")


def test_a_killed_training_ends_with_the_same_weights(data, faces, tmp_path, monkeypatch):
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole = train(CONFIG, faces, data, tmp_path / "whole", CONFIG.network(), cpu=True)
    with killed_at(monkeypatch, 2, tmp_path / "cut"):
        train(CONFIG, faces, data, tmp_path / "cut", CONFIG.network(), cpu=True)
    resumed = train(CONFIG, faces, data, tmp_path / "cut", CONFIG.network(), cpu=True)
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], tensor, msg=name)


@contextmanager
def killed_at(monkeypatch, position, folder):
    """Training inside is killed at the first update that ends there or later, its checkpoint written."""
    real_update = Run.update

    def update(run, batches):
        progress = real_update(run, batches)
        run.save(folder / "checkpoint.pt")
        if run.position >= position:
            raise KeyboardInterrupt
        return progress

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Run, "update", update)
        yield


def test_a_plain_network_comes_back_from_its_checkpoint(faces, data, tmp_path):
    config = replace(CONFIG, head="plain", epochs=1)
    network = train(config, faces, data, tmp_path, config.network(), cpu=True)
    again, its_config = trained(tmp_path / "checkpoint.pt")
    pixels = 255 * torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(again(pixels).logit, network(pixels).logit)
    assert its_config == config
    with pytest.raises(PruneError, match="plain"):
        prune_to(tmp_path / "pruned.pt", again, config, PruneConfig(), faces, Loader(data, 2, 0))


def test_a_head_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="taps, plain"):
        replace(CONFIG, head="linear")


@pytest.mark.parametrize(
    "wrong",
    [
        {"hard_samples": 0},
        {"focal_gamma": 0.5},
        {"warmup_share": 1.0},
        {"ema_decay": 1.0},
        {"distill_temperature": 0.0},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_settings_that_cannot_train_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(CONFIG, **wrong)


def test_too_few_faces_for_a_batch_are_told_before_anything_is_saved(faces, data, tmp_path):
    config = replace(CONFIG, batch_size=64)
    with pytest.raises(ValueError, match="faces of the split train fill no batch of 64"):
        train(config, faces, data, tmp_path, config.network(), cpu=True)
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_of_another_backbone_is_no_start(tmp_path):
    save_network(CONFIG.network(), CONFIG, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="is of mobilenetv3_small_050"):
        starting_network(B0, tmp_path / "other.pt")


def random_batches(count, size=2):
    rng = np.random.default_rng(1)
    return [
        Batch(rng.integers(0, 256, (size, 224, 224, 3), np.uint8), np.arange(size, dtype=np.float32) % 2)
        for _ in range(count)
    ]


@pytest.mark.parametrize(("hard_samples", "batches"), [(1, 1), (99, 3)], ids=["hard-data", "easy-data"])
def test_an_update_waits_for_hard_samples_but_not_for_ever(hard_samples, batches):
    config = replace(CONFIG, hard_samples=hard_samples, max_accumulation=3)
    torch.manual_seed(0)
    run = Run(config, 9, config.network(), cpu=True)
    assert run.update(iter(random_batches(5))).batches == batches
    assert run.position == batches
    assert run.update(iter([])) is None


@pytest.mark.parametrize(
    ("ends", "chunk", "positions"),
    [
        ({3}, 4, [0, 1, 2, 0, 0, 1, 1, 2, 2]),
        ({3, 5}, 2, [0, 1, 2, 0, 0, *[0] * 4, *[1] * 4, *[2] * 4]),
    ],
    ids=["once", "twice"],
)
def test_batches_done_again_after_memory_ended_keep_their_places(monkeypatch, ends, chunk, positions):
    """Only the end of memory is made up; without it their faces would be mixed, and taught, as other ones."""
    config = replace(CONFIG, batch_size=8, hard_samples=100, max_accumulation=3, mix=1.0, distill_share=1.0)
    batches, real_loss, losses = random_batches(3, 8), Run._loss, []

    def loss(run, *values):
        losses.append(run.position)
        if len(losses) in ends:
            raise torch.cuda.OutOfMemoryError
        return real_loss(run, *values)

    monkeypatch.setattr(Run, "_loss", loss)
    run = Run(config, 6, config.network(), [config.network()], cpu=True, period=3)
    whole = Run(config, 6, config.network(), [config.network()], cpu=True, period=3)
    run.update(iter(batches))
    assert (run.position, run.chunk) == (3, chunk)
    assert losses == positions
    whole.update(iter(batches))
    for position, answer in whole.answers.items():
        for mine, theirs in zip(run.answers[position], answer, strict=True):
            torch.testing.assert_close(mine, theirs)


def test_gradients_of_several_batches_are_those_of_one_big_batch():
    """Where no sample sees another: the norms use their averages."""
    config = replace(CONFIG, hard_samples=99, max_accumulation=2, focal_gamma=0)
    batches = random_batches(2)
    big = Batch(*(np.concatenate(parts) for parts in zip(*batches, strict=True)))
    gradients = []
    for given in (batches, [big]):
        torch.manual_seed(0)
        run = Run(config, 9, config.network(), cpu=True)
        run.net.eval().train = lambda: None  # no dropout, no batch statistics
        run.optimizer.zero_grad = lambda: None
        run.update(iter(given))
        gradients.append(run.net.evidence.weight.grad.clone())
    torch.testing.assert_close(gradients[0], gradients[1])


def test_a_teacher_pulls_its_student():
    """One that agrees owes nothing; where the teacher contradicts the label, the label counts."""
    config = replace(CONFIG, distill_share=1.0, learning_rate=1e-3)
    torch.manual_seed(0)
    teacher = config.network()
    run = Run(config, 100, config.network(), [teacher], cpu=True)
    batch = random_batches(1, 4)[0]
    out = run.teachers[0](to_pixels(batch))
    agreeing = Batch(batch.faces, (out.logit[:, 0] > 0).float().numpy())
    label = torch.from_numpy(agreeing.labels)
    answer = run._answer(to_pixels(agreeing), label)
    assert torch.allclose(run._loss(out, label, answer), torch.zeros(4), atol=1e-6)
    contrary = 1 - label
    assert (run._loss(out, contrary, run._asked(to_pixels(batch), contrary)) > 0).all()


def test_pictures_that_come_again_are_the_same_and_ask_no_teacher_twice(faces, data, tmp_path, monkeypatch):
    """Nor after a kill, which ends with the same weights."""
    config = replace(CONFIG, epochs=4, distinct_epochs=2, mix=1.0, distill_share=1.0)
    seen: list[torch.Tensor] = []
    asked: list[torch.Tensor] = []
    real_asked, real_answer = Run._asked, Run._answer

    def answer(run, pixels, labels):
        seen.append(pixels)
        return real_answer(run, pixels, labels)

    def ask(run, pixels, labels):
        asked.append(pixels)
        return real_asked(run, pixels, labels)

    def trained_in(name):
        (tmp_path / name).mkdir(exist_ok=True)
        return train(config, faces, data, tmp_path / name, config.network(), [config.network()], cpu=True)

    monkeypatch.setattr(Run, "_answer", answer)
    monkeypatch.setattr(Run, "_asked", ask)
    whole = trained_in("whole")
    half = len(seen) // 2
    assert half > 2
    assert len(asked) == half
    for first, again in zip(seen[:half], seen[half:], strict=True):
        torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(seen[0], seen[half // 2])

    with killed_at(monkeypatch, half + 1, tmp_path / "cut"):
        trained_in("cut")
    asked.clear()
    resumed = trained_in("cut")
    assert not asked
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], tensor, msg=name)


def test_more_distinct_epochs_than_epochs_are_refused():
    with pytest.raises(ValueError, match=r"distinct_epochs is 0 or 1\.\.2"):
        replace(CONFIG, distinct_epochs=3)


@pytest.mark.parametrize("head", ["taps", "plain"])
def test_a_frozen_teacher_says_what_its_network_says(head):
    """Within what BF16 rounds away, where the CPU has it, and for batches of any size."""
    net = replace(CONFIG, head=head).network().eval()
    frozen_net = frozen(net, torch.device("cpu"))
    for batch in (*random_batches(1, 3), *random_batches(1, 5)):
        with torch.inference_mode():
            expected = net(to_pixels(batch))
        for mine, theirs in zip(frozen_net(to_pixels(batch)), expected, strict=True):
            torch.testing.assert_close(mine, theirs, atol=0.02, rtol=0.02)


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path):
    Run(CONFIG, 1, CONFIG.network(), cpu=True).save(tmp_path / "checkpoint.pt")
    other = replace(CONFIG, seed=1)
    with pytest.raises(ValueError, match="remove it"):
        Run(other, 1, other.network(), cpu=True).load(tmp_path / "checkpoint.pt")


def test_weights_come_from_a_checkpoint_or_a_backbone(tmp_path, net):
    run = Run(CONFIG, 1, CONFIG.network(), cpu=True)
    run.save(tmp_path / "checkpoint.pt")
    fresh = starting_network(CONFIG, tmp_path / "checkpoint.pt")
    torch.testing.assert_close(fresh.gate.weight, run.average.module.gate.weight)
    again, config = trained(tmp_path / "checkpoint.pt")
    torch.testing.assert_close(again.gate.weight, fresh.gate.weight)
    assert config == CONFIG
    swapped = replace(B0, activation="hard_swish")
    save_network(b0 := B0.network(), B0, tmp_path / "silu.pt")
    torch.testing.assert_close(starting_network(swapped, tmp_path / "silu.pt").gate.weight, b0.gate.weight)
    save_network(swapped.network(), swapped, tmp_path / "swapped.pt")
    assert any(isinstance(module, Hardswish) for module in trained(tmp_path / "swapped.pt")[0].modules())
    with pytest.raises(ValueError, match="hard_swish"):
        starting_network(B0, tmp_path / "swapped.pt")
    torch.save(net.backbone.state_dict(), tmp_path / "backbone.pt")
    fresh = starting_network(CONFIG, tmp_path / "backbone.pt")
    torch.testing.assert_close(fresh.backbone.conv_stem.weight, net.backbone.conv_stem.weight)
    plain = starting_network(replace(CONFIG, head="plain"), tmp_path / "checkpoint.pt")  # another head: the backbone
    torch.testing.assert_close(plain.backbone.conv_stem.weight, again.backbone.conv_stem.weight)
    torch.save({}, tmp_path / "empty.pt")
    with pytest.raises(ValueError, match="lacks"):
        starting_network(CONFIG, tmp_path / "empty.pt")


def test_any_timm_network_can_teach():
    out = FaceNet("resnet10t", 64)(torch.zeros(2, 3, 224, 224))
    assert [tuple(value.shape) for value in out] == [(2, 1), (2, 1, 4, 4), (2, 1, 4, 4), (2, 3)]


def test_the_verdict_is_the_evidence_under_the_attention(net):
    out = net(torch.rand(2, 3, 224, 224) * 255)
    mean = (out.attention * out.evidence).sum((2, 3)) / out.attention.sum((2, 3))
    torch.testing.assert_close(out.logit, mean)
    torch.testing.assert_close(out.gates.sum(1), torch.ones(2))


def test_learning_rate_warms_up_and_falls_to_zero():
    factors = [learning_rate_factor(step / 100, 0.1) for step in range(101)]
    assert factors[5] == pytest.approx(0.5)
    assert max(factors) == factors[10] == 1
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[100] == pytest.approx(0)


def test_pruning_keeps_the_budget_and_the_tensors_say_what_is_left():
    torch.manual_seed(0)
    config = PruneConfig(multiply_adds=0.8, parameters=0.8, steps=10)
    small = prune(FaceNet(side_px=64), random_batches(1), config)
    multiply_adds, parameters = shares(small)
    assert multiply_adds <= 0.8
    assert parameters <= 0.8
    assert small.backbone.conv_stem.out_channels == 32
    assert small.backbone.blocks[0][0].conv_pw.out_channels == 16
    again = FaceNet(side_px=64)
    fit_to(again, small.state_dict())
    pixels = to_pixels(random_batches(1)[0])
    torch.testing.assert_close(again.eval()(pixels).logit, small.eval()(pixels).logit)
    with pytest.raises(PruneError, match="left of B0"):
        prune(FaceNet(side_px=64), random_batches(1), replace(config, multiply_adds=0.01, steps=1))
    with pytest.raises(PruneError, match="prunes EfficientNets and MobileNets"):
        prune(FaceNet("resnet10t", 64), random_batches(1), config)


def test_averaged_weights_are_the_mean_and_other_shapes_are_refused(tmp_path):
    torch.manual_seed(0)
    nets = [FaceNet("mobilenetv3_small_050", 64) for _ in range(2)]
    config = TrainConfig(backbone="mobilenetv3_small_050", side_px=64)
    for i, net in enumerate(nets):
        save_network(net, config, tmp_path / f"{i}.pt")
    mean, _ = averaged([tmp_path / "0.pt", tmp_path / "1.pt"])
    for name, value in mean.named_parameters():
        first, second = (net.get_parameter(name) for net in nets)
        torch.testing.assert_close(value, (first + second) / 2)
    other = TrainConfig(backbone="mobilenetv3_small_075", side_px=64)
    save_network(other.network(), other, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="other shapes"):
        averaged([tmp_path / "0.pt", tmp_path / "other.pt"])
