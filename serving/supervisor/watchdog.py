"""Watches a running server: dead, stopped or hung Python stubs are found, reported and healed."""

from __future__ import annotations

import sys
import time
from collections import Counter
from datetime import datetime, timezone

import psutil

from serving.errors import ServerError

from .api import ApiError
from .canary import CanaryError, probe
from .server import Server

STOPPED = {psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP}
MAX_HEALS = 3  # in a row for one model; then the server is beyond healing from within


def report(message: str) -> None:
    """One line for the operator's log."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    print(f"{now} watchdog: {message}", file=sys.stderr, flush=True)


class Watchdog:
    """Call `check` regularly, from one thread. A model that is found ill is unloaded and loaded again."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.expected = Counter(stub.model for stub in server.stubs())
        self.heals: Counter[str] = Counter()
        self.canary_failures = 0

    def check(self) -> str | None:
        """One round; returns the model that was healed, or None. Raises ServerError where healing cannot help."""
        self.server.check_alive()
        ill = self._missing_stub() or self._failed_canary()
        if ill is None:
            self.heals.clear()
            return None
        model, reason = ill
        self._heal(model, reason)
        return model

    def _missing_stub(self) -> tuple[str, str] | None:
        alive = Counter(stub.model for stub in self.server.stubs() if stub.state not in STOPPED)
        missing = self.expected - alive
        return next(
            ((model, f"{n} of {self.expected[model]} stubs dead or stopped") for model, n in missing.items()), None
        )

    def _failed_canary(self) -> tuple[str, str] | None:
        before = self._answered()
        try:
            probe(self.server.api, self.server.options.models, self.server.options.canary_timeout_s)
        except CanaryError as exc:
            return self._judge(exc, before)
        return None

    def _judge(self, failure: CanaryError, before: dict[str, int]) -> tuple[str, str] | None:
        """What is ill where a canary failed; None where the model answered others since `before` was counted."""
        if failure.silent and self._answered().get(failure.model, 0) > before.get(failure.model, 0):
            report(f"{failure.model} is busy: it answers others, but not the canary in time")
            return None
        # A caller fails with the stub it called, which may have died since the first look: blame the stub.
        return self._missing_stub() or (failure.model, str(failure))

    def _answered(self) -> dict[str, int]:
        """How many requests each model has answered or refused so far; empty where the server does not say."""
        try:
            models = self.server.api.statistics()
        except ApiError:
            return {}
        kinds = ("success", "fail")
        return {m["name"]: sum(int(m["inference_stats"][kind]["count"]) for kind in kinds) for m in models}

    def _heal(self, model: str, reason: str) -> None:
        self.heals[model] += 1
        if self.heals[model] > MAX_HEALS:
            raise ServerError(f"{model} stays ill after {MAX_HEALS} heals ({reason}); restart the server")
        report(f"{reason}; reloading {model}")
        started = time.monotonic()
        try:
            self.server.heal(model)
        except ApiError as exc:
            report(f"reloading {model} failed: {exc}")
            return
        report(f"{model} answers again after {time.monotonic() - started:.1f} s")
