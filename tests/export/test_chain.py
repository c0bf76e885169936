"""The whole chain by its smoke configuration, as `make export` runs it: data to a published version."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import pytest

from export.__main__ import STAGES
from export.chain import CONFIGS, ChainConfig, run
from export.conversion.verify import check_version
from export.synthesis.batches import Recipe
from export.training.prune import shares
from export.training.weights import trained
from serving.errors import VersionError
from serving.paths import REPOSITORY, ROOT
from serving.settings import read_toml
from serving.supervisor.versions import versions, withdrawn

SMOKE = ("--config", CONFIGS / "smoke.toml")


class Published(NamedTuple):
    """What the smoke configuration left: the command, its folder, what it printed, the model repository."""

    command: tuple
    out: Path
    printed: str
    classifier: Path


@pytest.fixture(scope="module")
def smoke(data, tmp_path_factory) -> Published:
    """The whole chain once, in a process of its own, on a model repository with the shipped classifier."""
    repository = tmp_path_factory.mktemp("served") / "model_repository"
    shutil.copytree(REPOSITORY / "classifier", repository / "classifier")
    out = tmp_path_factory.mktemp("smoke")
    command = ("run", "--data", data, *SMOKE, "--out", out, "--repository", repository, "--allow-worse")
    done = subprocess.run(
        [sys.executable, "-m", "export", *map(str, command)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return Published(command, out, done.stdout, repository / "classifier")


def test_what_publication_would_refuse_is_refused_before_anything_is_trained(export, data, tmp_path):
    (tmp_path / "models" / "classifier" / "7").mkdir(parents=True)
    refused = export("run", "--data", data, *SMOKE, "--out", tmp_path, "--repository", tmp_path / "models")
    assert refused.code == 1 and "cannot tell whether a network is worse" in refused.err
    assert not (tmp_path / "teacher").exists()


def test_the_chain_ends_with_a_new_version(export, data, smoke):
    stages = [line for line in smoke.printed.splitlines() if line.startswith("==")]
    assert stages == ["== teacher", "== student", "== pruned", "== mean"]
    former, folder = (smoke.classifier / str(number) for number in versions(smoke.classifier))
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["model_version"] == int(folder.name) == int(former.name) + 1
    assert {"checkpoint", "configuration", "teacher", "mean"} <= set(manifest["parents"])
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    (version,) = session.run(["MODEL_VERSION"], {"FACE": np.zeros((1, 224, 224, 3), np.uint8)})
    assert version.tolist() == [[int(folder.name)]]
    published, student = (trained(path)[0] for path in (folder / "network.pt", smoke.out / "student" / "checkpoint.pt"))
    sizes = [sum(parameter.numel() for parameter in net.parameters()) for net in (published, student)]
    assert sizes[0] < sizes[1], "what is published is pruned"
    verified = export("verify", folder, "--data", data, "--out", smoke.out)
    assert verified.code == 0, verified.err
    assert "AUC drop" in verified.out


def test_publication_adds_a_version_whole_and_keeps_the_old_one(smoke):
    shipped, number = versions(smoke.classifier)
    folder = smoke.classifier / str(number)
    manifest = check_version(folder)
    assert manifest["calibration"]["version"] == number == shipped + 1
    assert json.loads(smoke.printed[smoke.printed.index("{") :]) == {
        name: manifest[name] for name in ("model_version", "calibration", "metrics")
    }
    assert set(manifest["metrics"]) == set(manifest["beside_replaced"]) == {"val", "test", "test_self_blended"}
    assert manifest["data"]["val"]["real_source"] == {"real": 2, "fake": 0}
    assert manifest["replaces"] == shipped
    assert {path.name for path in folder.iterdir()} == {*manifest["files"], "manifest.json"}, "data alone"
    assert not list(withdrawn(smoke.classifier.parent).iterdir()), "no draft is left"
    folder.rename(renamed := folder.with_name("50"))
    with pytest.raises(VersionError, match="number"):
        check_version(renamed)
    renamed.rename(folder)


def test_a_chain_runs_once_and_with_the_same_settings(export, smoke):
    trained_before = [smoke.out / stage / "checkpoint.pt" for stage in ("teacher", "pruned")]
    before = [path.read_bytes() for path in trained_before]
    again = export(*smoke.command, "--no-publish")
    assert again.code == 0, again.err
    assert "going on at batch" in again.out
    assert [path.read_bytes() for path in trained_before] == before
    once = export(*smoke.command)
    number = versions(smoke.classifier)[-1]
    assert once.code == 0 and f"version {number} already" in once.out
    assert len(versions(smoke.classifier)) == 2
    note = smoke.out / "teacher" / "stage.json"
    made_of = note.read_text()
    note.write_text("{}")
    changed = export(*smoke.command, "--no-publish")
    note.write_text(made_of)
    assert changed.code == 1 and "was made with another stage, " in changed.err


def test_cases_are_learned_and_the_old_figures_are_told(export, data, smoke, tmp_path):
    cases = tmp_path / "cases.csv"
    learned = "".join(f"{data}/real{i}.jpg,real,fake,train\n" for i in (0, 1, 2, 6))  # the last one is of the old test
    cases.write_text(f"path,verdict,truth,split\n{learned}{data}/fake4.jpg,real,fake,val\n")
    out, checkpoint = tmp_path / "tuned", smoke.out / "pruned" / "checkpoint.pt"
    command = ("finetune", "--data", data, "--cases", cases, "--checkpoint", checkpoint, "--out", out, "--epochs", 1)
    done = export(*command)
    assert done.code == 0, done.err
    figures = json.loads((out / "finetune.json").read_text())["figures"]
    assert set(figures["old"]) == {"before", "after"}
    assert 0 < figures["old"]["after"]["images"] < 4, "without what shows nearly the same as the case that was learned"
    assert figures["cases"]["after"]["images"] == 1, "what is not learned from is held back, val as well"
    cases.write_text("path,verdict\na.jpg,real\n")
    refused = export(*command)
    assert refused.code == 1 and "needs the columns path and truth" in refused.err


SHIPPED = REPOSITORY / "classifier" / str(min(versions(REPOSITORY / "classifier")))  # a user's own versions are later


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS.glob("*.toml")))
def test_configurations_are_read(name):
    config = read_toml(CONFIGS / f"{name}.toml", ChainConfig)
    assert all(stage.prune.multiply_adds <= 0.6 for stage in config.stages if stage.prune)
    side_px = {stage.name: stage.train.side_px for stage in config.stages if not stage.average}
    for stage in config.stages:
        assert {side_px[name] for name in stage.teachers if name in side_px} <= {stage.train.side_px}
        assert len({side_px[name] for name in stage.average if name in side_px}) <= 1, "a mean is of one side"


def test_the_default_begins_with_what_the_repository_holds():
    """`make export DATA=...` on anybody's faces: no backbone to fetch, no autoencoder, no sources of other people's."""
    config, earlier = read_toml(CONFIGS / "own.toml", ChainConfig), set()
    assert config.reconstructions is None
    for stage in config.stages:
        files = {stage.init, *stage.teachers} - earlier
        assert all((ROOT / file).is_file() for file in files), files
        earlier.add(stage.name)
    assert ROOT / stage.init == SHIPPED / "network.pt"


def test_the_plain_fine_tune_is_plain():
    (stage,) = read_toml(CONFIGS / "plain.toml", ChainConfig).stages
    assert stage.train.head == "plain"
    assert stage.train.recipe == Recipe(self_blend=0, degradation=0.5)


def test_the_teacher_in_the_repository_is_that_of_its_configuration():
    net, config = trained(CONFIGS.parent / "weights" / "teacher.pt")
    assert config == read_toml(CONFIGS / "teacher.toml", ChainConfig).stages[-1].train
    assert shares(net)[0] > 0.9  # of B0: not pruned


@pytest.mark.parametrize("name", ["own", "student"])
def test_the_served_student_is_pruned_and_what_goes_on_from_it_fits_it(name):
    net, config = trained(SHIPPED / "network.pt")
    stages = read_toml(CONFIGS / f"{name}.toml", ChainConfig).stages
    (stage,) = [stage for stage in stages if stage.init and ROOT / stage.init == SHIPPED / "network.pt"]
    assert (stage.train.activation, stage.train.side_px) == (config.activation, config.side_px)
    multiply_adds, parameters = shares(net)
    assert multiply_adds <= 0.6
    assert parameters <= 0.5
    assert net.backbone.conv_stem.out_channels == 32


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "required field `stage`"),
        ("stage = []", "of length >= 1"),
        ('[[stage]]\nname = "a"\n[ablation]', "`ablation`"),
        ('[[stage]]\nname = "a"\n[stage.train]\nepoch = 3', "epoch"),
        ('[[stage]]\nname = "a"\n[stage.train]\nrecipe = { self_blend = 2 }', "0..1"),
        ('[[stage]]\nname = "a"\nprune = { parameters = 0 }', "shares of B0"),
        ('[[stage]]\nname = "a"\nteacher = ["b"]', "`teacher`"),
        ('[[stage]]\nname = "a"\n[[stage]]\nname = "a"', "same name"),
        ('[[stage]]\ninit = "a"', "`name`"),
        ('[[stage]]\nname = "a"\naverage = ["b"]\ninit = "b"', "average goes with name alone"),
    ],
    ids=[
        *("empty", "no-stage", "unknown-table", "unknown-setting", "share-above-1", "nothing-left"),
        *("unknown-key", "twice", "no-name", "mean-and-training"),
    ],
)
def test_a_bad_configuration_is_named(tmp_path, text, complaint):
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(ValueError, match=rf"bad.toml: .*{complaint}"):
        read_toml(tmp_path / "bad.toml", ChainConfig)


@pytest.mark.parametrize("role", ['init = "later"', 'teachers = ["later"]', 'average = ["first", "later"]'])
def test_what_a_stage_builds_on_is_missed_before_anything_is_done(tmp_path, data, role):
    text = f'[[stage]]\nname = "first"\n[[stage]]\nname = "second"\n{role}\n[[stage]]\nname = "later"'
    (tmp_path / "chain.toml").write_text(text)
    with pytest.raises(ValueError, match="stage second: later is neither an earlier stage nor a file"):
        run(read_toml(tmp_path / "chain.toml", ChainConfig), data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_split_that_lacks_a_class_is_missed_before_anything_is_trained(export, tmp_path, data):
    rows = (data / "manifest.csv").read_text().splitlines()
    paths = [f"{data}/{row}" for row in rows[1:] if not row.endswith(("fake_source,val", ",test"))]
    (tmp_path / "some.csv").write_text("\n".join([rows[0], *paths]) + "\n")
    refused = export("run", "--data", tmp_path / "some.csv", *SMOKE, "--out", tmp_path / "o", "--no-publish")
    assert refused.code == 1
    assert "no faces that are fake of val, real of test, fake of test" in refused.err
    assert not (tmp_path / "o" / "teacher").exists()


def test_every_stage_explains_itself(export):
    assert export("--help").out.count("\n") == len(STAGES) + 2
    assert export("nonsense").code == 2
    for stage in ("run", "data", "train", "prune", "finetune", "convert", "publish", "verify"):
        asked = export(stage, "--help")
        assert asked.code == 0 and "--data" in asked.out, stage
        assert export(stage).code == 2, "without data"
    assert "runs in .venv: `make .venv/.evaluation`" in export("evaluate", "--help").err
