"""`python -m perf`: do the budgets hold? Runs the load profiles, writes a report, exits 1 where a budget is missed.

python -m perf                          # all profiles but soak, about 5 minutes
python -m perf --profile soak           # one of perf/profiles.toml
python -m perf --url localhost:8001     # a server that runs
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tritonclient.utils import InferenceServerException

from reports import machine
from serving.errors import ServingError
from serving.paths import REPOSITORY
from serving.supervisor.options import PROFILES
from serving.supervisor.versions import newest

from . import budgets, document, limits, named, overload, pages, report
from .figures import Summary
from .load import Load, LoadError
from .measure import Result, Session, best, run_profile, session
from .profiles import Profile, ProfileError, chosen, load_profiles
from .wire import moved

EXIT_USAGE = 2
SHOWN = ("locust", "tritonclient", "facewarden", "psutil", "numpy")


class UsageError(Exception):
    """Options that cannot work together."""


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Options from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m perf", description=__doc__.splitlines()[0], epilog="Exit codes: 0 kept, 1 missed, 2 usage."
    )
    parser.add_argument("--profile", help="load profile of perf/profiles.toml (default: all but soak)")
    parser.add_argument(
        "--deployment", default="embedded-cpu", choices=PROFILES, help="deployment profile (default %(default)s)"
    )
    parser.add_argument("--url", help="gRPC address of a running server (default: starts one)")
    parser.add_argument("--out", type=Path, default=pages.LATEST, help="folder of the report (default %(default)s)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Command line entry."""
    arguments = parse(argv)
    begun_s, load_before = time.monotonic(), os.getloadavg()[0]
    try:
        profiles = chosen(load_profiles(), arguments.profile)
        table = budgets.load_budgets(arguments.deployment)
        if arguments.deployment == "container" and not arguments.url:
            raise UsageError("the container is started by `docker compose up`; then give --url (URL= of make)")
        material = measure(arguments, profiles, table)
    except (ProfileError, budgets.BudgetError, UsageError) as exc:
        print(f"cannot measure: {exc}", file=sys.stderr)
        return EXIT_USAGE
    except (ServingError, LoadError, limits.LimitError, InferenceServerException) as exc:
        print(f"the measurement failed: {exc}", file=sys.stderr)
        return 1
    material.measured.update(load_before=load_before, duration_s=time.monotonic() - begun_s)
    name = "-".join(filter(None, ("perf", arguments.deployment, arguments.profile)))
    made = document.document(material)
    page = report.write(arguments.out, name, made)
    told = [budgets.table(list(material.verdicts)), made["taken"], f"report: {page}"]
    print("\n" + "\n\n".join(filter(None, told)))
    return budgets.exit_code(list(material.verdicts))


def measure(arguments: argparse.Namespace, profiles: list[Profile], table: list[budgets.Budget]) -> document.Material:
    """Everything that the report tells, from a server that is started for it or runs."""
    print("starting the server ..." if arguments.url is None else f"asking {arguments.url} ...", flush=True)
    with session(arguments.deployment, arguments.url) as running:
        triton = running.client.get_server_metadata().version
        found_limits, ran = None, []
        for profile in profiles:
            ran.append(run(running, profile))
            if profile.name == "saturate" and running.sampler and arguments.deployment == "embedded-cpu":
                found_limits = measured_limits(running.results)  # at once: a shared machine changes by the minute
        bytes_moved = moved(running.client)
    found_overload = judged_overload(running.results)
    figures = named.figures(running.results, found_limits, found_overload and found_overload[0], running.nvml.available)
    names = {profile.name for profile in ran}
    wanted = [budget for budget in table if arguments.profile is None or budget.about_run(names)]
    return document.Material(
        measured=surroundings(arguments, triton),
        profiles=ran,
        results=running.results,
        figures=figures,
        verdicts=budgets.judge(wanted, figures),
        limits=found_limits,
        overload=found_overload,
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


def measured_limits(results: list[Result]) -> limits.Limits | None:
    """The limits at the served batch size; None where nothing was saturated."""
    found = best(results, "face")
    if found is None:
        return None
    result, name = found
    batch = max(1, round(result.paths[name].mean_batch("classifier")))
    print(f"\nlimits of the cores without a server, batches of {batch} ...", flush=True)
    measured = limits.measure(batch)
    print(f"  DALI {measured.preprocess:.0f}/s, classifier {measured.classifier:.0f}/s, both {measured.composed:.0f}/s")
    return measured


def judged_overload(results: list[Result]):
    """The overload's figures and outcomes; None where it was not run."""
    for result in results:
        if result.profile == "overload":
            interactive, bulk = (result.measured.outcomes[name] for name in ("interactive", "bulk"))
            return overload.judge(interactive, bulk), interactive, bulk
    return None


def surroundings(arguments: argparse.Namespace, triton: str) -> dict[str, Any]:
    """When, where and with what it was measured."""
    options = [f"--deployment {arguments.deployment}"]
    options += [f"--{name} {shlex.quote(value)}" for name in ("profile", "url") if (value := getattr(arguments, name))]
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "command": f"python -m perf {' '.join(options)}",
        "commit": machine.commit() or "unknown",
        "deployment": arguments.deployment,
        "url": arguments.url or "",
        "triton": triton,
        "classifier": "" if arguments.url else newest(REPOSITORY / "classifier").name,
        "machine": machine.machine(),
        "versions": machine.versions() | {name: version(name) for name in SHOWN},
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
    sys.exit(main())
