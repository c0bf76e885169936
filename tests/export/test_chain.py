"""The whole chain by its smoke configuration, as `make export` runs it: data to a published version."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest

from export.__main__ import STAGES
from export.chain import CONFIGS, ChainConfig, run
from export.synthesis.batches import Recipe
from export.training.prune import shares
from export.training.weights import trained
from serving.paths import REPOSITORY, ROOT
from serving.supervisor.versions import versions


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A model repository with the published classifier."""
    folder = tmp_path_factory.mktemp("served") / "model_repository"
    shutil.copytree(REPOSITORY / "classifier", folder / "classifier")
    return folder


def export(*arguments):
    command = [sys.executable, "-m", "export", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_the_chain_ends_with_a_new_version_and_runs_once(data, repository, tmp_path):
    command = ("run", "--data", data, "--config", CONFIGS / "smoke.toml", "--out", tmp_path, "--repository", repository)
    refused = export(*command)
    assert refused.returncode == 1 and "cannot tell whether a network is worse" in refused.stderr
    assert not (tmp_path / "teacher").exists(), "it is refused before anything is trained"
    assert len(versions(repository / "classifier")) == 1
    first = export(*command, "--allow-worse")
    assert first.returncode == 0, first.stderr
    assert [line for line in first.stdout.splitlines() if line.startswith("==")] == [
        "== teacher",
        "== student",
        "== pruned",
        "== mean",
    ]
    former, folder = (repository / "classifier" / str(n) for n in versions(repository / "classifier"))
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["model_version"] == int(folder.name) == int(former.name) + 1
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    (version,) = session.run(["MODEL_VERSION"], {"FACE": np.zeros((1, 224, 224, 3), np.uint8)})
    assert version.tolist() == [[int(folder.name)]]
    assert (folder / "model.onnx").stat().st_size < 9e6, "a pruned network of the smoke configuration"
    data_and_out = ("--data", data, "--out", tmp_path)
    verified = export("verify", folder, *data_and_out)
    assert verified.returncode == 0, verified.stderr
    assert "AUC drop" in verified.stdout
    converted = export("convert", *data_and_out, "--checkpoint", tmp_path / "mean" / "checkpoint.pt")
    assert converted.returncode == 0, converted.stderr
    assert (tmp_path / "model.onnx").exists()
    checkpoints = [(tmp_path / stage / "checkpoint.pt").read_bytes() for stage in ("teacher", "pruned")]
    again = export(*command, "--no-publish")
    assert again.returncode == 0, again.stderr
    assert "going on at batch" in again.stdout
    assert [(tmp_path / stage / "checkpoint.pt").read_bytes() for stage in ("teacher", "pruned")] == checkpoints
    assert {"checkpoint", "configuration", "teacher", "mean"} <= set(manifest["parents"])
    once = export(*command, "--allow-worse")
    assert once.returncode == 0 and f"version {folder.name} already" in once.stdout
    assert len(versions(repository / "classifier")) == 2
    (tmp_path / "teacher" / "stage.json").write_text("{}")
    changed = export(*command, "--no-publish")
    assert changed.returncode == 1 and "was made with another stage, " in changed.stderr


def test_cases_are_learned_and_the_old_figures_are_told(data, repository, tmp_path):
    cases = tmp_path / "cases.csv"
    learned = "".join(f"{data}/real{i}.jpg,real,fake,train\n" for i in (0, 1, 2, 6))  # the last one is of the old test
    cases.write_text(f"path,verdict,truth,split\n{learned}{data}/fake4.jpg,real,fake,val\n")
    checkpoint = tmp_path / "start" / "pruned" / "checkpoint.pt"
    start = ("run", "--config", CONFIGS / "smoke.toml", "--out", tmp_path / "start", "--no-publish")
    assert export(*start, "--data", data).returncode == 0
    out = tmp_path / "tuned"
    arguments = ("--data", data, "--cases", cases, "--checkpoint", checkpoint, "--out", out, "--epochs", "1")
    done = export("finetune", *arguments)
    assert done.returncode == 0, done.stderr
    figures = json.loads((out / "finetune.json").read_text())["figures"]
    assert set(figures["old"]) == {"before", "after"}
    assert 0 < figures["old"]["after"]["images"] < 4, "without what shows nearly the same as the case that was learned"
    assert figures["cases"]["after"]["images"] == 1, "what is not learned from is held back, val as well"
    cases.write_text("path,verdict\na.jpg,real\n")
    refused = export("finetune", *arguments)
    assert refused.returncode == 1
    assert "needs the columns path and truth" in refused.stderr


SHIPPED = REPOSITORY / "classifier" / str(min(versions(REPOSITORY / "classifier")))  # a user's own versions are later


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS.glob("*.toml") if path.stem != "ablations"))
def test_configurations_are_read(name):
    config = ChainConfig.read(CONFIGS / f"{name}.toml")
    assert all(stage.prune.multiply_adds <= 0.6 for stage in config.stages if stage.prune)
    side_px = {stage.name: stage.train.side_px for stage in config.stages if not stage.average}
    for stage in config.stages:
        assert {side_px[name] for name in stage.teachers if name in side_px} <= {stage.train.side_px}
        assert len({side_px[name] for name in stage.average if name in side_px}) <= 1, "a mean is of one side"


