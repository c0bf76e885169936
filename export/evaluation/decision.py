"""Figures and budgets -> what an operator should do, in words: deploy or not, why, what the model is weak at.

Pure functions over the report's dictionaries, but for reading the budgets.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from reports.budgets import Budget, Figure, Judgement, shown
from reports.page import number, percent
from serving.settings import read_toml

FLOORS = ("global statistics, linear", "global statistics, boosted trees")
FEW = 20  # pictures below which a weakness is not told
NOTABLE = 0.05  # share of wrong answers up to which no group is told as a weakness
CLEAR_DROP = 0.05  # of AUC, from which a kind of damage is told as a weakness
TRUTHS = {"real": "genuine", "fake": "fake"}


@dataclass(frozen=True)
class FigureKind:
    """What a figure is called, what it says, and which side is good; `unit` as that of a budget."""

    name: str
    says: str
    at_least: bool = False
    unit: Literal["%", ""] = "%"

    def text(self, value: float) -> str:
        """A value as a reader wants it: percent, or three digits."""
        return percent(value) if self.unit else number(value, 3)


FIGURES = {
    "accuracy": FigureKind("accuracy", "share of pictures judged right at the single threshold", at_least=True),
    "fpr": FigureKind("false-positive rate", "share of genuine faces called fake at the single threshold"),
    "fnr": FigureKind("false-negative rate", "share of fakes that are not called fake at the single threshold"),
    "auc": FigureKind("AUC", "chance that a fake scores higher than a genuine face; 0.5 is guessing", True, ""),
    "eer": FigureKind("equal error rate", "the error where both error rates are equal"),
    "ap": FigureKind(
        "average precision", "mean precision over all thresholds; depends on the share of fakes", True, ""
    ),
    "ece": FigureKind("calibration error", "mean gap between stated probability and share of fakes", unit=""),
    "review": FigureKind("share of review", "share of pictures between the two thresholds: a person decides"),
}
BudgetTables = dict[Literal["floor", "goal"], dict[str, dict[Literal[tuple(FIGURES)], float]]]


def read_budgets(path: Path) -> list[Budget]:
    """The entries of a TOML file, as `[floor.test] accuracy = 0.95`; ValueError that names the file."""
    try:
        tables = read_toml(path, BudgetTables)
    except ValueError as exc:
        raise ValueError(f"{exc}; an entry is [floor.test] or [goal.test], then one of {', '.join(FIGURES)}") from exc
    return [
        budget(kind, split, figure, value)
        for kind, splits in tables.items()
        for split, figures in splits.items()
        for figure, value in figures.items()
    ]


def budget(kind: Literal["floor", "goal"], split: str, figure: str, value: float) -> Budget:
    """A limit of one figure of one split; the figure's kind says which side is good."""
    what = FIGURES[figure]
    limit = {"at_least" if what.at_least else "below": value}
    return Budget(figure=f"{split}.{figure}", about=f"{what.name} on {split}", kind=kind, unit=what.unit, **limit)


def measured(splits: dict[str, dict]) -> dict[str, Figure]:
    """Every figure that a budget may name, over single pictures."""
    return {
        f"{split}.{name}": Figure(value, interval=level["intervals"][name])
        for split, report in splits.items()
        for level in [report["level"]["image"]]
        for name, value in level["values"].items()
    }


def row(judgement: Judgement) -> dict:
    """A judgement for JSON and page; `margin` is the distance to the budget, positive on the good side."""
    b = judgement.budget
    split, _, figure = b.figure.partition(".")
    value = math.nan if judgement.measured is None else judgement.measured
    return {
        "kind": b.kind,
        "split": split,
        "figure": figure,
        "at_least": b.at_least is not None,
        "budget": b.limit,
        "measured": value,
        "interval": judgement.interval or (math.nan, math.nan),
        "margin": b.margin(value),
        "met": judgement.state == "kept",
        "proven": judgement.proven,
    }


def decide(judgements: Iterable[Judgement], splits: dict[str, dict]) -> dict:
    """`deploy` (no, limits, yes), a headline, and paragraphs: why, in practice, weak at, next.

    A floor of a split that was not evaluated proves nothing; a goal of one is told.
    """
    floors = [j for j in judgements if j.budget.kind == "floor" and not j.excused]
    goals = [j for j in judgements if j.budget.kind == "goal" and j.state != "kept"]
    missed = [j for j in floors if j.failed]
    unproven = [j for j in floors if j.state == "kept" and not j.proven]
    if not floors:
        deploy, headline = "no", "No floor was measured: this report cannot say whether to deploy"
    elif missed:
        deploy, headline = "no", "Do not let this model decide on its own"
    elif goals or unproven:
        deploy, headline = "limits", "Fit to deploy, within limits"
    else:
        deploy, headline = "yes", "Fit to deploy"
    known = {_split(floor) for floor in floors}
    return {
        "deploy": deploy,
        "headline": headline,
        "why": _why(floors, missed, goals, unproven),
        "in_practice": {name: _practice(split) for name, split in splits.items()},
        "weak_at": {name: weak for name, split in splits.items() if (weak := _weaknesses(split))},
        "next": _next(bool(missed), any(_split(goal) not in known for goal in goals), bool(unproven)),
    }


