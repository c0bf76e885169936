"""Figures against hand-made scores."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from export import metrics

LABELS = np.array([0] * 100 + [1] * 100)


def test_auc_of_perfect_random_and_inverted_scores():
    assert metrics.auc(LABELS, LABELS.astype(float)) == 1
    assert metrics.auc(LABELS, np.full(200, 0.5)) == 0.5
    assert metrics.auc(LABELS, 1.0 - LABELS) == 0
    assert np.isnan(metrics.auc(np.zeros(5), np.zeros(5)))


def test_rates_at_a_threshold():
    scores = np.array([0.1, 0.6, 0.4, 0.9])
    assert metrics.rates(np.array([0, 0, 1, 1]), scores, 0.5) == {"accuracy": 0.5, "fpr": 0.5, "fnr": 0.5}


@pytest.mark.parametrize("seed", range(5))
def test_thresholds_keep_their_rates_and_are_tight(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 2000)
    scores = np.clip(rng.normal(0.3 + 0.25 * labels, 0.15), 0.001, 0.999)
    real_below, fake_from = metrics.thresholds(labels, scores)
    assert real_below <= fake_from
    assert (scores[labels == 0] >= fake_from).mean() < metrics.MAX_FPR
    assert (scores[labels == 1] < real_below).mean() < metrics.MAX_FNR
    one_lower = scores[(labels == 0) & (scores < fake_from)].max()
    assert (scores[labels == 0] >= one_lower).mean() >= metrics.MAX_FPR
    below, higher = scores[scores < fake_from].max(), scores[scores >= fake_from].min()
    assert fake_from == pytest.approx((below + higher) / 2, abs=1e-6)
    above = scores[(labels == 1) & (scores > real_below)].min()
    assert (scores[labels == 1] < above).mean() + 1 / (labels == 1).sum() >= metrics.MAX_FNR


def test_thresholds_that_cross_become_their_mean():
    real_below, fake_from = metrics.thresholds(LABELS, np.where(LABELS == 1, 0.9, 0.1))
    assert real_below == fake_from == pytest.approx(0.5)


@pytest.mark.parametrize(("review_share", "expected"), [(0.0, 0.6), (0.1, 0.5), (0.2, 0.4), (1.0, 0.2)])
def test_threshold_for_other_fakes_is_bounded_by_review(review_share, expected):
    """Ten scores from 0 to 0.9: each is a tenth of `review`; of the others, 0.2 is the lowest."""
    found = metrics.real_below_for(np.array([0.5, 0.2, 0.7]), np.arange(10) / 10, 0.6, review_share)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(("temperature", "bias"), [(0.5, 0.0), (1.0, 1.5), (3.0, -2.0)])
def test_temperature_and_bias_are_recovered(temperature, bias):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, 20_000)
    labels = (rng.random(20_000) < 1 / (1 + np.exp(-logits))).astype(float)
    found = metrics.platt(labels, logits * temperature + bias)
    assert found == pytest.approx((temperature, bias), rel=0.05, abs=0.1)


def test_calibration_error_of_honest_and_overconfident_scores():
    rng = np.random.default_rng(0)
    scores = rng.random(50_000)
    labels = (rng.random(50_000) < scores).astype(int)
    assert metrics.expected_calibration_error(labels, scores) < 0.01
    assert metrics.expected_calibration_error(labels, np.round(scores)) > 0.2


def test_equal_error_rate_and_interval():
    rng = np.random.default_rng(0)
    scores = rng.normal(LABELS * 2.0, 1)
    assert metrics.equal_error_rate(LABELS, scores) == pytest.approx(0.16, abs=0.06)
    low, high = metrics.bootstrap(LABELS, scores, rounds=200)
    assert low < metrics.auc(LABELS, scores) < high


@pytest.fixture(scope="module")
def noisy() -> tuple[np.ndarray, np.ndarray]:
    """400 labels and scores with ties."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 400)
    return labels, np.round(np.clip(rng.normal(0.35 + 0.3 * labels, 0.2), 0, 1), 2)


