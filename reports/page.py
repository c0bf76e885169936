"""A page of HTML that needs nothing else: styles inside, plots as embedded SVG (`drawing.embedded`).

    write_text(path, render(template, {"figure": figure}, report=report))

A template extends `base.html.j2` and fills its blocks `title`, `style` and `content`. Beside the filters that are given
it has `number(digits)` and `percent`. Both show a dash where there is no number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2

from serving.files import replacing

HERE = Path(__file__).parent
NOTHING = "–"  # noqa: RUF001


def render(template: Path, filters: Mapping[str, Callable[..., str]] | None = None, **values: Any) -> str:
    """The page of a template; values are escaped, and one that is missing raises."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, HERE]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"number": number, "percent": percent, **(filters or {})}
    return environment.get_template(template.name).render(values)


def write_text(path: Path, text: str) -> Path:
    """Writes a file whole or not at all, and its folder where there is none; returns the path."""
    with replacing(path) as draft:
        draft.write_text(text)
    return path


def number(value: float | None, digits: int = 1) -> str:
    """A number with so many digits behind the point."""
    return NOTHING if value is None or math.isnan(value) else f"{value:,.{digits}f}"


def percent(value: float | None) -> str:
    """0.1234 as 12.3 %."""
    return NOTHING if value is None or math.isnan(value) else f"{100 * value:.1f} %"
