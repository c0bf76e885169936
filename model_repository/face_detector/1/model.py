"""Read serving/triton/face_detector.py: what Triton runs for `face_detector`."""

from serving.triton.face_detector import TritonPythonModel

__all__ = ["TritonPythonModel"]
