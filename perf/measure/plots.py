"""The plots of the performance report as SVG text, drawn from its document."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from reports.drawing import FAINT, OTHER, OURS, STYLE, panels, svg

BLUE, RED, GREEN, PINK, YELLOW = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"
CURVES = (BLUE, RED, GREEN, PINK, YELLOW, OURS)
KINDS = {"queue": OTHER, "input": YELLOW, "compute": BLUE, "output": GREEN}
Document = dict[str, Any]


@plt.rc_context(STYLE)
def saturation(document: Document) -> str:
    """Throughput and p95 over requests in flight, of faces and of photographs."""
    rows = [(phase, load) for phase in document["phases"] if phase["profile"] == "saturate" for load in phase["loads"]]
    asks = [ask for ask in ("face", "image") if any(load["ask"] == ask for _, load in rows)]
    figure, axes = panels(width=9.6, columns=len(asks))
    for axis, ask in zip(axes[0], asks, strict=True):
        loads = [load for _, load in rows if load["ask"] == ask]
        x = [load["in_flight"] for load in loads]
        axis.plot(x, [load["per_second"] for load in loads], "o-", color=BLUE)
        limit = document["limits"]["composed"] if ask == "face" and document["limits"] else 0.0
        axis.set(xscale="log", xlabel=f"{ask}: requests in flight")
        axis.set_ylim(0, 1.1 * max(limit, *(load["per_second"] for load in loads)))
        axis.set_ylabel("answered a second", color=BLUE)
        axis.set_xticks(x, [str(value) for value in x])
        axis.minorticks_off()
        right = axis.twinx()
        right.plot(x, [load["p95_ms"] for load in loads], "s--", color=RED, ms=4)
        right.set_ylabel("p95, ms", color=RED)
        right.set_ylim(0, 1.1 * max(_number(load["p95_ms"]) for load in loads))
        right.grid(False)
        if limit:
            axis.axhline(limit, color=OTHER, lw=1, ls=":")
            axis.annotate("limit without a server", (x[0], limit), (0, -11),
                          textcoords="offset points", fontsize=8, color=OTHER)  # fmt: skip
    return svg(figure)


@plt.rc_context(STYLE)
def latencies(document: Document) -> str:
    """Share of requests answered within a time, of the open loops."""
    loads = [
        load
        for phase in document["phases"]
        if phase["profile"] not in ("saturate", "overload")
        for load in phase["loads"]
        if load["quantiles_ms"]
    ]
    figure, axes = panels(width=9.6)
    axis = axes[0, 0]
    for i, load in enumerate(loads):
        share = np.linspace(0, 100, len(load["quantiles_ms"]))
        axis.plot(
            load["quantiles_ms"], share, color=CURVES[i % len(CURVES)], label=f"{load['profile']}: {load['name']}"
        )
    axis.axhline(95, color=FAINT, lw=1)
    axis.set(xscale="log", ylim=(0, 100.5), xlabel="ms from when the request was due", ylabel="% answered")
    ticks = [
        t for t in (5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if axis.get_xlim()[0] <= t <= axis.get_xlim()[1]
    ]
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.minorticks_off()
    axis.legend(loc="upper left")
    return svg(figure)


def bars(load: Document, path: Document) -> list[tuple[str, str, float]]:
    """The waterfall's bars in the order of a request's way: label, kind, ms. What is below 0.05 ms is left out."""
    found = [("client and network", "client", max(0.0, load["mean_ms"] - path["server_ms"]))]
    for step in path["steps"]:
        batch = f", batch {step['mean_batch']:.1f}" if step["mean_batch"] > 1.05 else ""
        names = {kind: kind + (batch if kind == "compute" else "") for kind in KINDS}
        found += [(f"{step['model']}: {names[kind]}", kind, step["ms"][kind]) for kind in KINDS]
    found.append(("server: scheduling, copies", "rest", path["rest_ms"]))
    return [bar for bar in found if bar[2] >= 0.05]


@plt.rc_context(STYLE)
def waterfall(load: Document, path: Document) -> str:
    """Where the mean request's time goes, one step after the other."""
    rows, start = bars(load, path), 0.0
    figure, axes = panels(height=0.7 + 0.27 * len(rows), width=9.6)
    axis = axes[0, 0]
    for i, (_, kind, ms) in enumerate(rows):
        axis.barh(len(rows) - i, ms, left=start, height=0.7, color=KINDS.get(kind, FAINT if kind == "rest" else PINK))
        start += ms
        axis.annotate(f"{ms:.1f}", (start, len(rows) - i), (4, -3), textcoords="offset points", fontsize=8)
    axis.set_yticks(range(len(rows), 0, -1), [label for label, *_ in rows])
    axis.set(xlim=(0, start * 1.08), xlabel=f"ms of the mean request ({load['mean_ms']:.1f} ms)")
    axis.grid(axis="y", visible=False)
    return svg(figure)


