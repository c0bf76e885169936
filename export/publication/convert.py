"""A checkpoint -> its calibrated FP32 graph alone, which `evaluate --baseline` compares the served version with."""

from __future__ import annotations

from pathlib import Path

from ..conversion.torch_to_onnx import convert
from ..data.faces import find_faces
from ..data.sources import folder_of
from ..options import Data, Out
from ..synthesis.batches import Loader
from ..training.weights import trained
from .calibrate import calibrated


def main(data: Data, out: Out, checkpoint: Path) -> int:
    """Calibrates a checkpoint on val and writes model.onnx into the run's folder.

    Args:
        checkpoint: of the trained network.
    """
    net, config = trained(checkpoint)
    loader = Loader(folder_of(data), config.batch_size, config.seed)
    calibration, _ = calibrated(net, loader, find_faces(data, out), version=0)
    path = out / "model.onnx"
    convert(net, calibration, path)
    print(f"{path}: real below {calibration.real_below:.3f}, fake from {calibration.fake_from:.3f}")
    return 0
