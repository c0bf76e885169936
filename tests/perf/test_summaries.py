"""Percentiles, ratios and slopes say what they should, and nothing where there is nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from perf.measure.summaries import UNSENT, percentiles, slope, summary


def test_percentiles_are_of_answered_requests(load, outcome):
    found = summary(outcome(load(), [*range(1, 101), 9999.0], errors={100: "ServerError: no"}))
    assert (found.p50_ms, found.p95_ms, found.max_ms) == pytest.approx((50.5, 95.05, 100))
    assert (found.requests, found.failed) == (101, 1)
    assert found.error_ratio == pytest.approx(1 / 101)
    assert found.per_second == 10.0
    assert found.errors == {"ServerError: no": 1}


def test_a_request_that_was_never_sent_is_a_failed_one(load, outcome):
    found = summary(outcome(load(), [5.0] * 90, due=100))
    assert (found.requests, found.failed, found.errors) == (100, 10, {UNSENT: 10})


def test_late_answers_are_counted_where_there_is_a_deadline(load, outcome):
    latencies = [10.0] * 9 + [60.0]
    assert summary(outcome(load(deadline_ms=50.0), latencies)).late_ratio == pytest.approx(0.1)
    failed = outcome(load(deadline_ms=50.0), latencies, errors={0: "ServerError: no"}, due=20)
    assert summary(failed).late_ratio == pytest.approx((1 + 1 + 10) / 20), "what never came is late"
    assert math.isnan(summary(outcome(load(), latencies)).late_ratio)


@pytest.mark.parametrize(("delay_ms", "held"), [(2.0, True), (200.0, False)], ids=["in time", "behind"])
def test_a_rate_that_the_generator_did_not_hold_is_told(load, outcome, delay_ms, held):
    assert summary(outcome(load(), [5.0] * 20, delay_ms=np.full(20, delay_ms))).held is held


def test_a_closed_loop_has_no_schedule_to_keep(load, outcome):
    closed = load(loop="closed", rate=0.0)
    assert summary(outcome(closed, [5.0] * 20, delay_ms=np.full(20, 500.0), due=0)).held


def test_nothing_answered_is_no_number(load, outcome):
    found = summary(outcome(load(), [9.0], errors={0: "DeadlineError: late"}))
    assert math.isnan(found.p50_ms)
    assert found.error_ratio == 1.0
    assert math.isnan(summary(outcome(load(loop="closed", rate=0.0), [])).error_ratio)


def test_each_picture_of_a_mixed_load_has_its_own_figures(load, outcome):
    found = summary(outcome(load(), [1.0, 2.0, 30.0, 40.0], what=("small", "small", "large", "large")))
    assert found.by_what["small"][:2] == (2, 1.5)
    assert found.by_what["large"][1] == 35.0


def test_slope_is_by_minute():
    assert slope([0, 30, 60, 90], [100, 101, 102, 103]) == pytest.approx(2.0)
    assert math.isnan(slope([0, 1], [5, 6]))


def test_no_values_no_percentiles():
    assert all(map(math.isnan, percentiles(np.array([]), (50, 95))))
