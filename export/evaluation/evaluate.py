"""A data folder -> one HTML page, JSON and the score of every picture: is the served model good enough, and for what?

    python -m export evaluate --data DATA            # starts the server; --url asks a running one

Reads a manifest, or real/ and fake/ folders (see `sources.py`); writes report.html, report.json, scores.csv, and each
baseline's scores into baselines/. Every figure comes from the served path. Splits are reported apart, never mixed. Exit
code 0: every floor of the budgets is met, 1: one is missed or none measured, 2: it could not be evaluated.
"""

from __future__ import annotations

import csv
import json
import os
import platform
import shlex
import sys
import time
from dataclasses import dataclass, fields
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import numpy as np
from tyro.conf import UseAppendAction

from facewarden import Client, FacewardenError
from reports import machine
from reports.page import write_text
from serving.errors import ServingError

from ..data.sources import ManifestError, folder_of
from . import analysis, comparison, decision, robustness
from .report import write_html
from .samples import Sample, read_samples
from .served import Judged, columns, connect, judge, judge_samples

BUDGETS = Path(__file__).with_name("budgets.toml")
DEFAULT_SPLITS = ("test", "cross")
VERSIONED = ("facewarden", "tritonclient", "nvidia-dali-cuda130", "openvino", "numpy", "scikit-learn")


class EvaluationError(ValueError):
    """The pictures or the server do not allow an evaluation; the message says why."""


@dataclass(frozen=True)
class EvaluationOptions:
    """What is evaluated, and how.

    Args:
        data: a CSV manifest, or a folder with manifest.csv or with real/ and fake/.
        out: folder to write.
        url: host:port of a running server; one is started and stopped where it is not given.
        profile: of the server that is started.
        splits: comma-separated; test and cross, as far as there are any, where it is not given.
        baseline: ONNX graph to compare with, or its scores; may be given several times.
        budgets: TOML file of what the model must reach.
        robustness: pictures of a class and split that are damaged; 0 for none.
        floor: pictures of train that the floor of global statistics is fitted on; 0 for none.
        rounds: of every bootstrap.
        split_seed: of splits that the data do not name, as for `export data`.
        seed: of every random choice.
    """

    data: Path
    out: Path = Path("runs/evaluation")
    url: str | None = None
    profile: str = "embedded-cpu"
    splits: str = ""
    baseline: UseAppendAction[tuple[Path, ...]] = ()
    budgets: Path = BUDGETS
    robustness: int = 100
    floor: int = 4000
    rounds: int = 1000
    split_seed: int = 20
    seed: int = 0

    @property
    def split_names(self) -> tuple[str, ...]:
        """The splits that were asked for by name."""
        return tuple(name.strip() for name in self.splits.split(",") if name.strip())


def evaluate(options: EvaluationOptions) -> dict:
    """Scores, analyses and writes everything; returns the report."""
    started, commit = time.monotonic(), machine.commit() or ""
    budgets = decision.read_budgets(options.budgets)
    if len({path.stem for path in options.baseline}) < len(options.baseline):
        raise EvaluationError("two baselines have one name, and the report calls them by it: rename one of the files")
    samples = _split_samples(options)
    options.out.mkdir(parents=True, exist_ok=True)
    with connect(options.url, options.profile) as client:
        status = client.status()
        judged = {name: judge_samples(client, folder_of(options.data), part, name) for name, part in samples.items()}
        _check_faces(judged)
        splits = {name: analysis.analyse(part, options.rounds, options.seed) for name, part in judged.items()}
        if options.robustness:
            for name, part in judged.items():
                splits[name] |= _robustness(client, options, part, splits[name]["threshold"])
    _compare(options, judged, splits)
    rows = decision.judge_budgets(budgets, splits)
    report = {
        "decision": decision.decide(rows, splits, decision.unmeasured(budgets, splits)),
        "budgets": rows,
        "splits": splits,
        "model": _model(judged),
        "measured": _measured(options, status.version, time.monotonic() - started) | {"commit": commit},
    }
    _write_scores(options.out / "scores.csv", judged)
    write_text(options.out / "report.json", json.dumps(_jsonable(report), indent=2) + "\n")
    write_html(options.out / "report.html", report, {name: columns(part) for name, part in judged.items()})
    return report


def _split_samples(options: EvaluationOptions) -> dict[str, list[Sample]]:
    """The pictures of each split; raises ManifestError where one that was asked for holds none."""
    samples = read_samples(options.data, options.split_names or DEFAULT_SPLITS, options.out, options.split_seed)
    parts = {name: [s for s in samples if s.split == name] for name in options.split_names or DEFAULT_SPLITS}
    empty = [name for name, part in parts.items() if not part]
    if len(empty) == len(parts) or (options.splits and empty):
        raise ManifestError(f"{options.data} has no pictures in {', '.join(empty)}; see --splits")
    return {name: part for name, part in parts.items() if part}


