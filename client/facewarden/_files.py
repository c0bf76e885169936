"""Paths on the command line -> the images to send; and the file of results, which a later run continues."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Any, BinaryIO

from ._verdict import Verdict

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
COLUMNS = (
    "path", "label", "fake_probability", "faces", "x0", "y0", "x1", "y1", "confidence",
    "real_below", "fake_from", "model_version", "latency_ms", "error",
)  # fmt: skip


class ResultsError(Exception):
    """The file of results cannot be used; a sentence."""


def find_images(paths: Iterable[str]) -> list[str]:
    """Files as given, whatever their names, and the images below each folder, sorted.

    A folder without an image, or one that cannot be read, is listed itself; the attempt to send it says what is wrong.
    """
    found: list[str] = []
    for path in paths:
        images = sorted(_images_below(path), key=lambda name: name.split(os.sep)) if os.path.isdir(path) else []
        found += images or [path]
    return found


def _images_below(folder: str) -> Iterator[str]:
    unreadable: list[OSError] = []
    for parent, _, names in os.walk(folder, onerror=unreadable.append):
        yield from (os.path.join(parent, name) for name in names if name.lower().endswith(IMAGE_SUFFIXES))
    yield from (error.filename for error in unreadable)


def require_writable(path: str) -> None:
    """Raises ResultsError where ``path`` cannot be written; nothing is left behind."""
    existed = os.path.exists(path)
    try:
        open(path, "ab").close()
    except OSError as exc:
        raise ResultsError(f"'{path}' cannot be written: {exc.strerror}.") from exc
    if not existed:
        os.remove(path)


class Results:
    """A file in JSON Lines or CSV with a record for each image, written as soon as it is known.

    On opening, the records of earlier runs are read. A half-written last record is cut off, and its image asked again.

    Raises ResultsError where the file is of another kind or cannot be written.
    """

    def __init__(self, path: str) -> None:
        suffix = os.path.splitext(path)[1].lower()
        if suffix not in _FORMATS:
            raise ResultsError(f"'{path}' must end in .jsonl or .csv.")
        self._format = _FORMATS[suffix]()
        self._earlier: dict[str, list[bool]] = {}  # path -> whether it failed, for each time that it was answered
        try:
            with ExitStack() as opened:
                self._file: BinaryIO = opened.enter_context(open(path, "a+b"))
                self._read_earlier(path)
                self._opened = opened.pop_all()
        except OSError as exc:
            raise ResultsError(f"'{path}' cannot be written: {exc.strerror}.") from exc

    def __enter__(self) -> Results:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._opened.close()

    def take_answer(self, path: str) -> bool | None:
        """Take out an earlier answer for ``path``: whether it was an error; None where there is no answer left."""
        answers = self._earlier.get(path)
        return answers.pop(0) if answers else None

    def write(self, verdict: Verdict) -> None:
        """Append one record, so that it is kept even if this process is killed next."""
        self._file.write(self._format.line(verdict.to_json()))
        self._file.flush()

    def _read_earlier(self, path: str) -> None:
        self._file.seek(0)
        end = number = 0
        for number, record in enumerate(self._format.records(self._file), 1):
            try:
                answer = self._format.answer(record, number)
            except (ValueError, KeyError, TypeError, csv.Error) as exc:
                raise ResultsError(f"'{path}' is no file of results: record {number} is something else.") from exc
            if answer is not None:
                self._earlier.setdefault(answer[0], []).append(answer[1])
            end += len(record)
        self._cut_half_record(path, end, self._format.start(number + 1))

    def _cut_half_record(self, path: str, end: int, start: bytes) -> None:
        """Drop what follows ``end``: nothing, or half a record, which begins like ``start``."""
        self._file.seek(end)
        half = self._file.read(len(start))
        if not start.startswith(half):
            raise ResultsError(f"'{path}' is no file of results: its end is something else.")
        self._file.truncate(end)
        if end == 0:
            self._file.write(self._format.header)
            self._file.flush()


class _JsonLines:
    header = b""

    def line(self, record: dict[str, Any]) -> bytes:
        return (json.dumps(record, allow_nan=False) + "\n").encode()

    def records(self, file: BinaryIO) -> Iterator[bytes]:
        return (line for line in file if line.endswith(b"\n"))

    def start(self, number: int) -> bytes:
        return b'{"path": '

    def answer(self, record: bytes, number: int) -> tuple[str, bool] | None:
        found = json.loads(record)
        return str(found["path"]), found["error"] is not None


class _Csv:
    header = (",".join(COLUMNS) + "\n").encode()

    def line(self, record: dict[str, Any]) -> bytes:
        """The record with its most suspicious face alone, for a row is flat."""
        face: dict[str, Any] = max(record["faces"], key=lambda face: float(face["fake_probability"]), default={})
        row = {**record, "faces": len(record["faces"]), "confidence": face.get("confidence")}
        row |= zip(("x0", "y0", "x1", "y1"), face.get("box", [None] * 4), strict=True)
        row |= zip(("real_below", "fake_from"), record["threshold"] or [None] * 2, strict=True)
        text = io.StringIO(newline="")
        csv.DictWriter(text, COLUMNS, lineterminator="\n", extrasaction="ignore").writerow(row)
        return text.getvalue().encode("utf-8", "surrogateescape")

    def records(self, file: BinaryIO) -> Iterator[bytes]:
        record = b""
        for line in file:
            record += line
            if record.endswith(b"\n") and record.count(b'"') % 2 == 0:  # a path or an error may hold a line break
                yield record
                record = b""

    def start(self, number: int) -> bytes:
        return self.header if number == 1 else b""

    def answer(self, record: bytes, number: int) -> tuple[str, bool] | None:
        (row,) = csv.reader(io.StringIO(record.decode("utf-8", "surrogateescape"), newline=""), strict=True)
        if (tuple(row) == COLUMNS) != (number == 1) or len(row) != len(COLUMNS):
            raise ValueError("another kind of record")
        return None if number == 1 else (row[0], row[-1] != "")


_FORMATS: dict[str, type[_JsonLines | _Csv]] = {".jsonl": _JsonLines, ".csv": _Csv}
