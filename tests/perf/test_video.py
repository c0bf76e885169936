"""Clips of other portraits than the demo's: where the camera looks, what is refused, and swaps found in a folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.synthesis.self_blend import self_blended_pair
from perf import video, video_clips
from perf.video_clips import REACH, demo_subject, genuine, posed, swapped, views
from serving.supervisor.server import Server


def test_the_demo_portrait_is_posed_as_it_is() -> None:
    demo = demo_subject()
    picture, face = posed(*demo)
    x0, y0, x1, y1 = REACH
    np.testing.assert_array_equal(picture[y0:y1, x0:x1], demo.picture[y0:y1, x0:x1])
    np.testing.assert_array_equal(face, demo.face)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_a_photograph_of_any_size_is_shown_from_the_same_distance(scale: float) -> None:
    demo = demo_subject()
    size = tuple(round(side * scale) for side in demo.picture.shape[1::-1])
    resized = np.asarray(Image.fromarray(demo.picture).resize(size, Image.Resampling.LANCZOS))
    subject = posed(resized, demo.face * scale)
    np.testing.assert_allclose(subject.face, demo.face, atol=1)
    (frame,), (expected,) = genuine(1, 0, subject), genuine(1)
    assert np.abs(frame.astype(int) - expected).mean() < 6


def test_a_face_near_the_edge_is_shown_larger_and_one_that_fills_the_picture_is_refused() -> None:
    demo = demo_subject()
    near = posed(demo.picture[:, 60:], demo.face - [60, 0, 60, 0])
    assert near.face[2] - near.face[0] > 1.25 * (demo.face[2] - demo.face[0])
    assert np.ptp(near.picture[REACH[1] :, REACH[0] :], axis=2).any(axis=0).all(), "nothing beyond the edge is shown"
    with pytest.raises(ValueError, match="too little around the face"):
        posed(demo.picture[60:180, 180:275], demo.face - [180, 60, 180, 60])


@pytest.mark.parametrize("seed", [0, 1])
def test_only_the_face_of_a_subject_is_swapped_and_only_from_the_middle_on(seed: int) -> None:
    subject = posed(demo_subject().picture[:, ::-1].copy(), np.array([242, 64, 328, 176]))
    real = self_blended_pair(*subject, np.random.default_rng(seed), ratio=1.0).real
    changed = (np.array(swapped(4, seed, subject)) != np.array(list(views(real, 4, seed)))).any(-1)
    assert not changed[:2].any() and changed[2:].any(axis=(1, 2)).all()
    assert not changed[:, :, :100].any(), "beside the face"


def test_swaps_into_the_photographs_of_a_folder(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(ValueError, match="needs photographs"):
        video.other_swaps(server, tmp_path)
    picture = demo_subject().picture
    Image.fromarray(picture).save(tmp_path / "a.png")
    Image.fromarray(np.zeros_like(picture)).save(tmp_path / "b.jpg")
    Image.fromarray(video_clips.two_people(1)[0]).save(tmp_path / "c.webp", lossless=True)
    (tmp_path / "d.jpeg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "notes.txt").write_text("no picture")
    found = video.other_swaps(server, tmp_path)
    assert found.pop("refused") == 3
    told = capsys.readouterr().err
    assert "b.jpg: 0 faces" in told and "c.webp: 2 faces" in told and "d.jpeg: " in told
    assert {case["clips"] for case in found.values()} == {1}
    assert found["crf 18"]["found_at_all"] == 1 and found["crf 18"]["false_alarms"] == 0


@pytest.mark.parametrize("command", ["perf.video", "export fit-video", "export simulate-video"])
def test_the_commands_find_what_they_need_of_the_model(command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command.split(), "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
