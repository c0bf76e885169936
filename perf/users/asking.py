"""What all users share: wait until a request is due, ask, tell Locust how long it took from there."""

from __future__ import annotations

import time
from typing import Any

import gevent
from locust import User, constant, task

from ..plan import Plan

FOREVER_S = 3600.0


class AskingUser(User):
    """One request at a time. Subclasses say in `ask` what it is."""

    abstract = True
    wait_time = constant(0)
    plan: Plan
    what, size = "", 0  # of the request under way

    def on_start(self) -> None:
        self.number = self.plan.user_number()
        urls = self.plan.target.urls
        self.url = urls[self.number % len(urls)]

    @task
    def go(self) -> None:
        """What Locust calls over and over."""
        self.one()

    def one(self) -> None:
        """One request of the schedule."""
        free_s = time.monotonic()
        due_s = self.plan.take(free_s)
        if due_s is None:
            gevent.sleep(FOREVER_S)
            return
        gevent.sleep(max(0.0, due_s - free_s))
        self.timed(due_s, max(due_s, free_s))

    def timed(self, due_s: float, ready_s: float) -> None:
        """Asks now and tells the latency from `due_s`; from `ready_s` on nothing but the generator was in the way."""
        delay_ms, failure = (time.monotonic() - ready_s) * 1e3, None
        try:
            self.ask()
        except Exception as exc:  # whatever it is, it is a failed request
            failure = exc
        self.tell(due_s, delay_ms, time.monotonic(), failure)

    def ask(self) -> None:
        """Sends a request and reads the answer; raises where it failed."""
        raise NotImplementedError

    def sending(self, what: str, data: bytes) -> bytes:
        """Notes which picture goes out, and hands it back."""
        self.what, self.size = what, len(data)
        return data

    def tell(self, due_s: float, delay_ms: float, answered_s: float, failure: Exception | None) -> None:
        """Locust's own event, in ms, with what it has no field for as context."""
        context: dict[str, Any] = {"due_s": due_s, "delay_ms": delay_ms, "what": self.what, "sent_bytes": self.size}
        self.environment.events.request.fire(
            request_type=self.plan.target.kind,
            name=self.plan.load.name,
            response_time=(answered_s - due_s) * 1e3,
            response_length=0,
            exception=failure,
            context=context,
        )
