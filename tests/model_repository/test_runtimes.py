"""The classifier's runtimes, as far as they go without a GPU: which is taken, and what they say when they cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
from openvino import Core

from serving.classifier import runtimes
from serving.paths import REPOSITORY
from serving.supervisor.versions import newest

CLASSIFIER = newest(REPOSITORY / "classifier")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch):
    """Makes only these packages appear to be there."""

    def only(*names: str) -> None:
        monkeypatch.setattr(runtimes, "find_spec", lambda name: ModuleSpec(name, None) if name in names else None)

    return only


def test_a_gpu_without_cupy_says_what_to_install(installed) -> None:
    installed("tensorrt", "onnxruntime")
    with pytest.raises(RuntimeError, match=r"CuPy.*requirements/gpu\.txt"):
        runtimes.on_gpu(CLASSIFIER, 0)


def test_tensorrt_goes_first_and_asks_for_its_engine(installed, tmp_path: Path) -> None:
    installed("cupy", "tensorrt", "onnxruntime")
    with pytest.raises(RuntimeError, match=r"model\.plan is missing.*python -m export engine"):
        runtimes.on_gpu(tmp_path, 0)


def test_without_any_gpu_runtime_the_remedy_is_named(installed) -> None:
    installed("cupy")
    with pytest.raises(RuntimeError, match=r"neither TensorRT nor ONNX Runtime.*requirements/gpu\.txt"):
        runtimes.on_gpu(CLASSIFIER, 0)


def test_what_is_to_be_installed_is_a_file_of_the_repository() -> None:
    assert (CLASSIFIER.parents[2] / "requirements" / "gpu.txt").is_file()


FACES = np.random.default_rng(0).integers(0, 256, (3, *runtimes.FACE_SHAPE), np.uint8)


@pytest.mark.parametrize("precision", ["int8", "f32"])
@pytest.mark.parametrize("threads", [1, 2])
def test_every_size_of_a_batch_gives_the_same_answers(threads: int, precision: str) -> None:
    graph, faces = runtimes.on_cpu(CLASSIFIER, threads, 3, precision), FACES
    whole, alone = graph([faces[:1], faces[1:]]), graph([faces[2:]])
    assert len(whole["LOGIT"]) == 3
    np.testing.assert_allclose(whole["LOGIT"][2:], alone["LOGIT"], atol=1e-4)
    np.testing.assert_allclose(whole["LOGIT"][1:], graph([faces[1:]])["LOGIT"], atol=1e-4)


def test_bf16_is_taken_where_the_cpu_has_it_and_refused_elsewhere() -> None:
    if "BF16" not in Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(ValueError, match="bf16, which this CPU has not"):
            runtimes.openvino(CLASSIFIER / "model.onnx", threads=1, max_batch_size=1, precision="bf16")
        return
    faces = np.random.default_rng(0).integers(0, 256, (1, *runtimes.FACE_SHAPE), np.uint8)
    exact, rounded = (
        runtimes.openvino(CLASSIFIER / "model.onnx", threads=1, max_batch_size=1, precision=precision)([faces])["LOGIT"]
        for precision in ("f32", "bf16")
    )
    assert exact != rounded
    np.testing.assert_allclose(rounded, exact, atol=0.5)


def test_a_precision_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="int8, f32 or bf16, got 'fp8'"):
        runtimes.on_cpu(CLASSIFIER, threads=1, max_batch_size=1, precision="fp8")


def test_int8_is_the_default_and_fp32_what_a_version_without_it_is_computed_in(tmp_path: Path) -> None:
    int8, f32 = (runtimes.on_cpu(CLASSIFIER, 1, 1, precision)([FACES])["LOGIT"] for precision in ("int8", "f32"))
    assert np.abs(int8 - f32).max() > 1e-3, "another graph"
    np.testing.assert_array_equal(runtimes.on_cpu(CLASSIFIER, 1, 1)([FACES])["LOGIT"], int8)
    (tmp_path / "model.onnx").symlink_to(CLASSIFIER / "model.onnx")
    np.testing.assert_array_equal(runtimes.on_cpu(tmp_path, 1, 1)([FACES])["LOGIT"], f32)


@pytest.mark.parametrize("instructions", ["AVX2", "AVX512_CORE"])
def test_int8_answers_the_same_on_cpus_without_vnni(instructions: str) -> None:
    """As oneDNN takes them where the CPU has no others; their products of bytes overflow in 16 bits."""
    script = (
        "import sys, numpy as np; from pathlib import Path; from serving.classifier import runtimes;"
        "faces = np.random.default_rng(0).integers(0, 256, (3, *runtimes.FACE_SHAPE), np.uint8);"
        "print(runtimes.on_cpu(Path(sys.argv[1]), 1, 1)([faces])['LOGIT'].ravel().tolist())"
    )
    command = [sys.executable, "-c", script, str(CLASSIFIER)]
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": instructions}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    expected = runtimes.on_cpu(CLASSIFIER, 1, 1)([FACES])["LOGIT"].ravel()
    np.testing.assert_allclose(json.loads(done.stdout), expected, atol=1e-3)
