"""A network -> a teacher as fast as the machine runs it: a teacher only looks, at every face of every epoch."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import openvino
import torch
from torch import Tensor, nn

from ..network import Output, TimmNet


def frozen(net: TimmNet, device: torch.device) -> Callable[[Tensor], Output]:
    """`net` for inference: pixels (B, 3, 224, 224) float 0..255 to its Output."""
    run = compiled(net, device)
    return lambda pixels: Output(*run(pixels))


def compiled(net: nn.Module, device: torch.device) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """`net` for inference: pixels (B, 3, 224, 224) float 0..255 to the tensors that it returns.

    On a CPU by OpenVINO, which takes less than half of torch's time there, and picks BF16 where the CPU has it.
    """
    net = net.eval().to(device)
    if device.type != "cpu":
        return net
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would have another kind of trace than OpenVINO makes
        model = openvino.convert_model(net, example_input=torch.zeros(2, 3, 224, 224))
    run = openvino.compile_model(model, "CPU")

    def outputs(pixels: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.from_numpy(value) for value in run(pixels.contiguous().numpy()).values())

    return outputs
