"""Code blocks of README and of the client's page are run against the real server; only its address is exchanged."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
BLOCKS, CLIENTS = (BLOCK.findall((ROOT / page).read_text()) for page in ("README.md", "docs/client.md"))
PYTHON = [body for kind, body in BLOCKS + CLIENTS if kind == "python"]
COMMANDS = [line for kind, body in BLOCKS if kind == "bash" for line in body.splitlines()]
ASKING = [line for line in COMMANDS if line.startswith(".venv/bin/facewarden ")]
MAKING = [line for line in COMMANDS if line.startswith("make ")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, portrait) -> Path:
    """The files that the examples speak of."""
    from demo.media import write_video

    folder = tmp_path_factory.mktemp("readme")
    (folder / "photos").mkdir()
    portrait.save(folder / "photo.jpg")
    portrait.save(folder / "photos" / "one.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    write_video(folder / "interview.mp4", [np.asarray(portrait)], seconds=0.5)
    return folder


def test_every_command_is_one_of_the_kinds_that_are_run():
    assert PYTHON
    assert ASKING
    assert sorted(ASKING + MAKING) == sorted(COMMANDS)


@pytest.mark.parametrize("code", PYTHON, ids=["readme", "sync", "async"])
def test_python_examples_run(server, folder, code):
    done = subprocess.run(
        [sys.executable, "-c", code.replace("localhost:8001", server.url)], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] in ("real", "fake", "review")


@pytest.mark.parametrize("command", ASKING)
def test_shell_examples_run(server, folder, command):
    words = [str(Path(sys.executable).with_name("facewarden")), *shlex.split(command)[1:], "--url", server.url]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("command", MAKING)
def test_make_targets_exist(command):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        ["make", "-n", *command.split()[1:]], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_demo_prints_what_the_readme_shows():
    """Numbers may differ from machine to machine, words, labels and lines may not."""
    (expected,) = (body for kind, body in BLOCKS if kind == "text" and "facewarden check" in body)
    done = subprocess.run([sys.executable, "-m", "demo"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert masked(done.stdout) == masked(expected)


def masked(text: str) -> list[str]:
    """Lines with numbers and the width of gaps taken out."""
    return [re.sub(r"\s+", " ", re.sub(r"\d+(\.\d+)?", "#", line)).strip() for line in text.strip().splitlines()]
