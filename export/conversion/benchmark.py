"""How fast a student is on this CPU, and how large: the same command before and after pruning.

Reads a checkpoint of `train.py` and a version's folder; prints a table for ONNX Runtime and OpenVINO (FP32) on all
cores and, with `--json`, writes it with machine, versions and commit. A GPU is measured by `make perf-gpu`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from tabulate import tabulate
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm
from tyro.conf import arg

from reports import machine
from serving.classifier.runtimes import openvino

from ..network import TimmNet
from ..training.weights import trained
from .torch_to_onnx import FACE_SHAPE
from .verify import onnx_graph

WARM_UP_S = 1.0  # of each measurement

Step = Callable[[], object]  # one batch, finished when it returns


def cost(net: TimmNet) -> dict[str, float]:
    """Parameters, and multiply-adds for one face; convolutions and matrix products, as in the literature."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        net(torch.zeros(1, 3, *FACE_SHAPE[:2]))
    return {
        "parameters": sum(p.numel() for p in net.parameters()),
        "multiply_adds": counter.get_total_flops() // 2,
        "side_px": net.side_px,
    }


def steps(onnx: Path, batch: int) -> dict[str, Step]:
    """One batch of random faces in each runtime: the time of a convolution does not depend on the picture."""
    faces = np.random.default_rng(0).integers(0, 256, (batch, *FACE_SHAPE), dtype=np.uint8)
    in_onnxruntime, in_openvino = onnx_graph(onnx), openvino(onnx, len(os.sched_getaffinity(0)), batch)
    return {"ONNX Runtime": lambda: in_onnxruntime(faces), "OpenVINO": lambda: in_openvino([faces])}


def measure(step: Step, batch: int, seconds: float) -> dict[str, float]:
    """Images/s over `seconds` after a warm-up, and percentiles of one step's time in ms."""
    for _ in _until(WARM_UP_S):
        step()
    times = []
    for _ in _until(seconds):
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    p50, p99 = np.percentile(times, [50, 99]) * 1000
    return {"batch": batch, "images_per_s": batch * len(times) / sum(times), "p50_ms": p50, "p99_ms": p99}


def _until(seconds: float) -> Iterator[None]:
    """At least once, and then until the time is over."""
    end = time.perf_counter() + seconds
    yield
    while time.perf_counter() < end:
        yield


def main(
    checkpoint: Path,
    version: Path,
    batches: tuple[int, ...] = (1, 2, 4, 8),
    seconds: float = 5.0,
    json_file: Annotated[Path | None, arg(name="json")] = None,
) -> int:
    """Prints the table.

    Args:
        checkpoint: of the trained network.
        version: folder with the graphs of that network.
        batches: batch sizes.
        seconds: of each measurement.
        json_file: file for figures, machine, versions and commit.
    """
    size, rows = cost(trained(checkpoint)[0]), []
    for batch in tqdm(batches, unit="batch", disable=None):
        for name, step in steps(version / "model.onnx", batch).items():
            rows.append({"runtime": name, **measure(step, batch, seconds)})
    print(f"{size['parameters']:,} parameters, {size['multiply_adds']:,} multiply-adds at {size['side_px']} px\n")
    print(tabulate(rows, headers="keys", tablefmt="github", floatfmt=".4g"))
    if json_file:
        about = {"machine": machine.machine(), "versions": machine.versions(), "commit": machine.commit()}
        about |= {"command": sys.argv[1:], "seconds": seconds}
        json_file.write_text(json.dumps({"network": size, "rows": rows, **about}, indent=2) + "\n")
    return 0
