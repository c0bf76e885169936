"""The classifier that asks a foundation model too: its graph, its model repository, and the real server with it."""

from __future__ import annotations

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
from serving.errors import SetupError
from serving.installation import CACHE
from serving.server import Server
from serving.thorough import CLIP, NUMBER_ADDED, OPINION, Opinion, class_tokens, make
from serving.versions import REPOSITORY, newest
from serving.weights import fetch

STUDENT = newest(REPOSITORY / "classifier")
NUMBER = NUMBER_ADDED + int(STUDENT.name)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("thorough") / "model_repository")


@pytest.fixture(scope="module")
def graph(repository: Path):
    """The version's graph by the runtime that its server uses."""
    folder = repository / "classifier" / str(NUMBER)
    sys.path.insert(0, str(folder))
    from runtimes import on_cpu

    return on_cpu(folder, threads=2, max_batch_size=8)


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 1, 224, 224, 3), np.uint8)


def test_it_says_what_both_say(graph, faces: np.ndarray, tmp_path: Path) -> None:
    onnx.save(class_tokens(onnx.load(fetch(CLIP, CACHE / "weights"))), tmp_path / "tokens.onnx")
    student, encoder = (
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for path in (STUDENT / "model.onnx", tmp_path / "tokens.onnx")
    )
    opinion, answers = Opinion.load(), graph(list(faces))
    for i, face in enumerate(faces):
        logit, heat, quality = student.run(["LOGIT", "HEATMAP", "QUALITY"], {"FACE": face})
        (tokens,) = encoder.run(["TOKENS"], {"FACE": face})
        both = opinion.student * logit + tokens @ opinion.weight + opinion.bias
        np.testing.assert_allclose(answers["LOGIT"][i], both[0], rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(answers["FAKE_PROBABILITY"][i], 1 / (1 + np.exp(-both[0])), atol=1e-3)
        np.testing.assert_allclose(answers["HEATMAP"][i], heat[0], atol=1e-5)
        np.testing.assert_allclose(answers["QUALITY"][i], quality[0], rtol=1e-4)
    assert answers["MODEL_VERSION"].tolist() == [[NUMBER]] * 3
    np.testing.assert_allclose(answers["THRESHOLD"], [[opinion.real_below, opinion.fake_from]] * 3)


def test_a_face_gets_the_same_answer_beside_others(graph, faces: np.ndarray) -> None:
    together = graph([np.concatenate(faces)])
    for i, face in enumerate(faces):
        for name, values in graph([face]).items():
            np.testing.assert_array_equal(together[name][i], values[0])


def test_everything_else_is_the_repository_itself(repository: Path) -> None:
    links = {path.name: path for path in repository.iterdir() if path.is_symlink()}
    assert links.keys() | {"classifier"} == {path.name for path in REPOSITORY.iterdir()}
    assert all(path.resolve() == REPOSITORY / name for name, path in links.items())
    assert [path.name for path in (repository / "classifier").iterdir() if path.name.isdecimal()] == [str(NUMBER)]


def test_made_again_it_takes_the_place_of_the_one_before(repository: Path) -> None:
    before = (repository / "classifier" / str(NUMBER) / "model.onnx").stat().st_ino
    assert make(repository) == repository
    assert (repository / "classifier" / str(NUMBER) / "model.onnx").stat().st_ino != before
    assert [path.name for path in repository.parent.iterdir()] == [repository.name]


def test_an_opinion_beside_another_classifier_is_refused(tmp_path: Path) -> None:
    replace(Opinion.load(), student_sha256="0" * 64).save(tmp_path / "other.npz")
    with pytest.raises(SetupError, match=r"another classifier than version .*python -m export thorough"):
        make(tmp_path / "model_repository", tmp_path / "other.npz")
    assert not (tmp_path / "model_repository").exists()


def test_a_missing_or_broken_opinion_names_the_next_step(tmp_path: Path) -> None:
    for content in (None, b"no archive", OPINION.read_bytes()[:2000]):
        path = tmp_path / "thorough.npz"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(SetupError, match=r"thorough\.npz cannot be read .*python -m export thorough"):
            make(tmp_path / "model_repository", path)


def test_the_server_answers_with_it(repository: Path, new_options, portrait: Image.Image, encode) -> None:
    with Server(new_options(model_repository=repository)) as server, Client(server.url) as client:
        genuine = client.check_image(encode(portrait, quality=95))
        swap = manipulated(np.asarray(portrait), np.array(genuine.faces[0].box))
        swapped = client.check_image(encode(Image.fromarray(swap), quality=92))
    opinion = Opinion.load()
    assert genuine.fake_probability < opinion.fake_from <= swapped.fake_probability
    for verdict in (genuine, swapped):
        assert verdict.model_version == NUMBER
        assert verdict.faces[0].threshold.real_below == pytest.approx(opinion.real_below)
        assert verdict.faces[0].threshold.fake_from == pytest.approx(opinion.fake_from)
