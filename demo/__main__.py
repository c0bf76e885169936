"""Starts the server, asks it about a photograph, a manipulated version of it and a short video, and stops it."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from facewarden import Client, FacewardenError
from facewarden.cli import main as facewarden
from serving.errors import ServingError, SetupError
from serving.paths import CACHE, ROOT
from serving.supervisor.options import Options
from serving.supervisor.server import Server

from .media import PORTRAIT, manipulated, portrait, write_video


def run(folder: Path) -> int:
    """The demo in a folder of its own; returns 0 when everything was answered."""
    options = Options(grpc_port=0, http_port=0, metrics_port=0, log=CACHE / "logs" / "demo.log")
    started = time.monotonic()
    print("Starting Triton with the models of model_repository/ ...", flush=True)
    with Server(options) as server:
        print(f"ready after {time.monotonic() - started:.1f} s at {server.url}\n", flush=True)
        pictures, video = make_media(folder, server.url)
        os.chdir(folder)
        codes = [
            ask("check", *(picture.name for picture in pictures), "--url", server.url),
            ask("watch", video.name, "--url", server.url),
        ]
        os.chdir(ROOT)
    print("\nThe server is stopped. Start your own with `make serve`, ask it with .venv/bin/facewarden.")
    return max(codes)


def make_media(folder: Path, url: str) -> tuple[list[Path], Path]:
    """Writes the photograph, its manipulated version and the video; the server says where the face is."""
    genuine = folder / "genuine.jpg"
    genuine.write_bytes(PORTRAIT.read_bytes())
    with Client(url) as client:
        box = client.check_image(genuine).faces[0].box
    fake = manipulated(portrait(), np.array(box))
    Image.fromarray(fake).save(folder / "manipulated.jpg", quality=92)
    write_video(folder / "interview.mp4", [portrait(), fake])
    return [genuine, folder / "manipulated.jpg"], folder / "interview.mp4"


def ask(*arguments: str) -> int:
    """Runs the client's command as a user would, and shows it."""
    print(f"$ facewarden {' '.join(arguments)}", flush=True)
    return facewarden(list(arguments))


def main() -> int:
    """Command line entry: 0 answered, 1 failed, 2 the machine lacks something."""
    try:
        with tempfile.TemporaryDirectory(prefix="facewarden-demo-") as folder:
            return run(Path(folder))
    except SetupError as exc:
        print(f"cannot run the demo: {exc}", file=sys.stderr)
        return 2
    except (ServingError, FacewardenError) as exc:
        print(f"the server failed: {exc}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
