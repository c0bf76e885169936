"""Foundation model -> teacher: one linear layer on what a vision transformer makes of the training faces, fitted once.

Reads a transformer's weights, which stay as they are, and the faces as served; writes probe.pt, a checkpoint that
`compare` scores, that `--teacher` takes, and that `train --init` can go on with. A foundation model (CLIP: Radford et
al., ICML 2021) has seen more than any set of faces holds.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from hashlib import sha256
from pathlib import Path

import numpy as np
import timm
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from tqdm import tqdm

from serving.files import digest

from ..data.faces import Face, find_faces, of_split
from ..data.sources import folder_of
from ..network import ProbeNet
from ..synthesis.batches import Loader, Material, Recipe
from ..synthesis.material import gather
from .config import TrainConfig
from .mixing import mixed
from .teacher import compiled
from .train import add_flags, to_pixels
from .weights import save_network, starting_network

BATCH = 16
SAVE_EVERY = 20  # batches: so much is done twice after a kill
INVERSE_REGULARISATION = 0.01  # of the logistic regression, on features of unit variance
Finder = Callable[[Tensor], np.ndarray]  # pixels (B, 3, 224, 224) float 0..255 to class tokens (B, ...) float16
BACKBONE = "vit_base_patch16_clip_quickgelu_224.openai"


def foundation(backbone: str, weights: str = "") -> ProbeNet:
    """The transformer, at the side that it was trained at, with an untrained layer.

    Args:
        backbone: a vision transformer that timm knows.
        weights: its file, with timm's names; empty: fetch what is published.
    """
    published = timm.get_pretrained_cfg(backbone)
    if published is None:
        raise ValueError(f"timm knows no {backbone}; timm.list_models('vit*', pretrained=True) names what it knows")
    side_px = published.input_size[-1]
    config = TrainConfig(backbone=backbone, head="probe", side_px=side_px, pretrained=not weights)
    net = starting_network(config, Path(weights) if weights else None)
    assert isinstance(net, ProbeNet)
    return net


def class_tokens(find: Finder, faces: Sequence[Face], folder: Path, cache: Path) -> np.ndarray:
    """(N, blocks, width) float16 of these faces as served; reads and completes `cache`, an NPZ of this network."""
    known: dict[str, np.ndarray] = {}
    if cache.exists():
        with np.load(cache) as stored:
            known = dict(zip(stored["paths"].tolist(), stored["features"], strict=True))
    missing = [face for face in faces if face.path not in known]
    if missing:
        for at, (face, features) in enumerate(zip(missing, _looked_at(find, missing, folder), strict=True), 1):
            known[face.path] = features
            if at % (SAVE_EVERY * BATCH) == 0 or at == len(missing):
                _save(cache, paths=np.array(list(known)), features=np.stack(list(known.values())))
    return np.stack([known[face.path] for face in faces])


def _looked_at(find: Finder, faces: Sequence[Face], folder: Path) -> Iterator[np.ndarray]:
    with tqdm(total=len(faces), desc="class tokens", unit="face") as bar:
        for batch in Loader(folder, BATCH, seed=0).plain(faces):
            yield from find(to_pixels(batch))
            bar.update(len(batch.labels))


class _Tokens(nn.Module):
    def __init__(self, net: ProbeNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixels: Tensor) -> tuple[Tensor]:
        return (self.net.tokens(pixels),)


def finder(net: ProbeNet) -> Finder:
    """By the network itself, on CUDA where there is any."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    run = compiled(_Tokens(net), device)

    @torch.no_grad()
    def find(pixels: Tensor) -> np.ndarray:
        return run(pixels.to(device))[0].half().cpu().numpy()

    return find


def altered_tokens(
    find: Finder,
    faces: Sequence[Face],
    folder: Path,
    recipe: Recipe,
    material: Material,
    count: int,
    seed: int,
    cache: Path,
) -> tuple[np.ndarray, np.ndarray]:
    """(N, blocks, width) float16 of `count` faces or a few more, altered and mixed as in training, and (N,) labels.

    Args:
        recipe, material: how they are altered, and what fakes are made with.
        cache: an NPZ of this network, faces, recipe and seed, which is read and completed.
    """
    loader = Loader(folder, min(BATCH, len(faces)), seed, material)  # so that every epoch has a batch
    epochs = (loader.plan(faces, epoch, recipe) for epoch in itertools.count())
    plan = list(itertools.islice(itertools.chain.from_iterable(epochs), math.ceil(count / loader.batch_size)))
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
    draft = cache.with_suffix(".draft.npz")
    np.savez(draft, **arrays)
    draft.replace(cache)


def fit(net: ProbeNet, features: np.ndarray, labels: np.ndarray) -> None:
    """Gives `net` the layer of `regression`."""
    weight, bias = regression(features, labels)
    with torch.no_grad():
        net.evidence.weight.copy_(torch.from_numpy(weight))
        net.evidence.bias.fill_(bias)


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


def fitting_set(
    find: Finder, of: str, faces: Sequence[Face], chosen: Sequence[Face], folder: Path, arguments: argparse.Namespace
) -> tuple[np.ndarray, np.ndarray]:
    """Class tokens (N, ...) and labels (N,) of the faces to fit to, as they are and altered, by the command line.

    Args:
        of: names the network in the caches' names.
        faces: of every split, whose landmarks altering may need; `chosen` are those to fit to.
    """
    out, recipe = arguments.out, Recipe(**{field.name: getattr(arguments, field.name) for field in fields(Recipe)})
    features = class_tokens(find, chosen, folder, out / f"class_tokens.{of}.npz")
    labels = np.array([face.label for face in chosen], np.float32)
    if not arguments.altered:
        return features, labels
    material = gather([recipe], None, list(faces), folder, out)
    asked = sha256(repr((recipe, arguments.seed, folder.resolve(), chosen)).encode()).hexdigest()[:12]
    cache = out / f"altered_tokens.{of}.{asked}.npz"
    more, shares = altered_tokens(find, chosen, folder, recipe, material, arguments.altered, arguments.seed, cache)
    return np.concatenate([features, more]), np.concatenate([labels, shares])


def add_altering(parser: argparse.ArgumentParser) -> None:
    """The command line of `fitting_set`."""
    parser.add_argument(
        "--altered", type=int, default=0, help="so many training faces more, altered by the recipe below"
    )
    parser.add_argument("--seed", type=int, default=0, help="of how they are altered (default %(default)s)")
    add_flags(parser, fields(Recipe))


def main() -> int:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="python -m export probe", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="CSV manifest, or folder with one or real/ and fake/")
    parser.add_argument("--out", type=Path, required=True, help="the run's folder; it gets probe.pt")
    parser.add_argument("--backbone", default=BACKBONE, help="a vision transformer of timm (default %(default)s)")
    parser.add_argument("--weights", default="", help="its file with timm's names (default: fetch what is published)")
    add_altering(parser)
    a = parser.parse_args()
    faces, folder = find_faces(a.data, a.out), folder_of(a.data)
    chosen = of_split(faces, "train")
    net = foundation(a.backbone, a.weights)
    of = ".".join([a.backbone, digest(Path(a.weights))[:12] if a.weights else "published"])
    features, labels = fitting_set(finder(net), of, faces, chosen, folder, a)
    fit(net, features, labels)
    save_network(net, TrainConfig(backbone=a.backbone, head="probe", side_px=net.side_px), a.out / "probe.pt")
    print(f"{a.out}/probe.pt; see what it is worth with: python -m export compare --data {a.data} --out {a.out} ...")
    return 0


if __name__ == "__main__":
    sys.exit(main())
