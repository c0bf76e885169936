"""Faces -> what fakes are made with: face meshes, donors for blends, reconstructions. All of it is cached."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..data.faces import TrainingFace, of_split, real_of
from .batches import Material, Recipe
from .identity_blend import Donors
from .landmarks import find_landmarks
from .reconstruct import Reconstructions, reconstruct_faces


def gather(
    recipes: Sequence[Recipe],
    reconstructions: Reconstructions | None,
    faces: Sequence[TrainingFace],
    folder: Path,
    out: Path,
) -> Material:
    """What these recipes need, made of the real faces of the split `train`.

    Args:
        reconstructions: through which autoencoder; ValueError where a recipe asks for them and this is None.
        folder: what the faces' paths are relative to.
        out: the run's folder, for the caches.
    """
    real = real_of(of_split(faces, "train"))
    reconstructed = any(recipe.reconstruction for recipe in recipes)
    if not reconstructions and reconstructed:
        raise ValueError("the recipe asks for reconstructions; name an autoencoder in [reconstructions], or set 0")
    landmarks, donors = {}, None
    if any(recipe.self_blend or recipe.identity_blend for recipe in recipes):
        landmarks = find_landmarks(real, folder, out / "landmarks.npz")
    if landmarks and any(recipe.identity_blend for recipe in recipes):
        donors = Donors(landmarks, {face.path: face.group for face in real})
    made = reconstruct_faces(reconstructions, real, folder, out / "reconstructions") if reconstructed else {}
    return Material(landmarks, donors, made)
