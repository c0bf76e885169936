"""`python -m serving COMMAND`: everything that an operator does with the server of this checkout."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from . import clip_ensemble, downloads
from .errors import ServingError, SetupError
from .paths import REPOSITORY
from .settings import command_line
from .supervisor import canary as health
from .supervisor import run, versions
from .supervisor.api import Api
from .supervisor.installation import backend_folder, find_tritonserver
from .supervisor.options import CALLED, Options

EXIT_DONE, EXIT_FAILED, EXIT_SETUP = 0, 1, 2


def start(options: Annotated[Options, arg(name="")]) -> int:
    """Runs Triton with Facewarden's models until Ctrl-C or SIGTERM. Exit code: 0 stopped, 1 failed, 2 cannot start.

    SIGUSR1 makes it take up the version of the classifier that is to be served now.
    """
    try:
        run.serve(run.with_log(options))
    except SetupError as exc:
        return _failed("cannot serve", exc, EXIT_SETUP)
    except ServingError as exc:
        return _failed("the server failed", exc)
    print("stopped")
    return EXIT_DONE


def canary(url: str = "localhost:8000", timeout_s: float = 5.0) -> int:
    """Asks every model that clients ask about a real picture. Exit code: 0 all answered, 1 one did not.

    Args:
        url: HTTP address of the server.
        timeout_s: seconds for each model.
    """
    try:
        health.probe(Api(url), CALLED, timeout_s)
    except health.CanaryError as exc:
        return _failed("unhealthy", exc)
    print("healthy: every model that clients ask answered")
    return EXIT_DONE


def fetch_weights(folder: Path = downloads.DETECTOR_DIR) -> int:
    """Downloads the weights of the face detector, once.

    Args:
        folder: where to put them.
    """
    try:
        path = downloads.fetch(downloads.CENTERFACE, folder)
    except SetupError as exc:
        return _failed("weights", exc)
    print(f"{path}: CenterFace, {downloads.CENTERFACE.licence}, SHA-256 as pinned")
    return EXIT_DONE


def unpack() -> int:
    """Finds tritonserver, or unpacks it now instead of at the first start."""
    try:
        installation = find_tritonserver()
        backend_folder(installation)
        print(installation.binary)
    except SetupError as exc:
        return _failed("no server", exc)
    return EXIT_DONE


def list_versions(repository: Path = REPOSITORY) -> int:
    """Lists the versions of the classifier.

    Args:
        repository: folder of the models.
    """
    here = versions.versions(repository / "classifier")
    for number in here:
        print(f"{number}  {'to be served' if number == here[-1] else 'kept'}")
    for number in versions.versions(versions.withdrawn(repository)):
        print(f"{number}  withdrawn")
    return EXIT_DONE


def roll_back(number: Positional[int | None] = None, repository: Path = REPOSITORY) -> int:
    """Serves an earlier version of the classifier, or one that was withdrawn.

    Args:
        number: the version before the served one where it is not given.
        repository: folder of the models.
    """
    try:
        served = versions.roll_back(number, repository.resolve())
    except ServingError as exc:
        return _failed("not rolled back", exc)
    print(f"version {served} is the one to serve; {versions.TAKE_UP}")
    return list_versions(repository.resolve())


def make_clip_ensemble(target: Path | None = None, doubt: tuple[float, float] | None = None) -> int:
    """Makes a model repository whose classifier asks CLIP about every face as well; prints its path.

    Args:
        target: where to make it; in .cache where it is not given.
        doubt: ask CLIP only where the student's probability is from the first on and below the second.
    """
    try:
        print(clip_ensemble.make(target or clip_ensemble.default_target(doubt), doubt=doubt))
    except (ServingError, OSError) as exc:
        return _failed("not made", exc)
    return EXIT_DONE


def _failed(what: str, why: Exception, code: int = EXIT_FAILED) -> int:
    print(f"{what}: {why}", file=sys.stderr)
    return code


COMMANDS: dict[str, Callable[..., int]] = {
    "start": start,
    "canary": canary,
    "fetch-weights": fetch_weights,
    "unpack": unpack,
    "versions": list_versions,
    "roll-back": roll_back,
    "clip-ensemble": make_clip_ensemble,
}

if __name__ == "__main__":
    try:
        sys.exit(command_line(COMMANDS, "python -m serving", __doc__))
    except SetupError as exc:  # of options that do not fit together
        sys.exit(_failed("cannot serve", exc, EXIT_SETUP))