def test_auc_agrees_with_scikit_learn(noisy):
    labels, scores = noisy
    assert metrics.auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_average_precision_by_its_definition(noisy):
    labels, scores = noisy
    steps = sorted(set(scores), reverse=True)
    recall = [0.0] + [labels[scores >= t].sum() / labels.sum() for t in steps]
    precision = [labels[scores >= t].mean() for t in steps]
    expected = sum((recall[i + 1] - recall[i]) * precision[i] for i in range(len(steps)))
    assert metrics.average_precision(labels, scores) == pytest.approx(expected)
    assert np.isnan(metrics.average_precision(np.ones(3), np.ones(3)))


def test_equal_error_rate_in_closed_form():
    """Normal scores one standard deviation either side of 0: EER = Phi(-1); four points: 1/4 by interpolation."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 100_000)
    assert metrics.equal_error_rate(labels, rng.normal(2 * labels - 1.0, 1)) == pytest.approx(0.1587, abs=0.003)
    assert metrics.equal_error_rate(np.array([0, 0, 1, 1]), np.array([0.1, 0.6, 0.4, 0.9])) == pytest.approx(0.5)
    assert metrics.equal_error_rate(np.array([0, 0, 0, 1, 1]), np.array([0.1, 0.2, 0.6, 0.5, 0.9])) == pytest.approx(
        1 / 3
    )
    assert metrics.equal_error_rate(LABELS, LABELS.astype(float)) == 0
    assert np.isnan(metrics.equal_error_rate(np.zeros(3), np.zeros(3)))


def test_resamples_draw_whole_groups():
    groups = np.array(["a", "b", "a", "c", "c", "c"])
    for draw in metrics.resamples(groups, 50, seed=3):
        times = np.bincount(draw, minlength=len(groups))
        assert times[0] == times[2]
        assert times[3] == times[4] == times[5]
        assert times[0] + times[1] + times[3] == 3


def test_copies_of_a_photo_do_not_narrow_an_interval(noisy):
    labels, scores = noisy
    once = metrics.bootstrap(labels, scores, rounds=300)
    copies = np.repeat(np.arange(len(labels)), 4)
    grouped = metrics.bootstrap(labels[copies], scores[copies], rounds=300, groups=copies)
    naive = metrics.bootstrap(labels[copies], scores[copies], rounds=300)
    assert grouped == pytest.approx(once)
    assert naive[1] - naive[0] < 0.6 * (once[1] - once[0])


def test_intervals_hold_the_truth_as_often_as_they_say():
    """200 data sets of 60 groups of 3 equal images: the true share lies within about 95 % of the intervals."""
    rng = np.random.default_rng(7)
    groups = np.repeat(np.arange(60), 3)
    inside = 0
    for seed in range(200):
        wrong = np.repeat(rng.random(60) < 0.3, 3).astype(float)
        low, high = metrics.intervals(lambda w: {"share": w.mean()}, (wrong,), groups, 200, seed)["share"]
        inside += low <= 0.3 <= high
    assert 0.88 <= inside / 200 <= 0.99


def test_a_paired_difference_is_tighter_than_its_parts(noisy):
    labels, scores = noisy
    other = np.clip(scores - 0.05 * labels, 0, 1)
    paired = metrics.intervals(
        lambda y, a, b: {"gain": metrics.auc(y, a) - metrics.auc(y, b)}, (labels, scores, other), np.arange(400), 300
    )["gain"]
    assert paired[0] > 0
    alone = metrics.bootstrap(labels, scores, rounds=300)
    assert paired[1] - paired[0] < alone[1] - alone[0]


def test_wilson_against_published_values():
    """Newcombe (1998), table I: 81 of 263 and 0 of 20."""
    assert metrics.wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert metrics.wilson(0, 20) == pytest.approx((0, 0.1611), abs=1e-4)
    assert np.isnan(metrics.wilson(0, 0)).all()


def test_reliability_counts_every_image_once(noisy):
    labels, scores = noisy
    bins = metrics.reliability(labels, scores)
    assert sum(b["images"] for b in bins) == len(labels)
    assert sum(b["images"] * b["fakes"] for b in bins) == pytest.approx(labels.sum())
    by_hand = sum(b["images"] * abs(b["stated"] - b["fakes"]) for b in bins) / len(labels)
    assert metrics.expected_calibration_error(labels, scores) == pytest.approx(by_hand)
