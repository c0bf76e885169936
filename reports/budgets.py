"""Budgets and measured figures -> what became of each budget: one rule for every report. Pure."""

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
    """One row of a table; it has `below` (the figure must be smaller) or `at_least`, else ValueError."""

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
    """A measured value, or None with the reason why there is none."""

    value: float | None
    reason: str = ""


@dataclass(frozen=True)
class Judgement:
    """A budget and what became of it; `margin` is the distance to the limit as a share of it, negative where missed."""

    budget: Budget
    state: State
    measured: float | None = None
    margin: float | None = None
    reason: str = ""

    @property
    def failed(self) -> bool:
        """Whether the run fails by it: missed, or not measured without an excuse."""
        return self.state == "missed" or (self.state == "not measured" and self.reason not in EXCUSES)


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
    state: State = "kept" if budget.kept(value) else "missed"
    return Judgement(budget, state, value, margin if math.isfinite(margin) else None, figure.reason)


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
    if unit == "%":
        return f"{100 * value:.3g} %"
    return f"{value:.0f} {unit}" if abs(value) >= 1000 else f"{value:.3g} {unit}"
