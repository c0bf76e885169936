"""GraphCalibration, conversion, the gate and publication, on a small network and a handful of faces."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from msgspec import structs

from export import metrics
from export.conversion.torch_to_onnx import ConversionError, check_graph, convert
from export.conversion.verify import (
    EXACT,
    HALF,
    MAX_AUC_DROP,
    MAX_CHANGED,
    GateError,
    ParityCheck,
    compare,
    onnx_graph,
    require,
    torch_graph,
)
from export.data.faces import known_faces
from export.errors import ManifestError
from export.network import GraphCalibration, GraphOutputs, scaled
from export.publication.calibrate import MAX_REVIEW_SHARE, REVIEW_SHARE_FOR_BLENDS, calibrate, calibrated, sigmoid
from export.publication.gates import MIN_GROUPS, gain, require_known, require_no_worse
from export.publication.publish import publish
from export.publication.scores import ScoredFaces
from export.synthesis.batches import Batch, Loader
from export.training.config import TrainConfig
from export.training.weights import save_network
from serving.errors import VersionError
from serving.paths import REPOSITORY
from serving.supervisor.versions import versions, withdrawn

CONFIG = TrainConfig(backbone="mobilenetv3_small_050", epochs=1, batch_size=2, side_px=64)
CALIBRATION = GraphCalibration(7, 1.5, 0.3, 0.6)


@pytest.fixture(scope="module")
def batches(data, faces) -> list[Batch]:
    return list(Loader(data, 3, 0).plain(faces))


@pytest.fixture(scope="module")
def graphs(net, tmp_path_factory) -> dict[str, Path]:
    """Both conversions of the network."""
    folder = tmp_path_factory.mktemp("graphs")
    for name in ("fp32", "fp16"):
        convert(net, CALIBRATION, folder / f"{name}.onnx", half=name == "fp16")
    return {name: folder / f"{name}.onnx" for name in ("fp32", "fp16")}


@pytest.mark.parametrize("name", ["fp32", "fp16"])
def test_the_graph_answers_any_batch(graphs, batches, name):
    graph, crops = onnx_graph(graphs[name]), batches[0].faces
    together = graph(crops)
    assert together["MODEL_VERSION"].tolist() == [[7]] * 3
    np.testing.assert_allclose(together["THRESHOLD"], [[0.3, 0.6]] * 3, rtol=1e-6)
    assert together["HEATMAP"].shape == (3, 14, 14)
    np.testing.assert_allclose(graph(crops[1:2])["LOGIT"][0], together["LOGIT"][1], atol=HALF["LOGIT"])


@pytest.mark.parametrize("name", ["fp32", "fp16"])
def test_the_graph_says_nothing_of_the_machine_that_made_it(graphs, name):
    assert onnx.load(graphs[name]).graph.node[0].metadata_props == []
    assert str(Path(torch.__file__).parents[1]).encode() not in graphs[name].read_bytes()
    assert str(Path(__file__).parents[2]).encode() not in graphs[name].read_bytes()


def test_a_plain_fine_tune_becomes_a_graph_to_compare_with(export, data, faces, batches, tmp_path):
    config = structs.replace(CONFIG, head="plain")
    save_network(plain := config.network().eval(), config, tmp_path / "plain.pt")
    told = export("convert", "--data", data, "--out", tmp_path, "--checkpoint", tmp_path / "plain.pt")
    assert told.code == 0, told.err
    answer = onnx_graph(tmp_path / "model.onnx")(batches[0].faces)
    calibration, _ = calibrated(plain, Loader(data, config.batch_size, config.seed), faces, version=0)
    expected = torch_graph(plain, calibration)(batches[0].faces)
    np.testing.assert_allclose(answer["LOGIT"], expected["LOGIT"], atol=EXACT["LOGIT"])
    assert answer["HEATMAP"].shape == (3, 14, 14)


@pytest.mark.parametrize("side_px", [176, 192, 223, 112, 256], ids=lambda side: f"224 to {side} px")
def test_scaling_in_blocks_is_bilinear_scaling(side_px):
    pixels = 255 * torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.interpolate(pixels, (side_px, side_px), mode="bilinear", align_corners=False)
    assert (scaled(pixels, side_px) - expected).abs().max() < 0.01  # of 255: its coordinates are rounded


def test_the_half_graph_is_half_the_size(graphs):
    assert graphs["fp16"].stat().st_size < 0.6 * graphs["fp32"].stat().st_size


def test_a_graph_that_mixes_types_is_refused(graphs, tmp_path):
    """Without the cast into the backbone FP32 pixels meet FP16 weights."""
    model = onnx.load(graphs["fp16"])
    cast = next(n for n in model.graph.node if n.op_type == "Cast" and n.attribute[0].i == onnx.TensorProto.FLOAT16)
    for node in model.graph.node:
        node.input[:] = [cast.input[0] if name == cast.output[0] else name for name in node.input]
    model.graph.node.remove(cast)
    del model.graph.value_info[:]
    onnx.save(model, tmp_path / "mixed.onnx")
    with pytest.raises(ConversionError, match="float16"):
        check_graph(tmp_path / "mixed.onnx")


def test_a_product_of_two_types_is_refused(tmp_path):
    """TensorRT refuses it, and releases of ONNX's own checker let it pass."""
    ends = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["batch", 2]) for n in ("FACE", "LOGIT")]
    half = onnx.numpy_helper.from_array(np.ones(2, np.float16), "half")
    node = onnx.helper.make_node("Mul", ["FACE", "half"], ["LOGIT"])
    graph = onnx.helper.make_graph([node], "mixed", ends[:1], ends[1:], [half])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / "mixed.onnx")
    with pytest.raises(ConversionError, match="float16"):
        check_graph(tmp_path / "mixed.onnx")


