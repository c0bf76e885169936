"""A vision transformer as a teacher: one layer on all of its blocks, fitted once, taught and scored as any network."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from msgspec.structs import replace

from export.data.faces import of_split
from export.network import ProbeNet
from export.publication.compare import judge
from export.synthesis.batches import Loader, Material, Recipe
from export.training.class_tokens import Altering, altered_tokens, class_tokens
from export.training.config import TrainConfig
from export.training.probe import finder, fit, foundation
from export.training.teacher import frozen
from export.training.train import to_pixels, train
from export.training.weights import save_network, trained

BACKBONE = "test_vit"  # timm's own for tests: 6 blocks, 64 wide
CONFIG = TrainConfig(backbone=BACKBONE, head="probe", side_px=160)
STUDENT = TrainConfig(backbone="mobilenetv3_small_050", epochs=1, batch_size=2, side_px=64, distill_share=1.0, mix=1.0)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("vit") / "vit.pt"
    torch.save(timm.create_model(BACKBONE).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def net(weights):
    """Tests give its layer what they need."""
    return foundation(BACKBONE, weights).eval()


@pytest.fixture(scope="module")
def find(net):
    return finder(net)


def test_a_token_is_that_of_its_block(net):
    pixels = 255 * torch.rand(2, 3, net.side_px, net.side_px, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        tokens = net.tokens(pixels)
        last = net.backbone.forward_features((pixels - net.mean) / net.std)[:, 0]
        torch.testing.assert_close(net.backbone.norm(tokens[:, -1]), last)
    assert tokens.shape == (2, len(net.backbone.blocks), net.backbone.embed_dim)
    assert net.tokens(torch.zeros(1, 3, 224, 224)).shape[1:] == tokens.shape[1:], "faces are scaled to its side"


def test_faces_are_looked_at_once(find, faces, data, tmp_path):
    def nobody(pixels):
        raise AssertionError("all faces are known")

    chosen, cache = of_split(faces, "train"), tmp_path / "class_tokens.npz"
    first = class_tokens(find, chosen[:3], data, cache)
    both = class_tokens(find, chosen, data, cache)
    again = class_tokens(nobody, chosen[::-1], data, cache)
    assert both.shape[0] == len(chosen)
    np.testing.assert_array_equal(both[:3], first)
    np.testing.assert_array_equal(again, both[::-1])


def test_the_layer_is_the_regression_on_features_of_any_scale(net):
    """It tells what the features tell, wherever they lie and however large they are."""
    rng = np.random.default_rng(0)
    labels, shape = np.arange(400) % 2, (400, len(net.backbone.blocks), net.backbone.embed_dim)
    features = rng.normal(size=shape)
    features[:, 2] += labels[:, None]
    features = features * rng.uniform(0.1, 10, shape[1:]) + rng.uniform(-50, 50, shape[1:])
    fit(net, features[:300], labels[:300])
    logit = net.evidence(torch.from_numpy(features[300:]).float().flatten(1))[:, 0]
    assert ((logit > 0).numpy() == labels[300:]).mean() > 0.95


def test_a_mixed_face_counts_for_both_sides(net):
    """Half fake lies between; swapped shares swap the verdict."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, len(net.backbone.blocks), net.backbone.embed_dim))
    shares = np.repeat([0.5, 1, 0], 20)
    features[:, 0] += 2 * shares[:, None]

    def verdicts(labels):
        fit(net, features, labels)
        return net.evidence(torch.from_numpy(features).float().flatten(1))[:, 0].detach().numpy()

    logit = verdicts(shares)
    assert logit[20:40].mean() > logit[:20].mean() > logit[40:].mean()
    np.testing.assert_allclose(verdicts(1 - shares), -logit, atol=0.02)


def test_it_is_fitted_to_faces_as_a_student_sees_them(net, find, faces, data, tmp_path):
    chosen, recipe = of_split(faces, "train"), Recipe(self_blend=1.0, degradation=0.5)

    def asked(count: int, seed: int, cache: str) -> tuple[np.ndarray, np.ndarray]:
        altering = Altering(altered=count, recipe=recipe, seed=seed)
        return altered_tokens(find, chosen, data, altering, Material(), tmp_path / f"{cache}.npz")

    tokens, shares = asked(40, 3, "whole")
    assert tokens.shape == (len(shares), len(net.backbone.blocks), net.backbone.embed_dim) and len(shares) >= 40
    assert ((shares >= 0) & (shares <= 1)).all() and len(np.unique(shares)) > 2, "mixed"
    begun = asked(20, 3, "begun")  # as far as a run that is killed then
    assert 20 <= len(begun[1]) < len(shares)
    np.testing.assert_array_equal(begun[0], tokens[: len(begun[0])])
    for count in (40, 20):  # goes on, and knows all of it
        resumed = asked(count, 3, "begun")
        whole = len(shares) if count == 40 else len(begun[1])
        np.testing.assert_array_equal(resumed[0], tokens[:whole])
        np.testing.assert_array_equal(resumed[1], shares[:whole])
    assert (asked(20, 4, "other")[0][:16] != tokens[:16]).any()


def test_a_probe_is_kept_scored_and_taught(net, find, faces, data, tmp_path):
    chosen = of_split(faces, "train")
    fit(net, class_tokens(find, chosen, data, tmp_path / "tokens.npz"), np.array([f.label for f in chosen]))
    save_network(net, CONFIG, tmp_path / "probe.pt")
    again, config = trained(tmp_path / "probe.pt")
    assert isinstance(again, ProbeNet) and config == CONFIG
    (batch,) = Loader(data, len(chosen), 0).plain(chosen)
    with torch.inference_mode():
        expected = net(to_pixels(batch))
        torch.testing.assert_close(again(to_pixels(batch)).logit, expected.logit)
    assert ((expected.logit[:, 0] > 0).numpy() == batch.labels).all(), "red and blue are far apart"
    for mine, theirs in zip(frozen(again, torch.device("cpu"))(to_pixels(batch)), expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=0.05, rtol=0.05)
    _, figures = judge(again, Loader(data, 4, 0), faces)
    assert figures["test"]["auc"] == 1
    student = train(STUDENT, faces, data, tmp_path, STUDENT.network(), [again, STUDENT.network()], cpu=True)
    assert torch.isfinite(student(to_pixels(batch)).logit).all()


def test_what_is_no_transformer_and_the_file_of_another_are_refused(weights):
    with pytest.raises(ValueError, match="vision transformer"):
        replace(CONFIG, backbone="test_efficientnet").network()
    with pytest.raises(ValueError, match="timm knows no"):
        foundation("vit_of_nobody")
    with pytest.raises(ValueError, match="another backbone"):
        foundation("vit_tiny_patch16_224", weights)
