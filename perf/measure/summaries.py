"""Samples -> figures: percentiles, rates, error ratios, slopes. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..load.loads import Outcome

HELD_SHARE, HELD_MS = 0.95, 20.0  # of an open loop's requests have to be sent within so long
UNSENT = "never answered: all users of the load were waiting"
NAN = float("nan")


@dataclass(frozen=True)
class Summary:
    """One load in figures. Latencies are those of answered requests; NaN without any.

    Args:
        per_second: answers a second of measured time; those of an overload that come later are none of them.
        late_ratio: of the requests, how many were answered after the load's deadline or not at all; NaN without one.
        held: whether the generator itself kept to the schedule: it sent 95 % of the requests within 20 ms of when they
            were due (or, if all its users were waiting for the server then, of when one was free). Always true of a
            closed loop. Latency counts from when they were due in any case.
        start_p95_ms: that delay.
    """

    requests: int
    failed: int
    error_ratio: float
    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    late_ratio: float
    held: bool
    start_p95_ms: float
    sent_bytes: float  # of a request, the mean
    errors: dict[str, int]  # message: how many, the most frequent first
    by_what: dict[str, tuple[int, float, float]]  # picture: answered, p50 and p95 in ms


def summary(outcome: Outcome) -> Summary:
    """The figures of one load."""
    load, latency_ms, requests = outcome.load, outcome.latency_ms[outcome.good], len(outcome.error)
    p50, p95, p99, highest = percentiles(latency_ms, (50, 95, 99, 100))
    unsent = max(0, outcome.due - requests)
    failed = requests - len(latency_ms) + unsent
    late = failed + int(np.sum(latency_ms > load.deadline_ms))
    answered_s = outcome.due_s[outcome.good] + latency_ms / 1e3
    (start_p95,) = percentiles(outcome.delay_ms, (100 * HELD_SHARE,))
    return Summary(
        requests=requests + unsent,
        failed=failed,
        error_ratio=failed / (requests + unsent) if requests + unsent else NAN,
        per_second=float(np.sum(answered_s < load.seconds)) / load.seconds,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        max_ms=highest,
        late_ratio=late / (requests + unsent) if load.deadline_ms and requests + unsent else NAN,
        held=load.loop == "closed" or bool(start_p95 <= HELD_MS),
        start_p95_ms=start_p95,
        sent_bytes=outcome.sent_bytes / requests if requests else NAN,
        errors=dict(Counter([*filter(None, outcome.error), *[UNSENT] * unsent]).most_common(5)),
        by_what=_by_what(outcome),
    )


def percentiles(values: np.ndarray, wanted: Sequence[float]) -> tuple[float, ...]:
    """Percentiles with linear interpolation; NaN each where there are no values."""
    if not len(values):
        return (NAN,) * len(wanted)
    return tuple(float(value) for value in np.percentile(values, wanted))


def slope(times_s: Sequence[float], values: Sequence[float]) -> float:
    """Least-squares slope in units a minute; NaN with fewer than three points."""
    if len(times_s) < 3:
        return NAN
    return float(np.polyfit(np.asarray(times_s) / 60, values, 1)[0])


def _by_what(outcome: Outcome) -> dict[str, tuple[int, float, float]]:
    """Answered, p50 and p95 of each picture; empty where there is only one kind."""
    names = np.array(outcome.what)
    kinds = sorted(set(outcome.what))
    if len(kinds) < 2:
        return {}
    of = {kind: outcome.latency_ms[outcome.good & (names == kind)] for kind in kinds}
    return {kind: (len(values), *percentiles(values, (50, 95))) for kind, values in of.items()}
