"""The report's plots as SVG text, drawn from its dictionaries.

Colours are Okabe and Ito's, told apart by colour-blind readers too; real and fake differ by marker or dash as well.
"""

from __future__ import annotations

from collections.abc import Iterable

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter
from scipy.stats import norm
from sklearn.metrics import det_curve, roc_curve

from reports.drawing import FAINT, OTHER, OURS, STYLE, panels, svg

from .decision import bin_name
from .served import ScoreTable

REAL, FAKE = "#0072B2", "#D55E00"
CURVES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
DET_TICKS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)


@plt.rc_context(STYLE)
def histogram(table: ScoreTable, real_below: float, fake_from: float) -> str:
    """Where the probabilities of each class lie, with the zones of the verdict."""
    figure, axes = panels()
    axis: Axes = axes[0, 0]
    axis.axvspan(real_below, fake_from, color="#F3F4F6", zorder=0)
    for label, name, colour in ((0, "real", REAL), (1, "fake", FAKE)):
        scores = table.scores[table.labels == label]
        weights = np.full(len(scores), 1 / max(1, len(scores)))
        shape = {"bins": np.linspace(0, 1, 26), "weights": weights, "color": colour}
        axis.hist(scores, histtype="stepfilled", alpha=0.25, lw=0, **shape)
        axis.hist(scores, histtype="step", lw=1.5, ls="-" if label else "--", **shape)
        axis.plot([], [], color=colour, ls="-" if label else "--", label=f"{name}, n = {len(scores)}")
    for limit in (real_below, fake_from):
        axis.axvline(limit, color=OTHER, lw=1, ls=":")
    axis.set(xlim=(0, 1), xlabel="probability of fake", ylabel="share of the class", yscale="symlog")
    axis.set_yscale("symlog", linthresh=0.02)
    axis.set_yticks([0, 0.01, 0.03, 0.1, 0.3, 1])
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.minorticks_off()
    axis.set_ylim(0, 1.05)
    for place, text in (
        (real_below / 2, "real"),
        ((real_below + fake_from) / 2, "review"),
        ((fake_from + 1) / 2, "fake"),
    ):
        axis.annotate(text, (place, 1.01), xycoords=("data", "axes fraction"), ha="center", fontsize=8, color="#4A525C")
    axis.legend(loc="upper center")
    return svg(figure)


@plt.rc_context(STYLE)
def roc(table: ScoreTable, values: dict) -> str:
    """The ROC curve, the operating point, and the AUC."""
    figure, axes = panels()
    axis = axes[0, 0]
    fpr, tpr, _ = roc_curve(table.labels, table.scores)
    axis.plot([0, 1], [0, 1], color=FAINT, lw=1.2, ls="--")
    axis.plot(fpr, tpr, color=REAL, label=f"served model, AUC {values['auc']:.3f}")
    axis.plot(values["fpr"], 1 - values["fnr"], "o", color=FAKE, ms=6, label="at the single threshold")
    axis.plot([], [], color=FAINT, ls="--", label="chance, AUC 0.5")
    axis.set(xlim=(-0.01, 1), ylim=(0, 1.01), xlabel="genuine called fake (FPR)", ylabel="fakes found (1 - FNR)")
    _percent(axis.xaxis, axis.yaxis)
    axis.legend(loc="lower right")
    return svg(figure)


