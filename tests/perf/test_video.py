"""Swaps found in the photographs of a folder, and what is refused there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demo import clips
from perf.studies import video
from serving.supervisor.server import Server


def test_swaps_into_the_photographs_of_a_folder(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(ValueError, match="needs photographs"):
        video.other_swaps(server, tmp_path)
    picture = clips.demo_subject().picture
    Image.fromarray(picture).save(tmp_path / "a.png")
    Image.fromarray(np.zeros_like(picture)).save(tmp_path / "b.jpg")
    Image.fromarray(clips.two_people(1)[0]).save(tmp_path / "c.webp", lossless=True)
    (tmp_path / "d.jpeg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "notes.txt").write_text("no picture")
    found = video.other_swaps(server, tmp_path)
    assert found.pop("refused") == 3
    told = capsys.readouterr().err
    assert "b.jpg: 0 faces" in told and "c.webp: 2 faces" in told and "d.jpeg: " in told
    assert {case["clips"] for case in found.values()} == {1}
    assert found["crf 18"]["found_at_all"] == 1 and found["crf 18"]["false_alarms"] == 0


@pytest.mark.parametrize("command", ["perf.studies.video", "export fit-video", "export simulate-video"])
def test_the_commands_find_what_they_need_of_the_model(command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command.split(), "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_committed_page_is_what_the_committed_figures_say() -> None:
    kept = json.loads((video.RESULTS / "video.json").read_text())
    assert video.page(kept) == (video.RESULTS / "video.md").read_text()
