"""What the cores can do without a server: the DALI pipeline alone, the classifier alone, and one after the other.

    python -m perf.limits --batch 4        # images/s of all three on this machine's cores, about 20 s

Each limit is the sum of one process a core with one thread each, all busy at the same time, on the picture that the
loads send, in batches as the server forms them. Nothing is checked, queued, copied between processes or answered.
`share` says what the served path reaches of that.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from serving.paths import REPOSITORY, ROOT
from serving.supervisor.processes import die_with_parent
from serving.supervisor.versions import newest

from .resources import cores

KINDS = ("preprocess", "classifier", "composed")
WARM_UP_RUNS = 5
WHOLE = np.array([0, 0, 1, 1], np.float32)


class LimitError(Exception):
    """A worker failed; what it said stands above."""


@dataclass(frozen=True)
class Limits:
    """Images a second on all cores together."""

    preprocess: float
    classifier: float
    composed: float
    batch: int
    cores: int


def measure(batch: int, seconds: float = 4.0) -> Limits:
    """All three limits at one batch size, `composed` the higher of two: a shared machine takes away, and never adds.

    Raises LimitError.
    """
    found = {kind: rate(kind, batch, seconds) for kind in KINDS}
    found["composed"] = max(found["composed"], rate("composed", batch, seconds))
    return Limits(**found, batch=batch, cores=cores())


def share(served_per_second: float, limits: Limits, generator_cores: float) -> float:
    """Served throughput as a share of what the cores could do that the generator left.

    served / (composed x (cores - generator_cores) / cores): `composed` is measured on all cores, each image going
    through DALI and the classifier; the load generator runs on the same cores as the server and needs
    `generator_cores` of them (CPU seconds a second, in the measured time of the same load), which no server could use.
    """
    return served_per_second / (limits.composed * (limits.cores - generator_cores) / limits.cores)


def rate(kind: str, batch: int, seconds: float) -> float:
    """Images a second of one worker on each core; they begin together once all are ready."""
    command = [sys.executable, "-m", "perf.limits", "--worker", kind, "--batch", str(batch), "--seconds", str(seconds)]
    with ExitStack() as stack:
        workers = [
            stack.enter_context(
                subprocess.Popen(
                    command,
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(cores())
        ]
        for worker in workers:
            stack.callback(worker.kill)
        if any(worker.stdout.readline() != "ready\n" for worker in workers):
            raise LimitError(f"a worker of the limit of {kind} did not start; what it said stands above")
        for worker in workers:
            worker.stdin.write("go\n")
            worker.stdin.flush()
        return sum(json.loads(worker.stdout.readline()) for worker in workers)


def work(kind: str, batch: int, seconds: float) -> float:
    """A worker: images a second of one process with one thread, once it is told to go."""
    die_with_parent()
    run = {"preprocess": preprocess, "classifier": classifier, "composed": composed}[kind](batch)
    for _ in range(WARM_UP_RUNS):
        run()
    print("ready", flush=True)
    sys.stdin.readline()
    begin_s, images = time.monotonic(), 0
    while (elapsed_s := time.monotonic() - begin_s) < seconds:
        run()
        images += batch
    return images / elapsed_s


def preprocess(batch: int) -> Callable[[], list[np.ndarray]]:
    """The DALI pipeline on a batch of the face."""
    from serving.pictures import pipelines
    from serving.pictures.pipeline_host import PipelineHost

    from .pictures import face

    pipeline = PipelineHost(pipelines.preprocess, batch, threads=1)
    images = [np.frombuffer(face(), np.uint8)] * batch
    return lambda: pipeline.run(IMAGE=images, ROI=[WHOLE] * batch)


def classifier(batch: int) -> Callable[[], object]:
    """The classifier's graph on a batch of crops that differ, by the runtime that the server uses."""
    graph = _graph(batch)
    faces = list(np.random.default_rng(0).integers(0, 256, (batch, 1, 224, 224, 3), np.uint8))
    return lambda: graph(faces)


def composed(batch: int) -> Callable[[], object]:
    """One after the other: what is decoded is judged."""
    decode, graph = preprocess(batch), _graph(batch)
    return lambda: graph([np.asarray(face)[None] for face in decode()])


def _graph(batch: int) -> Callable[..., object]:
    from serving.classifier.runtimes import on_cpu

    return on_cpu(newest(REPOSITORY / "classifier"), 1, batch)


def main() -> int:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="python -m perf.limits", description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=4, help="images in a batch (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=4.0, help="measured for each limit (default %(default)s)")
    parser.add_argument("--worker", choices=KINDS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(work(arguments.worker, arguments.batch, arguments.seconds)), flush=True)
    else:
        print(measure(arguments.batch, arguments.seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
