"""Budgets: what is kept, what is missed, and what nobody may call kept."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest

from perf.budgets import about_run, load_budgets
from perf.load.profiles import load_profiles
from perf.measure.named_figures import NOT_HELD
from perf.measure.summaries import Summary
from reports.budgets import NO_GPU, OUT_OF_SIGHT, Budget, Figure, exit_code, judge, table
from serving.supervisor.options import PROFILES

FAST = Budget("steady.face.p95_ms", "30 faces/s", "bar", "ms", below=50.0)
MANY = Budget("saturate.face.per_second", "throughput", "floor", "images/s", at_least=100.0)


@pytest.mark.parametrize(
    ("budget", "value", "state", "margin"),
    [
        (FAST, 40.0, "kept", 0.2),
        (FAST, 50.0, "missed", 0.0),
        (FAST, 75.0, "missed", -0.5),
        (MANY, 100.0, "kept", 0.0),
        (MANY, 90.0, "missed", -0.1),
        (FAST, math.inf, "missed", None),
    ],
    ids=["below", "at the limit", "above", "at least", "too few", "never"],
)
def test_a_figure_is_held_against_its_limit(budget, value, state, margin):
    (verdict,) = judge([budget], {budget.figure: Figure(value)})
    assert verdict.state == state
    assert verdict.margin == (None if margin is None else pytest.approx(margin))


@pytest.mark.parametrize(
    "figures",
    [{}, {FAST.figure: Figure(None, "no GPU here")}, {FAST.figure: Figure(math.nan)}],
    ids=["not run", "cannot be seen", "nothing answered"],
)
def test_what_was_not_measured_is_never_kept_and_says_why(figures):
    (verdict,) = judge([FAST], figures)
    assert verdict.state == "not measured"
    assert verdict.measured is None
    assert verdict.reason
    assert verdict.reason in table([verdict])


def test_the_exit_code_is_the_verdict():
    kept, missed = judge([FAST, MANY], {FAST.figure: Figure(1.0), MANY.figure: Figure(1.0)})
    assert (exit_code([kept]), exit_code([kept, missed]), exit_code(judge([FAST], {}))) == (0, 1, 0)


@pytest.mark.parametrize(
    ("figure", "expected"),
    [
        (Figure(None, NO_GPU), 0),
        (Figure(None, OUT_OF_SIGHT), 0),
        (Figure(None, NOT_HELD), 1),
        (Figure(math.nan), 1),
    ],
    ids=["no GPU", "another machine's server", "rate not held", "nothing answered"],
)
def test_what_should_have_been_measured_and_was_not_fails_the_run(figure, expected):
    assert exit_code(judge([FAST], {FAST.figure: figure})) == expected


def test_a_run_of_one_profile_answers_for_its_own_budgets_and_for_errors_memory_and_cpu():
    of_mixed = {
        budget.figure.partition(".")[0] for budget in load_budgets("embedded-cpu") if about_run(budget, {"mixed"})
    }
    assert of_mixed == {"mixed", "errors", "memory", "cpu"}


def test_the_table_tells_limit_value_and_margin():
    text = table(judge([FAST, MANY], {FAST.figure: Figure(40.0), MANY.figure: Figure(1234.0)}))
    assert "< 50 ms" in text
    assert "40 ms" in text
    assert "+20 %" in text
    assert "1234 images/s" in text
    assert "users' floor" in text


@pytest.mark.parametrize("deployment", PROFILES)
def test_every_deployment_has_the_floors_of_the_users_and_bars(deployment):
    budgets = load_budgets(deployment)
    assert {"floor", "bar"} == {budget.kind for budget in budgets}
    floors = {budget.figure for budget in budgets if budget.kind == "floor"}
    assert {"saturate.face.per_second", "memory.gpu_gb", "saturate.face x 1.p95_ms"} <= floors


@pytest.mark.parametrize("deployment", PROFILES)
def test_budgets_speak_of_loads_that_there_are(deployment):
    profiles = load_profiles()
    for budget in load_budgets(deployment):
        profile, load, *rest = budget.figure.split(".")
        if profile in profiles and profile not in ("overload", "soak"):
            names = {load.name for phase in profiles[profile].phases for load in phase.loads}
            assert load in names | {"face", "image"}, budget.figure
            assert rest and rest[0] in FIELDS, budget.figure
        else:
            assert profile in {"overload", "soak", "memory", "cpu", "errors"}, budget.figure


FIELDS = {field.name for field in fields(Summary)} | {"queue_share", "mean_batch", "share_of_limit"}
BROKEN = {
    "unknown kind": 'figure = "a"\nabout = ""\nkind = "wish"\nunit = "s"\nbelow = 1.0',
    "no limit": 'figure = "a"\nabout = ""\nkind = "bar"\nunit = "s"',
    "half a row": 'figure = "a"',
}


@pytest.mark.parametrize("row", BROKEN.values(), ids=BROKEN)
def test_a_budget_that_cannot_be_is_refused(tmp_path, row):
    path = tmp_path / "budgets.toml"
    path.write_text(f"[[every]]\n{row}\n")
    with pytest.raises(ValueError):
        load_budgets("embedded-cpu", path)


def test_an_unknown_deployment_is_refused():
    with pytest.raises(ValueError, match="embedded-cpu"):
        load_budgets("abacus")
