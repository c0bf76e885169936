"""The table of `make tune`: settings, their values, loads, and how candidates are compared. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log
from pathlib import Path
from statistics import median
from typing import Literal

import msgspec
from tritonclient.grpc.model_config_pb2 import ModelConfig

from serving.settings import Settings

from ..load.loads import Load

TABLE = Path(__file__).with_name("tune.toml")
SERVER = "server"
BULK_IN_FLIGHT = 400  # more than the queue takes
HIGHER_IS_BETTER = {"per_second": True, "p50_ms": False, "p95_ms": False}

Ask = Literal["face", "image"]
Candidate = Mapping[str, int]  # setting's key: value


class Setting(Settings):
    """One thing to turn. `present` is the value that holds without it, for arguments of the server."""

    model: str
    name: str
    values: tuple[int, ...]
    asks: tuple[Ask, ...]
    present: int = 0

    def __post_init__(self) -> None:
        if not self.values or not self.asks:
            raise ValueError(f"setting {self.key}: values and asks are needed")

    @property
    def key(self) -> str:
        """Its name in candidates."""
        return f"{self.model}.{self.name}"

    def of(self, config: ModelConfig) -> int:
        """Its value in a model's configuration."""
        if self.name == "instances":
            return int(config.instance_group[0].count)
        if self.name == "max_batch_size":
            return int(config.max_batch_size)
        if self.name == "queue_delay_us":
            return int(config.dynamic_batching.max_queue_delay_microseconds)
        if self.name == "preferred_batch_size":
            return int(next(iter(config.dynamic_batching.preferred_batch_size), 0))
        if self.name not in config.parameters:
            raise ValueError(f"setting {self.key}: {config.name or self.model} has no such parameter")
        return int(config.parameters[self.name].string_value)

    def put(self, config: ModelConfig, value: int) -> None:
        """Sets it in a model's configuration."""
        if self.name == "instances":
            config.instance_group[0].count = value
        elif self.name == "max_batch_size":
            config.max_batch_size = value
            _warm_up_within(config)
        elif self.name == "queue_delay_us":
            config.dynamic_batching.max_queue_delay_microseconds = value
        elif self.name == "preferred_batch_size":
            config.dynamic_batching.preferred_batch_size[:] = [value] if value else []
        else:
            config.parameters[self.name].string_value = str(value)


def _warm_up_within(config: ModelConfig) -> None:
    """Triton refuses a warm-up larger than the largest batch."""
    for sample in config.model_warmup:
        sample.batch_size = min(sample.batch_size, config.max_batch_size)


class Trial(Settings):
    """A load of every candidate and the figure that counts; `bulk_rate` is that of a bulk load beside it.

    The other keys are those of `Load`.
    """

    name: str
    ask: Ask
    in_flight: int
    seconds: float
    figure: Literal["per_second", "p50_ms", "p95_ms"]
    rate: float = 0.0
    bulk_rate: float = 0.0

    @property
    def loads(self) -> tuple[Load, ...]:
        """The load, then what runs beside it."""
        loop = "open" if self.rate else "closed"
        load = Load(self.name, self.ask, loop, self.seconds, self.in_flight, self.rate)
        if not self.bulk_rate:
            return (load,)
        values = {"name": "bulk", "priority": "bulk", "rate": self.bulk_rate, "in_flight": BULK_IN_FLIGHT}
        return load, msgspec.structs.replace(load, **values)


class SearchSpace(Settings):
    """The whole table."""

    profile: str
    budget_s: float
    margin: float
    pairs: int
    final_pairs: int
    warm_up_s: float
    trials: tuple[Trial, ...] = msgspec.field(name="load")
    settings: tuple[Setting, ...] = msgspec.field(name="setting")

    def __post_init__(self) -> None:
        if self.budget_s <= 0 or self.margin < 0 or self.pairs < 1 or self.final_pairs < 1:
            raise ValueError("budget_s above 0, margin 0 or more, pairs and final_pairs at least 1")
        if not self.trials or not self.settings:
            raise ValueError("at least one load and one setting are needed")
        if len({setting.key for setting in self.settings}) != len(self.settings):
            raise ValueError("a setting stands twice in the table")

    def only(self, keys: Sequence[str]) -> SearchSpace:
        """The table with these settings alone, each as MODEL.NAME; ValueError names one that it does not hold."""
        known = {setting.key: setting for setting in self.settings}
        if unknown := [key for key in keys if key not in known]:
            raise ValueError(f"no setting {', '.join(unknown)} in the table; it holds {', '.join(known)}")
        return msgspec.structs.replace(self, settings=tuple(s for s in self.settings if s.key in keys))


@dataclass(frozen=True)
class Comparison:
    """A candidate beside the best so far: the figures of both in each pair of slices, by load; or why it failed."""

    candidate: Candidate
    beside: Candidate
    pairs: Mapping[str, Sequence[tuple[float, float]]]  # load: (beside, candidate)
    figures: Mapping[str, str]  # load: which figure
    failed: str = ""

    def ratios(self, load: str) -> list[float]:
        """Of each pair, above 1 where the candidate is better."""
        higher = HIGHER_IS_BETTER[self.figures[load]]
        return [new / old if higher else old / new for old, new in self.pairs[load]]

    @property
    def scores(self) -> list[float]:
        """Of each pair, the geometric mean of its loads' ratios; empty where it failed."""
        rows = zip(*(self.ratios(load) for load in self.pairs), strict=True)
        return [exp(sum(log(ratio) for ratio in row) / len(row)) for row in rows]

    @property
    def score(self) -> float:
        """The median of the scores; 0 where it failed."""
        return median(self.scores) if self.scores else 0.0

    def better(self, margin: float) -> bool:
        """Whether the candidate wins by the margin, and in every single pair."""
        return bool(self.scores) and self.score > 1 + margin and min(self.scores) > 1
