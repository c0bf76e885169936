"""FastAPI and torch eager, as most services begin: PIL decodes, torchvision resizes, the handler calls the network."""

import io
import json
import os
import sys
from pathlib import Path

import torch
from fastapi import FastAPI, Request
from PIL import Image
from torchvision.transforms import v2

sys.path.insert(0, str(Path(__file__).parents[4]))

from export.network import FaceNet, fit_to

torch.set_num_threads(int(os.environ["PEER_THREADS"]))
weights = Path(os.environ["PEER_NETWORK"])

state = torch.load(weights, weights_only=True)
config = state["config"]
net = FaceNet(config["backbone"], config["side_px"], config["activation"])
fit_to(net, state["average"])
net.eval()
calibration = json.loads(weights.with_name("manifest.json").read_text())["calibration"]
transform = v2.Compose([v2.Resize((224, 224)), v2.PILToTensor(), v2.ToDtype(torch.float32)])
app = FastAPI()


@app.post("/predict")
async def predict(request: Request) -> dict[str, float]:
    image = Image.open(io.BytesIO(await request.body())).convert("RGB")
    with torch.inference_mode():
        logit = net(transform(image)[None]).logit.item()  # normalisation is in the network
    logit = (logit - calibration["bias"]) / calibration["temperature"]
    return {"fake_probability": torch.tensor(logit).sigmoid().item()}
