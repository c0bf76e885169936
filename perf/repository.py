"""A temporary copy of the model repository to try things in: another classifier, other settings."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from serving.versions import REPOSITORY, newest, next_number


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
    """Makes a graph the version that is served, hosted as the one before it was; returns its folder."""
    before = newest(repository / "classifier")
    folder = before.with_name(str(next_number(repository)))
    shutil.copytree(before, folder, ignore=shutil.ignore_patterns("*.onnx", "*.json", "*.pt", "*.plan", "__pycache__"))
    shutil.copy(onnx, folder / "model.onnx")
    return folder


def import_served(repository: Path = REPOSITORY) -> Path:
    """Makes `dali`, `dali_host` and `runtimes` importable, as the server runs them; returns the classifier's folder."""
    served = newest(repository / "classifier")
    sys.path[:0] = [str(repository / "preprocess" / "1"), str(served)]
    return served


def served_graph() -> Path:
    """The classifier's graph that a CPU computes."""
    served = import_served()
    from runtimes import int8_or_f32

    return int8_or_f32(served)


def config_path(repository: Path, model: str, profile: str) -> Path:
    """Where a model's configuration for a profile is."""
    return repository / model / "configs" / f"{profile}.pbtxt"


def read_config(repository: Path, model: str, profile: str) -> ModelConfig:
    """A model's configuration, by the protobuf that Triton reads it with."""
    return text_format.Parse(config_path(repository, model, profile).read_text(), ModelConfig())


def write_config(repository: Path, model: str, profile: str, config: ModelConfig) -> None:
    """Writes a configuration in place of a copy's; comments are lost, so never to the tracked repository."""
    path = config_path(repository, model, profile)
    if path.is_relative_to(REPOSITORY):
        raise ValueError(f"{path} is the repository's own; write to a copy")
    path.write_text(text_format.MessageToString(config))
