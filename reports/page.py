"""A page of HTML that needs nothing else: styles inside, plots as embedded SVG. Templates extend `base.html.j2`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2

from serving.files import replacing

HERE = Path(__file__).parent


def render(template: Path, filters: Mapping[str, Callable[..., str]], **values: Any) -> str:
    """The page of a template; values are escaped, and one that is missing raises."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, HERE]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= filters
    return environment.get_template(template.name).render(values)


def write_text(path: Path, text: str) -> Path:
    """Writes a file whole or not at all, and its folder where there is none; returns the path."""
    with replacing(path) as draft:
        draft.write_text(text)
    return path
