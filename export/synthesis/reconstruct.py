"""Real faces -> reconstructions through a latent autoencoder: fakes that show the same as their real twins.

`python -m export reconstruct --data FOLDER --out runs/mine --encoder E.onnx --decoder D.onnx`. It reads the faces that
the search found. Into OUT/reconstructions it writes a picture for each face, named by its content, and faces.jsonl:
`twin` is the path of the real photograph, `crop` the part of it that the picture shows. An interrupted run goes on. Any
pair of ONNX nets will do that maps (n, 3, h, w) RGB in 0..1, sides divisible by 8, to a latent and back.

A decoder's output is soft. A detector that is shown it raw takes sharp forgeries for genuine. So a twin gets the
sharpness of its original, place by place and band by band, and its JPEG tables and grid.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openvino
from msgspec import field
from PIL import Image, ImageOps, JpegImagePlugin
from scipy.ndimage import gaussian_filter, laplace, uniform_filter
from tqdm import tqdm

from serving.files import digest
from serving.settings import Settings

from ..claim import claim
from ..data.face_search import whole_lines
from ..data.faces import TrainingFace, find_faces, real_of
from ..data.sources import folder_of
from ..options import Data, Out

CONTEXT = 1.6  # of the box: as much as the widest jittered crop shows
GRID = 16  # pixels: the autoencoder's sides must be multiples of 8, blocks of a JPEG with halved colour of 16
BAND_SIGMAS_PX = (0.6, 1.2, 2.4, 4.8)  # edges of the matched bands; what is coarser comes from the decoder alone
LOCAL_PX = 31  # sharpness is matched in windows of this side: skin with skin, hair with hair
GAIN = (0.4, 4.0)  # a band is never weakened or strengthened by more
PASSES = 4  # bands overlap, so that one pass does not do: the finest stays too weak
RETAINED = 0.4  # at most this share of the original's own detail is put back
LATENT_NOISE = 0.15  # at most, in standard deviations of the latent
ENLARGED = 1.5  # a small crop is reconstructed at up to this scale, so that the decoder's traces have many sizes

Autoencoder = Callable[[np.ndarray, np.random.Generator], np.ndarray]


class Reconstructor:
    """An encoder and a decoder in ONNX.

    Args:
        encoder: (n, 3, h, w) float32 RGB 0..1 to a latent (n, c, h / 8, w / 8).
        decoder: back again.
        workers: calls that may run at a time, each on one core; not pinned, or a busy core stalls them all.
    """

    def __init__(self, encoder: Path, decoder: Path, workers: int) -> None:
        core = openvino.Core()
        settings = {"NUM_STREAMS": workers, "INFERENCE_NUM_THREADS": workers, "ENABLE_CPU_PINNING": False}
        self.encoder, self.decoder = (core.compile_model(path, "CPU", settings) for path in (encoder, decoder))

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(H, W, 3) float32 0..1 and its reconstruction from a slightly disturbed latent, the same shape and range."""
        encode, decode = self.encoder.create_infer_request(), self.decoder.create_infer_request()
        latent = encode.infer(image.transpose(2, 0, 1)[None])[0]
        noise = rng.standard_normal(latent.shape, np.float32) * latent.std()
        decoded = decode.infer(latent + np.float32(rng.uniform(0, LATENT_NOISE)) * noise)[0][0]
        return np.clip(decoded.transpose(1, 2, 0), 0, 1)


def reconstruct(image: np.ndarray, autoencoder: Autoencoder, rng: np.random.Generator, limit_px: int) -> np.ndarray:
    """The twin of `image`: (H, W, 3) uint8 RGB, sides divisible by 16, in and out."""
    height, width = image.shape[:2]
    scale = min(rng.choice((1.0, rng.uniform(1, ENLARGED))), max(1.0, limit_px / max(height, width)))
    size = tuple(round(side * scale / GRID) * GRID for side in (width, height))
    enlarged = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    decoded = autoencoder(np.asarray(enlarged, np.float32) / 255, rng)
    if decoded.shape != image.shape:
        picture = Image.fromarray(np.rint(decoded * 255).astype(np.uint8))
        decoded = np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS), np.float32) / 255
    reference = np.asarray(image, np.float32) / 255
    matched = match_sharpness(decoded, reference, rng.uniform(0, RETAINED))
    return np.rint(np.clip(matched, 0, 1) * 255).astype(np.uint8)