@plt.rc_context(STYLE)
def overload(document: Document) -> str:
    """What happened to requests over time, and how long the interactive ones took."""
    rows, told = document["overload"]["timeline"], document["overload"]
    at_s = [row["at_s"] for row in rows]
    figure, axes = panels(height=2.9, width=9.6, columns=2)
    left, right = axes[0]
    names = {"interactive": BLUE, "bulk_answered": GREEN, "bulk_shed": FAINT}
    left.stackplot(at_s, [[row[name] for row in rows] for name in names], colors=list(names.values()), lw=0)
    for name, colour in names.items():
        left.plot([], [], color=colour, lw=6, label=name.replace("_", " "))
    left.set(xlabel="s", ylabel="requests a second", ylim=(0, None))
    left.legend(loc="upper right")
    right.plot(at_s, [_number(row["interactive_p95_ms"]) for row in rows], color=BLUE)
    right.axvspan(told["begin_s"], told["end_s"], color="#F3F4F6", zorder=0)
    right.axhline(told["limit_ms"], color=OTHER, ls=":", lw=1)
    right.set(xlabel="s; grey: bulk load", ylabel="interactive p95, ms", ylim=(0, None))
    return svg(figure)


@plt.rc_context(STYLE)
def cpu(document: Document) -> str:
    """Cores used in each phase: by the server, by the generator, by anybody else; and what the hypervisor took."""
    phases = [phase for phase in document["phases"] if phase["server_cores"] is not None]
    figure, axes = panels(height=0.9 + 0.25 * len(phases), width=9.6)
    axis, places = axes[0, 0], range(len(phases), 0, -1)
    left = np.zeros(len(phases))
    for name, colour in (("server", BLUE), ("generator", PINK), ("others", FAINT), ("stolen", OTHER)):
        values = np.array([phase[f"{name}_cores"] for phase in phases])
        axis.barh(places, values, left=left, color=colour, height=0.7, label=name)
        left += values
    axis.axvline(document["measured"]["machine"]["cores"], color=OTHER, lw=1, ls=":")
    axis.set_yticks(places, [f"{phase['profile']}: {phase['name']}" for phase in phases])
    axis.set(xlabel="cores; dotted: what there is")
    axis.grid(axis="y", visible=False)
    figure.legend(loc="outside upper right", ncols=4)
    return svg(figure)


@plt.rc_context(STYLE)
def memory(document: Document) -> str:
    """Memory of the server's processes over the whole run, without files' pages."""
    points = [point for phase in document["phases"] for point in phase["memory"]]
    figure, axes = panels(height=2.3, width=9.6)
    axis = axes[0, 0]
    begin_s = points[0][0]
    axis.plot([(point[0] - begin_s) / 60 for point in points], [point[1] for point in points], ".-", color=BLUE, ms=3)
    if any(point[2] is not None for point in points):
        axis.plot([(p[0] - begin_s) / 60 for p in points], [_number(p[2]) for p in points], color=GREEN, label="GPU")
        axis.legend()
    axis.set(xlabel="minutes", ylabel="MB", ylim=(0, None))
    return svg(figure)


@plt.rc_context(STYLE)
def limits(document: Document) -> str:
    """Images a second without a server, less the generator, and served."""
    found, best = document["limits"], document["figures"].get("saturate.face.per_second")
    rows = [
        ("DALI alone", found["preprocess"], FAINT),
        ("classifier alone", found["classifier"], FAINT),
        ("one after the other", found["composed"], OTHER),
        ("the same, less the generator's CPU", found["left"], OTHER),
        ("served", best or 0.0, BLUE),
    ]
    figure, axes = panels(height=2.1, width=9.6)
    axis = axes[0, 0]
    end = 1.1 * min(max(value for _, value, _ in rows), 3 * found["classifier"])
    for i, (_, value, colour) in enumerate(reversed(rows)):
        axis.barh(i, value, color=colour, height=0.7)
        axis.annotate(f"{value:.0f}/s", (min(value, 0.93 * end), i), (4, -3), textcoords="offset points", fontsize=8)
    axis.set_yticks(range(len(rows)), [name for name, *_ in reversed(rows)])
    axis.set(xlabel="faces a second", xlim=(0, end))
    axis.grid(axis="y", visible=False)
    return svg(figure)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
