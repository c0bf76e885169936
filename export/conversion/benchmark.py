"""How fast the student is, and how large: the same script before and after pruning, on a CPU and on a GPU.

Reads a checkpoint of `train.py` and, for the converted graphs, a version's folder; prints a table and, with `--json`,
writes it with machine, versions and commit. On a CPU: ONNX Runtime and OpenVINO (FP32) at 1 to 8. On
a GPU: torch eager, mixed precision in channels_last, compiled with CUDA graphs, ONNX Runtime's CUDA provider, and the
TensorRT engine where there is one, at 1 to 256. Input and outputs stay in the runtime's own memory. A runtime that is
missing or fails is named with its reason, and the exit code is 1 where none ran.
"""

from __future__ import annotations

import copy
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from tabulate import tabulate
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm
from tyro.conf import arg

from reports import machine
from serving.classifier.runtimes import openvino

from ..network import GraphCalibration, GraphOutputs, ServedGraph, TimmNet
from ..training.weights import trained
from .torch_to_onnx import FACE_SHAPE
from .verify import onnx_graph

CPU_BATCHES = (1, 2, 4, 8)
GPU_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
WARM_UP_S = 1.0  # of each measurement
COMPILING_STEPS = 3  # before it: compilation, autotuning and the recording of CUDA graphs
CONSTANTS = GraphCalibration(1, 1.0, 0.5, 0.5)  # cost nothing

Step = Callable[[], object]  # one batch, finished when it returns
Runtime = Callable[[int], Step]  # batch size -> step


def cost(net: TimmNet) -> dict[str, float]:
    """Parameters, and multiply-adds for one face; convolutions and matrix products, as in the literature."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        net(torch.zeros(1, 3, *FACE_SHAPE[:2]))
    return {
        "parameters": sum(p.numel() for p in net.parameters()),
        "multiply_adds": counter.get_total_flops() // 2,
        "side_px": net.side_px,
    }


def measure(step: Step, batch: int, seconds: float) -> dict[str, float]:
    """Images/s over `seconds` after a warm-up, and percentiles of one step's time in ms."""
    for _ in range(COMPILING_STEPS):
        step()
    for _ in _until(WARM_UP_S):
        step()
    times = []
    for _ in _until(seconds):
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    p50, p99 = np.percentile(times, [50, 99]) * 1000
    return {"batch": batch, "images_per_s": batch * len(times) / sum(times), "p50_ms": p50, "p99_ms": p99}


def cpu_runtimes(folder: Path) -> dict[str, Runtime]:
    """Runtimes of the CPU on all cores that this process may use."""
    onnx, cores = folder / "model.onnx", len(os.sched_getaffinity(0))

    def in_onnxruntime(batch: int) -> Step:
        graph, faces = onnx_graph(onnx), random_faces(batch)
        return lambda: graph(faces)

    def in_openvino(batch: int) -> Step:
        graph, faces = openvino(onnx, cores, batch), random_faces(batch)
        return lambda: graph([faces])

    return {"ONNX Runtime": in_onnxruntime, "OpenVINO": in_openvino}


def gpu_runtimes(net: TimmNet, folder: Path) -> dict[str, Runtime]:
    """Runtimes of the first GPU; each step waits until the GPU is done."""
    plain = ServedGraph(copy.deepcopy(net), CONSTANTS).eval().cuda()
    fast = ServedGraph(copy.deepcopy(net), CONSTANTS).eval().cuda().to(memory_format=torch.channels_last)

    def in_torch(network: nn.Module, half: bool, compiled: bool = False) -> Runtime:
        def prepare(batch: int) -> Step:
            graph: Callable = network
            if compiled:  # anew for each size, or the second would be compiled for any; CUDA graphs, measured kernels
                torch.compiler.reset()
                graph = torch.compile(network, mode="max-autotune", dynamic=False)
            faces = torch.from_numpy(random_faces(batch)).cuda()

            @torch.inference_mode()
            def step() -> None:
                with torch.autocast("cuda", torch.bfloat16, enabled=half):
                    graph(faces)
                torch.cuda.synchronize()

            return step

        return prepare

    def onnxruntime(batch: int) -> Step:
        return _onnxruntime_cuda(folder / "model.fp16.onnx", batch)

    def tensorrt(batch: int) -> Step:
        from .engine import Engine

        engine, faces = Engine(folder / "model.plan"), torch.from_numpy(random_faces(batch)).cuda()

        def step() -> None:
            engine.execute(faces)
            torch.cuda.synchronize()

        return step

    return {
        "torch eager FP32": in_torch(plain, False),
        "torch AMP channels_last": in_torch(fast, True),
        "torch compiled, CUDA graphs": in_torch(fast, True, compiled=True),
        "ONNX Runtime CUDA FP16": onnxruntime,
        "TensorRT FP16": tensorrt,
    }