def match_sharpness(image: np.ndarray, reference: np.ndarray, retained: float) -> np.ndarray:
    """`image` with the local energy that each frequency band has in `reference`.

    Args:
        image, reference: (H, W, 3) float32 of the same scene, 0..1.
        retained: share of the reference's own detail that is mixed in, 0..1.

    Returns:
        (H, W, 3) float32; it may leave 0..1 a little.
    """
    wanted = bands(reference)[:-1]
    energies = [_local_energy(band) for band in wanted]
    for share in (retained, *[0.0] * (PASSES - 1)):
        *own, result = bands(image)
        for band, target, energy in zip(own, wanted, energies, strict=True):
            mixed = (1 - share) * band + share * target
            gain = np.sqrt((energy + 1e-7) / (_local_energy(mixed) + 1e-7))
            result = result + mixed * np.clip(gain, *GAIN)[..., None]
        image = result
    return image


def bands(image: np.ndarray) -> list[np.ndarray]:
    """Differences of Gaussians from fine to coarse, and the remainder; their sum is the image, (H, W, 3) each."""
    levels = [image, *(gaussian_filter(image, (sigma, sigma, 0)) for sigma in BAND_SIGMAS_PX)]
    return [fine - coarse for fine, coarse in itertools.pairwise(levels)] + [levels[-1]]


def _local_energy(band: np.ndarray) -> np.ndarray:
    """(H, W, 3) band to (H, W): mean square around every pixel."""
    return uniform_filter((band**2).mean(-1), LOCAL_PX)


def sharpness_ratios(image: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Laplacian variance and energy of each band, image over reference, both (H, W, 3) uint8."""
    pairs = [np.asarray(picture, np.float32) for picture in (image, reference)]
    laplacian = [laplace(picture.mean(-1)).var() for picture in pairs]
    ratios = {"laplacian_variance": float(laplacian[0] / laplacian[1])}
    energies = [[float((band**2).mean()) for band in bands(picture)[:-1]] for picture in pairs]
    return ratios | {f"band_{i}": ours / theirs for i, (ours, theirs) in enumerate(zip(*energies, strict=True))}


def aligned_crop(box: np.ndarray, height: int, width: int) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of the face with its surroundings, on the picture's grid of JPEG blocks, at most the picture."""
    box, size = np.asarray(box, np.float64), np.array([width, height])
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).max() * CONTEXT / 2
    low = np.floor(np.clip(centre - half, 0, size - GRID) / GRID).astype(int) * GRID
    sides = np.ceil((np.minimum(centre + half, size) - low) / GRID).astype(int)
    high = low + np.clip(sides, 1, (size - low) // GRID) * GRID
    return (*low.tolist(), *high.tolist())


def twin_of(data: bytes, box: np.ndarray, autoencoder: Autoencoder, seed: int, limit_px: int) -> tuple[bytes, dict]:
    """One photograph's reconstruction.

    Returns:
        the encoded picture; its `box`, `height` and `width`, its `crop` of the original, and its `sharpness`, as
        `sharpness_ratios` to the original.
    """
    rng = np.random.default_rng([seed, int.from_bytes(hashlib.sha256(data).digest()[:8], "big")])
    with Image.open(io.BytesIO(data)) as original:
        original.load()
    upright = ImageOps.exif_transpose(original).convert("RGB")
    crop = aligned_crop(box, upright.height, upright.width)
    real = upright.crop(crop)
    scale = 1.0
    if max(real.size) > limit_px:
        scale = limit_px / max(real.size)
        size = tuple(max(GRID, round(side * scale / GRID) * GRID) for side in real.size)
        real = real.resize(size, Image.Resampling.LANCZOS)
    scales = np.tile(np.array(real.size) / (crop[2] - crop[0], crop[3] - crop[1]), 2)
    fake = reconstruct(np.asarray(real), autoencoder, rng, limit_px)
    encoded = encode_like(Image.fromarray(fake), original)
    with Image.open(io.BytesIO(encoded)) as stored:
        ratios = sharpness_ratios(np.asarray(stored.convert("RGB")), np.asarray(real))
    place = {"box": ((np.asarray(box) - np.tile(crop[:2], 2)) * scales).tolist(), "crop": crop}
    return encoded, place | {"height": real.height, "width": real.width, "sharpness": ratios}


def encode_like(picture: Image.Image, original: Image.Image) -> bytes:
    """The picture with the original's JPEG tables, so that compression tells no twin; else lossless."""
    buffer = io.BytesIO()
    if original.format == "JPEG" and len(original.getbands()) == 3:
        sampling = JpegImagePlugin.get_sampling(original)
        options = {"subsampling": sampling} if sampling >= 0 else {}
        picture.save(buffer, "JPEG", qtables=original.quantization, **options)
    else:
        picture.save(buffer, "PNG")
    return buffer.getvalue()


class Reconstructions(Settings):
    """Of which faces reconstructions are made, and through what."""

    encoder: str  # ONNX: picture to latent
    decoder: str  # ONNX: latent to picture
    sources: tuple[str, ...] = ()  # NAME or NAME:COUNT, so many at random; all where empty
    seed: int = 0
    limit_px: int = 512  # larger crops are scaled down
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)  # by default as many as there are cores


