"""Budgets and the words that an operator reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.evaluation import analysis, decision
from reports.budgets import Budget, judge

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def splits(split):
    return {"test": analysis.analyse(split, rounds=100, seed=0)}


@pytest.fixture
def budgets(tmp_path):
    def read(text: str) -> list[Budget]:
        (tmp_path / "budgets.toml").write_text(text)
        return decision.read_budgets(tmp_path / "budgets.toml")

    return read


def test_the_shipped_budgets_are_the_users_floors():
    rows = decision.read_budgets(ROOT / "export" / "evaluation" / "budgets.toml")
    floors = {row.figure: (row.at_least, row.below) for row in rows if row.kind == "floor"}
    assert floors == {
        "test.accuracy": (0.95, None),
        "test.fpr": (None, 0.03),
        "test.fnr": (None, 0.02),
        "test.auc": (0.98, None),
    }


@pytest.mark.parametrize(
    ("figure", "measured", "met"),
    [
        ("accuracy", 0.95, True),
        ("accuracy", 0.9499, False),
        ("fpr", 0.95, False),
        ("fnr", 0.94, True),
        ("auc", float("nan"), False),
    ],
    ids=["at-least-itself", "just-less", "below-is-strict", "below", "not-measured"],
)
def test_a_budget_has_a_good_side(figure, measured, met):
    budget = decision.budget("floor", "test", figure, 0.95)
    assert budget.kept(measured) == met
    if measured == measured and measured != 0.95:
        assert (budget.margin(measured) > 0) == met


@pytest.mark.parametrize(
    ("floor", "goal", "deploy"),
    [
        ("0.99", "", "no"),
        ("0.5", "", "yes"),
        ("0.5", "[goal.test]\nfnr = 0.0001", "limits"),
        ("MEASURED", "", "limits"),
    ],
    ids=["floor-missed", "all-met", "goal-missed", "met-by-chance"],
)
def test_whether_to_deploy(splits, budgets, floor, goal, deploy):
    measured = splits["test"]["level"]["image"]["values"]["auc"]
    wanted = budgets(f"[floor.test]\nauc = {floor.replace('MEASURED', str(measured))}\n{goal}")
    assert decision.decide(judge(wanted, decision.measured(splits)), splits)["deploy"] == deploy


def test_budgets_of_a_split_that_was_not_evaluated_prove_nothing(splits, budgets):
    judgements = judge(budgets("[floor.elsewhere]\nauc = 0.1"), decision.measured(splits))
    assert [judgement.state for judgement in judgements] == ["not measured"]
    assert [judgement.excused for judgement in judgements] == [True]
    told = decision.decide(judgements, splits)
    assert told["deploy"] == "no" and "No floor was measured" in told["headline"]


def test_a_floor_without_a_number_is_missed(splits, budgets):
    level = splits["test"]["level"]["image"]
    nothing = {"level": {"image": level | {"values": level["values"] | {"auc": float("nan")}}}}
    figures = decision.measured({"test": splits["test"] | nothing})
    told = decision.decide(judge(budgets("[floor.test]\nauc = 0.5"), figures), splits)
    assert told["deploy"] == "no" and "AUC on test not measured (floor: at least 0.500)" in told["why"]


def test_a_goal_that_was_not_measured_is_no_goal_that_was_met(splits, budgets):
    wanted = budgets("[floor.test]\nauc = 0.5\n[goal.elsewhere]\nauc = 0.9")
    told = decision.decide(judge(wanted, decision.measured(splits)), splits)
    assert told["deploy"] == "limits" and "Not measured: AUC on elsewhere." in told["why"]
    assert "other cameras" in told["next"]


@pytest.mark.parametrize(
    "text", ["[floor.test]\nspeed = 3", "[wish.test]\nauc = 1", "floor = 3", "[floor", "[floor.test]\nauc = 'good'"],
    ids=["figure", "kind", "shape", "toml", "number"],
)  # fmt: skip
def test_bad_budgets_are_refused(budgets, text):
    with pytest.raises(ValueError, match=r"budgets\.toml"):
        budgets(text)


def test_an_operator_reads_what_is_weak(splits, budgets):
    damaged = splits["test"] | {
        "robustness": {
            "untouched": {"auc": 0.95},
            "curves": [
                {"unit": "JPEG quality", "points": [{"strength": 80, "auc": 0.94}, {"strength": 40, "auc": 0.7}]},
                {"unit": "scale", "points": [{"strength": 0.5, "auc": 0.93}]},
            ],
        },
        "comparison": {decision.FLOORS[0]: {"auc": 0.96, "gain_interval": (-0.02, 0.01)}},
    }
    told = decision.decide([], {"test": damaged})["weak_at"]["test"]
    assert "damaged pictures: AUC 0.950 falls to 0.700 at JPEG quality 40" in told
    assert any("a shortcut of the set" in line for line in told)


def test_practice_counts_out_of_a_thousand(splits):
    labels = splits["test"]["labels"]["real"]
    expected = round(1000 * labels["review"] / 40)
    assert f"{expected} go to a person; of 1,000 fakes" in decision.decide([], splits)["in_practice"]["test"]
