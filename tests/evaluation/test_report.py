"""The page needs nothing but itself, and says what the figures say."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from export.evaluation import analysis, decision
from export.evaluation.report import cells, write_html
from export.evaluation.served import columns
from reports.budgets import judge
from reports.page import percent

MEASURED = {
    "command": "python -m export evaluate --data <data>", "date": "2026-01-01 00:00 UTC", "duration_s": 1, "commit": "",
    "load_before": 0.1, "server": "localhost:8001", "triton": "2.51.0",
    "machine": {"cpu": "one", "cores": 2, "memory_gib": 8, "gpu": None, "system": "Linux"}, "versions": {"numpy": "2"},
    "seed": 0, "rounds": 50,
}  # fmt: skip


@pytest.fixture
def page(tmp_path):
    """page(pictures, comparison=...): the HTML of a report over one split."""

    def write(rows, **more) -> str:
        splits = {"test": analysis.analyse(rows, rounds=20, seed=0) | {"comparison": {}} | more}
        judgements = judge([decision.budget("floor", "test", "accuracy", 0.95)], decision.measured(splits))
        report = {
            "decision": decision.decide(judgements, splits), "splits": splits,
            "budgets": [decision.row(judgement) for judgement in judgements],
            "model": {"version": 1, "real_below": 0.3, "fake_from": 0.7}, "measured": MEASURED,
        }  # fmt: skip
        write_html(tmp_path / "report.html", report, {"test": columns(rows)})
        return (tmp_path / "report.html").read_text()

    return write


class References(HTMLParser):
    """Collects what a page would load or link to, and the texts for those who do not see its pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.alternatives: list[str | None] = []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.found += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "poster")]
        self.alternatives += [values.get("alt")] if tag == "img" else []


def test_the_page_loads_nothing(page, split):
    rival = {"auc": 0.6, "interval": (0.5, 0.7), "gain": 0.3, "gain_interval": (0.2, 0.4)}
    html = page(split, comparison={"rival.onnx": rival}, robustness=_robustness())
    parser = References()
    parser.feed(html)
    assert len(parser.found) == len(parser.alternatives) == 8
    assert all(source.startswith("data:image/svg+xml;base64,") for source in parser.found)
    assert all(parser.alternatives)
    assert not re.search(r"<script|@import|url\(", html)


def _robustness() -> dict:
    point = {"images": 9, "without_face": 0, "auc": 0.8, "interval": (0.7, 0.9), "fpr": 0.1, "fnr": 0.1}
    curve = {"name": "Blur", "unit": "blur sigma (px)", "points": [point | {"strength": 1.0}]}
    return {"untouched": point, "curves": [curve]}


def test_figures_stand_in_the_page_and_input_is_escaped(page, split, judged):
    html = page([*split, judged(0, 0.98, path="<b>.jpg", source="a&b")])
    values = analysis.analyse(split, rounds=1, seed=0)["level"]["image"]["values"]
    assert "Do not let this model decide on its own" in html
    assert f"{values['fnr']:.1%}".replace("%", " %") in html
    assert "&lt;b&gt;.jpg" in html
    assert "&lt;data&gt;" in html
    assert "<b>.jpg" not in html
    assert "1-broken.jpg" in html


def test_one_class_alone_still_makes_a_page(page, judged):
    html = page([judged(1, 0.2 + 0.1 * i) for i in range(6)])
    assert "ROC" not in html
    assert "Calibration" in html


def test_cells_are_explained_with_their_shares():
    said = cells({"true_real": 9, "false_fake": 1, "false_real": 1, "true_fake": 3})
    assert "10.0 % of genuine faces" in said["false_fake"]
    assert "25.0 % of fakes" in said["false_real"]
    assert percent(float("nan")) == "–"  # noqa: RUF001
