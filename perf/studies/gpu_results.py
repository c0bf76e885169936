"""`gpu.toml`, what was measured, and the page. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from reports import budgets
from reports.budgets import Budget, Figure
from reports.tables import markdown
from serving.settings import Settings

from ..load.loads import Measured
from ..measure.summaries import percentiles, summary

TABLE = Path(__file__).with_name("gpu.toml")
Numbers = Annotated[tuple[Annotated[int, msgspec.Meta(ge=1)], ...], msgspec.Meta(min_length=1)]
Above0 = Annotated[float, msgspec.Meta(gt=0)]


class GpuStudy(Settings):
    """What is measured; see the table."""

    batches: Numbers
    in_flight: Numbers
    half_rate: Above0
    seconds: Above0
    warm_up_s: float
    decoder_threads: Annotated[int, msgspec.Meta(ge=1)]
    requests_per_generator: Above0
    bars: tuple[Budget, ...] = msgspec.field(name="bar")


@dataclass(frozen=True)
class Alone:
    """One part without a server: `kind` is decode, classifier or both."""

    kind: str
    batch: int
    per_second: float
    p50_ms: float  # of a batch
    p99_ms: float
    cpu_cores: float  # of its process, CPU seconds a second
    gpu_mb: float


@dataclass(frozen=True)
class Served:
    """One load through the server. `held` is false where the generators could not send what the schedule asked for."""

    load: str
    in_flight: int
    rate: float  # of an open loop; 0 for a closed one
    per_second: float
    p50_ms: float
    p99_ms: float
    requests: int
    failed: int
    held: bool
    server_cores: float
    generator_cores: float
    gpu_mb: float
    gpu_utilisation: float  # 0..1, the mean of the samples
    generators: int


@dataclass(frozen=True)
class Together:
    """Several generators' results as one: throughputs add up, percentiles are of all answers."""

    per_second: float
    p50_ms: float
    p99_ms: float
    requests: int
    failed: int
    held: bool
    generator_cores: float


def generators(rate: float, per_generator: float, cores: int, in_flight: int) -> int:
    """How many generator processes a load needs; at most half of the cores, the others are the server's."""
    return max(1, min(math.ceil(rate / per_generator), cores // 2, in_flight))


def shares(in_flight: int, parts: int) -> list[int]:
    """`in_flight` shared out among `parts` generators, which differ by at most one."""
    return [in_flight // parts + (i < in_flight % parts) for i in range(parts)]


def together(parts: Sequence[Measured]) -> Together:
    """The generators of one load; each has that load alone."""
    outcomes = [outcome for part in parts for outcome in part.outcomes.values()]
    found = [summary(outcome) for outcome in outcomes]
    answered = [outcome.latency_ms[outcome.good] for outcome in outcomes]
    p50, p99 = percentiles(np.concatenate(answered), (50, 99))
    return Together(
        per_second=sum(f.per_second for f in found),
        p50_ms=p50,
        p99_ms=p99,
        requests=sum(f.requests for f in found),
        failed=sum(f.failed for f in found),
        held=all(f.held for f in found),
        generator_cores=sum(part.generator_cores for part in parts),
    )


def figures(served: Sequence[Served], cores: int) -> dict[str, Figure]:
    """What the bars name; a figure that the generators could not make is None with that reason."""
    closed, half = [s for s in served if not s.rate], [s for s in served if s.rate]
    found = {}
    if closed:
        best = max(closed, key=lambda s: s.per_second)
        found["served.per_second"] = Figure(best.per_second, f"{best.in_flight} in flight")
        requests = sum(s.requests for s in served)
        found["served.error_ratio"] = Figure(sum(s.failed for s in served) / requests if requests else float("nan"))
        found["served.gpu_gb"] = Figure(max(s.gpu_mb for s in served) / 1e3)
    for s in half:
        reason = "" if s.held else "the generators could not hold the rate"
        found["half.p99_ms"] = Figure(s.p99_ms if s.held else None, reason)
        found["half.cpu_share"] = Figure(s.server_cores / cores if s.held else None, reason)
    return found


def page(alone: Sequence[Alone], served: Sequence[Served], bars: Sequence[Budget], cores: int) -> str:
    """The measurement as Markdown."""
    judgements = budgets.judge(list(bars), figures(served, cores))
    parts = [
        (
            a.kind,
            a.batch,
            f"{a.per_second:,.0f}",
            f"{a.p50_ms:.2f}",
            f"{a.p99_ms:.2f}",
            f"{a.cpu_cores:.2f}",
            f"{a.gpu_mb:.0f}",
        )
        for a in alone
    ]
    loads = [
        (
            f"open, {s.rate:g}/s" if s.rate else f"closed, {s.in_flight} in flight",
            f"{s.per_second:,.0f}" + ("" if s.held else " (rate not held)"),
            f"{s.p50_ms:.1f}",
            f"{s.p99_ms:.1f}",
            s.failed,
            f"{s.server_cores:.1f} ({s.server_cores / cores:.0%})",
            f"{s.generator_cores:.1f} in {s.generators}",
            f"{s.gpu_mb:.0f}",
            f"{s.gpu_utilisation:.0%}",
        )
        for s in served
    ]
    part_head = ("part alone", "batch", "images/s", "p50 ms", "p99 ms", "CPU cores", "GPU MB")
    load_head = ("load", "images/s", "p50 ms", "p99 ms", "failed", "server cores", "generators", "GPU MB", "GPU busy")
    return f"""# Profile embedded-gpu on this machine

```text
{budgets.table(judgements)}
```

Without a server: DALI decodes and resizes 256 px JPEGs on the GPU, the classifier judges what lies in its memory, and
both one after the other in one process.

{markdown(part_head, parts)}

`deepfake_face` through Triton, a 256 px JPEG a request; generators share the machine's {cores} cores with the server.

{markdown(load_head, loads)}
"""
