"""`python -m perf.load.generator`: Locust as a process of its own. A `Job` as JSON on stdin, JSON lines on stdout.

    {"event": "begin", "at_s": ...}     the warm-up is over
    {"event": "end", "at_s": ...}       the measured time is over
    {"event": "result", "loads": {name: {"rows": [[due_s, latency_ms, delay_ms, error, what], ...], ...}}}

A refused job is {"event": "error", "message": ...}. Times are of the monotonic clock, which all processes share.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import gevent
import grpc.experimental.gevent
import msgspec
from locust.env import Environment  # its import makes everything below cooperative

from serving.supervisor.processes import die_with_parent

from . import pictures
from .loads import Job
from .schedule import Schedule
from .users import user_class

grpc.experimental.gevent.init_gevent()
POLL_S = 0.1
DRAIN_S = 60.0  # a request that was started is waited for; its deadline is below this
SPAWN_S = 0.2  # until the first request; users beyond 20 come during the warm-up


class Recorder:
    """Keeps what Locust's `request` event tells, by load."""

    def __init__(self, schedules: list[Schedule]) -> None:
        self.rows: dict[str, list[tuple[float, float, float, str, str, int]]] = {p.load.name: [] for p in schedules}

    def __call__(
        self, name: str, response_time: float, exception: Exception | None, context: dict[str, Any], **_: Any
    ) -> None:
        error = "" if exception is None else f"{type(exception).__name__}: {exception}"
        c = context
        self.rows[name].append((c["due_s"], response_time, c["delay_ms"], error, c["what"], c["sent_bytes"]))

    def result(self, schedule: Schedule) -> dict[str, Any]:
        """Rows of the measured time: an open loop's by when they were due, a closed one's by when answered."""
        load, begin_s, kept, sent_bytes = schedule.load, schedule.begin_s, [], 0
        for due_s, latency_ms, delay_ms, error, what, size in self.rows[load.name]:
            at_s = due_s if load.loop == "open" else due_s + latency_ms / 1e3
            if begin_s <= at_s < begin_s + load.seconds:
                kept.append((due_s - begin_s, latency_ms, delay_ms, error, what))
                sent_bytes += size
        kept.sort()
        return {"rows": kept, "sent_bytes": sent_bytes, "due": schedule.due()}


def generate(job: Job) -> dict[str, Any]:
    """Runs the loads and returns the result; tells begin and end meanwhile. ValueError: it is late for `start_s`."""
    loads, start_s = job.loads, job.start_s
    for load in loads:
        pictures.prepare(load.ask)
    started_s = max(start_s, time.monotonic() + SPAWN_S)
    if 0 < start_s < started_s:
        raise ValueError(f"it was ready {started_s - start_s:.1f} s after the others had begun")
    seconds = max(load.begin_s + load.seconds for load in loads)
    schedules = [Schedule(load, job.target, started_s, job.warm_up_s) for load in loads]
    environment = Environment(user_classes=[user_class(schedule) for schedule in schedules])
    recorder = Recorder(schedules)
    environment.events.request.add_listener(recorder)
    runner = environment.create_local_runner()
    users = sum(load.in_flight for load in loads)
    # gRPC under gevent waits for each call in a thread of this pool. With gevent's 10, answers were not seen before
    # those of ten older calls: interactive requests looked as slow as the bulk that they had overtaken.
    gevent.get_hub().threadpool.maxsize = users + 10
    runner.start(users, spawn_rate=min(users, 100))  # Locust warns above that
    begin_s = started_s + job.warm_up_s
    sleep_until(begin_s)
    tell("begin", at_s=begin_s)
    sleep_until(begin_s + seconds)
    tell("end", at_s=time.monotonic())
    drain(schedules, recorder)
    return {schedule.load.name: recorder.result(schedule) for schedule in schedules}


def drain(schedules: list[Schedule], recorder: Recorder) -> None:
    """Waits until every request that was due is answered; a call's own deadline bounds that, and so does `DRAIN_S`."""
    last_s, missing = time.monotonic() + DRAIN_S, {schedule.load.name: schedule.due() for schedule in schedules}
    while time.monotonic() < last_s and any(
        len(recorder.result(schedule)["rows"]) < missing[schedule.load.name] for schedule in schedules
    ):
        gevent.sleep(POLL_S)


def sleep_until(at_s: float) -> None:
    """Sleeps until a time of the monotonic clock."""
    gevent.sleep(max(0.0, at_s - time.monotonic()))


def tell(event: str, **values: Any) -> None:
    """One JSON line."""
    print(json.dumps({"event": event, **values}), flush=True)


def main() -> int:
    """Command line entry."""
    die_with_parent()  # here, not before the exec: gRPC in the parent does not survive a fork
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    try:
        tell("result", loads=generate(job))
    except (ValueError, OSError) as exc:
        tell("error", message=str(exc))
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # gRPC's threads under gevent keep the interpreter from ending
