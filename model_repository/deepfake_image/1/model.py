"""Read serving/triton/deepfake_image.py: what Triton runs for `deepfake_image`."""

from serving.triton.deepfake_image import TritonPythonModel

__all__ = ["TritonPythonModel"]
