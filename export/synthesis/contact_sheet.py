"""Photographs -> a sheet to look at before a training: what the synthesis makes of each face, one row a face.

`python -m export contact-sheet PHOTO... --out sheet.jpg`. The columns show the real face, its self-blend and the mask,
the next photograph's face blended in and that mask, the reconstruction (with --encoder and --decoder), and three
journeys. With a single photograph its mirror image is the other person.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps
from tyro.conf import Positional

from serving.faces.detector import FaceDetector
from serving.pictures.crop import face_roi

from ..errors import UsageError
from .augment import Surroundings, decode
from .degrade import degrade, print_and_scan, save, video
from .identity_blend import identity_blended_pair
from .landmarks import FaceMesh
from .reconstruct import Reconstructor, twin_of
from .self_blend import self_blended_pair

TILE_PX, LABEL_PX = 150, 16
Tile = tuple[str, np.ndarray, np.ndarray]  # label, (H, W, 3) or (H, W) uint8, the face's box in it


def read_faces(photos: Sequence[bytes]) -> list[Surroundings]:
    """The largest face of each photograph, with its mesh; raises ValueError for one without."""
    detector, mesh, faces = FaceDetector(), FaceMesh(), []
    for number, (data, found) in enumerate(zip(photos, detector.detect(photos), strict=True), 1):
        if isinstance(found, Exception):
            raise found
        picture = decode(data)
        box = max(found.box, key=lambda box: float((box[2:] - box[:2]).prod()), default=None)
        points = None if box is None else mesh.landmarks(np.asarray(picture), box)
        if points is None:
            raise ValueError(f"Photograph {number} shows no face; give one that does.")
        faces.append(Surroundings.cut(picture, box, points, np.random.default_rng(0)))
    return faces


def row(face: Surroundings, other: Surroundings, autoencoder: Reconstructor | None, seed: int) -> Iterator[Tile]:
    """The tiles of one face."""
    assert face.landmarks is not None
    assert other.landmarks is not None
    rng = np.random.default_rng(seed)
    mine = self_blended_pair(face.pixels, face.box, rng, 1.0, face.landmarks)
    swapped = identity_blended_pair(face.pixels, face.landmarks, other.pixels, other.landmarks, rng)
    yield "real", face.pixels, face.box
    yield "self-blended", mine.fake, face.box
    yield "its mask", mine.mask, face.box
    yield "other face", swapped.fake, face.box
    yield "its mask", swapped.mask, face.box
    if autoencoder is not None:
        encoded, found = twin_of(save(Image.fromarray(face.pixels), "PNG"), face.box, autoencoder, seed, 512)
        yield "reconstruction", np.asarray(decode(encoded)), np.array(found["box"])
    picture = Image.fromarray(face.pixels)
    for label, (altered, box) in {
        "printed, scanned": print_and_scan(picture, face.box, rng),
        "H.264, CRF 33": (video(picture, 33), face.box),
        "journey": degrade(picture, face.box, rng),
    }.items():
        yield label, np.asarray(altered), box


def sheet(rows: Sequence[Sequence[Tile]]) -> Image.Image:
    """The tiles cut as the classifier sees them, with labels."""
    page = Image.new("RGB", (len(rows[0]) * TILE_PX, len(rows) * (TILE_PX + LABEL_PX)), "white")
    draw = ImageDraw.Draw(page)
    for down, tiles in enumerate(rows):
        for across, (label, pixels, box) in enumerate(tiles):
            size = np.tile(pixels.shape[1::-1], 2)
            region = tuple((face_roi(box, *pixels.shape[:2]).astype(float) * size).clip(0, size).tolist())
            tile = Image.fromarray(pixels).convert("RGB").resize((TILE_PX, TILE_PX), Image.Resampling.BICUBIC, region)
            corner = (across * TILE_PX, down * (TILE_PX + LABEL_PX))
            draw.text((corner[0] + 3, corner[1] + 2), label, fill="black")
            page.paste(tile, (corner[0], corner[1] + LABEL_PX))
    return page


def main(
    photos: Positional[tuple[Path, ...]],
    out: Path,
    encoder: Path | None = None,
    decoder: Path | None = None,
    seed: int = 0,
) -> int:
    """Draws the sheet.

    Args:
        photos: real photographs.
        out: the sheet, .jpg or .png.
        encoder: ONNX, picture to latent.
        decoder: ONNX, latent to picture.
    """
    if (encoder is None) != (decoder is None) or not photos:
        raise UsageError("give one photograph or more, and --encoder and --decoder together or not at all")
    files = [path.read_bytes() for path in photos]
    if len(files) == 1:
        files.append(save(ImageOps.mirror(decode(files[0])), "PNG"))
    faces = read_faces(files)
    autoencoder = Reconstructor(encoder, decoder, 1) if encoder and decoder else None
    shown = enumerate(faces[: len(photos)])
    sheet([list(row(face, faces[(i + 1) % len(faces)], autoencoder, seed + i)) for i, face in shown]).save(out)
    return 0
