"""When a failed call is sent again: only errors that the table in ``_errors`` calls retryable, within the deadline.

A verdict changes nothing on the server, so a second call is harmless to it; what a retry must not do is add load to a
server that has just said it has too much.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from ._errors import DeadlineError, FacewardenError


@dataclass(frozen=True)
class RetryPolicy:
    """Exponential backoff with full jitter.

    The defaults wait 22 s in the mean before the last attempt; servers were seen to restart in 7 s, on a busy machine
    in 20 s.
    """

    retries: int = 25
    first_s: float = 0.1
    cap_s: float = 2.0

    def __post_init__(self) -> None:
        if self.retries < 0:
            raise ValueError(f"retries must be 0 or more, not {self.retries}")

    def pause_s(self, attempt: int, jitter: float) -> float:
        """Pause before attempt ``attempt`` + 1 (counted from 0), ``jitter`` in 0..1."""
        return jitter * min(self.cap_s, self.first_s * 2.0 ** min(attempt, 30))


class Retry:
    """The budget of one call: its attempts and its deadline."""

    def __init__(
        self,
        policy: RetryPolicy,
        timeout_s: float | None,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        if timeout_s is not None and not timeout_s > 0:
            raise ValueError(f"timeout_s must be above 0, not {timeout_s}")
        self._policy, self._timeout_s, self._clock, self._jitter = policy, timeout_s, clock, jitter
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
        if self._timeout_s is None:
            return None
        return max(1e-3, self._timeout_s - (self._clock() - self._begin_s))

    def pause_s(self, error: FacewardenError) -> float | None:
        """How long to wait before the next attempt; None: give up and raise ``cause(error)``."""
        pause_s = self._policy.pause_s(self._attempt, self._jitter())
        left_s = self.left_s
        if not error.retryable or self._attempt >= self._policy.retries or (left_s is not None and pause_s >= left_s):
            return None
        self._attempt += 1
        self._last = error
        return pause_s

    def cause(self, error: FacewardenError) -> FacewardenError:
        """What to raise: a deadline that passed while retrying is told by what was retried."""
        return self._last if isinstance(error, DeadlineError) and self._last else error
