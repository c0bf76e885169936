"""The report's dictionaries -> one HTML page that needs nothing else: styles inside, plots as embedded SVG."""

from __future__ import annotations

import math
from pathlib import Path

from markupsafe import Markup

from reports import page
from reports.drawing import embedded

from . import plots
from .decision import NAMES
from .served import Scores

TEMPLATE = Path(__file__).with_name("evaluation.html.j2")
SHOWN = ("accuracy", "fpr", "fnr", "auc", "eer", "ap", "ece", "review")
EXPLAINED = {
    "accuracy": "share of pictures judged right at the single threshold",
    "fpr": "share of genuine faces called fake at the single threshold",
    "fnr": "share of fakes that are not called fake at the single threshold",
    "auc": "chance that a fake scores higher than a genuine face; 0.5 is guessing",
    "eer": "the error where both error rates are equal",
    "ap": "mean precision over all thresholds; depends on the share of fakes",
    "ece": "mean gap between stated probability and share of fakes",
    "review": "share of pictures between the two thresholds: a person decides",
}
PLAIN = ("auc", "ap", "ece")  # shown as numbers, all others in percent
SPLITS = {
    "test": "The same sources as in training, other photographs",
    "cross": "Sources kept apart from training",
    "val": "The split that thresholds and calibration were chosen on: too kind",
    "train": "The model has seen these pictures: no evidence",
}


def write_html(path: Path, report: dict, tables: dict[str, Scores]) -> None:
    """Draws every plot and writes the page."""
    drawn = {name: draw(split, tables[name], report["model"]) for name, split in report["splits"].items()}
    text = page.render(
        TEMPLATE,
        {"percent": percent, "figure": figure, "span": span},
        report=report,
        plots=drawn,
        names=NAMES,
        explained=EXPLAINED,
        shown=SHOWN,
        about=SPLITS,
        cells=cells,
    )
    page.write_text(path, text)


def draw(split: dict, table: Scores, model: dict) -> dict[str, Markup]:
    """The plots of one split by name, as `src` of an image; those that need both classes or more data are left out."""
    level = split["level"]["image"]
    made = {
        "histogram": plots.histogram(table, model["real_below"], model["fake_from"]),
        "reliability": plots.reliability(split["reliability"]),
        "sources": plots.sources(split["by_source"]),
        "quality": plots.quality(split["by_quality"]),
    }
    if not math.isnan(level["values"]["auc"]):
        made["roc"] = plots.roc(table, level["values"])
        made["det"] = plots.det(table, level["values"])
        if split["comparison"]:
            made["comparison"] = plots.comparison(
                level["values"]["auc"], level["intervals"]["auc"], split["comparison"]
            )
        if "robustness" in split:
            made["robustness"] = plots.robustness(split["robustness"])
    return {name: embedded(svg) for name, svg in made.items()}


def cells(confusion: dict[str, int]) -> dict[str, str]:
    """Each cell of the confusion matrix in a plain sentence."""
    real, fake = confusion["true_real"] + confusion["false_fake"], confusion["true_fake"] + confusion["false_real"]
    share = {
        name: count / max(1, real if name in ("true_real", "false_fake") else fake) for name, count in confusion.items()
    }
    return {
        "true_real": f"Genuine and not called fake: {percent(share['true_real'])} of genuine faces.",
        "false_fake": f"Genuine but called fake: {percent(share['false_fake'])} of genuine faces. "
        "An honest person is stopped: complaints, and work for reviewers.",
        "false_real": f"Fake but not called so: {percent(share['false_real'])} of fakes. "
        "Where it is labelled real, this is the damage that the system is there to prevent; "
        "a person may catch the rest.",
        "true_fake": f"Fake and caught: {percent(share['true_fake'])} of fakes.",
    }


def percent(value: float) -> str:
    """0.1234 as 12.3 %."""
    return "–" if math.isnan(value) else f"{100 * value:.1f} %"  # noqa: RUF001


def figure(value: float, name: str) -> str:
    """A figure as its name wants it: percent, or three digits."""
    if math.isnan(value):
        return "–"  # noqa: RUF001
    return f"{value:.3f}" if name in PLAIN else percent(value)


def span(interval: tuple[float, float], name: str) -> str:
    """An interval from low to high."""
    return f"{figure(interval[0], name)} to {figure(interval[1], name)}"
