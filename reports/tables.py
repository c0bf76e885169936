"""A measurement as JSON and as a page of Markdown beside it, both with what it was measured on.

about = measured_on("perf.studies.tune")                             # before anything is started
page = f"# Title\n\n{markdown(head, rows)}"
path = write(folder, "tune", page, about, runs=plain(runs))          # tune.json and tune.md
"""

from __future__ import annotations

import json
import math
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from serving.paths import REPOSITORY
from serving.supervisor.versions import newest

from . import machine
from .page import write_text


def measured_on(module: str) -> dict[str, Any]:
    """What `machine.about` tells, the classifier's version, and when it began: call it before anything is started."""
    command = shlex.join(["python", "-m", module, *sys.argv[1:]])
    classifier = newest(REPOSITORY / "classifier").name
    return {**machine.about(command), "classifier": classifier, "begun_s": time.monotonic()}


def write(folder: Path, name: str, page: str, about: dict[str, Any], **figures: Any) -> Path:
    """Writes `<name>.json` and `<name>.md`, the page with a line of `about` under it; returns the page's path."""
    told = {key: value for key, value in about.items() if key != "begun_s"}
    told["duration_s"] = round(time.monotonic() - about["begun_s"])
    write_text(folder / f"{name}.json", json.dumps({**told, **figures}, indent=1) + "\n")
    return write_text(folder / f"{name}.md", f"{page}\n{footer(told)}\n")


def footer(about: dict[str, Any]) -> str:
    """What the figures were measured on and with, in a paragraph."""
    m = about["machine"]
    on = ", ".join(filter(None, (m["cpu"], f"{m['cores']} cores", (m["gpu"] or {}).get("name"))))
    packages = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    return (
        f"{on}; {packages}; classifier version {about['classifier']}; commit {about['commit']}; {about['date']}; "
        f"{about['duration_s']} s; load of the machine before: {about['load_before']}.\n\n    {about['command']}"
    )


def markdown(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; cells stand as they are given."""
    return tabulate([[str(cell) for cell in row] for row in rows], head, tablefmt="github", disable_numparse=True)


def plain(value: Any, digits: int | None = None) -> Any:
    """A document for any JSON parser: numbers as Python's own, of so many digits where given; NaN as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item, digits) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item, digits) for item in value]
    if isinstance(value, bool | int | str) or value is None:
        return value
    number = float(value)
    if not math.isfinite(number):
        return None
    return float(f"{number:.{digits}g}") if digits else number
