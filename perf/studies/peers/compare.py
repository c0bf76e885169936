"""Measurements of several servers -> ratios to ours, and the page. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from reports import budgets
from reports.budgets import Figure, Judgement
from reports.tables import markdown

from .settings import Peer

OURS = "Facewarden"  # every ratio is to it
OVER_HTTP = "Facewarden, over HTTP"


@dataclass(frozen=True)
class Measurement:
    """One server under one load in one round; `memory_mb` is its highest sample, without files' pages."""

    server: str
    round: int
    in_flight: int
    per_second: float
    p50_ms: float
    p95_ms: float
    failed: int
    memory_mb: float
    server_cores: float
    others_cores: float  # neither server nor generator
    stolen_cores: float  # by the hypervisor
    generator_cores: float


@dataclass(frozen=True)
class Row:
    """A server under one load, medians of the rounds; ratios are to ours, `spread` is (highest - lowest) / median."""

    server: str
    in_flight: int
    per_second: float
    per_second_spread: float
    p50_ms: float
    p95_ms: float
    memory_mb: float
    server_ms: float  # of CPU an image
    generator_ms: float
    failed: int
    throughput_ratio: float  # above 1: more than ours
    p50_ratio: float  # below 1: faster than ours
    p95_ratio: float
    memory_ratio: float


def rows(measurements: Sequence[Measurement]) -> list[Row]:
    """One row for each server and load, in the order in which they were measured first; ours has to be there."""
    found: dict[tuple[str, int], list[Measurement]] = {}
    for measurement in measurements:
        found.setdefault((measurement.server, measurement.in_flight), []).append(measurement)
    return [_row(of, found[OURS, in_flight]) for (_, in_flight), of in found.items()]


def _row(of: Sequence[Measurement], ours: Sequence[Measurement]) -> Row:
    own, base = _medians(of), _medians(ours)
    rates = [m.per_second for m in of]
    ratio = {name: own[name] / base[name] if base[name] else float("nan") for name in own}
    return Row(
        server=of[0].server,
        in_flight=of[0].in_flight,
        per_second_spread=(max(rates) - min(rates)) / own["per_second"] if own["per_second"] else float("nan"),
        failed=sum(m.failed for m in of),
        throughput_ratio=ratio["per_second"],
        p50_ratio=ratio["p50_ms"],
        p95_ratio=ratio["p95_ms"],
        memory_ratio=ratio["memory_mb"],
        server_ms=_cpu_ms(of, "server_cores"),
        generator_ms=_cpu_ms(of, "generator_cores"),
        **own,
    )


def _medians(of: Sequence[Measurement]) -> dict[str, float]:
    names = ("per_second", "p50_ms", "p95_ms", "memory_mb")
    return {name: median(getattr(m, name) for m in of) for name in names}


def _cpu_ms(of: Sequence[Measurement], cores: str) -> float:
    """CPU an image in ms, median of the rounds; NaN where one answered nothing."""
    return median(getattr(m, cores) * 1e3 / m.per_second if m.per_second else float("nan") for m in of)


def best(found: Sequence[Row], server: str) -> Row:
    """A server's row with the highest throughput, at whatever concurrency."""
    return max((row for row in found if row.server == server), key=lambda row: row.per_second)


def figures(found: Sequence[Row], peers: Sequence[Peer]) -> dict[str, Figure]:
    """What the bars name: ours / theirs, of the best peer with torch and the best with our graph, under the load that
    suits that peer best.
    """
    made = {}
    torch = [best(found, peer.name) for peer in peers if peer.environment == "torch"]
    graph = [best(found, peer.name) for peer in peers if peer.environment != "torch"]
    for name, of in (("torch", torch), ("our graph", graph)):
        if of:
            peer = max(of, key=lambda row: row.per_second)
            under = f"{peer.server}, {peer.in_flight} in flight"
            for what, ratio in (("throughput", peer.throughput_ratio), ("p95", peer.p95_ratio)):
                made[f"{name}.{what}"] = Figure(1 / ratio if ratio else None, under)
    return made


def page(
    found: Sequence[Row], peers: dict[str, str], off: dict[str, float], loads: str, judgements: Sequence[Judgement]
) -> str:
    """The comparison as Markdown.

    Args:
        peers: what each server is.
        off: how far each peer's probability is from ours.
        loads: a sentence on how it was measured.
        judgements: on the bars.
    """
    ours, in_flight = best(found, OURS), sorted({row.in_flight for row in found})
    of = {(row.server, row.in_flight): row for row in found}
    cells = []
    for server in dict.fromkeys(row.server for row in found):
        own = best(found, server)
        cells.append(
            (
                server,
                f"{ours.per_second / own.per_second:.2f}" if own.per_second else "",
                *(f"{of[server, n].per_second:.1f} ({of[server, n].p95_ms:.1f})" for n in in_flight),
                f"{own.server_ms:.1f}",
                f"{own.memory_mb:.0f}",
                own.failed,
                f"{off[server]:.4f}" if server in off else "",
                peers.get(server, ""),
            )
        )
    loops = (f"{n} in flight" for n in in_flight)
    head = ("server", "ours / theirs", *loops, "CPU ms", "MB", "failed", "off by", "what it is")
    return f"""# The same student served the way people do it today

{loads}

```text
{budgets.table(list(judgements))}
```

Images a second (p95 in ms) by requests in flight. The other figures are those of each server's best concurrency; off
by is the distance of its probability from ours.

{markdown(head, cells)}
"""
