"""Folders real/ and fake/, or a CSV manifest -> the files to learn from, with label, source, group and split.

A group is what belongs together: one photograph, person or video. It never crosses splits.
"""

from __future__ import annotations

import csv
import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from ..errors import ManifestError

REAL, FAKE = 0, 1
LABELS = {"real": REAL, "fake": FAKE}
VIDEO_SUFFIXES = frozenset((".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp"))
SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}  # of the groups that the manifest gives no split


@dataclass(frozen=True)
class Item:
    """One photograph or video; `path` is relative to the data folder, or absolute."""

    path: str
    label: int
    source: str
    group: str
    split: str

    @property
    def is_video(self) -> bool:
        """Whether the name is that of a video; everything else is taken for a photograph."""
        return PurePath(self.path).suffix.lower() in VIDEO_SUFFIXES


def folder_of(data: Path) -> Path:
    """The folder that paths are relative to: `data` itself, or that of the manifest that it names."""
    return data if data.is_dir() else data.parent


def read_items(data: Path, seed: int) -> list[Item]:
    """Every file of the data.

    Args:
        data: a CSV manifest, a folder with `manifest.csv`, or a folder with `real/` and `fake/`.
        seed: of the split of what has none; the same group, seed and shares give the same split.

    Raises:
        ManifestError: a column is missing, a label unknown, a path given twice, or a group in two splits.
    """
    manifest = data / "manifest.csv" if data.is_dir() else data
    items = _read_manifest(manifest) if manifest.is_file() else _walk(data)
    if not items:
        raise ManifestError(f"{data} has no files; give a CSV manifest, or photographs and videos in real/ and fake/")
    return _with_splits(items, seed)


def split_of(group: str, seed: int) -> str:
    """The split of a group by its hash alone, so that what is added later moves nothing."""
    share = int.from_bytes(hashlib.sha256(f"{seed}:{group}".encode()).digest()[:8], "big") / 2**64
    for name, width in SHARES.items():
        if share < width:
            return name
        share -= width
    return name  # a rounding error above the last share


def _read_manifest(path: Path) -> list[Item]:
    with path.open(newline="", encoding="utf-8-sig") as file:  # Excel writes a byte order mark
        reader = csv.DictReader(file)
        missing = {"path", "label"} - set(reader.fieldnames or ())
        if missing:
            raise ManifestError(f"{path} lacks the columns {sorted(missing)}; it has {reader.fieldnames}")
        lines: dict[str, int] = {}
        items = []
        for row in reader:
            name, number = row["path"], reader.line_num
            if not name or row["label"] not in LABELS:
                raise ManifestError(f"{path} line {number}: needs a path and a label, real or fake, got {row}")
            if name in lines:
                raise ManifestError(f"{path} line {number}: {name} is on line {lines[name]} already; remove one")
            lines[name] = number
            source = row.get("source") or PurePath(name).parent.name or row["label"]
            group = row.get("group") or row.get("photo") or name
            items.append(Item(name, LABELS[row["label"]], source, group, row.get("split") or ""))
    return items


def _walk(data: Path) -> list[Item]:
    """Files below real/ and fake/; the first subfolder is the source, pictures in a deeper one are one group.

    A group is named by what lies below the source, so that real/camera/033 and fake/swap/033 stay together.
    """
    items = []
    for label, number in LABELS.items():
        names = (Path(folder, name) for folder, _, files in os.walk(data / label, followlinks=True) for name in files)
        for path in sorted(path.relative_to(data) for path in names if not path.name.startswith(".")):
            source = path.parts[1] if len(path.parts) > 2 else label
            item = Item(path.as_posix(), number, source, path.as_posix(), "")
            deep = len(path.parts) > 3 and not item.is_video
            items.append(replace(item, group="/".join(path.parts[2:-1])) if deep else item)
    return items


def _with_splits(items: list[Item], seed: int) -> list[Item]:
    splits: dict[str, str] = {}
    for item in items:
        if item.split and splits.setdefault(item.group, item.split) != item.split:
            raise ManifestError(
                f"{item.path} is in split {item.split}, but its group {item.group} is in {splits[item.group]} as well; "
                "give all of a group one split"
            )
    return [replace(item, split=splits.get(item.group) or split_of(item.group, seed)) for item in items]