@plt.rc_context(STYLE)
def det(table: ScoreTable, values: dict) -> str:
    """Detection error trade-off on normal-deviate axes (Martin et al., 1997): where both errors are small."""
    figure, axes = panels()
    axis = axes[0, 0]
    fpr, fnr, _ = det_curve(table.labels, table.scores)
    low = norm.ppf(DET_TICKS[0])
    x, y = (np.clip(norm.ppf(np.clip(rate, 1e-9, 1 - 1e-9)), low, -low) for rate in (fpr, fnr))
    axis.plot([low, 3], [low, 3], color=FAINT, lw=1.2, ls="--")
    axis.plot(x, y, color=REAL, drawstyle="steps-post", label="served model")
    eer = norm.ppf(np.clip(values["eer"], DET_TICKS[0], 0.999))
    axis.plot(eer, eer, "D", color=OURS, ms=5, label=f"EER {100 * values['eer']:.1f} %")
    point = [norm.ppf(np.clip(values[rate], DET_TICKS[0], 0.999)) for rate in ("fpr", "fnr")]
    axis.plot(*point, "o", color=FAKE, ms=6, label="at the single threshold")
    ticks = norm.ppf(DET_TICKS)
    limits = (low, norm.ppf(0.85))
    axis.set(xlim=limits, ylim=limits, xlabel="genuine called fake (FPR)", ylabel="fakes missed (FNR)")
    for ruler in (axis.xaxis, axis.yaxis):
        ruler.set_ticks(ticks, [f"{100 * tick:g} %" for tick in DET_TICKS], fontsize=8)
    axis.legend(loc="upper right")
    return svg(figure)


@plt.rc_context(STYLE)
def reliability(bins: list[dict]) -> str:
    """Stated probability against the share of fakes; the area of a dot is the number of pictures."""
    figure, axes = panels()
    axis = axes[0, 0]
    axis.plot([0, 1], [0, 1], color=OTHER, lw=1.2, ls="--", label="perfectly calibrated")
    x, y = np.array([b["stated"] for b in bins]), np.array([b["fakes"] for b in bins])
    axis.errorbar(x, y, _bars(y, [b["interval"] for b in bins]), fmt="none", ecolor=REAL, alpha=0.5, lw=1.4)
    sizes = np.sqrt([b["images"] for b in bins])
    axis.scatter(x, y, s=20 + 180 * sizes / sizes.max(), color=REAL, alpha=0.85, lw=0, label="observed, 95 % interval")
    axis.set(
        xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel="stated probability of fake", ylabel="share of fakes among them"
    )
    _percent(axis.xaxis, axis.yaxis)
    axis.legend(loc="best", markerscale=0.5)
    return svg(figure)


@plt.rc_context(STYLE)
def sources(rows: list[dict]) -> str:
    """Share of wrong answers of each source, one line a source."""
    figure, axes = panels(height=0.9 + 0.34 * len(rows), width=9.6)
    axis = axes[0, 0]
    for place, row in enumerate(reversed(rows)):
        _range(axis, place, row["wrong"], row["interval"], row["label"])
    names = [f"{row['source']}  (n = {row['images']})" for row in reversed(rows)]
    axis.set_yticks(range(len(rows)), names)
    axis.set(ylim=(-0.6, len(rows) - 0.4), xlabel="wrong answers: genuine called fake, fakes missed")
    axis.set_xlim(-0.005, None)
    axis.grid(axis="y", visible=False)
    _percent(axis.xaxis)
    _class_legend(figure, [row["label"] for row in rows])
    return svg(figure)


@plt.rc_context(STYLE)
def quality(report: dict[str, list[dict]]) -> str:
    """Share of wrong answers of each class in bins of each quality."""
    figure, axes = panels(height=2.9, width=9.6, columns=len(report))
    for axis, (name, bins) in zip(axes[0], report.items(), strict=True):
        for place, row in enumerate(bins):
            for kind, shift in (("real", -0.12), ("fake", 0.12)):
                if row[kind]["images"]:
                    _range(axis, place + shift, row[kind]["wrong"], row[kind]["interval"], kind, upright=True)
        ticks = [
            f"{bin_name(row).replace(' to ', '-')}\n{row['real']['images']} / {row['fake']['images']}" for row in bins
        ]
        axis.set_xticks(range(len(bins)), ticks, fontsize=7.5)
        axis.set(xlim=(-0.5, len(bins) - 0.5), ylim=(-0.02, 1.02), xlabel=name)
        axis.grid(axis="x", visible=False)
        _percent(axis.yaxis)
    axes[0, 0].set_ylabel("wrong answers")
    _class_legend(figure, ["real", "fake"])
    return svg(figure)


