"""Where things are: the checkout, its cache folder, its model repository."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CACHE = Path(os.environ.get("FACEWARDEN_CACHE", ROOT / ".cache"))
REPOSITORY = ROOT / "model_repository"
