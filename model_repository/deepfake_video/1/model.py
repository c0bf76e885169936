"""Read serving/triton/deepfake_video.py: what Triton runs for `deepfake_video`."""

from serving.triton.deepfake_video import TritonPythonModel

__all__ = ["TritonPythonModel"]