@plt.rc_context(STYLE)
def robustness(report: dict) -> str:
    """AUC over the strength of each kind of damage, mild to strong from left to right."""
    figure, axes = panels(height=2.7, width=9.6, columns=len(report["curves"]))
    lowest = np.nanmin([0.48, *(point["interval"][0] for curve in report["curves"] for point in curve["points"])])
    for axis, curve, colour in zip(axes[0], report["curves"], CURVES, strict=False):
        points = [report["untouched"], *curve["points"]]
        y, place = np.array([point["auc"] for point in points]), np.arange(len(points))
        low, high = np.array([point["interval"] for point in points]).T
        axis.axhline(0.5, color=OTHER, lw=1, ls="--")
        axis.fill_between(place, low, high, color=colour, alpha=0.15, lw=0)
        axis.plot(place, y, "o-", color=colour, ms=4.5)
        axis.set_xticks(place, ["as is", *(f"{point['strength']:g}" for point in curve["points"])], fontsize=8)
        axis.set(ylim=(lowest - 0.03, 1.02), xlabel=curve["unit"])
        axis.set_title(curve["name"], fontsize=9.5, loc="left")
        if axis is not axes[0, 0]:
            axis.yaxis.set_major_formatter(FuncFormatter(lambda *_: ""))
    axes[0, 0].set_ylabel("AUC")
    return svg(figure)


@plt.rc_context(STYLE)
def comparison(auc: float, interval: tuple, rivals: dict[str, dict]) -> str:
    """AUC of the served model beside its rivals."""
    rows = [("served model", auc, interval, REAL)]
    rows += [(name, rival["auc"], rival["interval"], OTHER) for name, rival in rivals.items()]
    figure, axes = panels(height=0.8 + 0.36 * len(rows), width=9.6)
    axis = axes[0, 0]
    for place, (_, value, span, colour) in enumerate(reversed(rows)):
        axis.plot(span, [place, place], color=colour, lw=3, alpha=0.35, solid_capstyle="round")
        axis.plot(value, place, "o", color=colour, ms=7)
        axis.annotate(f"{value:.3f}", (value, place), (0, 7), textcoords="offset points", ha="center", fontsize=8)
    axis.axvline(0.5, color=OTHER, lw=1, ls="--")
    axis.set_yticks(range(len(rows)), [name for name, *_ in reversed(rows)])
    axis.set(
        ylim=(-0.6, len(rows) - 0.2), xlim=(min(0.48, *(row[2][0] for row in rows)), 1.01), xlabel="AUC; dashed: chance"
    )
    axis.grid(axis="y", visible=False)
    return svg(figure)


def _range(axis: Axes, place: float, value: float, interval: tuple, kind: str, upright: bool = False) -> None:
    """A dot with its interval; real is a filled circle, fake an open diamond."""
    colour, marker = (REAL, "o") if kind == "real" else (FAKE, "D")
    line = ([place, place], interval) if upright else (interval, [place, place])
    dot = (place, value) if upright else (value, place)
    axis.plot(*line, color=colour, lw=3, alpha=0.3, solid_capstyle="round")
    axis.plot(*dot, marker, color=colour, ms=6, mfc=colour if kind == "real" else "white", mew=1.6)


def _class_legend(figure: Figure, kinds: Iterable[str]) -> None:
    shown = {"real": ("genuine called fake", REAL, "o", REAL), "fake": ("fakes missed", FAKE, "D", "white")}
    handles = [
        plt.Line2D([], [], color=colour, marker=marker, mfc=fill, mew=1.6, lw=0, label=text)
        for kind, (text, colour, marker, fill) in shown.items()
        if kind in kinds
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=2)


def _bars(values: np.ndarray, intervals: list[tuple]) -> np.ndarray:
    low, high = np.array(intervals).T
    return np.maximum(0, np.stack([values - low, high - values]))


def _percent(*rulers) -> None:
    for ruler in rulers:
        ruler.set_major_formatter(PercentFormatter(1, decimals=0))
