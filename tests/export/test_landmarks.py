"""The face mesh: on the face, in the picture's own pixels, upright or not; searched once."""

import numpy as np
import pytest
from PIL import Image

from export.data.faces import TrainingFace
from export.synthesis import landmarks
from export.synthesis.landmarks import EYES, FaceMesh, find_landmarks

BOX = np.array([184, 64, 270, 176])


def test_the_points_lie_on_the_face(portrait_mesh):
    assert portrait_mesh.shape == (468, 2)
    np.testing.assert_allclose(portrait_mesh.mean(0), (BOX[:2] + BOX[2:]) / 2, atol=15)
    eyes = portrait_mesh[list(EYES)]
    assert 30 < np.linalg.norm(eyes[1] - eyes[0]) < 90


@pytest.mark.parametrize("degrees", [-25, 25])
def test_a_turned_head_gives_turned_points(portrait, portrait_mesh, degrees):
    centre = tuple(((BOX[:2] + BOX[2:]) / 2).tolist())
    turned = portrait.rotate(degrees, Image.Resampling.BICUBIC, center=centre)
    found = FaceMesh().landmarks(np.asarray(turned), BOX)
    angle = np.deg2rad(-degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    expected = (portrait_mesh - centre) @ rotation.T + centre
    assert np.linalg.norm(found - expected, axis=1).mean() < 4


def test_where_there_is_no_face_there_are_no_points():
    assert FaceMesh().landmarks(np.full((200, 200, 3), 90, np.uint8), np.array([50, 50, 150, 150])) is None


def test_a_search_is_cached_by_the_file_and_remembers_what_has_no_points(
    portrait, portrait_mesh, tmp_path, monkeypatch
):
    portrait.save(tmp_path / "face.png")
    Image.new("RGB", portrait.size).save(tmp_path / "black.png")
    faces = [
        TrainingFace(name, 0, "camera", "train", tuple(BOX.tolist()), 512, 512, name, "")
        for name in ("face.png", "black.png")
    ]
    found = find_landmarks(faces, tmp_path, tmp_path / "landmarks.npz")
    assert list(found) == ["face.png"]
    np.testing.assert_allclose(found["face.png"], portrait_mesh, atol=0.01)
    with monkeypatch.context() as patch:
        patch.setattr(landmarks, "FaceMesh", None)  # nothing is searched
        again = find_landmarks(faces, tmp_path, tmp_path / "landmarks.npz")
    np.testing.assert_array_equal(again["face.png"], found["face.png"])
    portrait.save(tmp_path / "black.png", compress_level=1)
    assert list(find_landmarks(faces, tmp_path, tmp_path / "landmarks.npz")) == ["face.png", "black.png"]
