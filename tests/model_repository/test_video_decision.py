"""Evidence, decision and change detection against their theory, and against simulated streams."""

from __future__ import annotations

import math

import numpy as np
import pytest

from export.fitting.video_simulation import (
    ScoreQuantiles,
    against_vote,
    calibration,
    decisions,
    error_rates,
    paths,
    streams,
)
from serving.streams.cusum import Cusum
from serving.streams.people import DecisionSettings, Person
from serving.streams.sprt import Evidence, Rates, ScoreCalibration, decide

PLAIN = ScoreCalibration(slope=1.0, offset=0.0, limit=100.0, correlation_s=1.0, persistence=0.0)


def gather(ratios, times, used=PLAIN) -> Evidence:
    evidence = Evidence()
    for ratio, time_s in zip(ratios, times, strict=True):
        evidence.add(ratio, time_s, used)
    return evidence


def test_one_frame_counts_whole():
    assert gather([2.0], [5.0]).ratio(PLAIN) == 2.0


def test_frames_far_apart_add_up():
    assert gather([1.0, 2.0, -0.5], [0, 1000, 2000]).ratio(PLAIN) == pytest.approx(2.5)


def test_the_same_frame_twice_adds_nothing():
    assert gather([1.5, 1.5], [3.0, 3.0]).ratio(PLAIN) == pytest.approx(1.5)


@pytest.mark.parametrize("persistence", [0.0, 0.4])
@pytest.mark.parametrize("step_s", [0.04, 0.5, 3.0])
def test_evidence_is_the_likelihood_ratio_of_the_stated_gaussian_model(persistence, step_s):
    """Against the multivariate normal densities: variance 4, means +-d/2, so that a frame's ratio is x d / 4."""
    used = ScoreCalibration(1.0, 0.0, 100.0, 1.0, persistence)
    times, rng, distance, variance = np.arange(8) * step_s, np.random.default_rng(3), 3.0, 4.0
    x = rng.normal(0.7, 2.0, 8)
    lags = np.abs(times[:, None] - times[None])
    covariance = variance * (persistence + (1 - persistence) * np.exp(-lags / used.correlation_s))
    exact = distance * np.linalg.solve(covariance, x).sum()  # log p(x | +d/2) - log p(x | -d/2)
    assert gather(x * distance / variance, times, used).ratio(used) == pytest.approx(exact, rel=1e-6)


def test_a_doubtful_face_stays_doubtful():
    used = ScoreCalibration(1.0, 0.0, 3.0, 0.1, 0.4)
    assert gather([1.0] * 5000, np.arange(5000) * 1.0, used).ratio(used) == pytest.approx(1 / 0.4, rel=1e-2)


def test_bounds_are_walds():
    rates = Rates(alpha=0.03, beta=0.02)
    assert (rates.fake_from, rates.real_below) == (math.log(0.98 / 0.03), math.log(0.02 / 0.97))
    assert [decide(v, rates) for v in (4.0, 0.0, -4.0)] == ["fake", None, "real"]


@pytest.mark.parametrize("wrong", [(0.0, 0.02), (0.03, 0.6)], ids=["alpha", "beta"])
def test_impossible_error_rates_are_refused(wrong):
    with pytest.raises(ValueError, match="alpha and beta"):
        Rates(*wrong)


@pytest.mark.parametrize("fps", [1, 5, 25])
def test_simulated_error_rates_keep_the_nominal_ones(fps):
    """4,000 streams of each class with the classifier's own scores; three standard errors of what is nominal."""
    rates, n = Rates(), 4000
    found = error_rates(ScoreQuantiles.load(), calibration(), rates, fps, n, seed=11)
    for kept, nominal in ((found["fpr"], rates.alpha), (found["fnr"], rates.beta)):
        assert kept <= nominal + 3 * math.sqrt(nominal * (1 - nominal) / n)


def test_error_rates_hold_where_the_model_is_exact():
    """Gaussian scores, two classes: alpha and beta are kept from below, and not by deciding nothing."""
    used, rates, n = ScoreCalibration(1.0, 0.0, 100.0, 0.5, 0.2), Rates(), 4000
    levels = np.linspace(0.0005, 0.9995, 2001)
    bell = np.array([math.sqrt(2) * _inverse_erf(2 * p - 1) for p in levels])
    for sign, worst in ((-1, rates.alpha), (1, rates.beta)):
        logits = streams(2.0 * sign + 2.0 * bell, used, (n, 200), 5.0, seed=5)  # means +-2, variance 4: ratio = x
        decided, _ = decisions(paths(logits, used, 5.0), rates.fake_from, rates.real_below)
        assert (decided == -sign).mean() <= worst + 3 * math.sqrt(worst / n)
        assert (decided == sign).mean() > 0.6


def _inverse_erf(y: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf((y + 1) / 2) / math.sqrt(2)


def test_early_decision_takes_a_third_of_a_fixed_vote():
    for fps in (5, 25):
        found = against_vote(ScoreQuantiles.load(), calibration(), fps, 2000, seed=2)
        assert found["sequential"]["fpr"] <= found["vote"]["fpr"] and found["sequential"]["fnr"] <= found["vote"]["fnr"]
        assert found["sequential"]["median_frames"] <= found["vote"]["frames"] / 3


def test_cusum_alarms_soon_after_a_change_and_names_its_beginning():
    cusum, used = Cusum(1), ScoreCalibration(1.0, 0.0, 3.0, 0.5, 0.2)
    evidence = [cusum.add(-2.0 if t < 100 else 2.5, -3.0, t, t / 25, used) for t in range(125)]
    assert max(evidence[:100]) == 0
    assert evidence[-1] > 3.5
    assert (cusum.begin_frame, cusum.begin_s) == (100, 4.0)


SETTINGS = DecisionSettings(
    Rates(), ScoreCalibration(1.0, 0.0, 3.0, 0.5, 0.2), change_bound=3.6, jump=4.0, review_after_s=10.0
)


def watch(logits, fps=25.0) -> tuple[Person, list[tuple[str, dict]]]:
    person, told = Person(), []
    for t, logit in enumerate(logits):
        told += person.add(logit, t, t / fps, SETTINGS)
    return person, told


def test_a_swap_is_told_once_with_its_time_and_is_kept_in_the_verdict():
    person, told = watch([-2.5] * 75 + [2.8] * 75 + [-2.5] * 75)
    swaps = [evidence for name, evidence in told if name == "swap"]
    assert [(e["before"], e["after"], e["since_frame"]) for e in swaps] == [("real", "fake", 75), ("fake", "real", 150)]
    assert (person.label, person.verdict) == ("real", "fake")
    assert [name for name, _ in told].count("score_jump") == 2


def test_an_undecided_face_needs_a_person_after_the_stated_time():
    person, told = watch([0.3] * 300)
    assert person.label == "review"
    assert [(name, e["after"]) for name, e in told] == [("verdict", "review")]
