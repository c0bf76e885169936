"""The table of ablations: settings shared and changed, paired differences, and one real run that goes on."""

import json
from pathlib import Path

import numpy as np
import pytest

from export.ablate import Ablations, Variant, ablate, markdown, rows
from export.errors import ExportError
from export.training.config import TrainConfig


def test_runs_share_settings_and_change_their_own():
    config = Ablations.of(
        {
            "train": {"side_px": 112, "recipe": {"self_blend": 0.2, "degradation": 0.1}},
            "run": [{"name": "all"}, {"name": "plain", "leave_out": "gan", "train": {"recipe": {"self_blend": 0.0}}}],
        }
    )
    first, second = config.variants
    assert (first.train.side_px, second.train.side_px) == (112, 112)
    assert (first.train.recipe.self_blend, second.train.recipe.self_blend) == (0.2, 0.0)
    assert second.train.recipe.degradation == 0.1 and second.leave_out == "gan"


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({}, "needs"),
        ({"run": [{"name": "a"}], "stage": []}, "stage"),
        ({"run": [{"name": "a"}, {"name": "a"}]}, "same name"),
        ({"run": [{"name": "a", "train": {"epoch": 3}}]}, "epoch"),
    ],
    ids=["no run", "unknown table", "twice the same name", "unknown setting"],
)
def test_a_file_with_something_wrong_is_refused(tables, message):
    with pytest.raises(ValueError, match=message):
        Ablations.of(tables)


def test_the_committed_file_is_read():
    assert Ablations.read(Path("export/configs/ablations.toml")).variants


def test_a_difference_is_paired_to_the_first_run_that_leaves_out_the_same():
    labels = np.repeat([0, 1], 40)
    rng = np.random.default_rng(0)

    def scores(shift):
        column = {"labels": labels.tolist(), "groups": [str(i) for i in range(80)]}
        return {"test": {**column, "logits": (labels * shift + noise).tolist()}}

    noise = rng.standard_normal(80)
    config = TrainConfig()
    runs = [
        (Variant("weak", config), scores(0.5)),
        (Variant("strong", config), scores(2.0)),
        (Variant("other", config, "gan"), scores(1.0)),
    ]
    weak, strong, other = rows(runs)
    assert "gain" not in weak["test"] and "gain" not in other["test"]
    assert strong["test"]["gain"] == pytest.approx(strong["test"]["auc"] - weak["test"]["auc"])
    assert strong["test"]["gain_95"][0] > 0, "the same photographs on both sides leave little to chance"
    text = markdown([weak, strong, other])
    assert "| strong | - |" in text and "+0." in text and text.count("\n") == 5


def test_a_table_is_trained_once_and_a_source_left_out_is_not_seen(data, tmp_path):
    shared = {"backbone": "mobilenetv3_small_050", "side_px": 64, "epochs": 1, "batch_size": 2}
    runs = [{"name": "all"}, {"name": "without", "leave_out": "fake_source"}]
    config = Ablations.of({"train": {**shared, "recipe": {"self_blend": 1.0}}, "run": runs})
    table = ablate(config, data, tmp_path, None)
    assert [row["name"] for row in table] == ["all", "without"]
    assert table[0]["test"]["images"] == 4 and "left_out" not in table[0]
    assert table[1]["left_out"]["images"] == 8 + 2, "every fake, and the real ones of test"
    (tmp_path / "without" / "checkpoint.pt").unlink()
    assert json.dumps(ablate(config, data, tmp_path, None)) == json.dumps(table)
    config = Ablations.of({"train": shared | {"epochs": 2}, "run": runs})
    with pytest.raises(ValueError, match="is of other settings, weights or faces; remove"):
        ablate(config, data, tmp_path, None)
    with pytest.raises(TypeError, match="'leaves_out'"):
        Ablations.of({"train": shared, "run": [{"name": "typo", "leaves_out": "gan"}]})
    config = Ablations.of({"train": shared, "run": [{"name": "typo", "leave_out": "gan"}]})
    with pytest.raises(ExportError, match="gan"):
        ablate(config, data, tmp_path, None)
