"""A temporary copy of the model repository to try things in: another classifier, other settings."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.classifier.runtimes import int8_or_f32
from serving.paths import REPOSITORY
from serving.supervisor.versions import newest, next_number


@contextmanager
def repository_copy(onnx: Path | None = None, source: Path = REPOSITORY) -> Iterator[Path]:
    """A copy that is gone afterwards; with `onnx` that graph is its newest classifier."""
    with tempfile.TemporaryDirectory(prefix="facewarden-") as scratch:
        copy = Path(scratch) / source.name
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__", "model.fp16.onnx"))
        if onnx:
            add_classifier(copy, onnx)
        yield copy


def add_classifier(repository: Path, onnx: Path) -> Path:
    """Makes a graph the version that is served; returns its folder."""
    folder = repository / "classifier" / str(next_number(repository))
    folder.mkdir()
    shutil.copy(onnx, folder / "model.onnx")
    return folder


def served_graph() -> Path:
    """The classifier's graph that a CPU computes."""
    return int8_or_f32(newest(REPOSITORY / "classifier"))
