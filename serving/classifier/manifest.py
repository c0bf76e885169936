"""A version of the classifier is data: graphs, fitted constants, and `manifest.json`, which says what they are.

Host code is the server's. `format` is the number of the agreement between both: names of files, inputs and outputs of
the graphs, meaning of the manifest's keys. A change that an older server cannot serve takes a new number.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from serving.errors import VersionError
from serving.files import digest

FORMAT = 1
NAME = "manifest.json"


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a version, empty where there is none; VersionError where it was made for a newer server."""
    path = folder / NAME
    manifest: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    found = manifest.get("format", FORMAT)
    if found > FORMAT:
        raise VersionError(
            f"version {folder.name} of the classifier has format {found} and this server reads up to {FORMAT}; "
            "update Facewarden, or serve another version: python -m serving roll-back"
        )
    return manifest


def check_files(folder: Path) -> dict[str, Any]:
    """The manifest of a version; VersionError where a file is not the one that it describes."""
    try:
        manifest = read_manifest(folder)
        wrong = [name for name, expected in manifest["files"].items() if digest(folder / name) != expected]
        number = manifest["model_version"]
    except (OSError, ValueError, KeyError) as exc:
        raise VersionError(f"{folder} is no published version: {exc!r}") from exc
    if wrong or number != int(folder.name):
        raise VersionError(f"{folder} is not what its manifest describes ({wrong or 'number'}); publish it again")
    return manifest