def test_a_graph_with_a_fixed_batch_is_refused(tmp_path):
    face = onnx.helper.make_tensor_value_info("FACE", onnx.TensorProto.FLOAT, [4, 2])
    answer = onnx.helper.make_tensor_value_info("LOGIT", onnx.TensorProto.FLOAT, ["batch", 2])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["FACE"], ["LOGIT"])], "fixed", [face], [answer])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)]), tmp_path / "fixed.onnx")
    with pytest.raises(ConversionError, match="FACE has a fixed batch"):
        check_graph(tmp_path / "fixed.onnx")


def test_the_gate_opens_for_a_true_conversion(net, graphs, batches):
    candidates = {"fp32": (onnx_graph(graphs["fp32"]), EXACT), "fp16": (onnx_graph(graphs["fp16"]), HALF)}
    checks = require(compare(torch_graph(net, CALIBRATION), candidates, batches))
    assert [c.quantity for c in checks] == [*GraphOutputs._fields, "verdicts changed", "AUC drop"] * 2


def test_the_gate_names_the_output_that_differs(net, graphs, batches):
    other = torch_graph(net, replace(CALIBRATION, temperature=0.1))
    with pytest.raises(GateError, match=r"LOGIT .* FAILED"):
        require(compare(other, {"fp32": (onnx_graph(graphs["fp32"]), EXACT)}, batches))


def answers(logits: np.ndarray):
    """A graph that knows its answers: logits (N,) by the number in a face's first pixel."""

    def run(faces: np.ndarray) -> dict[str, np.ndarray]:
        outputs = {name: np.zeros((len(faces), 1), np.float32) for name in GraphOutputs._fields}
        return outputs | {"LOGIT": logits[faces[:, 0, 0, 0]][:, None]}

    return run


def numbered(labels: list[float]) -> list[Batch]:
    faces = np.zeros((len(labels), 1, 1, 1), np.uint8)
    faces[:, 0, 0, 0] = np.arange(len(labels))
    return [Batch(faces, np.array(labels, np.float32))]


def test_the_gate_measures_the_loss_of_auc():
    """Two faces change places by less than any output's tolerance: one of four pairs is ordered wrongly."""
    before, after = np.array([0.0, 1.0, 1.01, 2.0]), np.array([0.0, 1.01, 1.0, 2.0])
    checks = compare(answers(before), {"x": (answers(after), HALF)}, numbered([0, 0, 1, 1]))
    assert checks[-1] == ("x", "AUC drop", pytest.approx(0.25), MAX_AUC_DROP)
    assert [check.quantity for check in checks if not check.passed] == ["AUC drop"]


def test_the_gate_counts_verdicts_that_change():
    """Three of four cross a threshold by less than any output's tolerance."""
    before, after = np.array([0.29, 0.3, 0.6, 0.7]), np.array([0.3, 0.29, 0.59, 0.7])

    def graph(probabilities: np.ndarray):
        logits = answers(np.arange(4.0))
        return lambda faces: (
            logits(faces)
            | {
                "FAKE_PROBABILITY": probabilities[faces[:, 0, 0, 0]][:, None],
                "THRESHOLD": np.tile([0.3, 0.6], (len(faces), 1)),
            }
        )

    checks = compare(graph(before), {"x": (graph(after), HALF)}, numbered([0, 0, 1, 1]))
    assert [check for check in checks if not check.passed] == [("x", "verdicts changed", 0.75, MAX_CHANGED)]


def test_nan_is_not_equal():
    assert not ParityCheck("x", "LOGIT", float("nan"), 1.0).passed


def test_the_gate_needs_both_classes():
    with pytest.raises(GateError, match="2 of one class"):
        compare(answers(np.zeros(2)), {}, numbered([1, 1]))


def test_calibration_mends_overconfidence_and_reports_it():
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 2, 4000)
    labels = (rng.random(4000) < sigmoid(truth)).astype(np.float32)
    calibration, report = calibrate(labels, 3 * truth, 3 * truth, 5)
    assert calibration.version == 5
    assert calibration.temperature == pytest.approx(3, rel=0.1)
    assert report["calibration_error"] < 0.03 < report["calibration_error_before"]
    assert report["fpr_at_fake_from"] < 0.03
    assert report["fnr_at_real_below"] < 0.02
    assert not report["review_share_passed"], "classes that overlap so far leave most images undecided"
    sure = np.where(labels, 9.0, -9.0) + truth / 9
    assert calibrate(labels, sure, sure[labels == 1], 5)[1]["review_share_passed"]


