"""Paths on the command line -> the images to send, and the file of results that an interrupted run takes up again."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from types import TracebackType
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

    A folder without an image, or one that cannot be read, is listed itself: sending it tells what is wrong with it.
    """
    found: list[str] = []
    for path in paths:
        below = sorted(_below(path), key=lambda name: name.split(os.sep)) if os.path.isdir(path) else []
        found += below or [path]
    return found


def _below(folder: str) -> Iterator[str]:
    unreadable: list[OSError] = []
    for parent, _, names in os.walk(folder, onerror=unreadable.append):
        yield from (os.path.join(parent, name) for name in names if name.lower().endswith(IMAGE_SUFFIXES))
    yield from (error.filename for error in unreadable)


def require_writable(path: str) -> None:
    """Raises ResultsError where a file that is written at the end could not be."""
    there = os.path.exists(path)
    try:
        open(path, "ab").close()
    except OSError as exc:
        raise ResultsError(f"'{path}' cannot be written: {exc.strerror}.") from exc
    if not there:
        os.remove(path)


class Results:
    """JSON Lines or CSV, one record an image, each written whole as soon as it is known.

    What an earlier run left is read on opening; a half-written last record is cut off, for its image is asked again.
    Raises ResultsError where the file is of another kind or cannot be written.
    """

    def __init__(self, path: str) -> None:
        self._format = _format(path)
        self._failed: dict[str, list[bool]] = {}  # by path, one for each time that the path was answered
        try:
            with ExitStack() as opened:
                self._file: BinaryIO = opened.enter_context(open(path, "a+b"))
                self._take_up(path)
                self._opened = opened.pop_all()
        except OSError as exc:
            raise ResultsError(f"'{path}' cannot be written: {exc.strerror}.") from exc

    def __enter__(self) -> Results:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def answered(self, path: str) -> bool | None:
        """None if ``path`` is still to be asked, else whether its answer was an error; counts one answer off."""
        left = self._failed.get(path)
        return left.pop(0) if left else None

    def write(self, verdict: Verdict) -> None:
        """Append one record; it is in the system's hands when this returns."""
        self._file.write(self._format.line(verdict.to_json()))
        self._file.flush()

    def _take_up(self, path: str) -> None:
        self._file.seek(0)
        end = number = 0
        for number, record in enumerate(self._format.records(self._file), 1):
            try:
                answer = self._format.answer(record, number)
            except (ValueError, KeyError, TypeError, csv.Error) as exc:
                raise ResultsError(f"'{path}' is no file of results: record {number} is something else.") from exc
            if answer is not None:
                self._failed.setdefault(answer[0], []).append(answer[1])
            end += len(record)
        self._cut(path, end, self._format.begin(number + 1))

    def _cut(self, path: str, end: int, begin: bytes) -> None:
        """Drop what follows ``end``, which is half a record that began like ours, or nothing."""
        self._file.seek(end)
        half = self._file.read(len(begin))
        if not begin.startswith(half):
            raise ResultsError(f"'{path}' is no file of results: its end is something else.")
        self._file.truncate(end)
        if end == 0:
            self._file.write(self._format.head)
            self._file.flush()


class _JsonLines:
    head = b""

    def line(self, record: dict[str, Any]) -> bytes:
        return (json.dumps(record, allow_nan=False) + "\n").encode()

    def records(self, file: BinaryIO) -> Iterator[bytes]:
        return (line for line in file if line.endswith(b"\n"))

    def begin(self, number: int) -> bytes:
        return b'{"path": '

    def answer(self, record: bytes, number: int) -> tuple[str, bool] | None:
        found = json.loads(record)
        return str(found["path"]), found["error"] is not None


class _Csv:
    head = (",".join(COLUMNS) + "\n").encode()

    def line(self, record: dict[str, Any]) -> bytes:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerow(csv_row(record))
        return text.getvalue().encode("utf-8", "surrogateescape")

    def records(self, file: BinaryIO) -> Iterator[bytes]:
        record = b""
        for line in file:
            record += line
            if record.endswith(b"\n") and record.count(b'"') % 2 == 0:  # a path or an error may hold a line break
                yield record
                record = b""

    def begin(self, number: int) -> bytes:
        return self.head if number == 1 else b""

    def answer(self, record: bytes, number: int) -> tuple[str, bool] | None:
        (row,) = csv.reader(io.StringIO(record.decode("utf-8", "surrogateescape"), newline=""), strict=True)
        if (tuple(row) == COLUMNS) != (number == 1) or len(row) != len(COLUMNS):
            raise ValueError("another kind of record")
        return None if number == 1 else (row[0], row[-1] != "")


def csv_row(record: dict[str, Any]) -> list[Any]:
    """The flat form of one record: the most suspicious face stands for all."""
    face = max(record["faces"], key=lambda one: float(one["fake_probability"]), default=None)
    box, confidence = (face["box"], face["confidence"]) if face else ([None] * 4, None)
    head = [record["path"], record["label"], record["fake_probability"], len(record["faces"]), *box, confidence]
    threshold = record["threshold"] or [None, None]
    return [*head, *threshold, record["model_version"], record["latency_ms"], record["error"]]


def _format(path: str) -> _JsonLines | _Csv:
    suffix = os.path.splitext(path)[1].lower()
    if suffix == ".jsonl":
        return _JsonLines()
    if suffix == ".csv":
        return _Csv()
    raise ResultsError(f"'{path}' must end in .jsonl or .csv.")
