"""A data folder -> the pictures to evaluate: its photographs, and evenly spaced frames of its videos.

`sources.py` reads the folder or manifest, as for training; frames are written beside the report, without loss.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..data.sources import folder_of, read_items
from ..data.videos import VideoError, frames

FRAMES = 16  # of each video


@dataclass(frozen=True)
class LabelledPicture:
    """One picture: label 0 real, 1 fake; pictures of one group show the same photo, person or video."""

    path: str  # relative to the data folder, or absolute
    label: int
    source: str
    split: str
    group: str
    clip: str = ""  # the video that it is a frame of
    unreadable: str = ""  # why it cannot be sent

    @property
    def name(self) -> str:
        """What a reader of the report finds it by: a frame is named by its video."""
        return f"{self.clip}, frame {int(Path(self.path).stem)}" if self.clip not in ("", self.path) else self.path


def read_pictures(
    data: Path, splits: tuple[str, ...], out: Path, split_seed: int, limit: int | None = None
) -> list[LabelledPicture]:
    """The pictures of these splits, or a random draw of about `limit`; frames of videos are written below `out`.

    Raises ManifestError.
    """
    folder = folder_of(data)
    items = [item for item in read_items(data, split_seed) if item.split in splits]
    if limit is not None:
        items = [items[i] for i in np.random.default_rng(split_seed).permutation(len(items))]
    pictures: list[LabelledPicture] = []
    quiet = None if any(item.is_video for item in items) else True
    for item in tqdm(items, desc="videos", unit="file", disable=quiet):
        if limit is not None and len(pictures) >= limit:
            break
        picture = LabelledPicture(item.path, item.label, item.source, item.split, item.group)
        pictures += _frames(folder, picture, out / "frames") if item.is_video else [picture]
    return pictures


def _frames(data: Path, picture: LabelledPicture, folder: Path) -> Iterator[LabelledPicture]:
    """A picture for each frame; they are decoded again where the video has another name, size or date."""
    video = data / picture.path
    picture = replace(picture, clip=picture.path)
    try:
        state = video.stat()
        name = hashlib.sha256(f"{video.resolve()} {state.st_size} {state.st_mtime_ns}".encode()).hexdigest()[:16]
        if not (folder / name).exists():
            _write_frames(video, folder / f"{name}.draft")
            (folder / f"{name}.draft").rename(folder / name)
    except (VideoError, OSError) as exc:
        yield replace(picture, unreadable=str(exc))
        return
    for path in sorted((folder / name).glob("*.png")):
        yield replace(picture, path=str(path.resolve()))


def _write_frames(video: Path, folder: Path) -> None:
    """PNG files of FRAMES frames, less those that are damaged; VideoError where none is left."""
    folder.mkdir(parents=True, exist_ok=True)
    results = list(frames(video, FRAMES))
    whole = [(number, content) for number, content in results if isinstance(content, bytes)]
    if not whole:
        raise VideoError(f"no frame can be decoded: {results[0][1]}")
    for number, content in whole:
        (folder / f"{number:06}.png").write_bytes(content)
