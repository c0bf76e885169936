"""Faces -> what a vision transformer makes of them, its class tokens -> the linear layer that fits them best.

All blocks of a foundation model together tell more than the last (Koutlis and Papadopoulos, ECCV 2024). Each face is
looked at once. The run's folder keeps the tokens, so an interrupted run goes on.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from tqdm import tqdm

from serving.files import replacing
from serving.settings import Settings

from ..data.faces import TrainingFace
from ..synthesis.batches import Loader, Material, Recipe
from ..synthesis.material import gather
from .mixing import mixed
from .train import to_pixels

BATCH = 16
SAVE_EVERY = 20  # batches: so much is done twice after a kill
INVERSE_REGULARISATION = 0.01  # of the logistic regression, on features of unit variance
Finder = Callable[[Tensor], np.ndarray]  # pixels (B, 3, 224, 224) float 0..255 to class tokens (B, ...) float16


class Altering(Settings):
    """How many training faces more are looked at, and how they are altered: as a student sees them."""

    altered: int = 0  # training faces more
    recipe: Recipe = Recipe()
    seed: int = 0  # of the alterations


def fitting_set(
    find: Finder,
    network: str,
    faces: Sequence[TrainingFace],
    chosen: Sequence[TrainingFace],
    folder: Path,
    out: Path,
    altering: Altering,
) -> tuple[np.ndarray, np.ndarray]:
    """Class tokens (N, ...) and labels (N,) of the faces to fit to, as they are and altered.

    Args:
        network: its name in the names of the caches.
        faces: of every split, whose landmarks altering may need; `chosen` are those to fit to.
        out: the run's folder, for the caches.
    """
    features = class_tokens(find, chosen, folder, out / f"class_tokens.{network}.npz")
    labels = np.array([face.label for face in chosen], np.float32)
    if not altering.altered:
        return features, labels
    material = gather([altering.recipe], None, faces, folder, out)
    asked = sha256(repr((altering.recipe, altering.seed, folder.resolve(), chosen)).encode()).hexdigest()[:12]
    cache = out / f"altered_tokens.{network}.{asked}.npz"
    more, shares = altered_tokens(find, chosen, folder, altering, material, cache)
    return np.concatenate([features, more]), np.concatenate([labels, shares])


def class_tokens(find: Finder, faces: Sequence[TrainingFace], folder: Path, cache: Path) -> np.ndarray:
    """(N, blocks, width) float16 of these faces as served; reads and completes `cache`, an NPZ of this network."""
    known: dict[str, np.ndarray] = {}
    if cache.exists():
        with np.load(cache) as stored:
            known = dict(zip(stored["paths"].tolist(), stored["features"], strict=True))
    missing = [face for face in faces if face.path not in known]
    chunks = [missing[i : i + BATCH] for i in range(0, len(missing), BATCH)]
    batches = Loader(folder, BATCH, seed=0).plain(missing)
    bar = tqdm(zip(chunks, batches, strict=True), "class tokens", len(chunks), unit="batch", disable=None)
    for at, (chunk, batch) in enumerate(bar, 1):
        known |= zip((face.path for face in chunk), find(to_pixels(batch)), strict=True)
        if at % SAVE_EVERY == 0 or at == len(chunks):
            _save(cache, paths=np.array(list(known)), features=np.stack(list(known.values())))
    return np.stack([known[face.path] for face in faces])


def altered_tokens(
    find: Finder, faces: Sequence[TrainingFace], folder: Path, altering: Altering, material: Material, cache: Path
) -> tuple[np.ndarray, np.ndarray]:
    """(N, blocks, width) float16 of as many faces or a few more, altered and mixed as in training, and (N,) labels.

    Args:
        material: what fakes are made with.
        cache: an NPZ of this network, faces, recipe and seed, which is read and completed.
    """
    recipe, seed = altering.recipe, altering.seed
    loader = Loader(folder, min(BATCH, len(faces)), seed, material)  # so that every epoch has a batch
    epochs = (loader.plan(faces, epoch, recipe) for epoch in itertools.count())
    batches = math.ceil(altering.altered / loader.batch_size)
    plan = list(itertools.islice(itertools.chain.from_iterable(epochs), batches))
    features, labels, sizes = _stored(cache)
    done = len(sizes)
    if done < len(plan):
        left = tqdm(loader.load(plan[done:], recipe), "altered faces", len(plan), unit="batch", initial=done)
        for at, batch in enumerate(left, done):
            pixels, truth = mixed(to_pixels(batch), torch.from_numpy(batch.labels), [seed, at], often=1.0)
            features.append(find(pixels))
            labels.append(truth.numpy())
            sizes.append(len(truth))
            if len(sizes) % SAVE_EVERY == 0 or len(sizes) == len(plan):
                _save(cache, features=np.concatenate(features), labels=np.concatenate(labels), sizes=np.array(sizes))
    kept = sum(sizes[: len(plan)])  # an earlier run may have been asked for more
    return np.concatenate(features)[:kept], np.concatenate(labels)[:kept]


def _stored(cache: Path) -> tuple[list[np.ndarray], list[np.ndarray], list[int]]:
    """What an earlier run left of features, labels and the sizes of their batches."""
    if not cache.exists():
        return [], [], []
    with np.load(cache) as stored:
        return [stored["features"]], [stored["labels"]], stored["sizes"].tolist()


def _save(cache: Path, **arrays: np.ndarray) -> None:
    with replacing(cache) as draft:
        np.savez(draft, **arrays)


def regression(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, float]:
    """Weight (features,) and bias of a logistic regression on the features as they are.

    Args:
        features: (N, ...), taken as one row each.
        labels: (N,) share that is fake, 0..1.
    """
    scaler = StandardScaler()
    flat = scaler.fit_transform(features.reshape(len(features), -1).astype(np.float32))
    fake, real = labels > 0, labels < 1  # a mixed face is both, in part
    fitted = LogisticRegression(C=INVERSE_REGULARISATION, max_iter=3000).fit(
        np.concatenate([flat[fake], flat[real]]),
        np.repeat([1, 0], [fake.sum(), real.sum()]),
        sample_weight=np.concatenate([labels[fake], 1 - labels[real]]),
    )
    weight = fitted.coef_[0] / scaler.scale_
    return weight, float(fitted.intercept_[0] - weight @ scaler.mean_)