def test_the_default_begins_with_what_the_repository_holds():
    """`make export DATA=...` on anybody's faces: no backbone to fetch, no autoencoder, no sources of other people's."""
    config, earlier = ChainConfig.read(CONFIGS / "own.toml"), set()
    assert config.reconstructions is None
    for stage in config.stages:
        files = {stage.init, *stage.teachers} - earlier
        assert all((ROOT / file).is_file() for file in files), files
        earlier.add(stage.name)
    assert ROOT / stage.init == SHIPPED / "network.pt"


def test_the_plain_fine_tune_is_plain():
    (stage,) = ChainConfig.read(CONFIGS / "plain.toml").stages
    assert stage.train.head == "plain"
    assert stage.train.recipe == Recipe(self_blend=0, degradation=0.5)


def test_the_teacher_in_the_repository_is_that_of_its_configuration():
    net, config = trained(CONFIGS.parent / "weights" / "teacher.pt")
    assert config == ChainConfig.read(CONFIGS / "teacher.toml").stages[-1].train
    assert shares(net)[0] > 0.9  # of B0: not pruned


@pytest.mark.parametrize(
    ("weights", "chain", "training"),
    [
        (SHIPPED / "network.pt", "student", "tough"),
        (CONFIGS.parent / "weights" / "alert.pt", "student", "alert"),
    ],
    ids=["served", "alert"],
)
def test_the_students_in_the_repository_are_those_of_their_configuration(weights, chain, training):
    net, config = trained(weights)
    (stage,) = [stage for stage in ChainConfig.read(CONFIGS / f"{chain}.toml").stages if stage.name == training]
    assert config == stage.train
    multiply_adds, parameters = shares(net)
    assert multiply_adds <= 0.6
    assert parameters <= 0.5
    assert net.backbone.conv_stem.out_channels == 32


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "needs \\[\\[stage\\]\\]"),
        ('[[stage]]\nname = "a"\n[stage.train]\nepoch = 3', "epoch"),
        ('[[stage]]\nname = "a"\n[stage.train]\nrecipe = { self_blend = 2 }', "0..1"),
        ('[[stage]]\nname = "a"\nprune = { parameters = 0 }', "shares of B0"),
        ('[[stage]]\nname = "a"\nteacher = ["b"]', "'teacher'"),
        ('[[stage]]\nname = "a"\n[[stage]]\nname = "a"', "same name"),
        ('[[stage]]\ninit = "a"', "'name'"),
        ('[[stage]]\nname = "a"\naverage = ["b"]\ninit = "b"', "average goes with name alone"),
    ],
    ids=[
        *("empty", "unknown-setting", "share-above-1", "nothing-left"),
        *("unknown-key", "twice", "no-name", "mean-and-training"),
    ],
)
def test_a_bad_configuration_is_named(tmp_path, text, complaint):
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(ValueError, match=rf"bad.toml: .*{complaint}"):
        ChainConfig.read(tmp_path / "bad.toml")


@pytest.mark.parametrize("role", ['init = "later"', 'teachers = ["later"]', 'average = ["first", "later"]'])
def test_what_a_stage_builds_on_is_missed_before_anything_is_done(tmp_path, data, role):
    text = f'[[stage]]\nname = "first"\n[[stage]]\nname = "second"\n{role}\n[[stage]]\nname = "later"'
    (tmp_path / "chain.toml").write_text(text)
    with pytest.raises(ValueError, match="stage second: later is neither an earlier stage nor a file"):
        run(ChainConfig.read(tmp_path / "chain.toml"), data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_split_that_lacks_a_class_is_missed_before_anything_is_trained(tmp_path, data):
    rows = (data / "manifest.csv").read_text().splitlines()
    paths = [f"{data}/{row}" for row in rows[1:] if not row.endswith(("fake_source,val", ",test"))]
    (tmp_path / "some.csv").write_text("\n".join([rows[0], *paths]) + "\n")
    smoke = ("--config", CONFIGS / "smoke.toml", "--out", tmp_path / "o", "--no-publish")
    refused = export("run", "--data", tmp_path / "some.csv", *smoke)
    assert refused.returncode == 1
    assert "no faces that are fake of val, real of test, fake of test" in refused.stderr
    assert not (tmp_path / "o" / "teacher").exists()


def test_every_stage_explains_itself():
    assert export("--help").stdout.count("\n") == len(STAGES) + 2
    assert export("nonsense").returncode == 2
    for stage in ("run", "data", "train", "prune", "finetune", "convert", "publish", "verify"):
        assert "--data" in export(stage, "--help").stdout, stage
    assert "runs in .venv: `make evaluate`" in export("evaluate", "--help").stderr
