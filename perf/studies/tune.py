"""Which settings serve fastest on this machine? A measured search: `python -m perf.studies.tune`.

Reads `tune.toml`; writes `tune.json` and `.md`. Every candidate is the real server with a copy of the
model repository. It runs side by side with the best so far, and short closed loops go to one and the other in turn: a
machine that slows down for a minute slows both. At the end the winner meets the repository's own configuration again.
The repository is not changed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from perf import LATEST
from reports import tables
from serving.configs import read_config, write_config
from serving.errors import ServingError
from serving.paths import REPOSITORY
from serving.settings import command_line, read_toml
from serving.supervisor.server import Server

from ..load.loads import LoadError, Target
from ..load.run import run
from ..measure.summaries import summary
from ..server import own_server
from .repository import repository_copy
from .tune_page import differs, page
from .tune_space import SERVER, TABLE, Candidate, Comparison, SearchSpace, Setting, Trial

ASKS = ("face", "image")
ENSEMBLE = "deepfake_face"


@dataclass
class Bench:
    """Compares candidates in a copy of the repository, and keeps every comparison."""

    space: SearchSpace
    copy: Path
    begun_s: float = field(default_factory=time.monotonic)
    comparisons: list[Comparison] = field(default_factory=list)
    slowest_s: float = 80.0  # of a comparison so far, or a guess

    def present(self) -> dict[str, int]:
        """The repository's own value of every setting."""
        found = {}
        for s in self.space.settings:
            config = None if s.model == SERVER else read_config(REPOSITORY, s.model, self.space.profile)
            found[s.key] = s.present if config is None else s.of(config)
        return found

    def server(self, candidate: Candidate) -> Server:
        """A server with these settings, not started; they are read when it starts."""
        arguments, profile = [], self.space.profile
        ensemble = read_config(REPOSITORY, ENSEMBLE, profile)
        for model in {s.model for s in self.space.settings if s.model != SERVER}:
            config = read_config(REPOSITORY, model, profile)
            for setting in self._of(model):
                setting.put(config, candidate[setting.key])
            write_config(self.copy, model, profile, config)
            if any(step.model_name == model for step in ensemble.ensemble_scheduling.step):
                ensemble.max_batch_size = min(ensemble.max_batch_size, config.max_batch_size)
        write_config(self.copy, ENSEMBLE, profile, ensemble)  # no larger than its models' batches
        for setting in self._of(SERVER):
            if candidate[setting.key] != setting.present:
                arguments.append(f"--{setting.name}={candidate[setting.key]}")
        name = f"tune-{len(self.comparisons)}"
        return own_server(name, profile=profile, model_repository=self.copy, extra_arguments=tuple(arguments))

    def compare(
        self, beside: Candidate, old: Server, candidate: Candidate, asks: Sequence[str], pairs: int
    ) -> Comparison:
        """Measures a candidate in turn with a server that runs."""
        begun_s, failed = time.monotonic(), ""
        trials = [trial for trial in self.space.trials if trial.ask in asks]
        found: dict[str, list[tuple[float, float]]] = {trial.name: [] for trial in trials}
        try:
            with self.server(candidate) as new:
                for number in range(pairs):
                    for trial in trials:
                        found[trial.name].append(self._pair(trial, old, new, number % 2 == 1))
        except (ServingError, LoadError) as exc:
            found, failed = {}, str(exc)
        figures = {trial.name: trial.figure for trial in trials}
        self.comparisons.append(Comparison(dict(candidate), dict(beside), found, figures, failed))
        self.slowest_s = max(self.slowest_s, (time.monotonic() - begun_s) * self.space.pairs / pairs)
        return self.comparisons[-1]

    def left_s(self) -> float:
        """What is left of the budget."""
        return self.space.budget_s - (time.monotonic() - self.begun_s)

    def _pair(self, trial: Trial, old: Server, new: Server, new_first: bool) -> tuple[float, float]:
        order = (new, old) if new_first else (old, new)
        taken = {id(server): self._figure(trial, server) for server in order}
        return taken[id(old)], taken[id(new)]

    def _figure(self, trial: Trial, server: Server) -> float:
        measured = run(trial.loads, Target("grpc", (server.url,)), self.space.warm_up_s)
        outcome = measured.outcomes[trial.name]
        found = summary(outcome)
        if found.failed or not found.requests:
            raise LoadError(f"{trial.name}: {found.failed} of {found.requests} failed: {found.errors}")
        return float(getattr(found, trial.figure))

    def _of(self, model: str) -> list[Setting]:
        return [setting for setting in self.space.settings if setting.model == model]


