"""Folders are walked in order; results are kept, cut and taken up again."""

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from facewarden import ImageError, Verdict
from facewarden._files import COLUMNS, Results, ResultsError, find_images
from facewarden.wire import read_image

both = pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
NAMES = ["a.jpg", "b,c.jpg", 'quo"te.jpg', "line\nbreak.jpg", "ünï.jpg", os.fsdecode(b"not-utf8-\xff.jpg")]


def touch(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return str(path)


def test_folders_are_walked_sorted_and_files_taken_as_given(tmp_path: Path) -> None:
    wanted = [touch(tmp_path / name) for name in ("a/1.JPG", "a/b/2.webp", "a/c.png", "b.jpeg")]
    for name in ("a/notes.txt", "b.gif", "jpg"):
        touch(tmp_path / name)
    odd = touch(tmp_path / "odd.bin")
    assert find_images([str(tmp_path)]) == wanted
    assert find_images([odd, "missing.jpg", str(tmp_path / "a")]) == [odd, "missing.jpg", *wanted[:3]]


def test_a_folder_without_images_is_listed_itself(tmp_path: Path) -> None:
    assert find_images([str(tmp_path)]) == [str(tmp_path)]


def run(path: Path, names: list[str]) -> tuple[list[str], list[bool]]:
    """One run of the command over these names: which were asked now, which older answers were errors."""
    with Results(str(path)) as results:
        before = {name: results.take_answer(name) for name in names}
        asked = [name for name, known in before.items() if known is None]
        for name in asked:
            results.write(Verdict("no_face", None, path=name))
    return asked, [known for known in before.values() if known is not None]


@both
def test_a_second_run_asks_nothing_again(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    assert run(path, NAMES) == (NAMES, [])
    whole = path.read_bytes()
    assert run(path, NAMES) == ([], [False] * len(NAMES))
    assert path.read_bytes() == whole


@both
def test_a_run_cut_at_any_byte_is_completed(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    run(path, NAMES)
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        run(path, NAMES)
        assert path.read_bytes() == whole, cut


@both
def test_errors_are_answers_and_are_remembered(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    with Results(str(path)) as results:
        results.write(Verdict.failed(ImageError("The image is empty."), "a.jpg"))
    assert run(path, ["a.jpg", "b.jpg"]) == (["b.jpg"], [True])


@both
def test_a_path_given_twice_is_answered_twice(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    with Results(str(path)) as results:
        results.write(Verdict("no_face", None, path="a.jpg"))
    with Results(str(path)) as results:
        assert [results.take_answer("a.jpg"), results.take_answer("a.jpg")] == [False, None]


def test_csv_holds_the_most_suspicious_face(tmp_path: Path, image_answer: Callable[..., Any]) -> None:
    path = tmp_path / "out.csv"
    with Results(str(path)) as results:
        results.write(read_image(image_answer(0.1, 0.9).get, None, 5.0, "a.jpg"))
        results.write(Verdict.failed(ImageError("The image is empty."), "b.jpg"))
    with open(path, newline="") as file:
        first, second = csv.DictReader(file)
    assert tuple(first) == COLUMNS
    assert (first["label"], first["faces"], first["x0"], first["fake_from"]) == ("fake", "2", "4.0", "0.7")
    assert (second["label"], second["faces"], second["error"]) == ("", "0", "The image is empty.")


def test_json_lines_are_the_lines_of_json_output(tmp_path: Path) -> None:
    verdict = Verdict("no_face", None, path="a.jpg", latency_ms=1.5)
    with Results(str(tmp_path / "out.jsonl")) as results:
        results.write(verdict)
    assert json.loads((tmp_path / "out.jsonl").read_text()) == verdict.to_json()


FOREIGN = {
    "text.jsonl": b"hello\n",
    "other.jsonl": b'{"a": 1}\n',
    "list.jsonl": b"[1]\n",
    "one line.jsonl": b'{"a": 1}',
    "one line.csv": b"a,b",
    "other.csv": b"a,b\n1,2\n",
    "ragged.csv": ",".join(COLUMNS).encode() + b"\n1,2\n",
    "binary.csv": b"\xff\xd8\x00\n",
}


@pytest.mark.parametrize(("name", "content"), FOREIGN.items(), ids=FOREIGN)
def test_a_file_of_something_else_is_left_alone(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ResultsError, match="no file of results"):
        Results(str(tmp_path / name))
    assert (tmp_path / name).read_bytes() == content


@pytest.mark.parametrize("name", ["out.txt", "out", "no/such/folder/out.csv", "folder.jsonl"])
def test_where_results_cannot_go(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(ResultsError, match=r"must end in|cannot be written"):
        Results(str(tmp_path / name))
