"""The engine's stage as far as it goes without a GPU: what it reads, what it refuses, how it reports."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import pytest

from export.conversion.engine_report import fusion, precision, table
from export.conversion.onnx_to_engine import (
    Batches,
    EngineError,
    Origin,
    check_plan,
    is_current,
    served_batches,
    sidecar,
)
from serving.files import digest

ROOT = Path(__file__).resolve().parents[2]
HOST = {"name": "NVIDIA L4", "compute_cap": "8.9", "driver_version": "580.95"}
BUILT = Origin("0" * 64, Batches(1, 64, 64), "10.13.3.9", "NVIDIA L4", "8.9")


@pytest.fixture
def plan(tmp_path) -> Path:
    """A file with the sidecar that belongs to it."""
    path = tmp_path / "model.plan"
    path.write_bytes(b"engine")
    sidecar(path).write_text(json.dumps({"origin": asdict(BUILT), "plan": digest(path)}))
    return path


def test_batches_are_those_that_are_served(tmp_path):
    assert served_batches(ROOT / "model_repository" / "classifier" / "config.pbtxt") == Batches(1, 64, 64)
    (tmp_path / "config.pbtxt").write_text("max_batch_size: 32 dynamic_batching { preferred_batch_size: [ 8, 16 ] }")
    assert served_batches(tmp_path / "config.pbtxt") == Batches(1, 16, 32)
    (tmp_path / "config.pbtxt").write_text("max_batch_size: 32")
    assert served_batches(tmp_path / "config.pbtxt") == Batches(1, 32, 32)


@pytest.mark.skipif(find_spec("tensorrt") is not None, reason="TensorRT is installed here")
def test_without_the_builder_it_says_what_to_install():
    done = subprocess.run(
        [sys.executable, "-m", "export.conversion.onnx_to_engine"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith(
        "no engine: TensorRT's builder is not installed here; run `docker compose run engine`"
    )
    assert "Traceback" not in done.stderr


def test_a_plan_of_this_host_is_accepted(plan):
    assert check_plan(plan, "10.13.3.9", HOST)["origin"]["gpu"] == "NVIDIA L4"
    assert is_current(plan, BUILT)


@pytest.mark.parametrize(
    ("tensorrt", "device", "message"),
    [
        ("11.4.0.106", HOST, "built by TensorRT 10.13.3.9 and this is 11.4.0.106; build it here"),
        ("10.13.3.9", HOST | {"name": "NVIDIA H200", "compute_cap": "9.0"}, r"this is NVIDIA H200 \(9.0\)"),
        ("10.13.3.9", None, "this is no GPU"),
    ],
    ids=["other-tensorrt", "other-gpu", "no-gpu"],
)
def test_a_plan_of_another_host_is_refused(plan, tensorrt, device, message):
    with pytest.raises(EngineError, match=message):
        check_plan(plan, tensorrt, device)


def test_a_plan_that_is_not_the_described_one_is_refused(plan):
    plan.write_bytes(b"another engine")
    with pytest.raises(EngineError, match="is not the file"):
        check_plan(plan, "10.13.3.9", HOST)
    sidecar(plan).unlink()
    with pytest.raises(EngineError, match=r"no readable model\.plan\.json"):
        check_plan(plan, "10.13.3.9", HOST)


@pytest.mark.parametrize(
    "change",
    [{"onnx": "1" * 64}, {"batches": Batches(1, 8, 8)}, {"tensorrt": "11.4.0.106"}, {"compute_capability": "9.0"}],
    ids=["graph", "batches", "tensorrt", "gpu"],
)
def test_a_plan_is_built_anew_when_what_it_depends_on_changes(plan, change):
    assert not is_current(plan, Origin(**{**vars(BUILT), **change}))


LAYERS = {
    "10": [{"Format/Datatype": "Row major linear FP16 format"}],
    "11": [{"DataType": "Half", "Format": "Row major linear FP16 format (kLINEAR)"}],
}


@pytest.mark.parametrize("release", LAYERS, ids=lambda release: f"tensorrt-{release}")
def test_the_report_reads_both_forms_of_the_inspectors_json(release):
    convolution = {
        "Name": "a + b",
        "LayerType": "CaskConvolution",
        "Outputs": LAYERS[release],
        "Metadata": "[ONNX Layer: node_sigmoid]\x1e[ONNX Layer: node_conv2d]\x1e[ONNX Layer: node_conv2d]",
    }
    shape = {"Name": "shape", "LayerType": "shape_call"}
    report = fusion(["a", "b", "c"], {"Layers": [convolution, shape]})
    assert (report["layers_before"], report["layers_after"]) == (3, 2)
    assert report["layers"][0]["nodes"] == ["node_conv2d", "node_sigmoid"]
    assert [layer["precision"] for layer in report["layers"]] == ["FP16", ""]
    text = table({"origin": asdict(BUILT), "bytes": 9 << 20, "context_bytes": 80 << 20, **report})
    assert "3 layers became 2, 1 of them fused; outputs: 1 FP16, 1 other" in text
    assert "CaskConvolution      node_conv2d + node_sigmoid" in text


def test_precision_of_a_layer_with_outputs_of_two_types():
    assert precision({"Outputs": [{"DataType": "Float"}, {"DataType": "Half"}]}) == "FP16+FP32"