def _why(floors: list[Judgement], missed: list[Judgement], goals: list[Judgement], unproven: list[Judgement]) -> str:
    if not floors:
        text = "The budgets name no split that was evaluated."
    elif missed:
        text = f"It misses {len(missed)} of {len(floors)} floors: {_list(map(_told, missed))}."
    else:
        text = f"It meets every floor, {len(floors)} of {len(floors)}."
    if unproven:
        text += f" With this many pictures chance is not ruled out for {_list(j.budget.about for j in unproven)}."
    if short := [_told(goal) for goal in goals if goal.state == "missed"]:
        text += f" It falls short of a goal with {_list(short)}."
    if unknown := [goal.budget.about for goal in goals if goal.state == "not measured"]:
        text += f" Not measured: {_list(unknown)}."
    return text


def _split(judgement: Judgement) -> str:
    return judgement.budget.figure.partition(".")[0]


def _told(judgement: Judgement) -> str:
    """A figure that is not what it should be."""
    b, value = judgement.budget, judgement.measured
    found = "not measured" if value is None else shown(value, b.unit)
    side = "below" if b.at_least is None else "at least"
    return f"{b.about} {found} ({b.kind}: {side} {shown(b.limit, b.unit)})"


def _practice(split: dict) -> str:
    """What the thresholds of the product do to 1,000 pictures of each class."""
    shares = {}
    for truth, row in split["labels"].items():
        answered = row["real"] + row["review"] + row["fake"]
        if not answered:
            return "only one class was judged, so nobody can tell."
        shares[truth] = {label: round(1000 * row[label] / answered) for label in ("real", "review", "fake")}
    real, fake = shares["real"], shares["fake"]
    return (
        f"of 1,000 genuine faces {real['fake']} are labelled fake and {real['review']} go to a person; "
        f"of 1,000 fakes {fake['real']} pass as real and {fake['review']} go to a person."
    )


def _weaknesses(split: dict) -> list[str]:
    """The worst source and quality of each class, a shortcut of the set, and harmful damage, as sentences."""
    found = []
    for truth, rate, verb in (("real", "fpr", "called fake"), ("fake", "fnr", "missed")):
        limit = max(NOTABLE, split["level"]["image"]["values"][rate])
        found += [f"{worst}, {percent(wrong)} {verb}" for worst, wrong in _worst(split, truth) if wrong >= limit]
    rivals = split.get("comparison", {})
    as_good = [rivals[name]["auc"] for name in FLOORS if name in rivals and rivals[name]["gain_interval"][0] <= 0]
    if as_good:
        best = number(max(as_good), 3)
        found.append(f"colour, sharpness and file size alone do as well (AUC {best}): a shortcut of the set")
    return found + _damage(split)


def _worst(split: dict, truth: str) -> list[tuple[str, float]]:
    """The worst source and the worst quality bin of one class, of those with enough pictures."""
    sources = [
        (f"{row['source']} ({TRUTHS[truth]})", row["wrong"])
        for row in split["by_source"]
        if row["label"] == truth and row["images"] >= FEW
    ]
    bins = [
        (f"{TRUTHS[truth]} faces with {quality} {bin_name(row)}", row[truth]["wrong"])
        for quality, rows in split["by_quality"].items()
        for row in rows
        if row[truth]["images"] >= FEW
    ]
    return [max(rows, key=lambda row: row[1]) for rows in (sources, bins) if rows]


def _damage(split: dict) -> list[str]:
    """One sentence with the mildest strength of each kind of damage that costs CLEAR_DROP of AUC; none, no sentence."""
    if "robustness" not in split:
        return []
    start, hurt = split["robustness"]["untouched"]["auc"], []
    for curve in split["robustness"]["curves"]:
        point = next((point for point in curve["points"] if start - point["auc"] >= CLEAR_DROP), None)
        if point:
            hurt.append(f"{point['auc']:.3f} at {curve['unit']} {point['strength']:g}")
    return [f"damaged pictures: AUC {start:.3f} falls to {_list(hurt)}"] if hurt else []


def _next(missed: bool, elsewhere: bool, unproven: bool) -> str:
    if missed:
        return (
            "Use it to sort: let what it labels review or fake go to a person, refuse nobody on its word alone, and do "
            "not take real for proof. Train on pictures of your own cameras and on the forgeries you expect, then run "
            "this report again."
        )
    if elsewhere:
        return (
            "Deploy where pictures come from sources like those that the floors were measured on. Before other cameras "
            "or other kinds of forgery are let in, evaluate a few hundred labelled pictures of them."
        )
    if unproven:
        return "Evaluate more labelled pictures, so that the intervals lie within the budgets, before you rely on them."
    return (
        "Watch the share of review in production, and run this report again when cameras, senders or forgeries change."
    )


def bin_name(row: dict) -> str:
    """A quality bin's edges in words."""
    low, high = row["from"], row["to"]
    if not math.isfinite(high):
        return f"from {low:g}"
    return f"below {high:g}" if low == 0 else f"{low:g} to {min(high, 1) if high < 2 else high:g}"


def _list(parts: Iterable[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last
