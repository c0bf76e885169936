"""What the client's tests share."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

Tensors = dict[str, Any]


@pytest.fixture(scope="session")
def image_answer() -> Callable[..., Tensors]:
    """Tensors of ``deepfake_image`` for faces of these probabilities: the contract, written out."""
    return _image_answer


def _image_answer(*probabilities: float, heatmap: bool = False) -> Tensors:
    n = len(probabilities)
    answer: Tensors = {
        "BOX": np.arange(4 * n, dtype=np.float32).reshape(n, 4),
        "CONFIDENCE": np.full(n, 0.9, np.float32),
        "LANDMARK": np.zeros((n, 6, 2), np.float32),
        "FAKE_PROBABILITY": np.array(probabilities, np.float32),
        "QUALITY": np.tile(np.array([120.5, 0.5, 64.0], np.float32), (n, 1)),
        "MODEL_VERSION": np.full(n, 3, np.int32),
        "THRESHOLD": np.tile(np.array([0.3, 0.7], np.float32), (n, 1)),
        "IMAGE_SIZE": np.array([480, 640], np.int32),
    }
    return answer | ({"HEATMAP": np.ones((n, 14, 14), np.float32)} if heatmap else {})
