"""Outcomes as a generator would bring them back."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from perf.load.loads import Load, Outcome


@pytest.fixture
def load() -> Callable[..., Load]:
    """load(rate=..., ...): an open loop of faces, 10 s at 10/s unless told otherwise."""

    def make(**values) -> Load:
        usual = {"name": "face", "ask": "face", "loop": "open", "seconds": 10.0, "in_flight": 8, "rate": 10.0}
        return msgspec.convert(usual | values, Load)  # checked as a table's row is

    return make


@pytest.fixture
def outcome() -> Callable[..., Outcome]:
    """outcome(load, latencies): requests that were due evenly over the load's time; `errors` by index."""

    def make(load: Load, latency_ms: list[float], errors: dict[int, str] | None = None, **values) -> Outcome:
        count = len(latency_ms)
        usual = {
            "due_s": np.arange(count) * load.seconds / max(1, count),
            "latency_ms": np.array(latency_ms, float),
            "delay_ms": np.zeros(count),
            "error": tuple((errors or {}).get(i, "") for i in range(count)),
            "what": ("face",) * count,
            "sent_bytes": 1000 * count,
            "due": count,
        }
        return Outcome(load, **usual | values)

    return make


@pytest.fixture(scope="session")
def squeezed() -> Callable[[str], str]:
    """A page without the blanks that line up the columns of its tables."""
    return lambda page: re.sub(" +", " ", page)