def search(bench: Bench) -> tuple[Candidate, list[str]]:
    """The best candidate found, setting by setting, and the values that the time did not reach."""
    best, skipped = bench.present(), []
    final_s = bench.slowest_s * bench.space.final_pairs / bench.space.pairs
    for setting in bench.space.settings:
        winners = []
        with bench.server(best) as old:
            for value in setting.values:
                if bench.left_s() < bench.slowest_s + final_s:
                    skipped.append(f"{setting.key} {value}")
                    continue
                tried = {**best, setting.key: value}
                told = bench.compare(best, old, tried, setting.asks, bench.space.pairs)
                print(f"{time.monotonic() - bench.begun_s:4.0f} s  {line(told)}", flush=True)
                winners += [told] if told.better(bench.space.margin) else []
        if winners:
            best = dict(max(winners, key=lambda comparison: comparison.score).candidate)
    return best, skipped


def final(bench: Bench, best: Candidate) -> Comparison | None:
    """The winner beside the repository's own configuration; None where they are the same."""
    present = bench.present()
    if best == present:
        return None
    with bench.server(present) as old:
        return bench.compare(present, old, best, ASKS, bench.space.final_pairs)


def line(comparison: Comparison) -> str:
    """A comparison for the terminal."""
    what = differs(comparison.candidate, comparison.beside)
    if comparison.failed:
        return f"{what}: failed: {comparison.failed}"
    loads = [f"{load} {'/'.join(f'{ratio:.2f}' for ratio in comparison.ratios(load))}" for load in comparison.pairs]
    return f"{what}: {comparison.score:.3f}  ({'  '.join(loads)})"


def main(onnx: Path | None = None, table: Path = TABLE, only: tuple[str, ...] = (), out: Path = LATEST) -> int:
    """Searches the settings that serve fastest on this machine, by measurement. Changes nothing.

    Exit code: 0 measured, 1 the repository's own configuration failed, 2 usage.

    Args:
        onnx: the student's graph; the served one where it is not given.
        table: what to try.
        only: these settings of the table, each as MODEL.NAME; all where none is given.
        out: folder of the page.
    """
    about = tables.measured_on("perf.studies.tune")
    try:
        space = read_toml(table, SearchSpace)
        space = space.only(only) if only else space
    except (ValueError, OSError) as exc:
        print(f"cannot tune: {exc}", file=sys.stderr)
        return 2
    try:
        with repository_copy(onnx) as copy:
            bench = Bench(space, copy)
            best, skipped = search(bench)
            last = final(bench, best)
    except ServingError as exc:
        print(f"the repository's own configuration could not be measured: {exc}", file=sys.stderr)
        return 1
    searched = bench.comparisons[:-1] if last else bench.comparisons
    text = page(space, searched, last, skipped)
    print(f"\n{text}")
    figures = {
        "onnx": str(onnx or "as served"),
        "present": bench.present(),
        "best": best,
        "final": asdict(last) if last else None,
        "comparisons": [asdict(comparison) for comparison in searched],
        "skipped": skipped,
    }
    print(f"written to {tables.write(out, 'tune', text, about, **figures)}")
    return 0


if __name__ == "__main__":
    sys.exit(command_line(main, "python -m perf.studies.tune"))
