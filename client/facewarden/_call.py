"""One call: its headers, its deadline, and when it is sent again after an error.

Only errors that the table in ``_errors`` calls retryable are retried, within the deadline.

A verdict changes nothing on the server, so a second call does no harm. But a retry must not add load to a server that
has just said that it has too much.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping

from ._errors import DeadlineError, FacewardenError

# With these, the pauses before the last attempt add up to 22 s in the mean. Servers were seen to restart in 7 s, on a
# busy machine in 20 s.
DEFAULT_RETRIES = 25
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0


def backoff_s(attempt: int, jitter: float) -> float:
    """Exponential backoff with full jitter: the pause after ``attempt`` (from 0), for a ``jitter`` in 0..1."""
    return jitter * min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(attempt, 30))


class Call:
    """One call with all its attempts; ValueError for negative ``retries`` and for a ``timeout_s`` not above 0."""

    def __init__(
        self,
        retries: int,
        timeout_s: float | None,
        metadata: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        if timeout_s is not None and not timeout_s > 0:
            raise ValueError(f"timeout_s must be above 0, not {timeout_s}")
        if retries < 0:
            raise ValueError(f"retries must be 0 or more, not {retries}")
        self.metadata = dict(metadata or {})  # gRPC's
        self._retries, self._timeout_s, self._clock, self._jitter = retries, timeout_s, clock, jitter
        self._begin_s = clock()
        self._attempt = 0
        self._last: FacewardenError | None = None

    @property
    def elapsed_ms(self) -> float:
        """Time since the call began."""
        return (self._clock() - self._begin_s) * 1e3

    @property
    def left_s(self) -> float | None:
        """Time to the deadline, never below 1 ms; None without a deadline."""
        return None if self._timeout_s is None else max(1e-3, self._timeout_s - (self._clock() - self._begin_s))

    def pause_s(self, error: FacewardenError) -> float | None:
        """How long to wait before the next attempt; None: give up and raise ``error_to_raise(error)``."""
        pause_s = backoff_s(self._attempt, self._jitter())
        left_s = self.left_s
        if not error.retryable or self._attempt >= self._retries or (left_s is not None and pause_s >= left_s):
            return None
        self._attempt += 1
        self._last = error
        return pause_s

    def error_to_raise(self, error: FacewardenError) -> FacewardenError:
        """The error itself; where the deadline passed during retries, the error that was retried for."""
        return self._last if isinstance(error, DeadlineError) and self._last else error
