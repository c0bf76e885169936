"""LitServe with its batching, our graph in our runtime: `python litserve_onnx.py PORT`."""

import io
import os
import sys
from pathlib import Path
from typing import Annotated

import litserve
import numpy as np
from fastapi import Body
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[4]))

from serving.classifier.runtimes import openvino

MAX_BATCH = 8
Jpeg = Annotated[bytes, Body(media_type="image/jpeg")]


class FaceApi(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.graph = openvino(Path(os.environ["PEER_ONNX"]), int(os.environ["PEER_THREADS"]), MAX_BATCH)

    def decode_request(self, request: Jpeg) -> np.ndarray:
        image = Image.open(io.BytesIO(request)).convert("RGB")
        return np.asarray(image.resize((224, 224), Image.Resampling.BILINEAR))

    def predict(self, faces: np.ndarray) -> np.ndarray:
        return self.graph([faces])["FAKE_PROBABILITY"]  # (B, 224, 224, 3) -> (B, 1)

    def encode_response(self, output: np.ndarray) -> dict[str, float]:
        return {"fake_probability": float(output[0])}


if __name__ == "__main__":
    api = FaceApi(max_batch_size=MAX_BATCH, batch_timeout=0.002)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=int(os.environ["PEER_WORKERS"]))
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
