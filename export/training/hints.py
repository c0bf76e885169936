"""Training faces -> hints: what a network too large to ask in every step makes of each face, found once and kept.

Reads a vision transformer's weights and the faces as served; writes hints.npz. A foundation model (CLIP: Radford et
al., ICML 2021) knows of faces what a few thousand of them do not teach, and what tells genuine from generated lies in
its middle blocks as much as in the last (Koutlis and Papadopoulos, ECCV 2024). A student that guesses them learns it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from tqdm import tqdm

from ..data.faces import Face
from ..errors import ExportError
from ..synthesis.batches import Loader
from .train import to_pixels

BATCH = 16
FOLDS = 5
SAVE_EVERY = 20  # batches: so much is done twice after a kill
INVERSE_REGULARISATION = 0.001  # of the logistic regressions, on features of unit variance
DIRECTIONS = 32


@dataclass(frozen=True)
class Hints:
    """Which network gives them."""

    backbone: str  # a vision transformer that timm knows
    weights: str = ""  # its file, with timm's names; empty: fetch what is published


class Blocks(nn.Module):
    """The class token behind every block: pixels (B, 3, S, S) float 0..255 to (B, blocks, width)."""

    def __init__(self, hints: Hints) -> None:
        super().__init__()
        self.vit = timm.create_model(hints.backbone, pretrained=not hints.weights, num_classes=0)
        if not hasattr(self.vit, "blocks") or not getattr(self.vit, "num_prefix_tokens", 0):
            raise ExportError(f"{hints.backbone} has no class token behind its blocks: name a vision transformer")
        if hints.weights:
            state = torch.load(hints.weights, weights_only=True, map_location="cpu")
            missing, _ = self.vit.load_state_dict(state, strict=False)
            if missing:
                raise ExportError(f"{hints.weights} lacks {len(missing)} tensors of {hints.backbone}: {missing[0]}")
        config = self.vit.pretrained_cfg
        self.side = self.vit.patch_embed.img_size[0]
        for name in ("mean", "std"):
            self.register_buffer(name, 255 * torch.tensor(config[name]).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        if pixels.shape[-1] != self.side:
            pixels = nn.functional.interpolate(pixels, (self.side, self.side), mode="bicubic", antialias=True)
        found = self.vit.forward_intermediates(
            (pixels - self.mean) / self.std, intermediates_only=True, return_prefix_tokens=True
        )
        return torch.stack([prefix[:, 0] for _, prefix in found], 1)


def find_hints(hints: Hints, faces: Sequence[Face], folder: Path, cache: Path) -> dict[str, np.ndarray]:
    """(D,) of every one of these training faces, by path; reads and completes `cache` (NPZ, of the features)."""
    known: dict[str, np.ndarray] = {}
    if cache.exists():
        with np.load(cache) as stored:
            known = dict(zip(stored["paths"].tolist(), stored["features"], strict=True))
    missing = [face for face in faces if face.path not in known]
    if missing:
        for at, (face, features) in enumerate(zip(missing, _features(hints, missing, folder), strict=True), 1):
            known[face.path] = features
            if at % (SAVE_EVERY * BATCH) == 0 or at == len(missing):
                _save(cache, known)
    found = as_hints(
        np.stack([known[face.path] for face in faces]),
        np.array([face.label for face in faces]),
        [face.group for face in faces],
    )
    return {face.path: hint for face, hint in zip(faces, found, strict=True)}


def as_hints(features: np.ndarray, labels: np.ndarray, groups: Sequence[str]) -> np.ndarray:
    """Features of many faces as what a student can guess, (N, D) float32 of unit variance.

    First the logit of fake from each block and from all of them, each by a logistic regression that was not fitted to
    the face's group: on faces that it knows it would say the label. Then the DIRECTIONS in which the faces differ most.

    Args:
        features: (N, blocks, width).
        labels: (N,) 1 is fake.
        groups: (N,) what never crosses splits, as of Face. ValueError where there are fewer than FOLDS.
    """
    faces, blocks, _ = features.shape
    features = StandardScaler().fit_transform(features.reshape(faces, -1).astype(np.float32))
    regression = LogisticRegression(C=INVERSE_REGULARISATION, max_iter=1000)
    parts = [*np.split(features, blocks, 1), features]
    folds = list(GroupKFold(FOLDS).split(features, labels, groups))
    logits = [cross_val_predict(regression, part, labels, cv=folds, method="decision_function") for part in parts]
    directions = PCA(min(DIRECTIONS, *features.shape), random_state=0).fit_transform(features)
    return StandardScaler().fit_transform(np.column_stack([*logits, directions])).astype(np.float32)


def _features(hints: Hints, faces: Sequence[Face], folder: Path) -> Iterator[np.ndarray]:
    """(blocks, width) float16 of each face as served, in order."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = Blocks(hints).eval().to(device)
    with tqdm(total=len(faces), desc="hints", unit="face") as bar, torch.inference_mode():
        for batch in Loader(folder, BATCH, seed=0).plain(faces):
            yield from net(to_pixels(batch).to(device)).half().cpu().numpy()
            bar.update(len(batch.labels))


def _save(cache: Path, known: dict[str, np.ndarray]) -> None:
    draft = cache.with_suffix(".draft.npz")
    np.savez(draft, paths=np.array(list(known)), features=np.stack(list(known.values())))
    draft.replace(cache)
