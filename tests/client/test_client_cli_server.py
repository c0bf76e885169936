"""The command against the real server: what scripts and people rely on."""

import csv
import io
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facewarden import Verdict
from facewarden._image import encode_png
from facewarden.cli import main

PHOTO = Path(__file__).parents[2] / "model_repository" / "preprocess" / "warmup" / "face.jpg"
Run = Callable[..., tuple[int, str, str]]
KEYS = ["path", "label", "fake_probability", "faces", "threshold", "model_version", "latency_ms", "error"]


@pytest.fixture
def run(server: Any, capsys: pytest.CaptureFixture[str]) -> Run:
    """Exit status, stdout and stderr of one command."""

    def command(*argv: object) -> tuple[int, str, str]:
        code = main([*map(str, argv), "--url", server.url])
        return (code, *capsys.readouterr())

    return command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A photograph, an empty scene, and a file that is no picture."""
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    shutil.copy(PHOTO, folder / "a face.jpg")
    (folder / "broken.JPEG").write_bytes(PHOTO.read_bytes()[:2000])
    (folder / "more" / "nobody.png").write_bytes(encode_png(np.full((120, 160, 3), 99, np.uint8)))
    (folder / "notes.txt").write_text("not sent")
    return folder


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_check_json_has_one_line_an_image_in_order(run: Run, folder: Path) -> None:
    code, out, err = run("check", "missing.jpg", folder, PHOTO, "--json")
    found = lines(out)
    assert code == 1 and err == ""
    names = [folder / "a face.jpg", folder / "broken.JPEG", folder / "more" / "nobody.png"]
    assert [line["path"] for line in found] == ["missing.jpg", *map(str, names), str(PHOTO)]
    assert all(list(line) == KEYS for line in found)
    missing, face, broken, nobody, photo = found
    assert face["label"] == photo["label"] in ("real", "fake", "review")
    assert face["error"] is None and len(face["threshold"]) == 2 and face["latency_ms"] > 0
    assert set(face["faces"][0]) == {"box", "confidence", "fake_probability", "quality"}
    assert (nobody["label"], nobody["threshold"], nobody["model_version"]) == ("no_face", None, None)
    for failed in (missing, broken):
        assert (failed["label"], failed["fake_probability"], failed["faces"]) == (None, None, [])
        assert failed["error"].endswith(".")


def test_check_without_a_failure_is_exit_0_and_readable(run: Run) -> None:
    code, out, err = run("check", PHOTO)
    head, line = out.splitlines()
    assert (code, err) == (0, "")
    assert head.split()[0] == "verdict" and line.endswith(str(PHOTO)) and " ms " in line
    assert "\033" not in out


def test_check_threshold(run: Run) -> None:
    _, out, _ = run("check", PHOTO, "--json", "--threshold", "0", "0")
    (line,) = lines(out)
    assert (line["label"], line["threshold"]) == ("fake", [0, 0])


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
def test_output_is_resumed(run: Run, folder: Path, tmp_path: Path, name: str) -> None:
    output = tmp_path / name
    assert run("check", folder, "--output", output)[0] == 1
    whole = output.read_bytes()
    output.write_bytes(whole[:-7])  # as if killed in the middle of the last line
    code, out, err = run("check", folder, "--json", "--output", output)
    assert code == 1 and "2 of 3 images were answered before" in err
    assert [Path(line["path"]).name for line in lines(out)] == ["nobody.png"]
    if name.endswith("csv"):
        paths = [row["path"] for row in csv.DictReader(io.StringIO(output.read_text()))]
    else:
        paths = [line["path"] for line in lines(output.read_text())]
    assert [Path(path).name for path in paths] == ["a face.jpg", "broken.JPEG", "nobody.png"]


def test_an_empty_folder_is_a_line_with_an_error(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("check", tmp_path, "--json")
    (line,) = lines(out)
    assert code == 1 and "holds no image" in line["error"]


def test_status(run: Run) -> None:
    code, out, _ = run("status")
    assert code == 0 and "is healthy" in out and "deepfake_image" in out
    code, out, _ = run("status", "--json")
    assert code == 0 and json.loads(out)["healthy"] is True


def make_clip(path: Path, frames: int) -> Path:
    av = pytest.importorskip("av")
    with av.open(str(PHOTO)) as picture:
        photo = next(picture.decode(video=0)).reformat(width=256, height=256, format="yuv420p")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 256, 256, "yuv420p", 4_000_000
        for i in range(frames):
            photo.pts, photo.time_base = i, Fraction(1, 5)
            container.mux(stream.encode(photo))
        container.mux(stream.encode(None))
    return path


def test_watch_json(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("watch", make_clip(tmp_path / "clip.mp4", 6), "--json")
    found = lines(out)
    frames = [line for line in found if line["type"] == "frame"]
    summary = found[-1]
    assert code == 0 and len(frames) == 6
    assert [line["time_s"] for line in frames] == pytest.approx([i / 5 for i in range(6)])
    assert {line["type"] for line in found} == {"frame", "event", "summary"}
    assert summary["type"] == "summary" and summary["label"] in ("real", "fake", "review")
    assert summary["fake_probability"] == frames[-1]["fake_probability"] is not None
    assert (summary["frames"], summary["failed"], summary["error"]) == (6, 0, None)


def test_watch_for_a_person(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("watch", make_clip(tmp_path / "clip.mp4", 3))
    assert code == 0 and "3 frames" in out.splitlines()[-1]


def test_watch_of_no_video_is_exit_1_with_a_summary(run: Run, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    code, out, _ = run("watch", tmp_path / "text.mp4", "--json")
    (summary,) = lines(out)
    assert code == 1 and summary["label"] is None and summary["error"].endswith(".")


def start(server: Any, *argv: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "facewarden", *map(str, argv), "--url", server.url]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=listen_to_ctrl_c
    )


def listen_to_ctrl_c() -> None:
    """A shell's background jobs ignore SIGINT, and what they start inherits that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_stops_cleanly_and_the_run_resumes(server: Any, run: Run, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    images = [PHOTO] * 600
    with start(server, "check", *images, "--output", output, "--in-flight", "4") as process:
        while not output.exists() or output.read_bytes().count(b"\n") < 5:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "Interrupted.\n")
    answered = [Verdict(line["label"], None, path=line["path"]) for line in lines(output.read_text())]
    assert 5 <= len(answered) < 600
    few = len(answered) + 3
    code, out, _ = run("check", *images[:few], "--json", "--output", output)
    assert code == 0 and len(lines(out)) == 3


def test_ctrl_c_ends_a_video_with_its_summary_and_report(server: Any, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    clip = make_clip(tmp_path / "clip.mp4", 400)
    with start(server, "watch", clip, "--json", "--report", report) as process:
        assert process.stdout
        seen = [process.stdout.readline() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    found = lines("".join(seen) + out)
    assert (process.returncode, err) == (130, "Interrupted.\n")
    assert (found[-1]["type"], found[-1]["error"]) == ("summary", "Interrupted.") and 0 < found[-1]["frames"] < 400
    assert "</html>" in report.read_text()


def test_a_reader_that_has_seen_enough_is_no_traceback(server: Any) -> None:
    with start(server, "check", *[PHOTO] * 40, "--json") as process:
        assert process.stdout and process.stderr
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
        process.wait(20)
    assert (process.returncode, err) == (1, "")
