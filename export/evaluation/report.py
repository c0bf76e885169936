"""The report's dictionaries -> one HTML page that needs nothing else."""

from __future__ import annotations

import math
from pathlib import Path

from markupsafe import Markup

from facewarden.wire import LABELS
from reports import page
from reports.drawing import embedded
from reports.page import percent

from . import plots
from .decision import FIGURES, TRUTHS
from .served import ScoreTable

TEMPLATE = Path(__file__).with_name("evaluation.html.j2")
SPLITS = {
    "test": "The same sources as in training, other photographs",
    "cross": "Sources kept apart from training",
    "val": "The split that thresholds and calibration were chosen on: too kind",
    "train": "The model has seen these pictures: no evidence",
}


def write_html(path: Path, report: dict, tables: dict[str, ScoreTable]) -> None:
    """Draws every plot and writes the page."""
    drawn = {name: draw(split, tables[name], report["model"]) for name, split in report["splits"].items()}
    text = page.render(
        TEMPLATE,
        {"figure": figure, "span": span},
        report=report,
        drawn=drawn,
        figures=FIGURES,
        truths=TRUTHS,
        labels=(*LABELS, "refused"),
        about=SPLITS,
        cells=cells,
    )
    page.write_text(path, text)


def draw(split: dict, table: ScoreTable, model: dict) -> dict[str, Markup]:
    """The plots of one split by name, as `src` of an image; those that need both classes or more data are left out."""
    values, intervals = split["level"]["image"]["values"], split["level"]["image"]["intervals"]
    made = {
        "histogram": plots.histogram(table, model["real_below"], model["fake_from"]),
        "reliability": plots.reliability(split["reliability"]),
        "sources": plots.sources(split["by_source"]),
        "quality": plots.quality(split["by_quality"]),
    }
    if not math.isnan(values["auc"]):
        made["roc"] = plots.roc(table, values)
        made["det"] = plots.det(table, values)
        if split["comparison"]:
            made["comparison"] = plots.comparison(values["auc"], intervals["auc"], split["comparison"])
        if "robustness" in split:
            made["robustness"] = plots.robustness(split["robustness"])
    return {name: embedded(svg) for name, svg in made.items()}


def cells(confusion: dict[str, int]) -> dict[str, str]:
    """Each cell of the confusion matrix in a plain sentence."""
    real, fake = confusion["true_real"] + confusion["false_fake"], confusion["true_fake"] + confusion["false_real"]
    share = {
        name: percent(count / max(1, real if name in ("true_real", "false_fake") else fake))
        for name, count in confusion.items()
    }
    return {
        "true_real": f"Genuine and not called fake: {share['true_real']} of genuine faces.",
        "false_fake": f"Genuine but called fake: {share['false_fake']} of genuine faces. "
        "An honest person is stopped: complaints, and work for reviewers.",
        "false_real": f"Fake but not called so: {share['false_real']} of fakes. "
        "Where it is labelled real, this is the damage that the system is there to prevent; "
        "a person may catch the rest.",
        "true_fake": f"Fake and caught: {share['true_fake']} of fakes.",
    }


def figure(value: float, name: str) -> str:
    """A value of the figure of this name."""
    return FIGURES[name].text(value)


def span(interval: tuple[float, float], name: str) -> str:
    """An interval from low to high."""
    return f"{figure(interval[0], name)} to {figure(interval[1], name)}"
