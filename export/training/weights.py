"""Networks from files and into files: what a training starts from, and what it leaves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch

from serving.files import replacing

from ..network import TimmNet, fit_to
from .config import HEADS, TrainConfig


def trained(checkpoint: Path) -> tuple[TimmNet, TrainConfig]:
    """The averaged network of a checkpoint, pruned or not, and the configuration that it was trained with."""
    state = torch.load(checkpoint, weights_only=True, map_location="cpu")
    config = TrainConfig.of_checkpoint({**state["config"], "pretrained": False})
    return _network_of(state, config.activation).eval(), config


def _network_of(state: dict[str, Any], activation: str) -> TimmNet:
    """The averaged network of a checkpoint, with its own or another activation: hard-swish is near enough to SiLU."""
    config = TrainConfig.of_checkpoint({**state["config"], "pretrained": False, "activation": activation})
    net = config.network()
    fit_to(net, {name.removeprefix("module."): value for name, value in state["average"].items()})
    return net


def averaged(checkpoints: Sequence[Path]) -> tuple[TimmNet, TrainConfig]:
    """One network whose tensors are the means of several, which came from one another (Wortsman et al., ICML 2022).

    The configuration is the last one's. ValueError where their shapes differ.
    """
    loaded = [trained(path) for path in checkpoints]
    states = [net.state_dict() for net, _ in loaded]
    net, config = loaded[-1]
    for name, value in net.state_dict().items():
        values = [state[name] for state in states]
        if any(other.shape != value.shape for other in values):
            raise ValueError(
                f"{name} has other shapes in {', '.join(map(str, checkpoints))}: average one network's runs"
            )
        if value.is_floating_point():
            value.copy_(torch.stack(values).mean(0))
    return net, config


def save_network(net: TimmNet, config: TrainConfig, path: Path) -> None:
    """A network without the state of its training, as `trained` reads it."""
    save_state({"average": net.state_dict(), "config": msgspec.to_builtins(config)}, path)


def save_state(state: dict[str, Any], path: Path) -> None:
    """Writes it whole or not at all; the same state gives the same bytes."""
    with replacing(path) as draft, draft.open("wb") as file:  # given a path, torch.save notes the draft's name in it
        torch.save(state, file)


def starting_network(config: TrainConfig, init: Path | None) -> TimmNet:
    """A network of this configuration with starting weights.

    Args:
        init: an earlier run's checkpoint, pruned or not, whose network is taken with the activation of `config`. A
            checkpoint with another head gives its backbone alone. Or the file of a backbone with timm's tensor names.
            ValueError where tensors are missing or of other shapes.
    """
    if init is None:
        return config.network()
    state = torch.load(init, weights_only=True, map_location="cpu")
    if "average" in state:
        if state["config"]["backbone"] != config.backbone:
            raise ValueError(
                f"{init} is of {state['config']['backbone']}, the settings of {config.backbone}: name the same"
            )
        if state["config"]["activation"] and not config.activation:
            raise ValueError(f"{init} has {state['config']['activation']}; name it in the settings: activation = ...")
        net = _network_of(state, config.activation)
        net.side_px = config.side_px
        if isinstance(net, HEADS[config.head]):
            return net.train()
        state = net.backbone.state_dict()
    net = config.network()
    tensors = {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    try:
        missing, _ = net.backbone.load_state_dict(tensors, strict=False)
    except RuntimeError as exc:
        raise ValueError(f"{init} holds another backbone: {exc}") from exc
    if missing:
        raise ValueError(f"{init} lacks {len(missing)} tensors of {config.backbone}, first {missing[0]}")
    return net
