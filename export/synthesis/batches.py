"""Faces -> batches as the network sees them, through the served DALI pipeline, prepared one batch ahead."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
from msgspec.structs import astuple

from serving.pictures import pipelines
from serving.pictures.pipeline_host import PipelineHost
from serving.settings import Settings

from ..data.faces import TrainingFace
from ..data.sources import REAL
from .augment import Donor, Example, Twin, blended_example, plain_example, training_example, training_pair
from .identity_blend import Donors


class Batch(NamedTuple):
    """faces (B, 224, 224, 3) uint8 RGB, labels (B,) float32."""

    faces: np.ndarray
    labels: np.ndarray


class Recipe(Settings):
    """Which fakes are made of the real faces, as shares 0..1 of those, and how often a picture is degraded."""

    self_blend: float = 0.35  # blended with an altered copy of itself
    identity_blend: float = 0.0  # blended with another person's face
    reconstruction: float = 0.0  # sent through an autoencoder, of those that were
    degradation: float = 1.0  # of all pictures, real and fake
    video: float = 0.0  # of all pictures: a frame of a video call instead of degraded

    def __post_init__(self) -> None:
        if not all(0 <= share <= 1 for share in astuple(self)):
            raise ValueError(f"a recipe's shares are in 0..1, got {self}")
        if self.degradation + self.video > 1:
            raise ValueError(f"a picture is degraded or a frame of a video, so both shares are 1 at most, got {self}")


@dataclass(frozen=True)
class Material:
    """What fakes are made with, found before training: all by the path of the real face; missing means not used."""

    landmarks: Mapping[str, np.ndarray] = field(default_factory=dict)  # (468, 2) pixels
    donors: Donors | None = None
    reconstructions: Mapping[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)  # file, crop


class Slot(NamedTuple):
    """One face of a batch. kind: plain, or what fake it comes with as its twin."""

    face: TrainingFace
    kind: str
    seed: tuple[int, ...]

    @property
    def examples(self) -> int:
        """Faces that it adds to a batch."""
        return 1 if self.kind == PLAIN else 2


PLAIN, SELF_BLEND, IDENTITY_BLEND, RECONSTRUCTION = "plain", "self_blend", "identity_blend", "reconstruction"


class Loader:
    """Reads the photographs of one data folder; the same seed, epoch and index give the same example.

    Args:
        folder: what the manifest's paths are relative to.
        batch_size: faces in one batch; one with twins may hold one more.
        seed: of every random choice.
        material: what blends and reconstructions are made with.
    """

    def __init__(self, folder: Path, batch_size: int, seed: int, material: Material | None = None) -> None:
        self.folder, self.batch_size, self.seed = folder, batch_size, seed
        self.material = material or Material()
        self.pipeline = PipelineHost(pipelines.preprocess, batch_size + 1, threads=1)
        self.one_at_a_time = Lock()  # two iterators of a loader each have a thread; the pipeline is not thread-safe

    def plan(self, faces: Sequence[TrainingFace], epoch: int, recipe: Recipe) -> list[list[Slot]]:
        """The batches of one epoch, shuffled; the last, smaller one is left out.

        A real face and the fake that is made from it are one slot, so that a batch holds both.
        """
        rng = np.random.default_rng([self.seed, epoch])
        batches: list[list[Slot]] = [[]]
        for index in rng.permutation(len(faces)).tolist():
            slot = Slot(faces[index], self._kind(faces[index], recipe, rng), (self.seed, epoch, index))
            batches[-1].append(slot)
            if sum(slot.examples for slot in batches[-1]) >= self.batch_size:
                batches.append([])
        return batches[:-1]

    def _kind(self, face: TrainingFace, recipe: Recipe, rng: np.random.Generator) -> str:
        draw = rng.random(3)
        if face.label != REAL:
            return PLAIN
        if face.path in self.material.reconstructions and draw[0] < recipe.reconstruction:
            return RECONSTRUCTION
        if self.material.donors and face.path in self.material.landmarks and draw[1] < recipe.identity_blend:
            return IDENTITY_BLEND
        return SELF_BLEND if draw[2] < recipe.self_blend else PLAIN

    def load(self, plan: Sequence[Sequence[Slot]], recipe: Recipe) -> Iterator[Batch]:
        """The batches of a plan."""
        return self._batches(plan, lambda slot: self._examples(slot, recipe))

    def _examples(self, slot: Slot, recipe: Recipe) -> list[Example]:
        face, rng = slot.face, np.random.default_rng(slot.seed)
        data, box, landmarks = self._read(face.path), np.array(face.box), self.material.landmarks.get(face.path)
        if slot.kind == PLAIN:
            return [training_example(data, box, face.label, recipe.degradation, rng, video=recipe.video)]
        donor = twin = None
        if slot.kind == IDENTITY_BLEND:
            path = self.material.donors.nearest(landmarks, face.group, rng)
            donor = Donor(self._read(path), self.material.landmarks[path])
        elif slot.kind == RECONSTRUCTION:
            path, crop = self.material.reconstructions[face.path]
            twin = Twin(self._read(path), crop)
        fakes = {"landmarks": landmarks, "donor": donor, "twin": twin}
        return list(training_pair(data, box, recipe.degradation, rng, video=recipe.video, **fakes))

    def plain(self, faces: Sequence[TrainingFace]) -> Iterator[Batch]:
        """Every face as served, in order."""
        return self._batches(
            self._chunks(faces),
            lambda f: [plain_example(self._read(f.path), np.array(f.box), f.height, f.width, f.label)],
            whole=True,
        )

    def blended(self, faces: Sequence[TrainingFace]) -> Iterator[Batch]:
        """A self-blended fake of every face, in order."""

        def example(numbered: tuple[int, TrainingFace]) -> list[Example]:
            number, face = numbered
            rng = np.random.default_rng([self.seed, number])
            return [blended_example(self._read(face.path), np.array(face.box), rng)]

        return self._batches(self._chunks(list(enumerate(faces))), example, whole=True)

    def _read(self, path: str) -> bytes:
        return (self.folder / path).read_bytes()

    def _chunks(self, items: Sequence) -> list[Sequence]:
        return [items[i : i + self.batch_size] for i in range(0, len(items), self.batch_size)]

    def _batches(
        self, chunks: Sequence[Sequence], examples: Callable[..., list[Example]], whole: bool = False
    ) -> Iterator[Batch]:
        """Batches in order; with `whole` an example that does not decode is a ValueError, else told and left out."""
        with ThreadPoolExecutor(1) as ahead:
            pending = ahead.submit(self._assemble, chunks[0], examples, whole) if chunks else None
            for following in [*chunks[1:], None]:
                if pending is None:
                    return
                batch = pending.result()
                pending = ahead.submit(self._assemble, following, examples, whole) if following else None
                yield batch

    def _assemble(self, items: Sequence, examples: Callable[..., list[Example]], whole: bool) -> Batch:
        made = [example for item in items for example in examples(item)]
        with self.one_at_a_time:
            faces = self.pipeline.run(IMAGE=[e.image for e in made], ROI=[e.roi for e in made])
        broken = [error for error in faces if isinstance(error, Exception)]
        if broken and (whole or len(broken) == len(made)):
            raise ValueError(f"{len(broken)} faces that were found do not decode any more ({broken[0]}): search anew")
        for error in broken:
            print(f"left out of a batch: {error}", file=sys.stderr, flush=True)
        kept = [(face, e.label) for face, e in zip(faces, made, strict=True) if not isinstance(face, Exception)]
        return Batch(np.stack([face for face, _ in kept]), np.array([label for _, label in kept], np.float32))
