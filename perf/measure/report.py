"""The document -> one HTML page that needs nothing else, and its JSON beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from markupsafe import Markup

from reports import page
from reports.drawing import embedded

from . import plots

TEMPLATE = Path(__file__).with_name("performance.html.j2")


def write(folder: Path, name: str, document: dict[str, Any]) -> Path:
    """Writes `<name>.json` and `<name>.html` into the folder; returns the page's path."""
    page.write_text(folder / f"{name}.json", dumps(document) + "\n")
    return page.write_text(folder / f"{name}.html", html(document))


def dumps(document: dict[str, Any]) -> str:
    """JSON with an entry a line at the top, and each phase on a line of its own: a diff stays readable."""
    parts = []
    for key, value in document.items():
        if isinstance(value, list) and value:
            rows = ",\n    ".join(json.dumps(row) for row in value)
            parts.append(f"  {json.dumps(key)}: [\n    {rows}\n  ]")
        else:
            parts.append(f"  {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}"


def html(document: dict[str, Any]) -> str:
    """The page."""
    drawn = draw(document)
    return page.render(
        TEMPLATE,
        d=document,
        headline=headline(document),
        plots=drawn,
        waterfalls=[name for name in drawn if name.startswith("waterfall")],
    )


def headline(document: dict[str, Any]) -> str:
    """What the verdicts say, in a sentence."""
    states = [verdict["state"] for verdict in document["verdicts"]]
    missed, kept, unknown = (states.count(state) for state in ("missed", "kept", "not measured"))
    unjudged = sum(verdict["failed"] for verdict in document["verdicts"]) - missed
    first = f"{missed} of {kept + missed} budgets missed" if missed else f"All {kept} measured budgets kept"
    first += f", {unjudged} could not be judged" if unjudged else ""
    return f"{first}, {unknown - unjudged} not measured" if unknown > unjudged else first


def draw(document: dict[str, Any]) -> dict[str, Markup]:
    """Plots by name, as `src` of an image; a plot without data is left out."""
    phases = document["phases"]
    loads = [load for phase in phases for load in phase["loads"]]
    made = {}
    if any(load["profile"] == "saturate" for load in loads):
        made["saturation"] = plots.saturation(document)
    if any(load["quantiles_ms"] and load["profile"] not in ("saturate", "overload") for load in loads):
        made["latencies"] = plots.latencies(document)
    for load in loads:
        if load["profile"] == "steady" and load["path"] and load["mean_ms"] is not None:
            made[f"waterfall {load['name']}"] = plots.waterfall(load, load["path"])
    if document["overload"]:
        made["overload"] = plots.overload(document)
    if document["limits"]:
        made["limits"] = plots.limits(document)
    if any(phase["server_cores"] is not None for phase in phases):
        made["cpu"] = plots.cpu(document)
    if any(phase["memory"] for phase in phases):
        made["memory"] = plots.memory(document)
    return {name: embedded(svg) for name, svg in made.items()}
