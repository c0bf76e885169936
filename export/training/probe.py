"""Foundation model -> teacher: one linear layer on what a vision transformer makes of the training faces.

It reads a transformer's weights, which stay as they are, and the faces as served. It writes probe.pt, a checkpoint:
`compare` scores it, `--teacher` takes it, and `train --init` can go on with it. A foundation model (CLIP: Radford et
al., ICML 2021) has seen more than any set of faces holds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import timm
import torch
from torch import Tensor, nn

from serving.files import digest

from ..data.faces import find_faces, of_split
from ..data.sources import folder_of
from ..network import ProbeNet
from ..options import Data, Out
from .class_tokens import Altering, Finder, fitting_set, regression
from .config import TrainConfig
from .teacher import compiled
from .weights import save_network, starting_network

BACKBONE = "vit_base_patch16_clip_quickgelu_224.openai"


def foundation(backbone: str, weights: Path | None = None) -> ProbeNet:
    """The transformer, at the side that it was trained at, with an untrained layer.

    Args:
        backbone: a vision transformer that timm knows.
        weights: its file, with timm's names; None: fetch what is published.
    """
    published = timm.get_pretrained_cfg(backbone)
    if published is None:
        raise ValueError(f"timm knows no {backbone}; timm.list_models('vit*', pretrained=True) names what it knows")
    side_px = published.input_size[-1]
    config = TrainConfig(backbone=backbone, head="probe", side_px=side_px, pretrained=not weights)
    net = starting_network(config, weights)
    assert isinstance(net, ProbeNet)
    return net


class _Tokens(nn.Module):
    def __init__(self, net: ProbeNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixels: Tensor) -> tuple[Tensor]:
        return (self.net.tokens(pixels),)


def finder(net: ProbeNet) -> Finder:
    """By the network itself, on CUDA where there is any."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    run = compiled(_Tokens(net), device)

    @torch.no_grad()
    def find(pixels: Tensor) -> np.ndarray:
        return run(pixels.to(device))[0].half().cpu().numpy()

    return find


def fit(net: ProbeNet, features: np.ndarray, labels: np.ndarray) -> None:
    """Gives `net` the layer of `regression`."""
    weight, bias = regression(features, labels)
    with torch.no_grad():
        net.evidence.weight.copy_(torch.from_numpy(weight))
        net.evidence.bias.fill_(bias)


def main(data: Data, out: Out, altering: Altering, backbone: str = BACKBONE, weights: Path | None = None) -> int:
    """Writes probe.pt into the run's folder.

    Args:
        backbone: a vision transformer of timm.
        weights: its file with timm's names; fetched where it is not given.
    """
    faces, folder, net = find_faces(data, out), folder_of(data), foundation(backbone, weights)
    network = f"{backbone}.{digest(weights)[:12] if weights else 'published'}"
    fit(net, *fitting_set(finder(net), network, faces, of_split(faces, "train"), folder, out, altering))
    save_network(net, TrainConfig(backbone=backbone, head="probe", side_px=net.side_px), out / "probe.pt")
    print(f"{out}/probe.pt; see what it is worth with: python -m export compare --data {data} --out {out} ...")
    return 0
