"""Photographs and videos -> the faces in them. The served detector finds them, and the run's folder keeps them.

It reads what `sources.py` lists. Into the run's folder it writes `faces.jsonl` (one line for each file, so that an
interrupted search goes on), `frames/` (of videos, PNG), `rejected.csv` (what is broken or shows no face, and why),
`duplicates.csv` and `data.json` (the settings). It fails where two splits share pictures.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import msgspec
from tabulate import tabulate

from serving.settings import Settings

from ..options import Data, Out
from .duplicates import Duplicate, across_splits
from .face_search import search_files
from .sources import FAKE, LABELS, REAL, Item, ManifestError, folder_of, read_items

SHOWN = 10
SPLITS = ("train", "val", "test", "cross")


class DataConfig(Settings):
    """Settings of the search, saved beside what it found: later stages of the run go by them."""

    frames_per_video: int = 8  # evenly spaced
    seed: int = 20  # of the split of what has none
    drop_duplicates: bool = False  # leave what is nearly the same in a later split out of train and val

    def __post_init__(self) -> None:
        if self.frames_per_video < 1:
            raise ValueError(f"frames_per_video must be at least 1, got {self.frames_per_video}")


@dataclass(frozen=True)
class TrainingFace:
    """The largest face of one photograph or frame: box x0, y0, x1, y1 in pixels of the upright picture.

    path: of a photograph relative to the data folder; of a frame absolute, its PNG in the run's folder.
    group: what never crosses splits: a source photograph, a person, a video and its fakes.
    video: path of the video that it is a frame of, to score its frames together; empty for a photograph.
    """

    path: str
    label: int
    source: str
    split: str
    box: tuple[float, float, float, float]
    height: int
    width: int
    group: str
    video: str

    @property
    def file(self) -> str:
        """The photograph or the video."""
        return self.video or self.path


@dataclass(frozen=True)
class Collection:
    """What a data folder holds. rejected: (file, what of it, reason); duplicates: index pairs into `found`."""

    found: list[TrainingFace]
    rejected: list[tuple[Item, str, str]]
    duplicates: list[Duplicate]
    config: DataConfig
    hashes: list[str]  # of each of `found`, see duplicates.py

    @property
    def leaking(self) -> set[str]:
        """Files of train and val that are nearly the same as one of a later split."""
        return {self.found[pair.learned].file for pair in self.duplicates}

    @property
    def faces(self) -> list[TrainingFace]:
        """The faces to go on with; raises ManifestError where splits share pictures that may not be dropped."""
        leaking = self.leaking
        if leaking and not self.config.drop_duplicates:
            raise ManifestError(_refusal(self.found, self.duplicates))
        return [face for face in self.found if face.file not in leaking]


def of_split(faces: Sequence[TrainingFace], name: str) -> list[TrainingFace]:
    """The faces of one split."""
    return [face for face in faces if face.split == name]


def digest_of(faces: Sequence[TrainingFace]) -> str:
    """SHA-256 of what these faces are: files, labels and boxes, in any order."""
    return sha256(repr(sorted((face.path, face.label, face.box) for face in faces)).encode()).hexdigest()


def real_of(faces: Sequence[TrainingFace]) -> list[TrainingFace]:
    """The genuine ones."""
    return [face for face in faces if face.label == REAL]


def require_both_classes(faces: Sequence[TrainingFace], splits: Sequence[str]) -> None:
    """Raises ManifestError where one of these splits lacks real or fake faces."""
    there = {(face.split, face.label) for face in faces}
    missing = [
        f"{name} of {split}" for split in splits for name, label in LABELS.items() if (split, label) not in there
    ]
    if missing:
        raise ManifestError(
            f"there are no faces that are {', '.join(missing)}; give each split some of both in the manifest, or leave "
            "its column split empty; in a folder, pictures below real/SOURCE/NAME and fake/SOURCE/NAME are one group, "
            "which goes into one split"
        )


def find_faces(data: Path, out: Path, config: DataConfig | None = None) -> list[TrainingFace]:
    """The faces of `data` (see `sources.read_items`); says how much was rejected. Raises ManifestError."""
    collection = collect(data, out, config)
    faces = collection.faces
    print(
        f"{len(faces)} faces, {len(collection.rejected)} rejected ({out / 'rejected.csv'}), "
        f"{len(collection.leaking)} files dropped as duplicates"
    )
    return faces


def known_faces(data: Path, out: Path) -> list[TrainingFace]:
    """The faces of pictures whose truth is settled, apart from the data to learn from; their paths are absolute.

    ManifestError where one of them is broken or shows no face.
    """
    collection = collect(data, out)
    if collection.rejected:
        lines = "".join(f"\n  {what}: {reason}" for _, what, reason in collection.rejected)
        raise ManifestError(f"{data}: every known picture must show a face; mend or remove{lines}")
    return [replace(face, path=str((folder_of(data) / face.path).resolve())) for face in collection.found]


def collect(data: Path, out: Path, config: DataConfig | None = None) -> Collection:
    """Searches what `out` does not hold yet. Without `config`, the settings are those that `out` was made with."""
    settings = out / "data.json"
    if config is None:
        config = msgspec.json.decode(settings.read_bytes(), type=DataConfig) if settings.exists() else DataConfig()
    items = read_items(data, config.seed)
    out.mkdir(parents=True, exist_ok=True)
    settings.write_bytes(msgspec.json.format(msgspec.json.encode(config)) + b"\n")
    lines = search_files(items, folder_of(data), out, config.frames_per_video)
    pairs = list(zip(items, lines, strict=True))
    found = [_face(item, picture, out) for item, line in pairs for picture in line["pictures"]]
    rejected = [(item, what, reason) for item, line in pairs for what, reason in line["rejected"]]
    hashes = [picture["hash"] for line in lines for picture in line["pictures"]]
    duplicates = across_splits(hashes, [face.split for face in found]) if found else []
    _write(out / "rejected.csv", ("path", "reason"), ((what, reason) for _, what, reason in rejected))
    rows = ((found[a].path, found[a].split, found[b].path, found[b].split, d) for a, b, d in duplicates)
    _write(out / "duplicates.csv", ("path", "split", "like_path", "like_split", "distance_bits"), rows)
    return Collection(found, rejected, duplicates, config, hashes)


def table(collection: Collection) -> str:
    """Faces of each source and label by split, with their videos, what was rejected and what two splits share."""
    found, leaking = collection.found, collection.leaking
    splits = sorted({face.split for face in found}, key=lambda name: (name not in SPLITS, (*SPLITS, name).index(name)))
    columns = {split: Counter(map(_kind, of_split(found, split))) for split in splits}
    columns["videos"] = Counter(kind for kind, _ in {(_kind(face), face.video) for face in found if face.video})
    columns["rejected"] = Counter(_kind(item) for item, _, _ in collection.rejected)
    columns["duplicates"] = Counter(_kind(face) for face in found if face.file in leaking)
    kinds = sorted(set().union(*columns.values()))
    rows = [(*kind, *(column[kind] for column in columns.values())) for kind in kinds]
    total = ("all", "", *(column.total() for column in columns.values()))
    return tabulate([*rows, total], ("source", "label", *columns), tablefmt="plain", disable_numparse=[0, 1])


def _kind(item: TrainingFace | Item) -> tuple[str, str]:
    return item.source, "fake" if item.label == FAKE else "real"


def _face(item: Item, picture: dict, out: Path) -> TrainingFace:
    path = str((out / picture["file"]).resolve()) if picture["file"] else item.path
    video = item.path if item.is_video else ""
    box, height, width = tuple(picture["box"]), picture["height"], picture["width"]
    return TrainingFace(path, item.label, item.source, item.split, box, height, width, item.group, video)


def _refusal(found: list[TrainingFace], duplicates: list[Duplicate]) -> str:
    files = {(found[a].file, found[a].split, found[b].file, found[b].split) for a, b, _ in duplicates}
    shown = "".join(f"\n  {a} ({a_split}) and {b} ({b_split})" for a, a_split, b, b_split in sorted(files)[:SHOWN])
    more = f"\n  and {len(files) - SHOWN} pairs more" if len(files) > SHOWN else ""
    return (
        f"{len(files)} pairs of files in different splits show nearly the same face (all in duplicates.csv):"
        f"{shown}{more}\n"
        "Give each pair one split in the manifest, or run `python -m export data` with --drop-duplicates, which leaves "
        "the first of each pair out."
    )


def _write(path: Path, header: tuple[str, ...], rows: Iterable[tuple]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def main(data: Data, out: Out, config: DataConfig) -> int:
    """Searches, and prints the table of what was found."""
    collection = collect(data, out, config)
    print(table(collection))
    print(f"{len(collection.faces)} faces to go on with; rejected files are listed in {out / 'rejected.csv'}")
    return 0
