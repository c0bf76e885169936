"""One part of the path without a server: decoding, judging, or both, in a process of its own.

`python -m perf.measure.alone KIND BATCH ...` is that process. It prints `ready`, waits for a line, measures and prints
a JSON line. It then waits for another line, so that whoever started it can look at its GPU memory.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import msgspec
import numpy as np
from tyro.conf import Positional

from serving.paths import REPOSITORY, ROOT
from serving.settings import Settings, command_line
from serving.supervisor.processes import die_with_parent
from serving.supervisor.versions import newest

from ..load.pictures import face

Kind = Literal["decode", "classifier", "both"]
KINDS: tuple[Kind, ...] = get_args(Kind)
WARM_UP_RUNS = {"cpu": 5, "gpu": 20}
WHOLE = np.array([0, 0, 1, 1], np.float32)
Step = Callable[[], object]  # one batch, finished when it returns


class PartError(Exception):
    """A part failed; what it said stands above."""


class Speed(Settings):
    """Images a second, percentiles of a batch's time, CPU cores of the process (CPU seconds a second)."""

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_cores: float


class Part:
    """The process of a part, as its parent sees it. PartError where it fails."""

    def __init__(self, process: subprocess.Popen[bytes], what: str) -> None:
        assert process.stdin is not None and process.stdout is not None
        self.pid, self._what, self._heard, self._told = process.pid, what, process.stdin, process.stdout

    def wait_ready(self) -> None:
        """Returns when it could begin."""
        self._line()

    def tell(self) -> None:
        """Begin, or, after the result, end."""
        self._heard.write(b"\n")
        self._heard.flush()

    def result(self) -> Speed:
        """What it measured."""
        return msgspec.json.decode(self._line(), type=Speed)

    def _line(self) -> bytes:
        line = self._told.readline()
        if not line:
            raise PartError(f"{self._what} failed; what it said stands above")
        return line


@contextmanager
def part(kind: Kind, batch: int, seconds: float, threads: int = 1, gpu: bool = False) -> Iterator[Part]:
    """Starts the process of a part; it is gone afterwards."""
    command = [sys.executable, "-m", "perf.measure.alone", kind, str(batch)]
    command += ["--seconds", str(seconds), "--threads", str(threads), *(["--gpu"] if gpu else [])]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield Part(process, f"{kind} alone with batches of {batch}")
        finally:
            process.kill()


def step(kind: Kind, batch: int, threads: int, gpu: bool) -> Step:
    """What is measured: the code that the server runs, on the picture that the loads send."""
    if kind == "decode":
        return _decoder(batch, threads, gpu)
    graph = _graph(batch, threads, gpu)
    if kind == "both":
        decode = _decoder(batch, threads, gpu)
        return lambda: graph(_rows(decode(), gpu))
    crops = list(np.random.default_rng(0).integers(0, 256, (batch, 224, 224, 3), np.uint8))
    faces = _rows(crops, gpu)
    return lambda: graph(faces)


def _decoder(batch: int, threads: int, gpu: bool) -> Callable[[], list[Any]]:
    from serving.pictures import pipelines
    from serving.pictures.pipeline_host import PipelineHost

    images = [np.frombuffer(face(), np.uint8)] * batch
    if not gpu:
        on_cpu = PipelineHost(pipelines.preprocess, batch, threads)
        return lambda: on_cpu.run(IMAGE=images, ROI=[WHOLE] * batch)
    import cupy

    on_gpu = PipelineHost(pipelines.preprocess, batch, threads, device_id=0, stay_on_gpu=True)

    def decode() -> list[Any]:
        faces = on_gpu.run(IMAGE=images, ROI=[WHOLE] * batch)
        cupy.cuda.get_current_stream().synchronize()
        return faces

    return decode


def _graph(batch: int, threads: int, gpu: bool) -> Callable[..., object]:
    from serving.classifier import runtimes

    served = newest(REPOSITORY / "classifier")
    return runtimes.on_gpu(served, 0) if gpu else runtimes.on_cpu(served, threads, batch)


def _rows(faces: list[Any], gpu: bool) -> list[Any]:
    """Faces (224, 224, 3) as the graph takes them: on the GPU one array, on the CPU one each."""
    if not gpu:
        return [np.asarray(face)[None] for face in faces]
    import cupy

    return [cupy.stack([cupy.asarray(face) for face in faces])]


def measure(run: Step, batch: int, seconds: float) -> Speed:
    """Runs batches for so long."""
    times_s, begun_s, cpu_s = [], time.monotonic(), time.process_time()
    while (now_s := time.monotonic()) - begun_s < seconds:
        run()
        times_s.append(time.monotonic() - now_s)
    elapsed_s = time.monotonic() - begun_s
    p50, p99 = (float(ms) for ms in np.percentile(times_s, [50, 99]) * 1e3)
    return Speed(batch * len(times_s) / elapsed_s, p50, p99, (time.process_time() - cpu_s) / elapsed_s)


def main(kind: Positional[Kind], batch: Positional[int], seconds: float, threads: int = 1, gpu: bool = False) -> int:
    """Measures one part of the path without a server, once it reads a line.

    Args:
        kind: DALI's decoding, the classifier, or one after the other.
        batch: images in a batch.
        seconds: how long it is measured.
        threads: of the decoder and, on the CPU, of the classifier.
        gpu: on the GPU instead of the CPU.
    """
    die_with_parent()
    run = step(kind, batch, threads, gpu)
    for _ in range(WARM_UP_RUNS["gpu" if gpu else "cpu"]):
        run()
    print("ready", flush=True)
    sys.stdin.readline()
    print(msgspec.json.encode(measure(run, batch, seconds)).decode(), flush=True)
    sys.stdin.readline()
    return 0


if __name__ == "__main__":
    sys.exit(command_line(main, "python -m perf.measure.alone"))