def test_review_takes_blends_as_far_as_its_share_goes():
    """Generated faces far from the real ones, and blends between them."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0.0, 1.0], 2000)
    logits = np.where(labels, 6.0, -6.0) + rng.normal(0, 2, 4000)
    missed = {}
    for name, at in {"generated": 6.0, "near": 0.0, "far": -6.0}.items():
        _, report = calibrate(labels, logits, at + rng.normal(0, 2, 2000), 5)
        missed[name] = report["blended_fnr_at_real_below"]
        assert report["fpr_at_fake_from"] < 0.03
        assert report["fnr_at_real_below"] < 0.02
        assert report["review_share"] <= REVIEW_SHARE_FOR_BLENDS < MAX_REVIEW_SHARE
        if name == "far":
            assert report["review_share"] == pytest.approx(REVIEW_SHARE_FOR_BLENDS, abs=0.001)
    assert missed["generated"] < metrics.MAX_FNR
    assert missed["near"] < missed["far"]


def test_calibration_needs_both_classes():
    with pytest.raises(ValueError, match="real and fake"):
        calibrate(np.ones(3), np.zeros(3), np.zeros(3), 1)


@pytest.fixture
def repository(tmp_path) -> Path:
    """A model repository with the shipped classifier alone."""
    shutil.copytree(REPOSITORY / "classifier", tmp_path / "models" / "classifier")
    return tmp_path / "models"


def test_a_publication_that_fails_leaves_nothing(data, faces, net, repository):
    real = [face for face in faces if face.label == 0]
    with pytest.raises(ValueError, match="real and fake"):
        publish(net, CONFIG, data, real, repository=repository)
    assert len(versions(repository / "classifier")) == 1
    assert not list(withdrawn(repository).iterdir())


@pytest.mark.parametrize(
    ("real_below", "fake_from", "label"),
    [(1.0, 1.0, "real"), (0.0, 1.0, "review"), (0.0, 0.0, "fake")],
    ids=["all real", "all review", "all fake"],
)
def test_known_pictures_keep_a_version_with_the_opposite_verdict_back(
    data, faces, graphs, real_below, fake_from, label
):
    calibration = replace(CALIBRATION, real_below=real_below, fake_from=fake_from)
    opposite = {"real": 1, "fake": 0}.get(label)
    for truth in (0, 1):
        known = [face for face in faces if face.label == truth]
        gate = pytest.raises(GateError, match=f"(?s)8 of 8 known .*{label}") if truth == opposite else nullcontext()
        with gate:
            require_known(graphs["fp32"], Loader(data, 3, 0), known, calibration)


def test_publication_asks_for_the_known_pictures(data, faces, net, repository):
    known = [replace(face, label=1 - face.label) for face in faces] + faces  # each as both
    with pytest.raises(GateError, match="opposite of their truth"):
        publish(net, CONFIG, data, faces, repository=repository, known=known)
    assert len(versions(repository / "classifier")) == 1


def test_a_known_picture_without_a_face_is_refused(data, tmp_path):
    (tmp_path / "known.csv").write_text(f"path,label\n{data / 'real0.jpg'},real\n{data / 'nobody.jpg'},real\n")
    with pytest.raises(ManifestError, match=r"nobody\.jpg"):
        known_faces(tmp_path / "known.csv", tmp_path)


@pytest.mark.parametrize("photographs", [1, 12, 60])
def test_a_network_that_is_surely_worse_is_kept_back(photographs):
    """Ten faces of each photograph; the served version orders them better, by a little."""
    rng = np.random.default_rng(0)
    labels, groups = np.tile([0, 1], 5 * photographs), np.repeat(np.arange(photographs), 10)
    worse, served = (ScoredFaces(labels, rng.normal(labels * height), groups) for height in (1.0, 2.0))
    better, one_class = (
        gain(served, worse),
        gain(*(ScoredFaces(table.labels * 0, *table[1:]) for table in (served, worse))),
    )
    if photographs < MIN_GROUPS:
        with pytest.raises(GateError, match=f"^{photographs} photographs.* cannot tell"):
            require_no_worse({"test": better}, 6)
        return
    require_no_worse({"test": better, "val": gain(worse, worse)}, 6)
    with pytest.raises(GateError, match=r"worse than version 6.*\n  test: AUC 0\.7"):
        require_no_worse({"test": gain(worse, served), "val": gain(worse, worse)}, 6)
    with pytest.raises(GateError, match="cannot tell"):
        require_no_worse({"test": one_class}, 6)


def test_a_number_is_published_once(data, faces, net, repository):
    number = versions(repository / "classifier")[-1]
    with pytest.raises(VersionError, match=f"version {number} was published before; the next free one is {number + 1}"):
        publish(net, CONFIG, data, faces, number=number, repository=repository)
