"""The whole evaluation on a few pictures of one portrait, through the real server."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from export.__main__ import main
from serving.supervisor.versions import newest

ROOT = Path(__file__).resolve().parents[2]
MODEL = newest(ROOT / "model_repository" / "classifier") / "model.onnx"


@pytest.fixture(scope="module")
def run(folder, server, tmp_path_factory):
    """run(*arguments) -> exit code and the folder that was written."""

    def evaluate(*arguments: str) -> tuple[int, Path]:
        out = tmp_path_factory.mktemp("evaluation")
        common = ["--data", str(folder), "--out", str(out), "--url", server.url, "--rounds", "20"]
        return main(["evaluate", *common, *arguments]), out

    return evaluate


@pytest.fixture(scope="module")
def written(run, tmp_path_factory):
    budgets = tmp_path_factory.mktemp("budgets") / "budgets.toml"
    budgets.write_text("[floor.test]\nauc = 0.0\n")
    code, out = run("--robustness", "1", "--baseline", str(MODEL), "--budgets", str(budgets))
    assert code == 0
    return out, json.loads((out / "report.json").read_text())


def test_every_picture_is_accounted_for(written):
    out, report = written
    split = report["splits"]["test"]
    assert split["images"]["no_face"] == ["nobody.jpg"]
    assert set(split["images"]["refused"]) == {"broken.jpg", "broken.mp4"}
    rows = list(csv.DictReader((out / "scores.csv").read_text().splitlines()))
    assert len(rows) == split["images"]["given"]
    assert {row["label"] for row in rows} == {"real", "fake"}
    assert split["level"]["video"]["count"] == 2
    assert (out / "report.html").stat().st_size > 50_000


def test_the_network_in_fp32_as_baseline_scores_the_same_faces(written):
    """The same faces through the same crop: only precision and runtime differ, by what INT8 may."""
    out, _ = written
    rows, baseline = (
        list(csv.DictReader(path.read_text().splitlines()))
        for path in (out / "scores.csv", out / "baselines/model.csv")
    )
    served = [float(row["fake_probability"]) for row in rows if row["fake_probability"]]
    np.testing.assert_allclose([float(row["fake_probability"]) for row in baseline], served, atol=0.1)


def test_scores_of_a_baseline_stand_for_it_in_a_later_report(written, run, tmp_path):
    out, report = written
    kept = out / "baselines" / "model.csv"
    _, again = run("--robustness", "0", "--floor", "0", "--baseline", str(kept))
    rows = json.loads((again / "report.json").read_text())["splits"]["test"]["comparison"]
    for name, figure in report["splits"]["test"]["comparison"]["model"].items():
        assert rows["model"][name] == pytest.approx(figure, abs=1e-6)
    assert (again / "baselines" / "model.csv").read_text() == kept.read_text()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("picture,fake_probability\n", "no score of"),
        ("picture,fake_probability\nreal.jpg\n", "cannot be read as scores"),
        ("path\n1\n", "cannot be read as scores"),
    ],
)
def test_scores_of_other_pictures_are_no_baseline(run, tmp_path, capsys, text, reason):
    (tmp_path / "other.csv").write_text(text)
    code, _ = run("--robustness", "0", "--floor", "0", "--baseline", str(tmp_path / "other.csv"))
    assert code == 2
    assert reason in capsys.readouterr().err


def test_every_kind_of_damage_has_its_curve(written):
    _, report = written
    robustness = report["splits"]["test"]["robustness"]
    assert [len(curve["points"]) for curve in robustness["curves"]] == [5, 4, 4, 4]
    assert robustness["untouched"]["images"] == 2


def test_a_report_that_is_passed_on_names_no_folder_of_its_maker(written, folder):
    out, report = written
    assert report["measured"]["command"].startswith(f"python -m export evaluate --data {folder.name} --out {out.name}")
    assert str(folder.parent) not in (out / "report.html").read_text()


def test_below_budget_is_exit_code_1(run, tmp_path):
    (tmp_path / "budgets.toml").write_text("[floor.test]\nauc = 1.01\n")
    code, _ = run("--robustness", "0", "--floor", "0", "--budgets", str(tmp_path / "budgets.toml"))
    assert code == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--splits", "elsewhere"], "no pictures in elsewhere"),
        (["--data", "/nowhere"], "nowhere"),
        (["--budgets", "/nowhere.toml"], "nowhere.toml"),
        (["--baseline", "a/model.onnx", "--baseline", "b/model.onnx"], "two baselines have one name"),
    ],
    ids=["split", "data", "budgets", "baselines"],
)
def test_what_cannot_be_evaluated_is_exit_code_2(run, capsys, arguments, reason):
    assert run(*arguments)[0] == 2
    assert reason in capsys.readouterr().err
