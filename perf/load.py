"""Starts a load generator in a process of its own and brings back what its requests met.

    load = Load("face", ask="face", loop="closed", seconds=5, in_flight=8)
    measured = run([load], Target("grpc", ("localhost:8001",)))
    figures.summary(measured.outcomes["face"])     # throughput, percentiles, error ratio

The generator (`perf/generator.py`) is Locust; it tells when the warm-up is over and when the measured time is, so that
whoever watches the server watches the same seconds. All times are of the monotonic clock.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import IO, Any, Literal, get_args

import numpy as np
import psutil

from serving.paths import ROOT

Ask = Literal["face", "image", "mixed", "stream"]
Loop = Literal["open", "closed"]
Priority = Literal["interactive", "bulk"]
DRAIN_S = 60.0  # a request that was started is waited for, its deadline is below this
START_S = 60.0  # import of Locust, pictures; a machine may be busy


class LoadError(Exception):
    """A load that cannot be, or a generator that did not bring back a result; the message says what to look at."""


@dataclass(frozen=True)
class Load:
    """Requests of one kind.

    Args:
        name: unique among the loads that run together.
        ask: `face` (256 px JPEG), `image` (640x480 JPEG, one face), `mixed` (a table of pictures, some broken),
            `stream` (frames of a video).
        loop: `open`: requests are due on a fixed schedule, whether or not earlier ones were answered, and latency
            counts from there; `closed`: a new request when an answer came.
        seconds: measured time, after the warm-up.
        rate: requests a second of an open loop; of `stream` frames a second of each stream.
        in_flight: requests at a time; of an open loop the most there can be, of `stream` how many streams.
        begin_s: an open loop starts only so long after the warm-up, and ends with it at `seconds` of its own.
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
        for field, kind in (("ask", Ask), ("loop", Loop), ("priority", Priority)):
            if getattr(self, field) not in get_args(kind):
                raise LoadError(f"load {self.name!r}: {field} is one of {', '.join(get_args(kind))}")
        if self.seconds <= 0 or self.in_flight < 1 or self.timeout_s <= 0:
            raise LoadError(f"load {self.name!r}: seconds, in_flight and timeout_s must be above 0")
        if (self.loop == "open") != (self.rate > 0):
            raise LoadError(f"load {self.name!r}: an open loop has a rate, a closed one has none")
        if self.ask == "stream" and self.loop == "closed":
            raise LoadError(f"load {self.name!r}: frames of a stream are due at their times, its loop is open")
        if (self.busy_s > 0) != (self.idle_s > 0):
            raise LoadError(f"load {self.name!r}: busy_s and idle_s belong together")


@dataclass(frozen=True)
class Target:
    """Who is asked: Facewarden servers by `grpc` addresses or `kserve` URLs, others by `http` URLs that take a POST.

    Several addresses are shared out evenly among the requests in flight.
    """

    kind: Literal["grpc", "kserve", "http"]
    urls: tuple[str, ...]


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


def run(
    loads: Sequence[Load],
    target: Target,
    warm_up_s: float = 3.0,
    read: Callable[[], Any] = lambda: None,
    start_s: float = 0.0,
) -> Measured:
    """Runs `loads` at once from one generator; what `read` returns around the measured time becomes its `readings`.

    Args:
        start_s: of the monotonic clock, when the warm-up begins: for generators that have to begin together. Before
            it is there, they begin as soon as they can.

    Raises LoadError where the generator fails. A failed request is no failure: it is in the outcome.
    """
    if len({load.name for load in loads}) != len(loads) or not loads:
        raise LoadError("loads that run together need names of their own, and there must be one")
    job = {"loads": [asdict(load) for load in loads], "target": asdict(target)}
    job |= {"warm_up_s": warm_up_s, "start_s": start_s}
    with _generator(job) as (process, lines):
        begin = _next(lines, "begin")
        cpu_before = _cpu_s(process)
        before = read()
        end = _next(lines, "end")
        cpu_s = _cpu_s(process) - cpu_before
        after = read()
        result = _next(lines, "result")
    seconds = end["at_s"] - begin["at_s"]
    outcomes = {load.name: _outcome(load, result["loads"][load.name]) for load in loads}
    return Measured(outcomes, seconds, begin["at_s"], cpu_s / seconds, (before, after))


@contextmanager
def _generator(job: dict[str, Any]) -> Iterator[tuple[psutil.Process, IO[str]]]:
    """The process, and the lines it prints; it is gone afterwards, whatever happened."""
    with subprocess.Popen(
        [sys.executable, "-m", "perf.generator"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(job))
            process.stdin.close()
            yield psutil.Process(process.pid), process.stdout
        except BrokenPipeError as exc:
            raise LoadError("the load generator did not start; what it said stands above") from exc
        finally:
            process.kill()


def _next(lines: IO[str], event: str) -> dict[str, Any]:
    """The next line, which has to be this event; LoadError where the generator ended or failed instead."""
    line = lines.readline()
    if not line:
        raise LoadError(f"the load generator ended before its {event!r}; what it said stands above")
    told: dict[str, Any] = json.loads(line)
    if told["event"] != event:
        raise LoadError(f"the load generator: {told.get('message', told['event'])}")
    return told


def _outcome(load: Load, found: dict[str, Any]) -> Outcome:
    rows = list(zip(*found["rows"], strict=True)) or [()] * 5
    numbers = [np.array(column, float) for column in rows[:3]]
    return Outcome(load, *numbers, error=rows[3], what=rows[4], sent_bytes=found["sent_bytes"], due=found["due"])


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