def _onnxruntime_cuda(onnx: Path, batch: int) -> Step:
    from onnxruntime import InferenceSession, OrtValue

    session = InferenceSession(str(onnx), providers=["CUDAExecutionProvider"])
    if "CUDAExecutionProvider" not in session.get_providers():
        raise RuntimeError("no CUDA provider; install onnxruntime-gpu")
    binding = session.io_binding()
    binding.bind_ortvalue_input("FACE", OrtValue.ortvalue_from_numpy(random_faces(batch), "cuda", 0))
    for name in GraphOutputs._fields:
        binding.bind_output(name, "cuda", 0)

    def step() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return step


def run(name: str, runtime: Runtime, batches: tuple[int, ...], seconds: float) -> list[dict]:
    """Rows of one runtime, smallest batch first; a failure becomes the last row, with its reason."""
    rows: list[dict] = []
    gc.collect()
    torch.cuda.empty_cache()  # what the runtime before left behind; does nothing without a GPU
    free = _free_gpu_bytes()
    for batch in tqdm(batches, desc=name, unit="batch", disable=None):
        try:
            row = measure(runtime(batch), batch, seconds)
        except Exception as exc:  # any of five runtimes, each with errors of its own: named, never hidden
            return [*rows, {"runtime": name, "batch": batch, "error": f"{type(exc).__name__}: {exc}".splitlines()[0]}]
        # the runtimes' pools only grow, so what is taken after a step is the peak so far
        rows.append({"runtime": name, **row, "gpu_mib": (free - _free_gpu_bytes()) >> 20})
    return rows


def random_faces(batch: int) -> np.ndarray:
    """(batch, 224, 224, 3) uint8; the time of a convolution does not depend on the picture."""
    return np.random.default_rng(0).integers(0, 256, (batch, *FACE_SHAPE), dtype=np.uint8)


def table(rows: list[dict]) -> str:
    """The rows as Markdown; what was not run has its reason in place of figures."""
    columns = {
        "images_per_s": "images/s",
        "p50_ms": "p50 ms",
        "p99_ms": "p99 ms",
        "gpu_mib": "GPU MiB",
        "error": "not run",
    }
    names = {"runtime": "runtime", "batch": "batch"} | {k: v for k, v in columns.items() if any(k in r for r in rows)}
    cells = [[row.get(name, "") for name in names] for row in rows]
    return tabulate(cells, list(names.values()), tablefmt="github", floatfmt=".4g")


def _until(seconds: float) -> Iterator[None]:
    """At least once, and then until the time is over."""
    end = time.perf_counter() + seconds
    yield
    while time.perf_counter() < end:
        yield


def _free_gpu_bytes() -> int:
    return torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else 0


def main(
    checkpoint: Path,
    version: Path,
    device: Literal["cpu", "cuda"] = "cuda" if torch.cuda.is_available() else "cpu",
    batches: tuple[int, ...] = (),
    seconds: float = 5.0,
    json_file: Annotated[Path | None, arg(name="json")] = None,
) -> int:
    """Prints the table. Exit code: 0 measured, 1 no runtime ran, 2 usage.

    Args:
        checkpoint: of the trained network.
        version: folder with the graphs of that network.
        batches: batch sizes; 1 to 8 where none are given, on a GPU 1 to 256.
        seconds: of each measurement.
        json_file: file for figures, machine, versions and commit.
    """
    net, _ = trained(checkpoint)
    size, gpu = cost(net), device == "cuda"
    runtimes = gpu_runtimes(net, version) if gpu else cpu_runtimes(version)
    sizes = batches or (GPU_BATCHES if gpu else CPU_BATCHES)
    rows = [row for name, runtime in runtimes.items() for row in run(name, runtime, sizes, seconds)]
    print(f"{size['parameters']:,} parameters, {size['multiply_adds']:,} multiply-adds at {size['side_px']} px\n")
    print(table(rows))
    if json_file:
        about = {"machine": machine.machine(), "versions": machine.versions(), "commit": machine.commit()}
        about |= {"command": sys.argv[1:], "seconds": seconds}
        json_file.write_text(json.dumps({"network": size, "rows": rows, **about}, indent=2) + "\n")
    return 0 if any("error" not in row for row in rows) else 1
