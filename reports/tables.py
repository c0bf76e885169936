"""A measurement as JSON and as a page of Markdown beside it, both with what it was measured on."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tabulate import tabulate

from serving.paths import REPOSITORY
from serving.supervisor.versions import newest

from . import machine
from .page import write_text


def measured_on(module: str) -> dict[str, Any]:
    """Command, date, commit, machine, versions, and the machine's load before anything was started."""
    return {
        "command": shlex.join(["python", "-m", module, *sys.argv[1:]]),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": machine.commit() or "unknown",
        "classifier": newest(REPOSITORY / "classifier").name,
        "machine": machine.machine(),
        "versions": machine.versions(),
        "load_before": round(os.getloadavg()[0], 2),
        "begun_s": time.monotonic(),
    }


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
