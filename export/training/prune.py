"""Network -> smaller network: whole channels leave, so that dense kernels run faster (torch-pruning, CVPR 2023).

It reads a trained checkpoint and writes one with fewer channels, to be fine-tuned under its teacher by `train.py`. It
fails where the budget cannot be met. Zeros scattered over the weights would speed nothing up.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import timm
import torch
import torch_pruning as tp
from torch import nn

from serving.settings import Settings

from ..data.faces import TrainingFace, find_faces, of_split
from ..data.sources import folder_of
from ..errors import PruneError
from ..network import FaceNet, TimmNet
from ..options import Data, Out
from ..synthesis.batches import Batch, Loader
from .config import TrainConfig
from .losses import focal_loss
from .train import to_pixels
from .weights import save_network, trained

REFERENCE = "efficientnet_b0"  # budgets are shares of it, with one logit, at the same side


class PruneConfig(Settings):
    """What may be left, as shares of EfficientNet-B0."""

    multiply_adds: float = 0.6
    parameters: float = 0.5
    max_layer_share: float = 0.6  # no layer loses more than this, before rounding down
    round_to: int = 8  # channels left in a layer: what CPU and tensor-core kernels are made for
    steps: int = 20  # importance is measured anew after each
    batches: int = 4  # of training faces, for the gradients that tell importance

    def __post_init__(self) -> None:
        if not (0 < self.multiply_adds <= 1 and 0 < self.parameters <= 1):
            raise ValueError(f"multiply_adds and parameters are shares of B0 in (0, 1], got {self}")


def size(net: nn.Module, side_px: int) -> tuple[float, float]:
    """(multiply-adds of one face, parameters)."""
    return tp.utils.count_ops_and_params(net.eval(), torch.zeros(1, 3, side_px, side_px))


def shares(net: TimmNet) -> tuple[float, float]:
    """Multiply-adds and parameters of `net` as shares of EfficientNet-B0 at the same side."""
    reference = size(timm.create_model(REFERENCE, num_classes=1), net.side_px)
    mine = size(net, net.side_px)
    return mine[0] / reference[0], mine[1] / reference[1]


def prune(net: FaceNet, batches: Sequence[Batch], config: PruneConfig) -> FaceNet:
    """Removes the channels that matter least to the loss until the budgets hold; changes and returns `net`.

    Importance is first-order Taylor (Molchanov et al., CVPR 2019) of all coupled channels together, compared across
    layers. The stem and the first block lose nothing: finest traces pass through their 32 and 16 channels or not at
    all, and the loss's gradient at a few faces does not tell so. Raises PruneError where the budget is out of reach,
    and for a backbone that is no EfficientNet or MobileNet.
    """
    if not (hasattr(net.backbone, "conv_stem") and hasattr(net.backbone, "blocks")):
        raise PruneError("prunes EfficientNets and MobileNets; take one of them as the student")
    example = torch.zeros(1, 3, net.side_px, net.side_px)
    pruner = tp.pruner.BasePruner(
        net,
        example,
        importance=tp.importance.GroupTaylorImportance(),
        global_pruning=True,
        pruning_ratio=config.max_layer_share,
        max_pruning_ratio=config.max_layer_share,
        iterative_steps=config.steps,
        ignored_layers=[net.backbone.conv_stem, net.backbone.blocks[0], net.gate, net.evidence, net.attention],
        round_to=config.round_to,
    )
    for _ in range(config.steps):
        _gradients(net, batches)
        pruner.step()
        net.zero_grad()
        multiply_adds, parameters = shares(net)
        if multiply_adds <= config.multiply_adds and parameters <= config.parameters:
            return net
    raise PruneError(f"{multiply_adds:.0%} multiply-adds and {parameters:.0%} parameters left of B0; wanted {config}")


def _gradients(net: FaceNet, batches: Sequence[Batch]) -> None:
    net.eval()  # the averages of BatchNorm stay
    net.zero_grad()
    for batch in batches:
        out = net(to_pixels(batch))
        focal_loss(out.logit[:, 0], torch.from_numpy(batch.labels), 0).mean().backward()


def prune_to(
    path: Path, net: TimmNet, config: TrainConfig, pruning: PruneConfig, faces: Sequence[TrainingFace], loader: Loader
) -> None:
    """Prunes `net` by faces of the split train and writes it as `train.trained` reads it."""
    if not isinstance(net, FaceNet):
        raise PruneError('a plain network is there to compare with; prune one with head = "taps"')
    plan = loader.plan(of_split(faces, "train"), 0, config.recipe)
    prune(net, list(loader.load(plan[: pruning.batches], config.recipe)), pruning)
    print("left of EfficientNet-B0: {:.1%} multiply-adds, {:.1%} parameters".format(*shares(net)), flush=True)
    save_network(net, config, path)


def main(data: Data, out: Out, checkpoint: Path, config: PruneConfig) -> int:
    """Writes pruned.pt into the run's folder.

    Args:
        checkpoint: of the trained network.
    """
    net, settings = trained(checkpoint)
    loader = Loader(folder_of(data), settings.batch_size, settings.seed)
    prune_to(out / "pruned.pt", net, settings, config, find_faces(data, out), loader)
    return 0
