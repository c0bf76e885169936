"""Every relative link of every document leads to a file, and its anchor to a heading there."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOT_OURS = {"runs", "build", "dist", "withdrawn", "latest"}  # git ignores them, and folders with a dot
LINK = re.compile(r"\]\(([^)\s]+)\)")


def documents() -> list[Path]:
    found = []
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in NOT_OURS]
        found += [Path(folder, name) for name in files if name.endswith(".md")]
    return sorted(found)


def prose(page: Path) -> str:
    """The document without its blocks of code."""
    return re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What GitHub calls the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    return not target.exists() or (bool(anchor) and anchor not in anchors(target))


@pytest.mark.parametrize("page", documents(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    links = [link for link in LINK.findall(prose(page)) if "://" not in link]
    assert [link for link in links if broken(page, link)] == []


def test_a_link_to_nowhere_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A `heading`, twice\n```\n# no heading\n```\n")
    assert not broken(page, "#a-heading-twice")
    assert not broken(page, "page.md#a-heading-twice")
    assert broken(page, "#no-heading")
    assert broken(page, "other.md")
