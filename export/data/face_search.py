"""Files -> the largest face in each of their pictures. The served detector finds it; results are cached.

`faces.jsonl` in the run's folder has one line for each file. `path`, `bytes` and `frames` say which file it is.
`pictures` has the box, the upright size and the perceptual hash of each face. `rejected` names each picture that is
broken or shows no face, and says why. Several files are searched at once, and an interrupted search goes on.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from serving.faces.detector import FaceDetector
from serving.pictures import pipelines
from serving.pictures.crop import face_roi
from serving.pictures.pipeline_host import PipelineHost

from .duplicates import face_hash
from .sources import Item
from .videos import frames

FILES_PER_WORKER = 64  # a detector takes 2 s to load


def search_files(items: list[Item], folder: Path, out: Path, frames_per_video: int) -> list[dict]:
    """A line of the cache for each item; only what `out` does not know yet is searched."""
    cache = out / "faces.jsonl"
    known = {line["path"]: line for line in whole_lines(cache)}
    todo = [item for item in items if not _is_known(known.get(item.path), item, folder, out, frames_per_video)]
    if todo:
        with cache.open("a") as file:
            file.write("\n")  # an interruption may have cut the last line off
            for line in tqdm(_in_parallel(todo, folder, out, frames_per_video), "faces", len(todo), disable=None):
                known[line["path"]] = line
                file.write(json.dumps(line) + "\n")
                file.flush()
    return [known[item.path] for item in items]


class Search:
    """Looks for the largest face of a file. Not thread-safe."""

    def __init__(self, folder: Path, out: Path, frames_per_video: int) -> None:
        self.folder, self.out, self.frames_per_video = folder, out, frames_per_video
        self.detector, self.crops = FaceDetector(), PipelineHost(pipelines.preprocess, 1, threads=1)

    def __call__(self, item: Item) -> dict:
        """A line of the cache."""
        pictures, rejected = [], []
        try:
            for name, file, data in self._pictures(item):
                picture = self._picture(data) if isinstance(data, bytes) else str(data)
                if isinstance(picture, str):
                    rejected.append((name, picture))
                    continue
                if file:
                    (self.out / file).parent.mkdir(parents=True, exist_ok=True)
                    (self.out / file).write_bytes(data)
                pictures.append({"file": file, **picture})
        except (OSError, ValueError) as exc:
            rejected.append((item.path, str(exc)))
        return {**_key(item, self.folder, self.frames_per_video), "pictures": pictures, "rejected": rejected}

    def _pictures(self, item: Item) -> Iterator[tuple[str, str, bytes | Exception]]:
        """(name for people, file below the run's folder or "", encoded picture)."""
        path = self.folder / item.path
        if not item.is_video:
            yield item.path, "", path.read_bytes()
            return
        clip = f"frames/{path.stem}-{hashlib.sha256(item.path.encode()).hexdigest()[:8]}"
        for number, data in frames(path, self.frames_per_video):
            yield f"{item.path} frame {number}", f"{clip}/{number:06}.png", data

    def _picture(self, data: bytes) -> dict | str:
        """Box, size and hash of the largest face, or why there is none."""
        (found,) = self.detector.detect([data])
        if isinstance(found, Exception):
            return str(found)
        if not len(found.box):
            return "no face"
        box = found.box[np.argmax((found.box[:, 2:] - found.box[:, :2]).prod(-1))]
        height, width = (int(side) for side in found.image_size)
        (crop,) = self.crops.run(IMAGE=[np.frombuffer(data, np.uint8)], ROI=[face_roi(box, height, width)])
        if isinstance(crop, Exception):
            return str(crop)
        return {"box": box.tolist(), "height": height, "width": width, "hash": face_hash(crop)}


def _in_parallel(items: list[Item], folder: Path, out: Path, frames_per_video: int) -> Iterator[dict]:
    """Lines in order; each thread has a detector of its own."""
    local = threading.local()

    def search(item: Item) -> dict:
        if not hasattr(local, "search"):
            local.search = Search(folder, out, frames_per_video)
        return local.search(item)

    cores = len(os.sched_getaffinity(0))
    pool = ThreadPoolExecutor(max(1, min(cores, len(items) // FILES_PER_WORKER)))
    try:
        yield from pool.map(search, items)
    finally:
        pool.shutdown(cancel_futures=True)


def _key(item: Item, folder: Path, frames_per_video: int) -> dict:
    """What a line of the cache is about: a file of this size, and for a video so many frames."""
    path = folder / item.path
    size = path.stat().st_size if path.is_file() else None
    return {"path": item.path, "bytes": size, "frames": frames_per_video if item.is_video else None}


def _is_known(line: dict | None, item: Item, folder: Path, out: Path, frames_per_video: int) -> bool:
    return (
        line is not None
        and _key(item, folder, frames_per_video).items() <= line.items()
        and all((out / picture["file"]).is_file() for picture in line["pictures"] if picture["file"])
    )


def whole_lines(path: Path) -> Iterator[dict]:
    """Lines of a JSON Lines file, without one that an interruption cut off; none where there is no file."""
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue
