"""`python -m perf.gpu_worker KIND BATCH`: one part of the path on the GPU, without a server, in a process of its own.

KIND is `decode` (DALI), `classifier` (TensorRT, or ONNX Runtime's CUDA provider: what `embedded-gpu` hosts) or `both`.
Prints `ready`, waits for a line, then measures and prints a JSON line; waits for another line before it ends, so that
whoever started it can look at its GPU memory. Not run yet: it needs a GPU.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable

import numpy as np

from serving.paths import REPOSITORY
from serving.supervisor.versions import newest

from .pictures import face

KINDS = ("decode", "classifier", "both")
WARM_UP_RUNS = 20
WHOLE = np.array([0, 0, 1, 1], np.float32)
Step = Callable[[], object]  # one batch, finished when it returns


def step(kind: str, batch: int, threads: int) -> Step:
    """What is measured."""
    import cupy

    served = newest(REPOSITORY / "classifier")
    decode = _decoder(batch, threads)
    if kind == "decode":
        return decode
    from serving.classifier.runtimes import on_gpu

    graph = on_gpu(served, 0)
    faces = [cupy.stack(decode())]
    if kind == "classifier":
        return lambda: graph(faces)
    return lambda: graph([cupy.stack(decode())])


def _decoder(batch: int, threads: int) -> Callable[[], list]:
    import cupy

    from serving.pictures import pipelines
    from serving.pictures.pipeline_host import PipelineHost

    pipeline = PipelineHost(pipelines.preprocess, batch, threads, device_id=0, stay_on_gpu=True)
    images = [np.frombuffer(face(), np.uint8)] * batch

    def decode() -> list:
        faces = pipeline.run(IMAGE=images, ROI=[WHOLE] * batch)
        cupy.cuda.get_current_stream().synchronize()
        return faces

    return decode


def measure(run: Step, batch: int, seconds: float) -> dict[str, float]:
    """Images a second, percentiles of a batch's time, CPU cores of this process."""
    for _ in range(WARM_UP_RUNS):
        run()
    times_s, begun_s, cpu_s = [], time.monotonic(), time.process_time()
    while (now_s := time.monotonic()) - begun_s < seconds:
        run()
        times_s.append(time.monotonic() - now_s)
    elapsed_s = time.monotonic() - begun_s
    p50, p99 = np.percentile(times_s, [50, 99]) * 1e3
    cores = (time.process_time() - cpu_s) / elapsed_s
    return {"per_second": batch * len(times_s) / elapsed_s, "p50_ms": p50, "p99_ms": p99, "cpu_cores": cores}


def main() -> int:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="python -m perf.gpu_worker", description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("batch", type=int)
    parser.add_argument("--threads", type=int, required=True, help="of the decoder")
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()
    run = step(arguments.kind, arguments.batch, arguments.threads)
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(measure(run, arguments.batch, arguments.seconds)), flush=True)
    sys.stdin.readline()
    return 0


if __name__ == "__main__":
    sys.exit(main())
