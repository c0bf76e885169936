"""`python -m perf`: do the budgets hold? Runs the load profiles, writes a report, exits 1 where a budget is missed.

python -m perf                          # all profiles but soak, about 5 minutes
python -m perf --profile soak           # one of perf/load/profiles.toml
python -m perf --url localhost:8001     # a server that runs
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from tritonclient.utils import InferenceServerException

from reports import budgets
from reports.tables import measured_on
from serving.errors import ServingError
from serving.settings import command_line

from . import LATEST
from .budgets import about_run, load_budgets
from .load.loads import Load, LoadError
from .load.profiles import Profile, chosen, load_profiles
from .measure import ceilings, document, named_figures, overload, report
from .measure.alone import PartError
from .measure.bytes_moved import moved
from .measure.phases import Result, Session, best, run_profile, session
from .measure.summaries import Summary

EXIT_USAGE = 2
SHOWN = ("locust", "tritonclient", "facewarden", "psutil", "numpy")


@dataclass(frozen=True)
class Asked:
    """What is measured.

    Args:
        profile: load profile of perf/load/profiles.toml; all but soak where it is not given.
        deployment: deployment profile of the server.
        url: gRPC address of a running server; one is started where it is not given.
        out: folder of the report.
    """

    profile: str | None = None
    deployment: Literal["embedded-cpu", "embedded-gpu", "container"] = "embedded-cpu"
    url: str | None = None
    out: Path = LATEST


def main(asked: Asked) -> int:
    """Do the budgets hold? Runs load profiles and writes a report. Exit code: 0 kept, 1 missed, 2 usage."""
    about = measured_on("perf")
    begun_s = about.pop("begun_s")
    try:
        profiles, table = chosen(load_profiles(), asked.profile), load_budgets(asked.deployment)
        if asked.deployment == "container" and not asked.url:
            raise ValueError("the container is started by `docker compose up`; then give --url (URL= of make)")
    except ValueError as exc:
        print(f"cannot measure: {exc}", file=sys.stderr)
        return EXIT_USAGE
    try:
        material = measure(asked, about, profiles, table)
    except (ServingError, LoadError, PartError, InferenceServerException) as exc:
        print(f"the measurement failed: {exc}", file=sys.stderr)
        return 1
    material.measured["duration_s"] = time.monotonic() - begun_s
    name = "-".join(filter(None, ("perf", asked.deployment, asked.profile)))
    made = document.document(material)
    page = report.write(asked.out, name, made)
    told = [budgets.table(list(material.judgements)), made["taken"], f"report: {page}"]
    print("\n" + "\n\n".join(filter(None, told)))
    return budgets.exit_code(list(material.judgements))


def measure(
    asked: Asked, about: dict[str, Any], profiles: list[Profile], table: list[budgets.Budget]
) -> document.Material:
    """Everything that the report tells, from a server that is started for it or runs."""
    print("starting the server ..." if asked.url is None else f"asking {asked.url} ...", flush=True)
    with session(asked.deployment, asked.url) as running:
        triton = running.client.get_server_metadata().version
        ceiling, ran = None, []
        for profile in profiles:
            ran.append(run(running, profile))
            if profile.name == "saturate" and running.sampler and asked.deployment == "embedded-cpu":
                ceiling = measured_ceiling(running.results)  # at once: a shared machine changes by the minute
        bytes_moved = moved(running.client)
    overloaded = judged_overload(running.results)
    figures = named_figures.figures(running.results, ceiling, overloaded and overloaded[0], running.nvml.available)
    names = {profile.name for profile in ran}
    wanted = [budget for budget in table if asked.profile is None or about_run(budget, names)]
    return document.Material(
        measured=surroundings(asked, about, triton),
        profiles=ran,
        results=running.results,
        figures=figures,
        judgements=budgets.judge(wanted, figures),
        ceiling=ceiling,
        overload=overloaded,
        moved=bytes_moved,
    )


def run(running: Session, profile: Profile) -> Profile:
    """Runs a profile, the knee put in where its rates want it; returns what was run."""
    print(f"\n{profile.name}: {profile.about}", flush=True)
    if profile.of_knee:
        result, name = best(running.results, "face") or (None, "")
        assert result is not None, "saturate goes before a profile of the knee"
        profile = profile.at_knee(result.summaries[name].per_second)
    run_profile(running, profile, show)
    return profile


def measured_ceiling(results: list[Result]) -> ceilings.Ceiling | None:
    """The ceiling at the served batch size; None where nothing was saturated."""
    found = best(results, "face")
    if found is None:
        return None
    result, name = found
    batch = max(1, round(result.server_times[name].mean_batch("classifier")))
    print(f"\nwhat the cores do without a server, batches of {batch} ...", flush=True)
    measured = ceilings.measure(batch)
    print(f"  DALI {measured.preprocess:.0f}/s, classifier {measured.classifier:.0f}/s, both {measured.composed:.0f}/s")
    return measured


def judged_overload(results: list[Result]):
    """The overload's figures and outcomes; None where it was not run."""
    for result in results:
        if result.profile == "overload":
            interactive, bulk = (result.measured.outcomes[name] for name in ("interactive", "bulk"))
            return overload.judge(interactive, bulk), interactive, bulk
    return None


def surroundings(asked: Asked, about: dict[str, Any], triton: str) -> dict[str, Any]:
    """When, where and with what it was measured; `about` is of the time before the server started."""
    return about | {
        "deployment": asked.deployment,
        "url": asked.url or "",
        "triton": triton,
        "classifier": "" if asked.url else about["classifier"],
        "versions": about["versions"] | {name: version(name) for name in SHOWN},
    }


def show(result: Result) -> None:
    """A line for each load."""
    for load in result.phase.loads:
        print(f"  {line(load, result.summaries[load.name])}", flush=True)


def line(load: Load, s: Summary) -> str:
    """A load and its figures."""
    loop = f"open {load.rate:.4g}/s" if load.loop == "open" else f"closed, {load.in_flight} in flight"
    unsure = "" if s.held else "  rate not held by the generator"
    return (
        f"{load.name:22} {loop:22} {s.per_second:7.1f}/s  p50 {s.p50_ms:7.1f}  p95 {s.p95_ms:7.1f}  "
        f"p99 {s.p99_ms:7.1f} ms  failed {s.failed} of {s.requests}{unsure}"
    )


if __name__ == "__main__":
    sys.exit(command_line(main, "python -m perf"))
