"""Figures and budgets -> what an operator should do, in words: deploy or not, why, what the model is weak at.

Pure functions over the report's dictionaries.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from reports.budgets import Budget
from serving.settings import read_toml

FigureName = Literal["accuracy", "auc", "ap", "fpr", "fnr", "eer", "ece", "review"]
AT_LEAST = ("accuracy", "auc", "ap")  # of the others a smaller value is better
NAMES = {
    "accuracy": "accuracy",
    "auc": "AUC",
    "ap": "average precision",
    "fpr": "false-positive rate",
    "fnr": "false-negative rate",
    "eer": "equal error rate",
    "ece": "calibration error",
    "review": "share of review",
}
FLOORS = ("global statistics, linear", "global statistics, boosted trees")
FEW = 20  # pictures below which a weakness is not told
NOTABLE = 0.05  # share of wrong answers up to which no group is told as a weakness
CLEAR_DROP = 0.05  # of AUC, from which a kind of damage is told as a weakness


Kind = Literal["floor", "goal"]  # a missed floor fails the evaluation, a missed goal is told


def read_budgets(path: Path) -> list[Budget]:
    """The entries of a TOML file ([floor.test] accuracy = 0.95); ValueError that names what does not belong there."""
    content = read_toml(path, dict[Kind, dict[str, dict[FigureName, float]]])
    return [
        budget(kind, split, figure, value)
        for kind, splits in content.items()
        for split, figures in splits.items()
        for figure, value in figures.items()
    ]


def budget(kind: Kind, split: str, figure: FigureName, value: float) -> Budget:
    """One figure of one split."""
    side = {"at_least" if figure in AT_LEAST else "below": value}
    return Budget(figure=f"{split}.{figure}", about=NAMES[figure], kind=kind, unit="%", **side)


def judge_budgets(budgets: list[Budget], splits: dict[str, dict]) -> list[dict]:
    """A row for each budget: measured, interval, margin, met, and proven: met by the whole interval.

    Budgets of splits that were not evaluated are left out.
    """
    rows = []
    for wanted in budgets:
        split, _, figure = wanted.figure.partition(".")
        if split not in splits:
            continue
        level = splits[split]["level"]["image"]
        measured, interval = level["values"][figure], level["intervals"][figure]
        worst = interval[0] if figure in AT_LEAST else interval[1]
        rows.append(
            {
                "kind": wanted.kind,
                "split": split,
                "figure": figure,
                "at_least": figure in AT_LEAST,
                "budget": wanted.limit,
                "measured": measured,
                "interval": interval,
                "margin": wanted.margin(measured),
                "met": wanted.kept(measured),
                "proven": wanted.kept(measured) and wanted.kept(worst),
            }
        )
    return rows


def unmeasured(budgets: list[Budget], splits: dict[str, dict]) -> list[str]:
    """Goals of splits that were not evaluated, in words."""
    goals = [b.figure.partition(".") for b in budgets if b.kind == "goal"]
    return [f"{NAMES[figure]} on {split}" for split, _, figure in goals if split not in splits]


def decide(rows: list[dict], splits: dict[str, dict], unknown: Sequence[str] = ()) -> dict:
    """`deploy` (no, limits, yes), a headline, and paragraphs: why, in practice, weak at, next.

    Args:
        unknown: goals that nothing was measured for.
    """
    floors = [row for row in rows if row["kind"] == "floor"]
    missed = [row for row in floors if not row["met"]]
    goals = [row for row in rows if row["kind"] == "goal" and not row["met"]]
    unproven = [row for row in floors if row["met"] and not row["proven"]]
    if not floors:
        deploy, headline = "no", "No floor was measured: this report cannot say whether to deploy"
    elif missed:
        deploy, headline = "no", "Do not let this model decide on its own"
    elif goals or unproven or unknown:
        deploy, headline = "limits", "Fit to deploy, within limits"
    else:
        deploy, headline = "yes", "Fit to deploy"
    known = {row["split"] for row in floors}
    return {
        "deploy": deploy,
        "headline": headline,
        "why": _why(floors, missed, goals, unproven) + (f" Not measured: {_list(unknown)}." if unknown else ""),
        "in_practice": {name: _practice(split) for name, split in splits.items()},
        "weak_at": {name: weak for name, split in splits.items() if (weak := _weaknesses(split))},
        "next": _next(missed, [*unknown, *(row for row in goals if row["split"] not in known)], unproven),
    }


def _why(floors: list[dict], missed: list[dict], goals: list[dict], unproven: list[dict]) -> str:
    if not floors:
        return "The budgets name no split that was evaluated."
    if missed:
        text = f"It misses {len(missed)} of {len(floors)} floors: {_list(_measured(row) for row in missed)}."
    else:
        text = f"It meets every floor, {len(floors)} of {len(floors)}."
    if unproven:
        text += f" With this many pictures chance is not ruled out for {_list(_figure(row) for row in unproven)}."
    if goals:
        text += f" It falls short of a goal with {_list(_measured(row) for row in goals)}."
    return text


def _practice(split: dict) -> str:
    """What the thresholds of the product do to 1,000 pictures of each class."""
    shares = {}
    for truth, row in split["labels"].items():
        answered = row["real"] + row["review"] + row["fake"]
        if not answered:
            return "only one class was judged, so there is no telling."
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
        found += [f"{worst}, {_percent(wrong)} {verb}" for worst, wrong in _worst(split, truth) if wrong >= limit]
    floors = {name: rival for name, rival in split.get("comparison", {}).items() if name in FLOORS}
    as_good = [rival["auc"] for rival in floors.values() if rival["gain_interval"][0] <= 0]
    if as_good:
        found.append(
            f"colour, sharpness and file size alone do as well (AUC {max(as_good):.3f}): a shortcut of the set"
        )
    return found + _damage(split)


def _worst(split: dict, truth: str) -> list[tuple[str, float]]:
    """The worst source and the worst quality bin of one class, of those with enough pictures."""
    sources = [
        (f"{row['source']} ({'genuine' if truth == 'real' else 'fake'})", row["wrong"])
        for row in split["by_source"]
        if row["label"] == truth and row["images"] >= FEW
    ]
    bins = [
        (f"{'genuine' if truth == 'real' else 'fake'} faces with {quality} {bin_name(row)}", row[truth]["wrong"])
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


def _next(missed: list[dict], elsewhere: list, unproven: list[dict]) -> str:
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


def _figure(row: dict) -> str:
    return f"{NAMES[row['figure']]} on {row['split']}"


def _measured(row: dict) -> str:
    show = (lambda value: f"{value:.3f}") if row["figure"] in ("auc", "ap") else _percent
    sign = "at least" if row["at_least"] else "below"
    return f"{_figure(row)} {show(row['measured'])} ({row['kind']}: {sign} {show(row['budget'])})"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _list(parts) -> str:
    parts = list(parts)
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
