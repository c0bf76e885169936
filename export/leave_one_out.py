"""A configuration, trained without one source of fakes at a time -> how well it finds what it has never seen.

It reads data and a configuration as `run` does. It trains the stages once on everything and once without each source
that is named. It writes leave-one-out.json and prints a table: the AUC of that source's fakes in the split test against
the genuine faces there, and how much higher it is where the source was trained on. The difference is paired: both look
at the same faces, resampled by photograph. Starting weights and teachers must not have seen what is left out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tyro.conf import Positional

from reports import machine
from reports.tables import markdown
from serving.settings import read_toml

from .chain import CONFIGS, ChainConfig, check_files, train_stages
from .data.faces import TrainingFace, collect, of_split, require_both_classes
from .data.sources import FAKE, REAL, folder_of
from .errors import ManifestError, UsageError
from .metrics import beside
from .options import Data, Out
from .synthesis.batches import Loader
from .training.train import logits
from .training.weights import trained


def leave_one_out(
    config: ChainConfig, data: Path, out: Path, sources: Sequence[str], init: Path | None = None
) -> list[dict[str, Any]]:
    """Trains what is not there yet; a row for each source. Raises ManifestError for one without fakes in test."""
    check_files(config, out)
    faces, folder = collect(data, out, config.data).faces, folder_of(data)
    require_both_classes(faces, ("train", "test"))
    shown = {source: _shown(faces, source) for source in sources}
    everything = train_stages(config, faces, folder, out / "everything", out, init)
    rows = []
    for source, pictures in shown.items():
        print(f"\n==== without {source}", flush=True)
        kept = [face for face in faces if face.source != source]
        without = train_stages(config, kept, folder, out / "without" / source, out, init)
        (labels, seen), (_, unseen) = (_logits(checkpoint, folder, pictures) for checkpoint in (everything, without))
        groups = np.array([face.group for face in pictures])
        rows.append({"source": source, "images": len(labels), **beside(labels, seen, unseen, groups)})
    return rows


def _shown(faces: Sequence[TrainingFace], source: str) -> list[TrainingFace]:
    """The fakes of one source in the split test, and every genuine face there."""
    test = of_split(faces, "test")
    fakes = [face for face in test if face.source == source and face.label == FAKE]
    if not fakes:
        raise ManifestError(f"the split test has no fakes of the source {source!r}; name a source that has some")
    return fakes + [face for face in test if face.label == REAL]


def _logits(checkpoint: Path, folder: Path, faces: Sequence[TrainingFace]) -> tuple[np.ndarray, np.ndarray]:
    net, config = trained(checkpoint)
    return logits(net, Loader(folder, config.batch_size, config.seed).plain(faces))


def page(rows: Sequence[dict[str, Any]]) -> str:
    """The table for a document."""
    cells = [
        (
            row["source"],
            row["images"],
            "{:.3f} ({:.3f}-{:.3f})".format(row["auc"], *row["interval"]),
            "{:+.3f} ({:+.3f} to {:+.3f})".format(row["gain"], *row["gain_interval"]),
        )
        for row in rows
    ]
    return markdown(("source left out", "images", "AUC", "higher where trained on"), cells)


def main(
    sources: Positional[tuple[str, ...]],
    data: Data,
    out: Out,
    config: Path = CONFIGS / "teacher.toml",
    init: Path | None = None,
) -> int:
    """Trains, and prints the table.

    Args:
        sources: those of fakes, each left out once.
        config: the configuration, a TOML file.
        init: starting weights of stages that name none.
    """
    if not sources:
        raise UsageError("name one source of fakes or more")
    rows = leave_one_out(read_toml(config, ChainConfig), data, out, sources, init)
    about = {"machine": machine.machine(), "versions": machine.versions(), "commit": machine.commit()}
    report = {"sources": rows, "config": config.name, **about}
    (out / "leave-one-out.json").write_text(json.dumps(report, indent=2) + "\n")
    print("\n" + page(rows))
    return 0
