"""The served preprocessing, for training and evaluation: one definition, imported from the model repository."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY = ROOT / "model_repository"

for _folder in (REPOSITORY / "preprocess" / "1", REPOSITORY / "face_detector" / "1"):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))

import dali  # noqa: E402
from crop import face_roi  # noqa: E402
from dali_host import DaliHost  # noqa: E402
from detector import FaceDetector  # noqa: E402

__all__ = ["REPOSITORY", "ROOT", "DaliHost", "FaceDetector", "dali", "face_roi"]
