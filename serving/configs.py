"""A model's configuration for a profile, by the protobuf that Triton reads it with."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from .paths import REPOSITORY


def config_path(repository: Path, model: str, profile: str) -> Path:
    """`configs/<profile>.pbtxt` where a profile has a file of its own, else `config.pbtxt`: as Triton chooses."""
    own = repository / model / "configs" / f"{profile}.pbtxt"
    return own if own.is_file() else repository / model / "config.pbtxt"


def read_config(repository: Path, model: str, profile: str) -> ModelConfig:
    """What Triton reads for this profile; ParseError where it would refuse the file."""
    return text_format.Parse(config_path(repository, model, profile).read_text(), ModelConfig())


def write_config(repository: Path, model: str, profile: str, config: ModelConfig) -> None:
    """Writes a profile's file of a copy of the repository. Comments are lost, so the repository's own is refused."""
    path = repository / model / "configs" / f"{profile}.pbtxt"
    if path.is_relative_to(REPOSITORY):
        raise ValueError(f"{path} is the repository's own; write to a copy")
    path.parent.mkdir(exist_ok=True)
    path.write_text(text_format.MessageToString(config))
