"""Runs load profiles against a server and notes, for the same seconds, what it used and where the time went."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from tritonclient.grpc import InferenceServerClient

from ..load.loads import Measured, Target
from ..load.profiles import Phase, Profile
from ..load.run import run
from ..server import own_server
from . import server_steps
from .nvml import Nvml
from .resources import Counters, Sample, Sampler, Use, listener, use
from .summaries import Summary, summary


@dataclass(frozen=True)
class Result:
    """One phase: what was measured, its figures by load, and the server meanwhile (None where it cannot be seen)."""

    profile: str
    phase: Phase
    measured: Measured
    summaries: dict[str, Summary]
    server_times: dict[str, server_steps.ServerTime]  # by load; empty where several loads share an entry model
    use: Use | None
    samples: list[Sample]
    pss_mb: float | None  # of the server, after the phase


@dataclass
class Session:
    """A server under measurement; `pid` is None where it runs out of sight."""

    url: str
    client: InferenceServerClient
    nvml: Nvml
    sampler: Sampler | None
    results: list[Result] = field(default_factory=list)

    @property
    def target(self) -> Target:
        """Where the loads go."""
        return Target("grpc", (self.url,))


@contextmanager
def session(deployment: str, url: str | None) -> Iterator[Session]:
    """A server of our own for the deployment profile, or the one that runs at `url` (gRPC)."""
    nvml = Nvml()  # before the server starts: see its docstring
    with ExitStack() as stack:
        if url is None:
            server = stack.enter_context(own_server("perf", profile=deployment))
            url, pid = server.url, server.pid
        else:
            pid = listener(int(url.rpartition(":")[2])) if url.startswith(("localhost:", "127.")) else None
        client = stack.enter_context(InferenceServerClient(url))
        sampler = stack.enter_context(Sampler(pid, nvml)) if pid else None
        yield Session(url, client, nvml, sampler)


def run_profile(session: Session, profile: Profile, tell: Callable[[Result], None]) -> None:
    """All phases of a profile, one after the other; each result goes to `tell` and stays in the session."""
    for phase in profile.phases:
        result = run_phase(session, profile.name, phase, profile.warm_up_s)
        session.results.append(result)
        tell(result)


def run_phase(session: Session, profile: str, phase: Phase, warm_up_s: float) -> Result:
    """One phase: its loads at once, and the server's counters around the measured time."""

    def read() -> tuple[dict[str, server_steps.Counts], Counters | None]:
        return server_steps.read(session.client), session.sampler.counters() if session.sampler else None

    measured = run(phase.loads, session.target, warm_up_s, read)
    (stats_before, before), (stats_after, after) = measured.readings
    entries = [server_steps.ENTRY[load.ask] for load in phase.loads]
    server_times = {
        load.name: found
        for load, entry in zip(phase.loads, entries, strict=True)
        if entries.count(entry) == 1 and (found := server_steps.server_time(entry, stats_before, stats_after))
    }
    end_s = measured.begin_s + measured.seconds
    return Result(
        profile=profile,
        phase=phase,
        measured=measured,
        summaries={name: summary(outcome) for name, outcome in measured.outcomes.items()},
        server_times=server_times,
        use=use(before, after, measured.generator_cores) if before and after else None,
        samples=session.sampler.between(measured.begin_s, end_s) if session.sampler else [],
        pss_mb=session.sampler.pss_mb() if session.sampler else None,
    )


def best(results: Sequence[Result], ask: str) -> tuple[Result, str] | None:
    """The phase and load of `saturate` with the highest throughput of that kind; None where none was run."""
    found = [
        (result, load.name)
        for result in results
        if result.profile == "saturate"
        for load in result.phase.loads
        if load.ask == ask
    ]
    return max(found, key=lambda pair: pair[0].summaries[pair[1]].per_second, default=None)
