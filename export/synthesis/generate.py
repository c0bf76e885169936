"""A face generator -> faces of nobody, in the sizes and JPEG tables of the real photographs: one more kind of fake.

`python -m export generate --data FOLDER --out FOLDER2 --mapping M.xml --synthesis S.xml --count 1200`. It reads the
real photographs of the split `train`. It writes `fake/NAME/` into FOLDER2 and `manifest.csv`, which lists the old data
and the new faces, all in `train`: FOLDER2 is the --data of the other stages. An interrupted run goes on.

Any generator of the StyleGAN family (Karras et al., CVPR 2019) will do that OpenVINO reads, as IR or ONNX.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path, PurePath

import numpy as np
import openvino
from PIL import Image
from tqdm import tqdm

from serving.files import digest, replacing

from ..claim import claim
from ..data.faces import DataConfig
from ..data.sources import LABELS, REAL, Item, folder_of, read_items
from ..options import Data
from .reconstruct import encode_like

TRUNCATIONS = (0.5, 0.7, 0.8, 0.9, 1.0)  # how far a style is from the mean one: from smooth to odd faces
MEAN_OF = 1000  # styles
JPEG, SUFFIXES = b"\xff\xd8", (".jpg", ".png")
ATTEMPTS = 20  # photographs that cannot be read are passed over
# A generated face is scaled down as any picture may have been, so that no one filter tells it.
FILTERS = (Image.Resampling.LANCZOS, Image.Resampling.BICUBIC, Image.Resampling.BOX, Image.Resampling.HAMMING)

Generator = Callable[[np.random.Generator], np.ndarray]  # to (H, W, 3) uint8 RGB


class StyleGenerator:
    """A mapping and a synthesis network.

    Args:
        mapping: (1, d) float32 normal to a style, (1, d).
        synthesis: a style to (1, 3, H, W) float32 RGB, -1..1.
    """

    def __init__(self, mapping: Path, synthesis: Path) -> None:
        core = openvino.Core()
        model = core.read_model(mapping)
        self.width = model.input().get_partial_shape()[1].get_length()
        model.reshape([1, self.width])
        self.mapping, self.synthesis = core.compile_model(model, "CPU"), core.compile_model(synthesis, "CPU")
        rng = np.random.default_rng(0)
        self.mean = np.mean([self._style(rng) for _ in range(MEAN_OF)], 0)

    def _style(self, rng: np.random.Generator) -> np.ndarray:
        return self.mapping(rng.standard_normal((1, self.width)).astype(np.float32))[0]

    def __call__(self, rng: np.random.Generator) -> np.ndarray:
        """One face, (H, W, 3) uint8 RGB."""
        style = self._style(rng)
        image = self.synthesis(self.mean + np.float32(rng.choice(TRUNCATIONS)) * (style - self.mean))[0][0]
        return np.clip((image + 1) / 2 * 255 + 0.5, 0, 255).astype(np.uint8).transpose(1, 2, 0)


def as_photographed(image: np.ndarray, photographs: list[Path], rng: np.random.Generator) -> bytes:
    """`image`, (H, W, 3) uint8 RGB, as long as the shorter side of one of the photographs and encoded as that is.

    Raises:
        ValueError: of `ATTEMPTS` photographs none can be read.
    """
    for _ in range(ATTEMPTS):
        photograph = photographs[rng.integers(len(photographs))]
        try:
            with Image.open(photograph) as original:
                side = min(original.size)
                small = Image.fromarray(image).resize((side, side), FILTERS[rng.integers(len(FILTERS))])
                return encode_like(small, original)
        except OSError as exc:
            broken = exc
    raise ValueError(f"{ATTEMPTS} photographs were tried and none can be read; the last: {photograph}: {broken}")


def generate(generator: Generator, items: list[Item], folder: Path, out: Path, count: int, seed: int) -> list[Path]:
    """Writes what is not in `out` yet; all `count` pictures.

    Each is like a real photograph of the split train: of every source as often, whatever its size.

    Args:
        items, folder: the data, and what its paths are relative to.

    Raises:
        ValueError: there is no such photograph.
    """
    like: dict[str, list[Path]] = {}
    for item in items:
        if item.label == REAL and item.split == "train" and not item.is_video:
            like.setdefault(item.source, []).append(folder / item.path)
    if not like:
        raise ValueError("there is no real photograph in the split train whose size and compression could be taken")
    sources = sorted(like)
    out.mkdir(parents=True, exist_ok=True)
    made = []
    for index in tqdm(range(count), "generated faces", unit="face", disable=None):
        known = [path for path in (out / f"{seed}-{index:05}{suffix}" for suffix in SUFFIXES) if path.exists()]
        if not known:
            rng = np.random.default_rng([seed, index])
            image = generator(rng)
            encoded = as_photographed(image, like[sources[rng.integers(len(sources))]], rng)
            known = [out / f"{seed}-{index:05}{SUFFIXES[not encoded.startswith(JPEG)]}"]
            with replacing(known[0]) as draft:
                draft.write_bytes(encoded)
        made += known
    return made


def write_manifest(items: list[Item], folder: Path, made: list[Path], source: str, path: Path) -> None:
    """The old data, by absolute paths, and what was made, relative to the manifest."""
    names = {number: name for name, number in LABELS.items()}
    with replacing(path) as draft, draft.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "label", "source", "group", "split"))
        for item in items:
            rows.writerow(((folder / item.path).resolve(), names[item.label], item.source, item.group, item.split))
        for picture in made:
            relative = picture.relative_to(path.parent).as_posix()
            rows.writerow((relative, "fake", source, relative, "train"))


def main(
    data: Data, out: Path, mapping: Path, synthesis: Path, name: str = "generated", count: int = 1000, seed: int = 0
) -> int:
    """Makes a new data folder.

    Args:
        out: the new data folder.
        mapping: OpenVINO IR or ONNX, noise to style.
        synthesis: OpenVINO IR or ONNX, style to picture.
        name: of the new source.
        count: of generated faces.
    """
    if count < 1 or PurePath(name).name != name:
        raise ValueError(f"--count is at least 1 and --name a plain name, got {count} and {name!r}")
    folder, pictures = folder_of(data), out / "fake" / name
    if out.resolve() == folder.resolve():
        raise ValueError(f"--out {out} holds the old data, whose manifest would be lost; name a new folder")
    items = read_items(data, DataConfig().seed)
    if name in {item.source for item in items}:
        raise ValueError(f"{data} has a source {name!r} already; give another --name")
    pictures.mkdir(parents=True, exist_ok=True)
    nets = {"mapping": digest(mapping), "synthesis": digest(synthesis)}
    claim(pictures / "made_through.json", {"data": str(data.resolve()), **nets}, begun=True)
    made = generate(StyleGenerator(mapping, synthesis), items, folder, pictures, count, seed)
    write_manifest(items, folder, made, name, out / "manifest.csv")
    print(f"{len(made)} faces in {out}; go on with --data {out}")
    return 0
