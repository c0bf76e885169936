"""Settings: tables of TOML files by msgspec, command lines by tyro."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import tyro

T = TypeVar("T")


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of what a table of a TOML file holds. `__post_init__` raises ValueError for values that do not fit."""


def read_toml(path: Path, kind: type[T]) -> T:
    """The file as an object of `kind`; ValueError that names the file and the key for what does not belong there."""
    try:
        return msgspec.toml.decode(path.read_bytes(), type=kind)
    except msgspec.MsgspecError as exc:
        raise ValueError(f"{path}: {exc}") from exc


def command_line(
    commands: Callable[..., int] | Mapping[str, Callable[..., int]],
    program: str,
    description: str | None = None,
    arguments: Sequence[str] | None = None,
) -> int:
    """Runs a function with the command line as its arguments; returns its exit code.

    Args:
        commands: one function, or several by the name of their subcommand. Their docstrings are the help.
        program: how a user calls it.
        arguments: in place of those of this process.

    Ends the process with exit code 2 for arguments that do not fit.
    """
    config = (tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes)
    given: dict[str, Any] = {"prog": program, "description": description, "config": config}
    given["args"] = sys.argv[1:] if arguments is None else arguments
    if callable(commands):
        return int(tyro.cli(commands, **given))
    return int(tyro.extras.subcommand_cli_from_dict(dict(commands), **given))
