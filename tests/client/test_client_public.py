"""The public names, the twins, and what importing costs."""

import inspect
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

import facewarden
from facewarden import AsyncClient, Client

METHODS = [name for name in vars(Client) if not name.startswith("_")]


def test_all_is_sorted_and_complete() -> None:
    assert facewarden.__all__ == sorted(facewarden.__all__)
    public = {
        name for name, value in vars(facewarden).items() if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert public == set(facewarden.__all__) - {"__version__"}


def test_every_public_name_is_documented() -> None:
    assert all(getattr(facewarden, name).__doc__ for name in facewarden.__all__ if name not in ("Image", "__version__"))


def test_twins_have_the_same_methods_in_the_same_order() -> None:
    assert [name for name in vars(AsyncClient) if not name.startswith("_")] == METHODS


@pytest.mark.parametrize("name", METHODS)
def test_twins_take_the_same_arguments(name: str) -> None:
    def shape(kind: type) -> Iterable[tuple[str, object, object]]:
        parameters = inspect.signature(getattr(kind, name)).parameters.values()
        return [(p.name, p.kind, p.default) for p in parameters]

    assert shape(Client) == shape(AsyncClient)
    assert inspect.signature(Client) == inspect.signature(AsyncClient)


def test_import_needs_neither_pillow_nor_pyav() -> None:
    code = "import sys, facewarden.cli; sys.exit(any(name in sys.modules for name in ('PIL', 'av', 'cv2', 'torch')))"
    assert subprocess.run([sys.executable, "-W", "error", "-c", code]).returncode == 0


def test_the_wire_needs_numpy_alone() -> None:
    code = (
        "import sys, facewarden.wire; sys.exit(any(name in sys.modules for name in ('tritonclient', 'grpc', 'google')))"
    )
    assert subprocess.run([sys.executable, "-W", "error", "-c", code]).returncode == 0


def test_version_is_that_of_the_distribution() -> None:
    project = (Path(__file__).parents[2] / "client" / "pyproject.toml").read_text()
    assert re.search(rf'^version = "{re.escape(facewarden.__version__)}"$', project, re.MULTILINE)
    assert (Path(facewarden.__file__).parent / "py.typed").exists()
