"""Where a request's time goes in the server, by Triton's statistics: queue, input, compute, output of each model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tritonclient.grpc import InferenceServerClient

KINDS = ("queue", "input", "compute", "output")
INSIDE = {  # entry model: the models that it asks
    "deepfake_face": ("image_check", "preprocess", "classifier"),
    "deepfake_image": ("face_detector", "image_check", "preprocess", "classifier"),
    "deepfake_video": ("face_detector", "image_check", "preprocess", "classifier"),
}
ENTRY = {"face": "deepfake_face", "image": "deepfake_image", "mixed": "deepfake_image", "stream": "deepfake_video"}


@dataclass(frozen=True)
class Counts:
    """A model's counters: requests, inferences (rows), executions (batches), and ns in all of it and by kind."""

    requests: int
    inferences: int
    executions: int
    total_ns: int
    ns: dict[str, int]


@dataclass(frozen=True)
class Step:
    """A model's part in the mean request of its entry model: ms by kind, and its mean batch size."""

    model: str
    ms: dict[str, float]
    calls: float  # inferences of a request of the entry model
    mean_batch: float


@dataclass(frozen=True)
class Path:
    """The mean request of an entry model. `rest_ms` is what is in none of the steps: scheduling, copies, own code."""

    entry: str
    requests: int
    server_ms: float
    steps: tuple[Step, ...]
    rest_ms: float

    @property
    def queue_share(self) -> float:
        """Part of the server's time that was spent in queues."""
        return sum(step.ms["queue"] for step in self.steps) / self.server_ms if self.server_ms else float("nan")

    def mean_batch(self, model: str) -> float:
        """Mean batch of one of its models; NaN where it was not asked."""
        return next((step.mean_batch for step in self.steps if step.model == model), float("nan"))


def read(client: InferenceServerClient) -> dict[str, Counts]:
    """The counters of every model, its versions together."""
    found: dict[str, Counts] = {}
    for stats in client.get_inference_statistics().model_stats:
        found[stats.name] = _sum(found.get(stats.name), _counts(stats))
    return found


def path(entry: str, before: Mapping[str, Counts], after: Mapping[str, Counts]) -> Path | None:
    """What the requests between two readings met; None where there were none."""
    gained = {name: _difference(after[name], before.get(name)) for name in after}
    whole = gained.get(entry)
    if whole is None or not whole.requests:
        return None
    names = [entry, *(name for name in INSIDE[entry] if name in gained and gained[name].inferences)]
    steps = tuple(_step(name, gained[name], whole.requests) for name in names)
    own = steps[0]
    # An entry model of our own (BLS) computes while it waits for those it asks: that time is theirs, and the rest.
    inner = [Step(own.model, {**own.ms, "compute": 0.0, "input": 0.0, "output": 0.0}, own.calls, own.mean_batch)]
    steps = (*inner, *steps[1:])
    server_ms = whole.total_ns / whole.requests / 1e6
    return Path(entry, whole.requests, server_ms, steps, max(0.0, server_ms - sum(sum(s.ms.values()) for s in steps)))


def _counts(stats: Any) -> Counts:
    s = stats.inference_stats
    durations = {"queue": s.queue, "input": s.compute_input, "compute": s.compute_infer, "output": s.compute_output}
    ns = {kind: int(duration.ns) for kind, duration in durations.items()}
    return Counts(s.success.count, stats.inference_count, stats.execution_count, s.success.ns, ns)


def _sum(a: Counts | None, b: Counts) -> Counts:
    if a is None:
        return b
    ns = {kind: a.ns[kind] + b.ns[kind] for kind in KINDS}
    return Counts(
        a.requests + b.requests, a.inferences + b.inferences, a.executions + b.executions, a.total_ns + b.total_ns, ns
    )


def _difference(after: Counts, before: Counts | None) -> Counts:
    if before is None:
        return after
    ns = {kind: after.ns[kind] - before.ns[kind] for kind in KINDS}
    return Counts(
        after.requests - before.requests,
        after.inferences - before.inferences,
        after.executions - before.executions,
        after.total_ns - before.total_ns,
        ns,
    )


def _step(model: str, counts: Counts, requests: int) -> Step:
    ms = {kind: counts.ns[kind] / requests / 1e6 for kind in KINDS}
    return Step(model, ms, counts.inferences / requests, counts.inferences / max(1, counts.executions))
