"""Versions of the classifier: which one is served, and going back to an earlier one.

Triton serves the highest number that is there. Going back therefore moves the newer versions aside, into `withdrawn/`
beside the model repository, where no server scans. Nothing is deleted or written over, and no number is used twice.
Folders are forced to the disk and renamed, so that a server sees all of a version or none of it.
"""

from __future__ import annotations

import os
from pathlib import Path

from serving.classifier.manifest import check_files
from serving.errors import VersionError
from serving.paths import REPOSITORY

ROLL_BACK = "python -m serving roll-back"
TAKE_UP = "a running server takes it up on: kill -USR1 <pid of python -m serving start>"


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


def roll_back(number: int | None = None, repository: Path = REPOSITORY) -> int:
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
