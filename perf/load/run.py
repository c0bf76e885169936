"""Starts a load generator in a process of its own and brings back what its requests met.

    load = Load("face", ask="face", loop="closed", seconds=5, in_flight=8)
    measured = run([load], Target("grpc", ("localhost:8001",)))
    summary(measured.outcomes["face"])     # throughput, percentiles, error ratio

The generator (`perf/load/generator.py`) is Locust. It tells when the warm-up is over and when the measured time is, so
that whoever watches the server watches the same seconds. All times are of the monotonic clock.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

import msgspec
import numpy as np
import psutil

from serving.paths import ROOT

from .loads import Job, Load, LoadError, Measured, Outcome, Target


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
    with _generator(Job(tuple(loads), target, warm_up_s, start_s)) as (process, lines):
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
def _generator(job: Job) -> Iterator[tuple[psutil.Process, IO[bytes]]]:
    """The process, and the lines it prints; it is gone afterwards, whatever happened."""
    command = [sys.executable, "-m", "perf.load.generator"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(msgspec.json.encode(job))
            process.stdin.close()
            yield psutil.Process(process.pid), process.stdout
        except BrokenPipeError as exc:
            raise LoadError("the load generator did not start; what it said stands above") from exc
        finally:
            process.kill()


def _next(lines: IO[bytes], event: str) -> dict[str, Any]:
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
