"""What an overload did: did interactive requests get through, was bulk refused clearly, how long until all was well?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..load.loads import Outcome
from .summaries import NAN, percentiles

SHED = "OverloadedError"  # how the client calls "the server's queue is full"
CALM_S = 2.0  # what counts as recovered stays so for this long
WELL_MS = 50.0  # the users' floor for one image
WORSE = 1.5  # times the p95 before the overload is as good as before, where that was above the floor


@dataclass(frozen=True)
class Overload:
    """Interactive requests during the bulk load, the fate of the bulk, and the time after it.

    Args:
        unclear_errors: failures of either that are not a clear "queue is full": time-outs, lost answers.
        recovery_s: from the end of the bulk load until 95 % of the requests of two seconds take no longer than
            `limit_ms`; infinite where that was not seen to happen.
    """

    before_p95_ms: float
    interactive_p50_ms: float
    interactive_p95_ms: float
    interactive_error_ratio: float
    shed: int
    shed_ratio: float
    answered_ratio: float
    unclear_errors: int
    limit_ms: float
    recovery_s: float


def judge(interactive: Outcome, bulk: Outcome) -> Overload:
    """The figures of an overload; the loads ran together and `bulk` began later."""
    begin_s, end_s = bulk.load.begin_s, bulk.load.begin_s + bulk.load.seconds
    good = interactive.good
    before = good & (interactive.due_s < begin_s)
    during = (interactive.due_s >= begin_s) & (interactive.due_s < end_s)
    (before_p95,) = percentiles(interactive.latency_ms[before], (95,))
    p50, p95 = percentiles(interactive.latency_ms[during & good], (50, 95))
    shed = sum(SHED in error for error in bulk.error)
    limit_ms = max(WELL_MS, WORSE * before_p95) if before.any() else WELL_MS
    latency_ms = np.where(good, interactive.latency_ms, np.inf)
    return Overload(
        before_p95_ms=before_p95,
        interactive_p50_ms=p50,
        interactive_p95_ms=p95,
        interactive_error_ratio=float(np.mean(~good[during])) if during.any() else NAN,
        shed=shed,
        shed_ratio=shed / len(bulk.error) if bulk.error else NAN,
        answered_ratio=sum(not error for error in bulk.error) / len(bulk.error) if bulk.error else NAN,
        unclear_errors=sum(bool(error) and SHED not in error for error in (*interactive.error, *bulk.error)),
        limit_ms=limit_ms,
        recovery_s=recovery_s(interactive.due_s, latency_ms, end_s, limit_ms),
    )


def recovery_s(due_s: np.ndarray, latency_ms: np.ndarray, end_s: float, limit_ms: float) -> float:
    """Seconds from `end_s` to the first time from which on 95 % of the requests of `CALM_S` stay within `limit_ms`.

    `due_s` ascends. Infinite where there is no such time, or too little was measured after it to say so.
    """
    slow = latency_ms > limit_ms
    for start_s in (end_s, *due_s[due_s > end_s]):
        inside = (due_s >= start_s) & (due_s < start_s + CALM_S)
        if not inside.any() or due_s[-1] < start_s + 0.8 * CALM_S:
            return math.inf
        if np.mean(slow[inside]) <= 0.05:
            return float(start_s - end_s)
    return math.inf


def timeline(interactive: Outcome, bulk: Outcome, step_s: float = 0.5) -> list[dict[str, float]]:
    """What happened to what was due in each half second: answered and refused a second, p95 of interactive requests."""
    end_s = max(load.begin_s + load.seconds for load in (interactive.load, bulk.load))
    rows = []
    for at_s in np.arange(0, end_s, step_s):
        of_interactive = _within(interactive, at_s, step_s)
        of_bulk = _within(bulk, at_s, step_s, bulk.load.begin_s)
        answered = np.array([not interactive.error[i] for i in of_interactive], bool)
        (p95,) = percentiles(interactive.latency_ms[of_interactive][answered], (95,))
        shed = sum(SHED in bulk.error[i] for i in of_bulk)
        rows.append(
            {
                "at_s": float(at_s),
                "interactive_p95_ms": p95,
                "interactive": int(answered.sum()) / step_s,
                "bulk_answered": sum(not bulk.error[i] for i in of_bulk) / step_s,
                "bulk_shed": shed / step_s,
            }
        )
    return rows


def _within(outcome: Outcome, at_s: float, step_s: float, begin_s: float = 0.0) -> np.ndarray:
    """Indices of the requests due in a slice of the phase; `begin_s` is when the load's own clock began in it."""
    due_s = outcome.due_s + begin_s
    return np.flatnonzero((due_s >= at_s) & (due_s < at_s + step_s))
