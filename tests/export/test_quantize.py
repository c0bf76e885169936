"""The INT8 twin of a graph: what is quantised, and that a version has it only where it is near."""

from __future__ import annotations

import json
import shutil

import numpy as np
import onnx
import pytest

from export.conversion.quantize import keep_if_near, pointwise, quantize
from export.conversion.torch_to_onnx import convert
from export.conversion.verify import BYTES, EXACT, INT8, ParityCheck, compare, onnx_graph, openvino_graph, require
from export.network import GraphCalibration
from export.synthesis.batches import Batch, Loader
from export.training.config import TrainConfig
from serving.classifier.manifest import check_files
from serving.paths import REPOSITORY
from serving.supervisor.versions import newest

SHIPPED = newest(REPOSITORY / "classifier")


@pytest.fixture(scope="module")
def batches(data, faces) -> list[Batch]:
    return list(Loader(data, 4, 0).plain(faces))


@pytest.fixture(scope="module")
def twin(batches, tmp_path_factory) -> onnx.ModelProto:
    """Of an EfficientNet-B0 of random weights."""
    folder, net = tmp_path_factory.mktemp("twin"), TrainConfig(side_px=64).network().eval()
    convert(net, GraphCalibration(7, 1.5, 0.3, 0.6), folder / "model.onnx")
    assert quantize(folder / "model.onnx", batches[0].faces, folder / INT8)
    assert (folder / INT8).stat().st_size < 0.6 * (folder / "model.onnx").stat().st_size
    return onnx.load(folder / INT8)


def test_pointwise_convolutions_alone_are_int8_in_seven_bits(twin):
    made_by = {name: node for node in twin.graph.node for name in node.output}
    values = {i.name: onnx.numpy_helper.to_array(i) for i in twin.graph.initializer}
    quantised = [
        node
        for node in twin.graph.node
        if node.op_type == "Conv" and getattr(made_by.get(node.input[1]), "op_type", "") == "DequantizeLinear"
    ]
    assert len(quantised) == 16 + 15  # EfficientNet-B0: a projection in each of 16 blocks, an expansion in all but one
    for node in quantised:
        assert made_by[node.input[0]].op_type == "DequantizeLinear", "its input as well"
        weights = values[made_by[node.input[1]].input[0]]
        assert weights.dtype == np.int8 and weights.shape[2:] == (1, 1)
        assert np.abs(weights.astype(int)).max() <= 64, "products of eight bits would overflow without VNNI"
    read = {name for node in twin.graph.node if node not in quantised for name in node.input}
    dequantised = {name for name, node in made_by.items() if node.op_type == "DequantizeLinear"}
    assert not read & dequantised, "nothing else computes with what was rounded"


def test_a_graph_without_such_convolutions_stays_as_it_is(tmp_path):
    face = onnx.helper.make_tensor_value_info("FACE", onnx.TensorProto.FLOAT, ["batch", 2])
    answer = onnx.helper.make_tensor_value_info("LOGIT", onnx.TensorProto.FLOAT, ["batch", 2])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["FACE"], ["LOGIT"])], "none", [face], [answer])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "model.onnx")
    assert not pointwise(onnx.load(tmp_path / "model.onnx"))
    assert not quantize(tmp_path / "model.onnx", [], tmp_path / INT8)
    assert not (tmp_path / INT8).exists()


def test_the_shipped_twin_is_as_near_as_the_gate_asks(batches):
    checks = compare(onnx_graph(SHIPPED / "model.onnx"), {"int8": (openvino_graph(SHIPPED / INT8), BYTES)}, batches)
    require(checks)
    assert any(check.value > EXACT.get(check.quantity, 1) for check in checks), "it is another graph"


def test_a_twin_that_is_not_near_goes(tmp_path, capsys):
    (tmp_path / INT8).write_bytes(b"a graph")
    near, far = ParityCheck("int8", "LOGIT", 1.0, 2.5), ParityCheck("int8", "verdicts changed", 0.5, 0.02)
    assert keep_if_near(tmp_path, [near, ParityCheck("fp16", "LOGIT", 1.0, 0.1)]), "another graph's business"
    assert (tmp_path / INT8).exists()
    assert not keep_if_near(tmp_path, [near, far])
    assert not (tmp_path / INT8).exists()
    assert "verdicts changed" in capsys.readouterr().err


def test_a_version_gets_its_twin_by_one_command(export, data, tmp_path):
    folder = tmp_path / SHIPPED.name
    shutil.copytree(SHIPPED, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"][INT8]
    manifest["parity"]["checks"] = [check for check in manifest["parity"]["checks"] if check["graph"] != "int8"]
    (folder / INT8).unlink()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    command = ("quantize", folder, "--data", data, "--out", tmp_path / "run")
    done, again = export(*command), export(*command)
    assert done.code == 0, done.err
    manifest = check_files(folder)
    assert INT8 in manifest["files"]
    assert len([check for check in manifest["parity"]["checks"] if check["graph"] == "int8"]) == len(BYTES) + 2
    assert again.code == 1 and "has model.int8.onnx already" in again.err
    assert check_files(folder) == manifest