def choose(faces: Sequence[TrainingFace], sources: Sequence[str], seed: int) -> list[TrainingFace]:
    """Real faces of some sources, each NAME or NAME:COUNT; all if none is named. Raises ValueError for an unknown."""
    real = real_of(faces)
    rng = np.random.default_rng(seed)
    chosen = []
    for spec in sources or sorted({face.source for face in real}):
        name, _, count = spec.partition(":")
        pool = [face for face in real if face.source == name]
        if not pool:
            raise ValueError(f"no real face of the source {name!r} to reconstruct")
        chosen += [pool[i] for i in rng.permutation(len(pool))[: int(count) if count else None]]
    return [chosen[i] for i in rng.permutation(len(chosen))]  # mixed: what an interrupted run leaves is of every source


def reconstruct_faces(
    config: Reconstructions, faces: Sequence[TrainingFace], folder: Path, out: Path
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Reconstructs what is not in `out` yet; the file of each and the crop that it shows, by its original's path.

    Args:
        folder: what the faces' paths are relative to.

    ValueError where `out` was made through other nets, or with another seed or limit.
    """
    listing = out / "faces.jsonl"
    out.mkdir(parents=True, exist_ok=True)
    through = {"seed": config.seed, "limit_px": config.limit_px}
    through |= {name: digest(Path(getattr(config, name))) for name in ("encoder", "decoder")}
    done = list(whole_lines(listing))
    claim(out / "made_through.json", through, begun=bool(done))
    chosen = choose(faces, config.sources, config.seed)
    listing.write_text("".join(json.dumps(line) + "\n" for line in done))  # without a line that was cut off
    twins = {line["twin"] for line in done}
    todo = [face for face in chosen if face.path not in twins]
    autoencoder = Reconstructor(Path(config.encoder), Path(config.decoder), config.workers) if todo else None

    def twin(face: TrainingFace) -> dict:
        data = (folder / face.path).read_bytes()
        encoded, found = twin_of(data, np.array(face.box), autoencoder, config.seed, config.limit_px)
        suffix = ".jpg" if encoded[:2] == b"\xff\xd8" else ".png"
        path = (out / (hashlib.sha256(encoded).hexdigest()[:20] + suffix)).resolve()
        path.write_bytes(encoded)
        return {"path": str(path), "source": "reconstruction", "split": face.split, **found, "twin": face.path}

    with listing.open("a") as file, ThreadPoolExecutor(config.workers) as pool:
        for line in tqdm(pool.map(twin, todo), "reconstructions", len(todo), unit="face", disable=None):
            file.write(json.dumps(line) + "\n")
            file.flush()
    wanted = {face.path for face in chosen}
    lines = [line for line in whole_lines(listing) if line["twin"] in wanted]
    report(lines)
    return {line["twin"]: (line["path"], tuple(line["crop"])) for line in lines}


def report(lines: Sequence[dict]) -> None:
    """Prints how the twins' sharpness agrees: it should be near 1."""
    for name in lines[0]["sharpness"] if lines else ():
        low, middle, high = np.quantile([line["sharpness"][name] for line in lines], (0.1, 0.5, 0.9))
        print(f"{name}: reconstruction / original {middle:.2f} (80 % within {low:.2f} to {high:.2f})")


def main(data: Data, out: Out, config: Reconstructions, splits: tuple[str, ...] = ("train",)) -> int:
    """Reconstructs what is not there yet.

    Args:
        splits: of the faces.
    """
    faces = [face for face in find_faces(data, out) if face.split in splits]
    reconstruct_faces(config, faces, folder_of(data), out / "reconstructions")
    return 0
