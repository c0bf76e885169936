"""The budgets of `make perf`: `budgets.toml` holds a table for each deployment profile, and one for every profile."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from reports.budgets import Budget
from serving.settings import read_toml
from serving.supervisor.options import PROFILES

TABLE = Path(__file__).with_name("budgets.toml")
OF_EVERY_RUN = ("errors", "memory", "cpu")


def load_budgets(deployment: str, path: Path = TABLE) -> list[Budget]:
    """The budgets of one deployment profile, floors first; ValueError."""
    table = read_toml(path, dict[str, list[Budget]])
    unknown = set(table) - {"every", *PROFILES}
    if unknown or deployment not in PROFILES:
        raise ValueError(f"no deployment profile {', '.join(unknown) or deployment}; there is {PROFILES}")
    budgets = [*table.get("every", []), *table.get(deployment, [])]
    return sorted(budgets, key=lambda budget: budget.kind != "floor")


def about_run(budget: Budget, profiles: Collection[str]) -> bool:
    """Whether a run of these load profiles has to answer for it; memory, CPU and errors come with any."""
    return budget.figure.partition(".")[0] in {*profiles, *OF_EVERY_RUN}
