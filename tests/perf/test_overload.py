"""What an overload did, told from its requests."""

from __future__ import annotations

import math

import numpy as np
import pytest

from perf.measure.ceilings import Ceiling, share
from perf.measure.overload import judge, recovery_s, timeline

FULL = "OverloadedError: The server's queue is full."


@pytest.fixture
def story(load, outcome):
    """20 s of interactive requests, 10 ms each but 120 ms from s 5 to s 11; bulk from s 5 to s 10, half shed."""
    interactive, bulk = load(name="interactive", seconds=20.0), load(name="bulk", seconds=5.0, begin_s=5.0, rate=40.0)
    latencies = [120.0 if 5 <= i / 10 < 11 else 10.0 for i in range(200)]
    shed = dict.fromkeys(range(0, 200, 2), FULL)
    return outcome(interactive, latencies), outcome(bulk, [800.0] * 200, shed)


def test_the_story_is_told(story):
    found = judge(*story)
    assert (found.before_p95_ms, found.interactive_p95_ms) == (10.0, 120.0)
    assert (found.shed, found.shed_ratio, found.unclear_errors) == (100, 0.5, 0)
    assert found.answered_ratio == 0.5
    assert found.recovery_s == pytest.approx(1.0, abs=0.11)


def test_any_other_failure_is_unclear(story, outcome):
    interactive, bulk = story
    lost = outcome(bulk.load, [10_000.0] * 3, {0: FULL, 1: "DeadlineError: not answered in time."})
    assert judge(interactive, lost).unclear_errors == 1


def test_the_timeline_counts_what_was_due_then(story):
    rows = {row["at_s"]: row for row in timeline(*story, step_s=1.0)}
    assert rows[4.0] == {"at_s": 4.0, "interactive_p95_ms": 10.0, "interactive": 10, "bulk_answered": 0, "bulk_shed": 0}
    assert (rows[6.0]["bulk_answered"], rows[6.0]["bulk_shed"]) == (20, 20)


@pytest.mark.parametrize(
    ("slow_until_s", "expected"), [(0.0, 0.0), (13.0, 3.0), (20.0, math.inf)], ids=["at once", "after 3 s", "never"]
)
def test_recovery_is_when_it_stays_good(slow_until_s, expected):
    due_s = np.arange(0, 20, 0.1)
    latency_ms = np.where(due_s < slow_until_s - 1e-9, 500.0, 10.0)
    assert recovery_s(due_s, latency_ms, 10.0, 50.0) == pytest.approx(expected, abs=0.11)


def test_the_share_of_the_ceiling_leaves_out_the_generators_cores():
    ceiling = Ceiling(preprocess=1000, classifier=200, composed=160, batch=4, cores=2)
    assert share(120, ceiling, generator_cores=0.0) == pytest.approx(0.75)
    assert share(120, ceiling, generator_cores=0.5) == pytest.approx(1.0)
