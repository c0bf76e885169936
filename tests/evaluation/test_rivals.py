"""Damage to pictures, the floor of global statistics, and frames of videos."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from export.evaluation import comparison, robustness
from export.evaluation.pictures import FRAMES, LabelledPicture, read_pictures

ALL = ("test",)


@pytest.mark.parametrize("damage", robustness.DAMAGES, ids=lambda damage: damage.name)
def test_stronger_damage_leaves_less_and_a_seed_repeats_it(folder, damage):
    picture = LabelledPicture("real3.jpg", 0, "portrait", "test", "real3")
    original = _gray(Image.open(folder / picture.path))
    lost = []
    for strength in damage.strengths:
        first, again = (next(robustness.damaged(folder, [picture], damage, strength, seed=1)) for _ in range(2))
        assert first == again
        damaged = Image.open(io.BytesIO(first))
        lost.append(np.abs(_gray(damaged.resize(original.shape[::-1], Image.Resampling.BICUBIC)) - original).mean())
    assert lost == sorted(lost)
    assert lost[0] > 0


def _gray(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("L"), float)


def test_both_classes_get_as_many_pictures():
    pictures = [LabelledPicture(str(i), int(i >= 70), "s", "test", str(i)) for i in range(100)]
    chosen = robustness.subset(pictures, 20, seed=0)
    assert [sum(s.label == label for s in chosen) for label in (0, 1)] == [20, 20]
    assert chosen == robustness.subset(pictures, 20, seed=0)
    assert len(robustness.subset(pictures, 50, seed=0)) == 60


def test_global_statistics_see_colour_and_nothing_learns_from_one_class(folder):
    """The fakes here have red and blue exchanged: global colour alone must find them."""
    train, test = (read_pictures(folder, (split,), folder, split_seed=0) for split in ("train", "test"))
    test = [
        picture for picture in test if picture.source == "portrait" and picture.path not in ("nobody.jpg", "broken.jpg")
    ]
    scores = comparison.floors(comparison.fit_floors(folder, train), folder, test)
    assert set(scores) == set(comparison.FLOOR)
    labels = np.array([picture.label for picture in test])
    linear = scores["global statistics, linear"]
    assert linear[labels == 1].min() > linear[labels == 0].max()
    assert comparison.fit_floors(folder, [picture for picture in train if picture.label]) == {}


def test_a_baseline_that_is_no_such_graph_is_refused(tmp_path):
    (tmp_path / "other.onnx").write_bytes(b"no graph")
    with pytest.raises(comparison.BaselineError, match=r"other\.onnx"):
        comparison.baseline(tmp_path / "other.onnx", tmp_path, [])


def test_videos_become_frames_once(folder, tmp_path):
    pictures = [picture for picture in read_pictures(folder, ALL, tmp_path, split_seed=0) if picture.clip]
    whole = [picture for picture in pictures if picture.clip == "real.mp4"]
    assert 1 < len(whole) <= FRAMES
    assert {picture.group for picture in whole} == {"real.mp4"}
    (broken,) = (picture for picture in pictures if picture.clip == "broken.mp4")
    assert "opened" in broken.unreadable
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    assert [picture for picture in read_pictures(folder, ALL, tmp_path, split_seed=0) if picture.clip] == pictures
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")} == before
