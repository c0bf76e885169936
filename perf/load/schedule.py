"""The schedule of one load: when each request is due. Pure, but for the counters that its users share."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .loads import Load, Target


@dataclass
class Schedule:
    """What the users of one load share: when each request is due, and which of them were taken.

    Args:
        started_s: of the monotonic clock, when the warm-up begins.
        warm_up_s: how long it takes.
    """

    load: Load
    target: Target
    started_s: float
    warm_up_s: float
    shared: dict[str, Any] = field(default_factory=dict)  # what its users use together, connections say
    _numbers: Any = field(default_factory=itertools.count)
    _users: Any = field(default_factory=itertools.count)

    @property
    def begin_s(self) -> float:
        """Begin of the load's measured time."""
        return self.started_s + self.warm_up_s + self.load.begin_s

    @property
    def first_s(self) -> float:
        """Begin of its requests: with the warm-up, unless the load has a later begin of its own."""
        return self.begin_s if self.load.begin_s else self.started_s

    @property
    def end_s(self) -> float:
        """No request is started from here on."""
        return self.begin_s + self.load.seconds

    def user_number(self) -> int:
        """0, 1, 2, ... for the users as they come."""
        return next(self._users)

    def take(self, now_s: float) -> float | None:
        """When the next request is due; None where there is none any more. Of a closed loop it is due now."""
        if self.load.loop == "closed":
            due_s = max(now_s, self.first_s)
        else:
            due_s = self.first_s + self.offset_s(next(self._numbers))
        return due_s if due_s < self.end_s else None

    def offset_s(self, number: int) -> float:
        """When request `number` of an open loop is due after the first, pauses included."""
        at_s = number / self.load.rate
        return at_s + (self.load.idle_s * math.floor(at_s / self.load.busy_s + 1e-9) if self.load.busy_s else 0.0)

    def frame_s(self, stream: int, frame: int) -> float:
        """When a frame of a stream is due. Streams are staggered by parts of a frame: cameras do not tick together."""
        return self.first_s + stream / self.load.in_flight / self.load.rate + frame / self.load.rate

    def due(self) -> int:
        """How many requests an open loop has in its measured time; 0 for a closed one."""
        if self.load.loop == "closed":
            return 0
        if self.load.ask == "stream":
            return sum(
                self._within(self.frame_s(stream, n) for n in itertools.count())
                for stream in range(self.load.in_flight)
            )
        return self._within(self.first_s + self.offset_s(n) for n in itertools.count())

    def _within(self, times_s: Iterable[float]) -> int:
        """How many of ascending times lie in the measured time."""
        return sum(at_s >= self.begin_s for at_s in itertools.takewhile(lambda at_s: at_s < self.end_s, times_s))
