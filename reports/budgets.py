"""Budgets and measured figures -> what became of each budget: one rule for every report. Pure.

budgets = read_toml(path, dict[str, list[Budget]])["every"]       # Budget can stand in any TOML file
figures = {"steady.face.p95_ms": Figure(40.0), "memory.gpu_gb": Figure(None, NO_GPU)}
judgements = judge(budgets, figures)                              # kept, missed, not measured
print(table(judgements))
return exit_code(judgements)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tabulate import tabulate

from serving.settings import Settings

State = Literal["kept", "missed", "not measured"]

NOT_RUN = "its load was not run"
NO_GPU = "no GPU here"
OUT_OF_SIGHT = "the server's processes are not on this machine"
EXCUSES = (NOT_RUN, NO_GPU, OUT_OF_SIGHT)  # nobody asked for it, or nobody could have seen it


class Budget(Settings):
    """One limit of one figure. It has `below` (the figure must be smaller) or `at_least`, else ValueError.

    figure: its name, in parts by dots. The first part is a load profile, or a split of the data.
    kind: `floor` is what the users ask for, `bar` what we go for; a missed `goal` is told and fails nothing.
    unit: "%" for a share, which is stored as 0..1; empty for a number without one.
    """

    figure: str
    about: str
    kind: Literal["floor", "bar", "goal"]
    unit: str
    below: float | None = None
    at_least: float | None = None

    def __post_init__(self) -> None:
        if (self.below is None) == (self.at_least is None):
            raise ValueError(f"budget of {self.figure!r}: give below or at_least")

    def kept(self, value: float) -> bool:
        """`at_least` includes the limit itself, `below` does not; NaN misses."""
        return value < self.below if self.below is not None else value >= self.limit

    def margin(self, value: float) -> float:
        """How far the value is on the good side of the limit; negative where the budget is missed."""
        return self.limit - value if self.below is not None else value - self.limit

    @property
    def limit(self) -> float:
        """The number that it is about."""
        return self.below if self.below is not None else self.at_least or 0.0


@dataclass(frozen=True)
class Figure:
    """A measured value with its 95 % interval where there is one, or None with the reason why there is none."""

    value: float | None
    reason: str = ""
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Judgement:
    """A budget and what became of it.

    margin: the distance to the limit as a share of it, negative where the budget is missed.
    proven: the whole interval keeps the budget, or the value where it has no interval.
    """

    budget: Budget
    state: State
    measured: float | None = None
    margin: float | None = None
    reason: str = ""
    interval: tuple[float, float] | None = None
    proven: bool = False

    @property
    def excused(self) -> bool:
        """Whether it was not measured for a reason that fails no run."""
        return self.state == "not measured" and self.reason in EXCUSES

    @property
    def failed(self) -> bool:
        """Whether the run fails by it: missed, or not measured without an excuse, and no goal."""
        return self.state != "kept" and not self.excused and self.budget.kind != "goal"


def judge(budgets: list[Budget], figures: Mapping[str, Figure]) -> list[Judgement]:
    """One verdict a budget. A figure that is missing, None or no number is "not measured", never kept."""
    return [_judged(budget, figures.get(budget.figure, Figure(None, NOT_RUN))) for budget in budgets]


def exit_code(verdicts: list[Judgement]) -> int:
    """1 where a budget was missed, or could not be judged although its load ran; else 0."""
    return int(any(verdict.failed for verdict in verdicts))


def _judged(budget: Budget, figure: Figure) -> Judgement:
    value = figure.value
    if value is None or math.isnan(value):
        return Judgement(budget, "not measured", reason=figure.reason or "nothing was answered")
    margin = budget.margin(value) / budget.limit if budget.limit else math.inf
    kept = budget.kept(value)
    return Judgement(
        budget,
        "kept" if kept else "missed",
        value,
        margin if math.isfinite(margin) else None,
        figure.reason,
        figure.interval,
        proven=kept and all(map(budget.kept, figure.interval or ())),
    )


def table(verdicts: list[Judgement]) -> str:
    """The verdicts for a terminal: state, budget, limit, measured, margin."""
    rows = []
    for verdict in verdicts:
        b = verdict.budget
        measured = verdict.reason if verdict.measured is None else shown(verdict.measured, b.unit)
        margin = "" if verdict.margin is None else f"{100 * verdict.margin:+.0f} %"
        kind = "users' floor" if b.kind == "floor" else b.kind
        rows.append((verdict.state, b.about, limit(b), measured, margin, kind))
    return tabulate(rows, ("", "budget", "", "measured", "margin", "of"), tablefmt="plain", disable_numparse=True)


def limit(budget: Budget) -> str:
    """A budget's limit in words."""
    return f"{'<' if budget.below is not None else '>='} {shown(budget.limit, budget.unit)}"


def shown(value: float, unit: str) -> str:
    """A value with its unit; ratios are stored as such and shown in percent."""
    if math.isinf(value):
        return "not seen"
    if not unit:
        return f"{value:.3f}"
    if unit == "%":
        return f"{100 * value:.3g} %"
    return f"{value:.0f} {unit}" if abs(value) >= 1000 else f"{value:.3g} {unit}"
