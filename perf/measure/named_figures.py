"""Results of all phases -> the figures that budgets name. Pure.

Of every load: `<profile>.<load>.<field of Summary>`. Beside them, from all phases together:

    saturate.face.per_second, saturate.image.per_second   the highest throughput, at whatever concurrency
    saturate.face.mean_batch                        of the classifier at that concurrency
    saturate.face.share_of_limit                    ceilings.py
    steady.<load>.queue_share, .server_cores        of the server's time; CPU seconds a second
    cpu.server_ms_per_face, cpu.at_100_per_second_on_<n>_cores   of the steady load, else of the saturated one
    memory.host_mb                                  PSS after the phase that left the most
    memory.gpu_gb                                   the highest sample
    overload.*                                      overload.py
    soak.memory_mb_per_minute, soak.errors
    errors.ratio                                    of all loads but overload's
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from reports.budgets import NO_GPU, OUT_OF_SIGHT, Figure

from .ceilings import Ceiling, share
from .overload import Overload
from .phases import Result, best
from .summaries import slope

NOT_HELD = "the generator could not hold the rate"
FLOOR_PER_SECOND = 100.0
PROJECTED_CORES = (2, 4, 8)


def figures(
    results: Sequence[Result], ceiling: Ceiling | None, overload: Overload | None, gpu: bool
) -> dict[str, Figure]:
    """Every figure by its name; None with a reason where there is no value."""
    found: dict[str, Figure] = {}
    for result in results:
        found |= _of_loads(result)
    return (
        found
        | _saturated(results, ceiling)
        | _cpu(results)
        | _memory(results, gpu)
        | _overload(results, overload)
        | _soak(results)
        | _errors(results)
    )


def _of_loads(result: Result) -> dict[str, Figure]:
    found = {}
    for name, summary in result.summaries.items():
        reason = "" if summary.held else NOT_HELD
        values = {key: value for key, value in asdict(summary).items() if isinstance(value, float)}
        if name in result.server_times:
            values["queue_share"] = result.server_times[name].queue_share
        if result.use:
            values["server_cores"] = result.use.server_cores
        for key, value in values.items():
            found[f"{result.profile}.{name}.{key}"] = Figure(value if summary.held else None, reason)
    return found


def _saturated(results: Sequence[Result], ceiling: Ceiling | None) -> dict[str, Figure]:
    found = {}
    for ask in ("face", "image"):
        if found_best := best(results, ask):
            result, name = found_best
            found[f"saturate.{ask}.per_second"] = Figure(result.summaries[name].per_second, f"at {name}")
            if name in result.server_times:
                mean_batch = result.server_times[name].mean_batch("classifier")
                found[f"saturate.{ask}.mean_batch"] = Figure(mean_batch, f"at {name}")
            if ask == "face" and not result.use:
                found["saturate.face.share_of_limit"] = Figure(None, OUT_OF_SIGHT)
            elif ask == "face" and ceiling:
                reached = share(result.summaries[name].per_second, ceiling, result.measured.generator_cores)
                found["saturate.face.share_of_limit"] = Figure(reached)
    return found


def _cpu(results: Sequence[Result]) -> dict[str, Figure]:
    """CPU a face, and what that makes of 100 a second. Server only: its clients are elsewhere in earnest."""
    steady = next((r for r in results if r.profile == "steady" and "face" in r.summaries), None)
    result, name = (steady, "face") if steady else best(results, "face") or (None, "")
    if result is None:
        return {}
    if result.use is None:
        return {f"cpu.at_100_per_second_on_{n}_cores": Figure(None, OUT_OF_SIGHT) for n in PROJECTED_CORES}
    per_second = result.summaries[name].per_second
    each_s = result.use.server_cores / per_second if per_second else float("nan")
    found = {"cpu.server_ms_per_face": Figure(each_s * 1e3)}
    for n in PROJECTED_CORES:
        found[f"cpu.at_100_per_second_on_{n}_cores"] = Figure(FLOOR_PER_SECOND * each_s / n, "projected")
    return found


def _memory(results: Sequence[Result], gpu: bool) -> dict[str, Figure]:
    samples = [sample for result in results for sample in result.samples]
    if not samples:
        return {"memory.host_mb": Figure(None, OUT_OF_SIGHT), "memory.gpu_gb": Figure(None, OUT_OF_SIGHT)}
    on_gpu = max((sample.gpu_mb or 0.0 for sample in samples), default=0.0) / 1e3
    return {
        "memory.host_mb": Figure(max(result.pss_mb or 0.0 for result in results)),
        "memory.gpu_gb": Figure(on_gpu) if gpu else Figure(None, NO_GPU),
    }


def _overload(results: Sequence[Result], overload: Overload | None) -> dict[str, Figure]:
    """None where a rate was not held: then it was no overload of that size."""
    if overload is None:
        return {}
    found = {
        "interactive.p95_ms": overload.interactive_p95_ms,
        "interactive.error_ratio": overload.interactive_error_ratio,
        "bulk.shed": float(overload.shed),
        "unclear_errors": float(overload.unclear_errors),
        "recovery_s": overload.recovery_s,
    }
    held = all(s.held for result in results if result.profile == "overload" for s in result.summaries.values())
    return {f"overload.{name}": Figure(value) if held else Figure(None, NOT_HELD) for name, value in found.items()}


def _soak(results: Sequence[Result]) -> dict[str, Figure]:
    soak = [result for result in results if result.profile == "soak"]
    if not soak:
        return {}
    samples = [sample for result in soak for sample in result.samples]
    grows = slope([s.at_s for s in samples], [s.memory_mb for s in samples])
    failed = sum(summary.failed for result in soak for summary in result.summaries.values())
    return {
        "soak.memory_mb_per_minute": Figure(grows) if samples else Figure(None, OUT_OF_SIGHT),
        "soak.errors": Figure(float(failed)),
    }


def _errors(results: Sequence[Result]) -> dict[str, Figure]:
    summaries = [s for result in results if result.profile != "overload" for s in result.summaries.values()]
    asked = sum(summary.requests for summary in summaries)
    return {"errors.ratio": Figure(sum(summary.failed for summary in summaries) / asked)} if asked else {}
