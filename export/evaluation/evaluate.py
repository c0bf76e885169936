"""A data folder -> one HTML page, JSON and the score of every picture: is the served model good enough, and for what?

    python -m export evaluate --data DATA            # starts the server; --url asks a running one

Reads a manifest, or real/ and fake/ folders (see `data/sources.py`). Writes report.html, report.json and scores.csv,
and each baseline's scores into baselines/. Every figure comes from the served path, and splits are never mixed.
Exit code 0: every floor of the budgets is kept; 1: one is missed or none was measured; 2: nothing could be evaluated.
"""

from __future__ import annotations

import csv
import json
import shlex
import sys
import time
from dataclasses import dataclass, fields
from pathlib import Path

from tyro.conf import UseAppendAction

from facewarden import FacewardenError
from reports import budgets, machine
from reports.page import write_text
from reports.tables import plain
from serving.errors import ServingError
from serving.files import replacing

from ..data.sources import ManifestError, folder_of
from . import analysis, comparison, decision, robustness
from .pictures import LabelledPicture, read_pictures
from .report import write_html
from .served import JudgedPicture, columns, connect, judge_pictures

BUDGETS = Path(__file__).with_name("budgets.toml")
DEFAULT_SPLITS = ("test", "cross")
VERSIONED = ("facewarden", "tritonclient", "numpy", "scikit-learn")


class EvaluationError(ValueError):
    """The pictures or the server do not allow an evaluation; the message says why."""


@dataclass(frozen=True)
class EvaluationOptions:
    """What is evaluated, and how.

    Args:
        data: a CSV manifest, or a folder with manifest.csv or with real/ and fake/.
        out: folder to write.
        url: host:port of a running server; without it, one is started and stopped.
        profile: deployment profile of the server that is started.
        splits: names, by commas; without them, test and cross where there are any.
        baseline: ONNX graph to compare with, or its scores; may be given several times.
        budgets: TOML file of what the model must reach.
        robustness: pictures to damage, of each class and split; 0 for none.
        floor: pictures of train to fit the floor of global statistics on; 0 for none.
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

    @property
    def command(self) -> str:
        """What repeats the figures. Folders stand by name alone, since a report is passed on."""
        words = ["python", "-m", "export", "evaluate"]
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                for item in value if isinstance(value, tuple) else [value]:
                    text = item.name if isinstance(item, Path) else str(item)
                    words += [f"--{field.name.replace('_', '-')}", text]
        return shlex.join(words)


def evaluate(options: EvaluationOptions) -> dict:
    """Scores, analyses and writes everything; returns the report."""
    started, told = time.monotonic(), machine.about(options.command, *VERSIONED)
    wanted = decision.read_budgets(options.budgets)
    if len({path.stem for path in options.baseline}) < len(options.baseline):
        raise EvaluationError("two baselines have one name, and the report calls them by it: rename one of the files")
    folder, pictures = folder_of(options.data), _by_split(options)
    with connect(options.url, options.profile) as client:
        triton = client.status().version
        judged = {name: judge_pictures(client, folder, part, name) for name, part in pictures.items()}
        _require_faces(judged)
        splits = {name: analysis.analyse(part, options.rounds, options.seed) for name, part in judged.items()}
        if options.robustness:
            for name, part in judged.items():
                settings = options.robustness, splits[name]["threshold"], options.rounds, options.seed
                splits[name] |= robustness.curves(client, folder, part, *settings)
    _compare(options, judged, splits)
    judgements = budgets.judge(wanted, decision.measured(splits))
    measured = {
        "duration_s": round(time.monotonic() - started),
        "server": options.url or f"started here, profile {options.profile}",
        "triton": triton,
        "seed": options.seed,
        "rounds": options.rounds,
    }
    report = {
        "decision": decision.decide(judgements, splits),
        "budgets": [decision.row(judgement) for judgement in judgements if not judgement.excused],
        "splits": splits,
        "model": _model(judged),
        "measured": told | measured,
    }
    _write_scores(options.out / "scores.csv", judged)
    write_text(options.out / "report.json", json.dumps(plain(report), indent=2) + "\n")
    write_html(options.out / "report.html", report, {name: columns(part) for name, part in judged.items()})
    return report


def _by_split(options: EvaluationOptions) -> dict[str, list[LabelledPicture]]:
    """The pictures of each split; raises ManifestError where one that was asked for holds none."""
    names = options.split_names or DEFAULT_SPLITS
    pictures = read_pictures(options.data, names, options.out, options.split_seed)
    parts = {name: [picture for picture in pictures if picture.split == name] for name in names}
    empty = [name for name, part in parts.items() if not part]
    if len(empty) == len(parts) or (options.split_names and empty):
        raise ManifestError(f"{options.data} has no pictures in {', '.join(empty)}; see --splits")
    return {name: part for name, part in parts.items() if part}


def _require_faces(judged: dict[str, list[JudgedPicture]]) -> None:
    for name, part in judged.items():
        if not any(j.found for j in part):
            raise EvaluationError(f"no face was found in any picture of {name}; are these photographs of people?")


def _compare(options: EvaluationOptions, judged: dict[str, list[JudgedPicture]], splits: dict[str, dict]) -> None:
    """Adds `comparison` to each split: the floor of global statistics, and every baseline."""
    folder, floor = folder_of(options.data), (options.split_seed, options.floor)
    train = read_pictures(options.data, ("train",), options.out, *floor) if options.floor else []
    models = comparison.fit_floors(folder, train)
    kept: dict[str, dict[str, float]] = {path.stem: {} for path in options.baseline}
    for name, part in judged.items():
        found = [j for j in part if j.found]
        rivals = comparison.floors(models, folder, [j.picture for j in found])
        for path in options.baseline:
            rivals[path.stem] = comparison.baseline(path, folder, found)
            kept[path.stem] |= zip((j.picture.name for j in found), rivals[path.stem], strict=True)
        splits[name]["comparison"] = analysis.compare(columns(found), rivals, options.rounds, options.seed)
    for baseline, scores in kept.items():
        comparison.write_scores(options.out / "baselines" / f"{baseline}.csv", scores)


def _model(judged: dict[str, list[JudgedPicture]]) -> dict:
    """What made the verdicts; raises EvaluationError where the model changed on the way."""
    made = {(j.verdict.model_version, j.verdict.threshold) for part in judged.values() for j in part if j.found}
    if len(made) > 1:
        raise EvaluationError("the server changed its model or thresholds during the evaluation; run it again")
    number, threshold = made.pop()
    return {"version": number, "real_below": threshold.real_below, "fake_from": threshold.fake_from}


def _write_scores(path: Path, judged: dict[str, list[JudgedPicture]]) -> None:
    names = ["path", "clip", "label", "source", "split", "group", "verdict", "fake_probability", "faces"]
    with replacing(path) as draft, draft.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, "sharpness", "brightness", "side_px", "error"])
        for j in (j for part in judged.values() for j in part):
            p, v = j.picture, j.verdict
            quality = v.face.quality.to_json().values() if v.face else ["", "", ""]
            row = [p.path, p.clip, analysis.TRUTHS[p.label], p.source, p.split, p.group]
            writer.writerow([*row, v.label, v.fake_probability, len(v.faces), *quality, v.error or ""])


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
