"""The table of `make tune`: settings, their values, loads, and how candidates are compared. Pure.

SpaceError
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, log
from pathlib import Path
from statistics import median
from typing import Any

from tritonclient.grpc.model_config_pb2 import ModelConfig

from .load import Load

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TABLE = Path(__file__).with_name("tune.toml")
SERVER = "server"
BULK_IN_FLIGHT = 400  # more than the queue takes
HIGHER_IS_BETTER = {"per_second": True, "p50_ms": False, "p95_ms": False}

Candidate = Mapping[str, int]  # setting's key: value


class SpaceError(Exception):
    """The table cannot be; the message names the entry."""


@dataclass(frozen=True)
class Setting:
    """One thing to turn. `present` is the value that holds without it, for arguments of the server."""

    model: str
    name: str
    values: tuple[int, ...]
    asks: tuple[str, ...]
    present: int = 0

    def __post_init__(self) -> None:
        if not self.values or not self.asks or set(self.asks) - {"face", "image"}:
            raise SpaceError(f"setting {self.key}: values and asks (face, image) are needed")

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
            raise SpaceError(f"setting {self.key}: {config.name or self.model} has no such parameter")
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


@dataclass(frozen=True)
class Trial:
    """A load of every candidate, the figure that counts, and the loads that run meanwhile."""

    load: Load
    figure: str
    beside: tuple[Load, ...] = ()

    def __post_init__(self) -> None:
        if self.figure not in HIGHER_IS_BETTER:
            raise SpaceError(f"load {self.load.name!r}: figure is one of {', '.join(HIGHER_IS_BETTER)}")


@dataclass(frozen=True)
class Space:
    """The whole table."""

    profile: str
    budget_s: float
    margin: float
    pairs: int
    final_pairs: int
    warm_up_s: float
    trials: tuple[Trial, ...]
    settings: tuple[Setting, ...]

    def __post_init__(self) -> None:
        if self.budget_s <= 0 or self.margin < 0 or self.pairs < 1 or self.final_pairs < 1:
            raise SpaceError("budget_s above 0, margin 0 or more, pairs and final_pairs at least 1")
        if not self.trials or not self.settings:
            raise SpaceError("at least one load and one setting are needed")
        if len({setting.key for setting in self.settings}) != len(self.settings):
            raise SpaceError("a setting stands twice in the table")

    def only(self, keys: Sequence[str]) -> Space:
        """The table with these settings alone, each as MODEL.NAME; SpaceError names one that it does not hold."""
        known = {setting.key: setting for setting in self.settings}
        if unknown := [key for key in keys if key not in known]:
            raise SpaceError(f"no setting {', '.join(unknown)} in the table; it holds {', '.join(known)}")
        return replace(self, settings=tuple(setting for setting in self.settings if setting.key in keys))


def space(text: str) -> Space:
    """The table from TOML; SpaceError for what cannot be."""
    try:
        table = tomllib.loads(text)
        trials = tuple(_trial(row) for row in table.pop("load", []))
        settings = tuple(Setting(**_tuples(row)) for row in table.pop("setting", []))
        return Space(trials=trials, settings=settings, **table)
    except (tomllib.TOMLDecodeError, TypeError, KeyError) as exc:
        raise SpaceError(f"{TABLE.name}: {exc}") from exc


def _trial(row: dict[str, Any]) -> Trial:
    figure, bulk_rate = row.pop("figure"), row.pop("bulk_rate", 0.0)
    load = Load(loop="open" if "rate" in row else "closed", **row)
    if not bulk_rate:
        return Trial(load, figure)
    bulk = replace(load, name="bulk", priority="bulk", rate=bulk_rate, in_flight=BULK_IN_FLIGHT)
    return Trial(load, figure, (bulk,))


def _tuples(row: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}


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
