"""Student and foundation model together, with an encoder of two small blocks made here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.data.faces import of_split
from export.fitting.clip_ensemble import fit, token_finder
from export.metrics import expected_calibration_error
from export.publication.scores import graph_scores
from export.synthesis.batches import Loader
from export.training.class_tokens import class_tokens
from serving.classifier.clip_graph import ClipEnsemble, together, tokens_graph
from serving.errors import SetupError
from serving.paths import REPOSITORY
from serving.supervisor.versions import newest

WIDTH = 8
STUDENT = newest(REPOSITORY / "classifier") / "model.onnx"


def encoder_graph(blocks: str = "encoder/layers.{}/Add_1") -> onnx.ModelProto:
    """Two blocks of random weights on the mean colour, as the real one names them."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("ReduceMean", ["pixel_values"], ["colour"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["colour", "a"], ["mixed"]),
        helper.make_node("Unsqueeze", ["mixed", "axis"], ["first"]),
        helper.make_node("Add", ["first", "b"], ["block0"], name="/vision/" + blocks.format(0)),
        helper.make_node("Sigmoid", ["block0"], ["bent"]),
        helper.make_node("Add", ["bent", "block0"], ["block1"], name="/vision/" + blocks.format(1)),
    ]
    weights = {
        "a": rng.standard_normal((3, WIDTH)).astype(np.float32),
        "b": rng.standard_normal(WIDTH).astype(np.float32),
        "axis": np.array([1]),
    }
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3, 224, 224])],
        [helper.make_tensor_value_info("block1", TensorProto.FLOAT, ["batch", 1, WIDTH])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=7)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("encoder") / "encoder.onnx"
    onnx.save(encoder_graph(), path)
    return path


def test_what_was_fitted_is_what_the_graph_of_both_says(encoder, faces, data, tmp_path):
    find, chosen = token_finder(encoder), of_split(faces, "train")
    features = class_tokens(find, chosen, data, tmp_path / "tokens.npz")
    assert features.shape == (len(chosen), 2 * WIDTH)
    labels = np.array([face.label for face in chosen], np.float32)
    ensemble, figures = fit(find, features, labels, STUDENT, faces, data)
    assert figures["val"]["auc"] == 1, "red and blue are far apart"
    ensemble.save(tmp_path / "clip_ensemble.npz")
    kept = ClipEnsemble.load(tmp_path / "clip_ensemble.npz")
    np.testing.assert_array_equal(kept.weight, ensemble.weight)
    assert kept.fake_from == ensemble.fake_from and kept.student_sha256 == ensemble.student_sha256
    onnx.save(together(onnx.load(STUDENT), onnx.load(encoder), kept), tmp_path / "model.onnx")
    for split in ("val", "test"):
        truth, scores = graph_scores(tmp_path / "model.onnx")(Loader(data, 1, 0).plain(of_split(faces, split)))
        assert ((scores >= kept.fake_from) == truth).mean() == pytest.approx(figures[split]["accuracy"])
        error = expected_calibration_error(truth, scores)
        assert error == pytest.approx(figures[split]["calibration_error"], abs=1e-4), "the same probabilities"


def test_the_tokens_are_those_behind_the_blocks(encoder, tmp_path):
    face = np.random.default_rng(1).integers(0, 256, (1, 224, 224, 3), np.uint8)
    onnx.save(tokens_graph(onnx.load(encoder)), tmp_path / "tokens.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "tokens.onnx"))
    (tokens,) = session.run(None, {"FACE": face})
    first, second = tokens[0, :WIDTH], tokens[0, WIDTH:]
    np.testing.assert_allclose(second, first + 1 / (1 + np.exp(-first)), rtol=1e-5)
    weights = {value.name: numpy_helper.to_array(value) for value in encoder_graph().graph.initializer}
    mean, std = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]  # as CLIP published them
    colour = (face[0].mean((0, 1)) / 255 - mean) / std
    np.testing.assert_allclose(first, colour @ weights["a"] + weights["b"], rtol=1e-3, atol=1e-4)


def test_a_graph_of_other_blocks_is_refused():
    with pytest.raises(SetupError, match="no blocks that this version of Facewarden knows"):
        tokens_graph(encoder_graph("tower/{}/Add"))
