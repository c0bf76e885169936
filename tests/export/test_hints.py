"""A larger network's hints: found once, fitted out of fold, unknown for fakes it never saw, guessed in training."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
import timm
import torch
from sklearn.metrics import roc_auc_score

from export.chain import ChainConfig, run
from export.data.faces import of_split
from export.errors import ExportError
from export.synthesis.batches import Batch, Loader, Material, Recipe
from export.training import finetune
from export.training.config import TrainConfig
from export.training.hints import DIRECTIONS, Blocks, Hints, as_hints, find_hints
from export.training.losses import hint_loss
from export.training.mixing import mix
from export.training.train import Run, train

BACKBONE = "test_vit"  # timm's own for tests: 6 blocks, 64 wide
CONFIG = TrainConfig(epochs=1, batch_size=2, side_px=64, hint_weight=0.5)


@pytest.fixture(scope="module")
def hints(tmp_path_factory):
    torch.manual_seed(0)
    weights = tmp_path_factory.mktemp("vit") / "vit.pt"
    torch.save(timm.create_model(BACKBONE).state_dict(), weights)
    return Hints(BACKBONE, str(weights))


@pytest.fixture(scope="module")
def found(hints, faces, data, tmp_path_factory):
    return find_hints(hints, of_split(faces, "train"), data, tmp_path_factory.mktemp("hints") / "hints.npz")


def test_every_training_face_has_hints_and_a_second_search_asks_nobody(hints, faces, data, tmp_path):
    chosen, cache = of_split(faces, "train"), tmp_path / "hints.npz"
    first = find_hints(hints, chosen, data, cache)
    again = find_hints(replace(hints, weights="gone.pt"), chosen, data, cache)
    assert set(first) == {face.path for face in chosen}
    for path, hint in first.items():
        np.testing.assert_array_equal(again[path], hint)


def test_a_block_is_its_class_token(hints):
    net = Blocks(hints).eval()
    pixels = 255 * torch.rand(2, 3, net.side, net.side, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        last = net.vit.norm(net(pixels)[:, -1])
        torch.testing.assert_close(last, net.vit.forward_features((pixels - net.mean) / net.std)[:, 0])
        assert net(torch.zeros(1, 3, 224, 224)).shape[:2] == (1, len(net.vit.blocks))


def test_a_network_without_class_tokens_and_a_file_of_another_are_refused(hints):
    with pytest.raises(ExportError, match="vision transformer"):
        Blocks(Hints("test_efficientnet", hints.weights))
    with pytest.raises((ExportError, RuntimeError)):
        Blocks(Hints("vit_tiny_patch16_224", hints.weights))


def test_logits_are_of_faces_that_the_regression_was_not_fitted_to():
    """In many dimensions any labels can be learnt by heart; what was held back shows whether there was anything."""
    rng = np.random.default_rng(0)
    labels, groups = np.arange(200) % 2, [str(i // 2) for i in range(200)]
    features = rng.normal(size=(200, 2, 300)).astype(np.float32)
    features[:, 1] += labels[:, None]
    made = as_hints(features, labels, groups)
    assert made.shape == (200, 3 + DIRECTIONS) and made.dtype == np.float32
    np.testing.assert_allclose(made.std(0), 1, atol=1e-3)
    noise, telling, both = (roc_auc_score(labels, made[:, i]) for i in range(3))
    assert 0.3 < noise < 0.7 and telling > 0.95 and both > 0.95


@pytest.mark.parametrize("share", [0.0, 1.0], ids=["plain", "self-blended"])
def test_fakes_made_in_training_have_none_and_all_others_keep_theirs(faces, data, found, share):
    real = [face for face in of_split(faces, "train") if face.label == 0]
    chosen = real if share else of_split(faces, "train")
    loader, recipe = Loader(data, 4, 0, Material(hints=found)), Recipe(self_blend=share)
    batches = list(loader.load(loader.plan(chosen, 0, recipe), recipe))
    hints, labels = (np.concatenate([getattr(batch, name) for batch in batches]) for name in ("hints", "labels"))
    unknown = np.isnan(hints).any(1)
    assert set(labels) == {0, 1} and not unknown[labels == 0].any()
    assert (unknown[labels == 1] == bool(share)).all()
    assert {tuple(hint) for hint in hints[~unknown]} <= {tuple(hint) for hint in found.values()}


def test_a_mixture_of_a_known_and_an_unknown_face_is_unknown_and_costs_nothing():
    targets = torch.tensor([[0.0, 1.0], [1.0, torch.nan], [1.0, 3.0]])
    for seed in range(8):
        _, mixed = mix(torch.zeros(3, 1, 8, 8), targets, np.random.default_rng(seed))
        assert not mixed[:, 0].isnan().any()
        assert mixed[1].isnan().any()
    guess = torch.zeros(2, 2, requires_grad=True)
    loss = hint_loss(guess, torch.tensor([[1.0, 2.0], [torch.nan, 1.0]]))
    assert loss.tolist() == [2.5, 0.0]
    loss.sum().backward()
    assert guess.grad.isfinite().all() and not guess.grad[1].any()


def test_a_network_learns_to_guess_and_a_checkpoint_keeps_the_guess(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(4, dtype=np.float32) % 2
    batch = Batch(rng.integers(0, 256, (4, 224, 224, 3), np.uint8), labels, rng.normal(size=(4, 3)).astype(np.float32))
    config = replace(CONFIG, head_learning_rate=0.01, warmup_share=0.0, hint_weight=10.0)
    run = Run(config, 40, config.network(), cpu=True, hint_size=3)
    losses = [run.update(iter([batch])).loss for _ in range(20)]
    assert np.mean(losses[-3:]) < 0.7 * np.mean(losses[:3])
    run.save(tmp_path / "checkpoint.pt")
    other = Run(config, 40, config.network(), cpu=True, hint_size=3)
    other.load(tmp_path / "checkpoint.pt")
    torch.testing.assert_close(other.guess.linear.weight, run.guess.linear.weight)
    for mine, theirs in zip(other.net.parameters(), run.net.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_hints_are_refused_where_there_are_none_or_no_taps(faces, data, tmp_path, found):
    with pytest.raises(ValueError, match=r"\[hints\]"):
        train(CONFIG, faces, data, tmp_path, CONFIG.network(), cpu=True)
    plain = replace(CONFIG, head="plain")
    with pytest.raises(ValueError, match="taps"):
        train(plain, faces, data, tmp_path, plain.network(), material=Material(hints=found), cpu=True)


def test_a_configuration_with_hints_ends_with_a_student_that_cases_can_correct(hints, data, tmp_path, monkeypatch):
    """Its new training has no hints, and asks for none."""
    stage = {"name": "student", "train": {"side_px": 64, "epochs": 1, "batch_size": 4, "hint_weight": 0.5}}
    checkpoint, _ = run(ChainConfig.of({"hints": asdict(hints), "stage": [stage]}), data, tmp_path)
    assert (tmp_path / "hints.npz").exists()
    cases, out = tmp_path / "cases.csv", tmp_path / "tuned"
    cases.write_text(f"path,truth,split\n{data}/real0.jpg,fake,train\n")
    places = {"--data": data, "--cases": cases, "--checkpoint": checkpoint, "--out": out}
    monkeypatch.setattr(sys, "argv", ["finetune", "--epochs", "1", *(str(p) for pair in places.items() for p in pair)])
    assert finetune.main() == 0
    assert json.loads((out / "finetune.json").read_text())["config"]["hint_weight"] == 0
