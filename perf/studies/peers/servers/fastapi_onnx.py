"""FastAPI with our graph in our runtime, one picture at a time: decode with PIL, infer in the handler."""

import io
import os
import sys
from pathlib import Path

import numpy as np
from fastapi import FastAPI, Request
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[4]))

from serving.classifier.runtimes import openvino

graph = openvino(Path(os.environ["PEER_ONNX"]), int(os.environ["PEER_THREADS"]), max_batch_size=1)
app = FastAPI()


@app.post("/predict")
async def predict(request: Request) -> dict[str, float]:
    image = Image.open(io.BytesIO(await request.body())).convert("RGB")
    face = np.asarray(image.resize((224, 224), Image.Resampling.BILINEAR))
    return {"fake_probability": graph([face[None]])["FAKE_PROBABILITY"].item()}
