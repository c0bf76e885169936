"""Versions of the classifier: which one is served, and going back to an earlier one. `python -m serving.versions`

Triton serves the highest number that is there. Going back therefore moves the newer versions aside, into `withdrawn/`
beside the model repository, where no server scans; nothing is deleted or written over, and no number is used twice.
Folders are forced to the disk and renamed, so that a server sees all of a version or none of it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path

from .errors import VersionError
from .installation import ROOT

REPOSITORY = ROOT / "model_repository"
ROLLBACK = "python -m serving.versions rollback"
TAKE_UP = "a running server takes it up on: kill -USR1 <pid of python -m serving>"


def versions(model: Path) -> list[int]:
    """Numbers of a model's version folders, lowest first; Triton ignores leading zeros, and so does this."""
    names = [path.name for path in model.iterdir() if path.is_dir()] if model.is_dir() else []
    return sorted(int(name) for name in names if name.isdecimal() and str(int(name)) == name)


def newest(model: Path) -> Path:
    """Folder of the version that is served, the highest; `1` where there is none yet."""
    return model / str(max(versions(model), default=1))


def withdrawn(repository: Path) -> Path:
    """Where versions of the classifier are that must not be served; drafts are made there too."""
    return repository.parent / "withdrawn" / "classifier"


def next_number(repository: Path) -> int:
    """One more than the highest version ever published here."""
    return 1 + max(versions(repository / "classifier") + versions(withdrawn(repository)), default=0)


def rollback(number: int | None = None, repository: Path = REPOSITORY) -> int:
    """Makes an earlier version, or one that was withdrawn, the one that is served; returns its number.

    Args:
        number: the version before the served one where it is None.

    Raises VersionError where there is no such version, or where its files are not those that were published.
    """
    model, aside = repository / "classifier", withdrawn(repository)
    here, away = versions(model), versions(aside)
    if number is None and len(here) > 1:
        number = here[-2]
    if number is None or number not in here + away:
        raise VersionError(f"no version {number or 'before the served one'}; here: {here}, withdrawn: {away}")
    check_files((model if number in here else aside) / str(number))
    if number in away:
        move(aside / str(number), model / str(number))
    for newer in (n for n in here if n > number):  # lowest first: the one that is served stays to the last
        aside.mkdir(parents=True, exist_ok=True)
        move(model / str(newer), aside / str(newer))
    return number


def check_files(folder: Path) -> dict:
    """The manifest of a version; raises VersionError where a file is not the one that it describes."""
    try:
        manifest: dict = json.loads((folder / "manifest.json").read_text())
        wrong = [name for name, expected in manifest["files"].items() if digest(folder / name) != expected]
        number = manifest["model_version"]
    except (OSError, ValueError, KeyError) as exc:
        raise VersionError(f"{folder} is no published version: {exc!r}") from exc
    if wrong or number != int(folder.name):
        raise VersionError(f"{folder} is not what its manifest describes ({wrong or 'number'}); publish it again")
    return manifest


def check_host(folder: Path) -> None:
    """Raises VersionError where a version's host cannot serve a CPU: it has to decode, and to know of INT8."""
    for name, word in (("model.py", "decoder"), ("runtimes.py", "model.int8.onnx")):
        host = folder / name
        if not host.is_file() or word not in host.read_text():
            raise VersionError(
                f"version {folder.name} of the classifier has no model.py that decodes and runtimes.py that knows "
                f"INT8, as embedded-cpu needs them; copy both of the shipped version into {folder}, or serve another: "
                f"{ROLLBACK} NUMBER"
            )


def runtime_of(folder: Path) -> str:
    """What a version's manifest says it needs on a CPU in place of OpenVINO; empty where it says nothing."""
    manifest = folder / "manifest.json"
    return str(json.loads(manifest.read_text()).get("runtime", "")) if manifest.is_file() else ""


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def move(source: Path, target: Path) -> None:
    """Renames a folder: its content is on the disk before, its new name after; nothing is replaced."""
    if target.exists():
        raise VersionError(f"{target} exists and is never written over")
    for path in (*source.rglob("*"), source):
        _sync(path)
    try:
        os.rename(source, target)
    except OSError as exc:
        raise VersionError(
            f"{source} cannot become {target} ({exc.strerror}); both must be on one file system"
        ) from exc
    _sync(target.parent)
    _sync(source.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def main() -> int:
    """Command line entry: 0 done, 1 refused, 2 usage."""
    parser = argparse.ArgumentParser(prog="python -m serving.versions", description="Versions of the classifier.")
    parser.add_argument("--repository", type=Path, default=REPOSITORY, help="default %(default)s")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the versions here; the highest is served")
    back = commands.add_parser("rollback", help="serve an earlier version, or one that was withdrawn")
    back.add_argument("number", type=int, nargs="?", help="default: the one before the served one")
    arguments = parser.parse_args()
    repository = arguments.repository.resolve()
    try:
        if arguments.command == "rollback":
            print(f"version {rollback(arguments.number, repository)} is the one to serve; {TAKE_UP}")
    except VersionError as exc:
        print(f"not rolled back: {exc}", file=sys.stderr)
        return 1
    print(f"here: {versions(repository / 'classifier')}; withdrawn: {versions(withdrawn(repository))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
