"""A load in a table's words, whom it asks, and what its requests met."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from serving.settings import Settings

Ask = Literal["face", "image", "mixed", "stream"]
Loop = Literal["open", "closed"]
Priority = Literal["interactive", "bulk"]


class LoadError(Exception):
    """A generator did not bring back a result, or a load cannot run; the message says what to look at."""


class Load(Settings):
    """Requests of one kind; ValueError for values that do not fit together.

    Args:
        name: unique among the loads that run together.
        ask: `face` (256 px JPEG), `image` (640x480 JPEG, one face), `mixed` (a table of pictures, some broken),
            `stream` (frames of a video).
        loop: `open`: requests are due on a fixed schedule, whether or not earlier ones were answered. Latency counts
            from there. `closed`: a new request when an answer came.
        seconds: measured time, after the warm-up.
        rate: requests a second of an open loop; of `stream` frames a second of each stream.
        in_flight: requests at a time; of an open loop the most there can be, of `stream` how many streams.
        begin_s: an open loop starts so long after the warm-up, and ends with it at `seconds` of its own.
        busy_s, idle_s: an open loop pauses for `idle_s` after each `busy_s`; 0 for no pauses.
        deadline_ms: a later answer counts as late; 0 for none.
        timeout_s: the client's own deadline; what takes longer is an error.
        seed: of the order of the pictures.
    """

    name: str
    ask: Ask
    loop: Loop
    seconds: float
    in_flight: int
    rate: float = 0.0
    priority: Priority = "interactive"
    begin_s: float = 0.0
    busy_s: float = 0.0
    idle_s: float = 0.0
    deadline_ms: float = 0.0
    timeout_s: float = 10.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.in_flight < 1 or self.timeout_s <= 0:
            raise ValueError(f"load {self.name!r}: seconds, in_flight and timeout_s must be above 0")
        if (self.loop == "open") != (self.rate > 0):
            raise ValueError(f"load {self.name!r}: an open loop has a rate, a closed one has none")
        if self.ask == "stream" and self.loop == "closed":
            raise ValueError(f"load {self.name!r}: frames of a stream are due at their times, so its loop is open")
        if (self.busy_s > 0) != (self.idle_s > 0):
            raise ValueError(f"load {self.name!r}: busy_s and idle_s belong together")


class Target(Settings):
    """Who is asked: Facewarden servers by `grpc` addresses or `kserve` URLs, others by `http` URLs that take a POST.

    Several addresses share the requests in flight evenly.
    """

    kind: Literal["grpc", "kserve", "http"]
    urls: tuple[str, ...]


class Job(Settings):
    """What a generator is told: `start_s` is as in `run`."""

    loads: tuple[Load, ...]
    target: Target
    warm_up_s: float
    start_s: float


@dataclass(frozen=True)
class Outcome:
    """What each request met that was due (open loop) or answered (closed loop) in the measured time; n rows each."""

    load: Load
    due_s: np.ndarray  # (n,) after the warm-up
    latency_ms: np.ndarray  # (n,) from due to answered, or to the error
    delay_ms: np.ndarray  # (n,) from when it was due and a user free to send it, to sent: the generator's own slowness
    error: tuple[str, ...]  # (n,) empty where answered
    what: tuple[str, ...]  # (n,) which picture
    sent_bytes: int  # of pictures, all requests together
    due: int  # of an open loop: requests that the schedule asked for; 0 of a closed one

    @property
    def good(self) -> np.ndarray:
        """(n,) bool, what was answered."""
        return np.array([not error for error in self.error], bool)


@dataclass(frozen=True)
class Measured:
    """One run of a generator: outcomes by the loads' names, and what the generator itself cost."""

    outcomes: dict[str, Outcome]
    seconds: float  # measured time
    begin_s: float  # of the monotonic clock, when the warm-up was over
    generator_cores: float  # CPU seconds of the generator a second
    readings: tuple[Any, Any] = (None, None)  # what was read beside it when the measured time began and ended
