"""`budgets.toml` and measured figures -> verdicts. Pure but for reading the table."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from serving.settings import Settings, read_toml
from serving.supervisor.options import PROFILES

TABLE = Path(__file__).with_name("budgets.toml")
State = Literal["kept", "missed", "not measured"]

NOT_RUN = "its load was not run"
NO_GPU = "no GPU here"
OUT_OF_SIGHT = "the server's processes are not on this machine"
EXCUSES = (NOT_RUN, NO_GPU, OUT_OF_SIGHT)  # nobody asked for it, or nobody could have seen it
OF_EVERY_RUN = ("errors", "memory", "cpu")


class Budget(Settings):
    """One row of a table; it has `below` (the figure must be smaller) or `at_least`, else ValueError."""

    figure: str
    about: str
    kind: Literal["floor", "bar"]
    unit: str
    below: float | None = None
    at_least: float | None = None

    def __post_init__(self) -> None:
        if (self.below is None) == (self.at_least is None):
            raise ValueError(f"budget of {self.figure!r}: give below or at_least")

    def about_run(self, profiles: Collection[str]) -> bool:
        """Whether a run of these load profiles has to answer for it; memory, CPU and errors come with any."""
        return self.figure.partition(".")[0] in {*profiles, *OF_EVERY_RUN}


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


def load_budgets(deployment: str, path: Path = TABLE) -> list[Budget]:
    """The budgets of one deployment profile, floors first; ValueError."""
    table = read_toml(path, dict[str, list[Budget]])
    unknown = set(table) - {"every", *PROFILES}
    if unknown or deployment not in PROFILES:
        raise ValueError(f"no deployment profile {', '.join(unknown) or deployment}; there is {PROFILES}")
    budgets = [*table.get("every", []), *table.get(deployment, [])]
    return sorted(budgets, key=lambda budget: budget.kind != "floor")


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
    if budget.below is not None:
        kept, margin = value < budget.below, (budget.below - value) / budget.below
    else:
        assert budget.at_least is not None
        kept, margin = value >= budget.at_least, (value - budget.at_least) / budget.at_least
    return Judgement(
        budget, "kept" if kept else "missed", value, margin if math.isfinite(margin) else None, figure.reason
    )


def table(verdicts: list[Judgement]) -> str:
    """The verdicts for a terminal: state, budget, measured, margin."""
    rows = [("", "budget", "", "measured", "margin", "of")]
    for verdict in verdicts:
        b = verdict.budget
        measured = verdict.reason if verdict.measured is None else shown(verdict.measured, b.unit)
        margin = "" if verdict.margin is None else f"{100 * verdict.margin:+.0f} %"
        kind = "users' floor" if b.kind == "floor" else "bar"
        rows.append((verdict.state, f"{b.about}", limit(b), measured, margin, kind))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def limit(budget: Budget) -> str:
    """A budget's limit in words."""
    if budget.below is not None:
        return f"< {shown(budget.below, budget.unit)}"
    return f">= {shown(budget.at_least or 0.0, budget.unit)}"


def shown(value: float, unit: str) -> str:
    """A value with its unit; ratios are stored as such and shown in percent."""
    if math.isinf(value):
        return "not seen"
    if unit == "%":
        return f"{100 * value:.3g} %"
    return f"{value:.0f} {unit}" if abs(value) >= 1000 else f"{value:.3g} {unit}"
