"""A source of fakes left out: it is not trained on, and what a network makes of it is told beside one that knows it."""

from __future__ import annotations

import json

import pytest
import torch

from export import leave_one_out
from export.chain import ChainConfig, Stage
from export.training.config import TrainConfig
from export.training.weights import trained

TRAIN = TrainConfig(backbone="mobilenetv3_small_050", side_px=64, epochs=1, batch_size=2)


@pytest.fixture(scope="module")
def two_kinds(data, tmp_path_factory):
    """`data` with its fakes of two sources, each in every split."""
    rows = (data / "manifest.csv").read_text().splitlines()
    folder = tmp_path_factory.mktemp("kinds")
    named = [row.replace("fake_source", "gan" if row[4] in "0246" else "swap") for row in rows[1:]]
    (folder / "manifest.csv").write_text("\n".join([rows[0], *(f"{data}/{row}" for row in named)]) + "\n")
    return folder


def test_what_is_left_out_is_not_trained_on_and_told_beside_a_network_that_knows_it(export, two_kinds, tmp_path):
    config = tmp_path / "short.toml"
    settings = "\n".join(f"{name} = {json.dumps(getattr(TRAIN, name))}" for name in ("backbone", "side_px", "epochs"))
    config.write_text(f'[[stage]]\nname = "only"\n[stage.train]\n{settings}\nbatch_size = 2\n')
    command = ("leave-one-out", "gan", "swap", "--data", two_kinds, "--out", tmp_path, "--config", config)
    told = export(*command)
    assert told.code == 0, told.err
    rows = json.loads((tmp_path / "leave-one-out.json").read_text())["sources"]
    assert [(row["source"], row["images"]) for row in rows] == [("gan", 3), ("swap", 3)]
    checkpoints = [tmp_path / name / "only" / "checkpoint.pt" for name in ("everything", "without/gan", "without/swap")]
    seen = [torch.load(path, weights_only=True)["faces"] for path in checkpoints]
    assert len(set(seen)) == 3, "each was trained on other faces"
    assert trained(checkpoints[0])[1] == TRAIN
    again = export(*command)
    assert again.code == 0 and again.out.count("going on at batch") == 3, "what is trained is not trained again"
    assert again.out.splitlines()[-4:] == told.out.splitlines()[-4:]
    refused = export("leave-one-out", "nobody", *command[3:])
    assert refused.code == 1 and "no fakes of the source 'nobody'" in refused.err


def test_the_table_tells_the_difference_with_its_interval():
    row = {"source": "gan", "images": 9, "auc": 0.8, "interval": (0.7, 0.9), "gain": 0.1, "gain_interval": (0.05, 0.15)}
    table = leave_one_out.page([row])
    assert "0.800 (0.700-0.900)" in table and "+0.100 (+0.050 to +0.150)" in table


def test_its_default_trains_from_a_backbone_on():
    """Weights of this repository have seen every source."""
    from export.chain import CONFIGS
    from serving.settings import read_toml

    stages = read_toml(CONFIGS / "teacher.toml", ChainConfig).stages
    names = {stage.name for stage in stages}
    assert all(isinstance(stage, Stage) and {stage.init, *stage.teachers} - {""} <= names for stage in stages)
