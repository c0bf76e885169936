"""Command-line options that several stages share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import arg

Data = Annotated[Path, arg(help="a CSV manifest, or a folder with manifest.csv or with real/ and fake/")]
Out = Annotated[Path, arg(help="the run's folder, for results and caches")]
Known = Annotated[Path | None, arg(help="pictures that must not get the opposite of their truth, given as --data is")]
AllowWorse = Annotated[
    bool, arg(help="publish also what is worse than the served version, or cannot be told to be no worse")
]