def _check_faces(judged: dict[str, list[Judged]]) -> None:
    for name, part in judged.items():
        if not any(j.found for j in part):
            raise EvaluationError(f"no face was found in any picture of {name}; are these photographs of people?")


def _robustness(client: Client, options: EvaluationOptions, judged: list[Judged], threshold: float) -> dict:
    """`robustness` of a random part of the split, after each kind and strength of damage; empty with one class only."""
    known = {j.sample: j for j in judged}
    chosen = robustness.subset([j.sample for j in judged if j.found], options.robustness, options.seed)
    if not chosen:
        return {}
    settings = (threshold, options.rounds, options.seed)
    curves = []
    for damage in robustness.DAMAGES:
        points = []
        for strength in damage.strengths:
            images = robustness.damaged(folder_of(options.data), chosen, damage, strength, options.seed)
            verdicts = judge(client, images, len(chosen), f"{chosen[0].split}: {damage.unit} {strength:g}")
            pairs = [Judged(s, v) for s, v in zip(chosen, verdicts, strict=True)]
            points.append({"strength": strength} | analysis.robustness_point(pairs, *settings))
        curves.append({"name": damage.name, "unit": damage.unit, "points": points})
    untouched = analysis.robustness_point([known[sample] for sample in chosen], *settings)
    return {"robustness": {"untouched": untouched, "curves": curves}}


def _compare(options: EvaluationOptions, judged: dict[str, list[Judged]], splits: dict[str, dict]) -> None:
    """Adds `comparison` to each split: the floor of global statistics, and every baseline."""
    floor = (options.split_seed, options.floor)
    train = read_samples(options.data, ("train",), options.out, *floor) if options.floor else []
    folder = folder_of(options.data)
    models = comparison.fit_floors(folder, train)
    kept: dict[str, dict[str, float]] = {path.stem: {} for path in options.baseline}
    for name, part in judged.items():
        found = [j for j in part if j.found]
        rivals = comparison.floors(models, folder, [j.sample for j in found])
        for path in options.baseline:
            rivals[path.stem] = comparison.baseline(path, folder, found)
            kept[path.stem] |= zip((j.sample.name for j in found), rivals[path.stem], strict=True)
        splits[name]["comparison"] = analysis.compare(columns(found), rivals, options.rounds, options.seed)
    for baseline, scores in kept.items():
        comparison.write_scores(options.out / "baselines" / f"{baseline}.csv", scores)


def _model(judged: dict[str, list[Judged]]) -> dict:
    """What made the verdicts: raises EvaluationError where the model changed on the way."""
    made = {(j.verdict.model_version, j.verdict.threshold) for part in judged.values() for j in part if j.found}
    if len(made) > 1:
        raise EvaluationError("the server changed its model or thresholds during the evaluation; run it again")
    number, threshold = made.pop()
    return {"version": number, "real_below": threshold.real_below, "fake_from": threshold.fake_from}


def _measured(options: EvaluationOptions, triton: str, seconds: float) -> dict:
    """Where, when and with what the figures were measured."""
    cpu = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), ": unknown")
    return {
        "command": _command(options),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "duration_s": round(seconds),
        "server": options.url or f"started here, profile {options.profile}",
        "triton": triton,
        "machine": f"{cpu.partition(':')[2].strip()}, {len(os.sched_getaffinity(0))} cores",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in VERSIONED},
        "seed": options.seed,
        "rounds": options.rounds,
    }


def _command(options: EvaluationOptions) -> str:
    """What repeats the figures; folders by name alone, since a report is passed on."""
    words = ["python", "-m", "export", "evaluate"]
    for field in fields(options):
        value = getattr(options, field.name)
        if value != field.default:
            for item in value if isinstance(value, tuple) else [value]:
                words += [f"--{field.name.replace('_', '-')}", item.name if isinstance(item, Path) else str(item)]
    return shlex.join(words)


def _write_scores(path: Path, judged: dict[str, list[Judged]]) -> None:
    names = ["path", "clip", "label", "source", "split", "group", "verdict", "fake_probability", "faces"]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, "sharpness", "brightness", "side_px", "error"])
        for j in (j for part in judged.values() for j in part):
            s, v = j.sample, j.verdict
            quality = v.face.quality.to_json().values() if v.face else ["", "", ""]
            truth = "fake" if s.label else "real"
            row = [s.path, s.clip, truth, s.source, s.split, s.group, v.label, v.fake_probability, len(v.faces)]
            writer.writerow([*row, *quality, v.error or ""])


def _jsonable(value):
    """NaN and infinity as null, which is all that JSON has for them."""
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def main(options: EvaluationOptions) -> int:
    """Is the served model good enough, and for what? Exit code: 0 floors met, 1 not, 2 not evaluated."""
    try:
        report = evaluate(options)
    except (ValueError, OSError, FacewardenError, ServingError) as exc:
        print(f"not evaluated: {exc}", file=sys.stderr)
        return 2
    print(f"{report['decision']['headline']}. {report['decision']['why']}")
    print(f"report: {options.out / 'report.html'}")
    return int(report["decision"]["deploy"] == "no")
