"""Results -> the report's document: one dictionary that is written as JSON and drawn as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import numpy as np

from reports.budgets import Figure, Judgement, limit, shown
from reports.tables import plain

from ..load.loads import Load, Outcome
from ..load.profiles import Profile
from .bytes_moved import Moved
from .ceilings import Ceiling
from .overload import Overload, timeline
from .phases import Result, best
from .resources import cores

QUANTILES = np.linspace(0, 100, 101)
MEMORY_POINTS = 120  # of a phase; the soak has more than anybody can see


@dataclass(frozen=True)
class Material:
    """Everything that a document is made of; what was not measured is None or empty."""

    measured: dict[str, Any]  # when, where, with what, by which command
    profiles: Sequence[Profile]
    results: Sequence[Result]
    figures: Mapping[str, Figure]
    judgements: Sequence[Judgement]
    ceiling: Ceiling | None = None
    overload: tuple[Overload, Outcome, Outcome] | None = None
    moved: Mapping[str, Moved] | None = None


def document(material: Material) -> dict[str, Any]:
    """The report as plain dictionaries, lists, strings and numbers; what is no number is None."""
    m = material
    made = {
        "measured": m.measured,
        "profiles": [{"name": p.name, "about": p.about, "warm_up_s": p.warm_up_s} for p in m.profiles],
        "taken": taken(m.results),
        "verdicts": [_judgement(judgement) for judgement in m.judgements],
        "phases": [_phase(result) for result in m.results],
        "limits": _ceiling(m),
        "overload": _overload(*m.overload) if m.overload else None,
        "cpu_ms": _cpu_ms(m.results),
        "moved": {name: asdict(moved) for name, moved in (m.moved or {}).items()},
        "figures": {name: figure.value for name, figure in sorted(m.figures.items())},
    }
    return plain(made, 5)


def taken(results: Sequence[Result]) -> str:
    """What others took of the machine meanwhile, a sentence; empty where the server ran out of sight."""
    seen = [(result, result.use) for result in results if result.use]
    if not seen:
        return ""
    seconds = sum(use.seconds for _, use in seen)
    others, stolen = (
        sum(getattr(use, name) * use.seconds for _, use in seen) / seconds for name in ("others_cores", "stolen_cores")
    )
    worst, most = max(seen, key=lambda pair: pair[1].others_cores + pair[1].stolen_cores)
    return (
        f"In the mean other processes used {others:.2f} of {cores()} cores and the hypervisor took {stolen:.2f}; "
        f"most during {worst.profile}, {worst.phase.name}: {most.others_cores + most.stolen_cores:.2f} cores together."
    )


def _judgement(judgement: Judgement) -> dict[str, Any]:
    b = judgement.budget
    return {
        "state": judgement.state,
        "kind": b.kind,
        "about": b.about,
        "figure": b.figure,
        "limit": limit(b),
        "measured": judgement.measured,
        "shown": "" if judgement.measured is None else shown(judgement.measured, b.unit),
        "margin": judgement.margin,
        "failed": judgement.failed,
        "reason": judgement.reason,
    }


def _phase(result: Result) -> dict[str, Any]:
    use = result.use
    every = max(1, len(result.samples) // MEMORY_POINTS)
    return {
        "profile": result.profile,
        "name": result.phase.name,
        "seconds": result.measured.seconds,
        "generator_cores": result.measured.generator_cores,
        "server_cores": use.server_cores if use else None,
        "others_cores": use.others_cores if use else None,
        "stolen_cores": use.stolen_cores if use else None,
        "pss_mb": result.pss_mb,
        "memory": [[round(s.at_s, 1), s.memory_mb, s.gpu_mb] for s in result.samples[::every]],
        "loads": [_load(result, load) for load in result.phase.loads],
    }


def _load(result: Result, load: Load) -> dict[str, Any]:
    outcome = result.measured.outcomes[load.name]
    good = outcome.latency_ms[outcome.good]
    spent = result.server_times.get(load.name)
    return {
        "profile": result.profile,
        **msgspec.structs.asdict(load),
        **asdict(result.summaries[load.name]),
        "mean_ms": good.mean() if len(good) else None,
        "quantiles_ms": np.percentile(good, QUANTILES) if len(good) else [],
        "path": {**asdict(spent), "queue_share": spent.queue_share} if spent else None,
    }


def _ceiling(material: Material) -> dict[str, Any] | None:
    found = material.ceiling
    if found is None:
        return None
    served = best(material.results, "face")
    generator = served[0].measured.generator_cores if served else 0.0
    return {**asdict(found), "left": found.composed * (found.cores - generator) / found.cores}


def _cpu_ms(results: Sequence[Result]) -> dict[str, dict[str, float]]:
    """CPU of one picture when saturated, in ms: {face or image: {part of the server or load generator: ms}}."""
    found = {}
    for ask in ("face", "image"):
        result, name = best(results, ask) or (None, "")
        if result and result.use and (per_second := result.summaries[name].per_second):
            parts = {**result.use.parts, "load generator": result.measured.generator_cores}
            found[ask] = {part: cores * 1e3 / per_second for part, cores in parts.items()}
    return found


def _overload(told: Overload, interactive: Outcome, bulk: Outcome) -> dict[str, Any]:
    begin_s = bulk.load.begin_s
    return {
        **asdict(told),
        "begin_s": begin_s,
        "end_s": begin_s + bulk.load.seconds,
        "rate": {"interactive": interactive.load.rate, "bulk": bulk.load.rate},
        "timeline": timeline(interactive, bulk),
    }
