"""The classifier network, and the graph around it that is served."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HEATMAP_SIDE = 14
TAPS = (-3, -2, -1)  # of timm's feature stages; strides 8, 16, 32 in a convolutional network
WIDTH = 96  # channels of each tap where they meet
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


class Output(NamedTuple):
    """What a network says of a batch; h = w = side_px / 16."""

    logit: Tensor  # (B, 1) uncalibrated
    evidence: Tensor  # (B, 1, h, w) the logit of every place
    attention: Tensor  # (B, 1, h, w) 0..1, how much a place counts
    gates: Tensor  # (B, 3) weights of the shallow, the middle and the deep tap; they sum to 1


class TimmNet(nn.Module):
    """A timm model without its head, and the pixels' way into it.

    Args:
        backbone: name of a timm model that gives feature maps.
        side_px: the faces are scaled to this side first; 176 costs 0.62 of 224.
        activation: of the backbone, a name that timm knows: silu as pretrained, or hard_swish, relu6.
        pretrained: fetch the backbone's published weights (needs internet).
    """

    def __init__(
        self, backbone: str = "efficientnet_b0", side_px: int = 176, activation: str = "", pretrained: bool = False
    ) -> None:
        super().__init__()
        self.side_px = side_px
        options = {"act_layer": activation} if activation else {}
        self.backbone = timm.create_model(backbone, pretrained, features_only=True, out_indices=TAPS, **options)
        for module in self.backbone.modules():
            if hasattr(module, "inplace"):
                module.inplace = False  # autograd would copy what is overwritten: a tenth of a training step
        self.channels = self.backbone.feature_info.channels()
        self._normalise_as(backbone)

    def _normalise_as(self, backbone: str) -> None:
        published = timm.get_pretrained_cfg(backbone)
        for name in ("mean", "std"):
            value = getattr(published, name) if published else {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}[name]
            self.register_buffer(name, 255 * torch.tensor(value).view(1, 3, 1, 1), persistent=False)

    def features(self, pixels: Tensor) -> list[Tensor]:
        """Pixels (B, 3, H, W) float 0..255 to the maps of the shallow, the middle and the deep tap, FP32."""
        if pixels.shape[-1] != self.side_px:
            pixels = scaled(pixels, self.side_px)
        precision = next(self.backbone.parameters()).dtype  # may be half in the graph for TensorRT
        return [tap.float() for tap in self.backbone(((pixels - self.mean) / self.std).to(precision))]


class FaceNet(TimmNet):
    """EfficientNet-B0, where it is the student, with taps at three depths, pooled by attention; a teacher may be any.

    Texture and edges (stride 8), parts (16) and the whole face (32) are brought to one grid and one width; gates that
    look at all three weigh them. Every place then has evidence, a logit of its own, and attention; the image's logit
    is the mean of the evidence under the attention (gated pooling, Ilse et al., ICML 2018).

    Args:
        dropout: of whole channels before the pooling, in training only.
    """

    def __init__(self, *args: Any, dropout: float = 0.2, **options: Any) -> None:
        super().__init__(*args, **options)
        self.lateral = nn.ModuleList(_lateral(channels) for channels in self.channels)
        self.gate = nn.Linear(len(TAPS) * WIDTH, len(TAPS))
        self.dropout = nn.Dropout2d(dropout)
        self.evidence = nn.Conv2d(WIDTH, 1, 1)
        self.attention = nn.Conv2d(WIDTH, 1, 1)

    def forward(self, pixels: Tensor) -> Output:
        """Pixels (B, 3, H, W) float 0..255."""
        shallow, middle, deep = self.features(pixels)
        grid = middle.shape[-2:]
        maps = [F.adaptive_avg_pool2d(shallow, grid), middle, deep]
        maps = [lateral(m) for lateral, m in zip(self.lateral, maps, strict=True)]
        maps[-1] = F.interpolate(maps[-1], grid)  # behind its lateral, which saves work; each is (B, WIDTH, h, w) now
        gates = torch.softmax(self.gate(torch.cat([m.mean((2, 3)) for m in maps], 1)), 1)  # (B, 3)
        fused = sum(gates[:, i, None, None, None] * m for i, m in enumerate(maps))
        fused = self.dropout(fused)
        evidence, attention = self.evidence(fused), torch.sigmoid(self.attention(fused))
        logit = (attention * evidence).sum((2, 3)) / attention.sum((2, 3)).clamp_min(1e-3)
        return Output(logit, evidence, attention, gates)


class PlainNet(TimmNet):
    """What a plain fine-tune is, to compare with: the mean of the deepest map and a linear layer.

    The layer is applied at every place before the mean, which gives the same logit and evidence besides (Zhou et al.,
    CVPR 2016). Attention is 1 everywhere, and the gates open the deep tap alone.

    Args:
        dropout: of whole channels before the layer, in training only.
    """

    def __init__(self, *args: Any, dropout: float = 0.2, **options: Any) -> None:
        super().__init__(*args, **options)
        self.dropout = nn.Dropout2d(dropout)
        self.evidence = nn.Conv2d(self.channels[-1], 1, 1)

    def forward(self, pixels: Tensor) -> Output:
        """Pixels (B, 3, H, W) float 0..255; h = w = side_px / 32 here."""
        evidence = self.evidence(self.dropout(self.features(pixels)[-1]))
        logit = evidence.mean((2, 3))
        gates = torch.tensor([[0.0, 0.0, 1.0]]).to(logit).expand(logit.shape[0], -1)
        return Output(logit, evidence, torch.ones_like(evidence), gates)


class ProbeNet(TimmNet):
    """A vision transformer as a teacher: one linear layer on the class tokens behind all of its blocks.

    All blocks of a foundation model together tell more than the last (Koutlis and Papadopoulos, ECCV 2024).
    `python -m export probe` fits the layer; the transformer may stay as it is.

    Args:
        backbone: name of a timm vision transformer; ValueError where it has no class token behind its blocks.
    """

    def __init__(self, backbone: str, side_px: int = 224, activation: str = "", pretrained: bool = False) -> None:
        nn.Module.__init__(self)
        self.side_px = side_px
        options = {"act_layer": activation} if activation else {}
        self.backbone = timm.create_model(backbone, pretrained, num_classes=0, **options)
        if not hasattr(self.backbone, "blocks") or not getattr(self.backbone, "num_prefix_tokens", 0):
            raise ValueError(f"{backbone} has no class token behind its blocks; a probe needs a vision transformer")
        self.backbone.set_input_size((side_px, side_px))
        self._normalise_as(backbone)
        self.evidence = nn.Linear(len(self.backbone.blocks) * self.backbone.embed_dim, 1)

    def tokens(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) float 0..255 to (B, blocks, width)."""
        if pixels.shape[-1] != self.side_px:
            pixels = scaled(pixels, self.side_px)
        found = self.backbone.forward_intermediates(
            (pixels - self.mean) / self.std, intermediates_only=True, return_prefix_tokens=True
        )
        return torch.stack([prefix[:, 0] for _, prefix in found], 1)

    def forward(self, pixels: Tensor) -> Output:
        """Pixels (B, 3, H, W) float 0..255; h = w = 1 here: a verdict, and no places."""
        logit = self.evidence(self.tokens(pixels).flatten(1))
        evidence, gates = logit[..., None, None], torch.full_like(logit, 1 / len(TAPS)).expand(-1, len(TAPS))
        return Output(logit, evidence, torch.ones_like(evidence), gates)


def scaled(pixels: Tensor, side_px: int) -> Tensor:
    """Pixels (B, C, S, S) -> (B, C, side_px, side_px), bilinear, as F.interpolate with align_corners=False.

    A smaller side is made block by block: of 224 to 176 each 14 pixels become 11 and ask no neighbours, in rows and
    then in columns. As two small matrix products that takes OpenVINO 0.4 ms a face less than a Resize.
    """
    channels, side = pixels.shape[1], pixels.shape[-1]
    if side_px > side:
        return F.interpolate(pixels, (side_px, side_px), mode="bilinear", align_corners=False)
    blocks = math.gcd(side, side_px)
    weights = _bilinear(side // blocks, side_px // blocks).to(pixels)
    rows = weights.T @ pixels.reshape(-1, channels * blocks, side // blocks, side)
    columns = rows.reshape(-1, channels * side_px, blocks, side // blocks) @ weights
    return columns.reshape(-1, channels, side_px, side_px)


def _bilinear(before: int, after: int) -> Tensor:
    """(before, after): how much each of `before` pixels in a row gives to each of `after`, which are not more."""
    place = ((torch.arange(after) + 0.5) * before / after - 0.5).clamp(0, before - 1)
    left = place.long()
    share, column = place - left, torch.arange(after)
    weights = torch.zeros(before, after)
    weights[left, column] = 1 - share
    weights[(left + 1).clamp(max=before - 1), column] += share
    return weights


def _lateral(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, WIDTH, 1, bias=False), nn.BatchNorm2d(WIDTH), nn.SiLU())


def fit_to(net: nn.Module, state: dict[str, Tensor]) -> None:
    """Gives every convolution, norm and linear layer of `net` the channels of `state`, and loads it.

    A pruned network is kept as its tensors alone; their shapes say which channels are left.
    """
    for name, module in net.named_modules():
        weight = state.get(f"{name}.weight")
        if weight is None or module.weight.shape == weight.shape:
            continue
        if isinstance(module, nn.Conv2d):
            depthwise = module.groups > 1
            module.out_channels = len(weight)
            module.groups = len(weight) if depthwise else 1
            module.in_channels = module.groups * weight.shape[1]
        elif isinstance(module, nn.Linear):
            module.out_features, module.in_features = weight.shape
        else:
            module.num_features = len(weight)
        for key, value in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            kept = state[f"{name}.{key}"].to(value.dtype)  # a file may hold halves
            if value.shape != kept.shape:
                setattr(module, key, nn.Parameter(kept.clone()) if isinstance(value, nn.Parameter) else kept.clone())
    net.load_state_dict(state)


class GraphOutputs(NamedTuple):
    """Outputs of the served graph, in the order and under the names of `model_repository/classifier/config.pbtxt`."""

    FAKE_PROBABILITY: Tensor
    LOGIT: Tensor
    HEATMAP: Tensor
    QUALITY: Tensor
    MODEL_VERSION: Tensor
    THRESHOLD: Tensor


@dataclass(frozen=True)
class GraphCalibration:
    """What publication fixes in the graph: (logit - bias) / temperature, and thresholds real_below <= fake_from."""

    version: int
    temperature: float
    real_below: float
    fake_from: float
    bias: float = 0.0

    def __post_init__(self) -> None:
        if self.temperature <= 0 or not 0 <= self.real_below <= self.fake_from <= 1:
            raise ValueError(f"temperature > 0 and 0 <= real_below <= fake_from <= 1 are needed, got {self}")


class ServedGraph(nn.Module):
    """FACE (B, 224, 224, 3) uint8 RGB -> GraphOutputs: scaling, normalisation, calibration and sigmoid are inside.

    LOGIT is the calibrated one, so FAKE_PROBABILITY = sigmoid(LOGIT). HEATMAP (B, 14, 14) is attention times the
    sigmoid of the calibrated evidence: bright where the network looked and found traces, dark on a genuine face.
    QUALITY is of the same 224 px crop: variance of the Laplacian, mean luma 0..1.
    """

    def __init__(self, net: TimmNet, calibration: GraphCalibration) -> None:
        super().__init__()
        self.net, self.temperature, self.bias = net, calibration.temperature, calibration.bias
        self.register_buffer("version", torch.tensor([[calibration.version]], dtype=torch.int32))
        self.register_buffer("threshold", torch.tensor([[calibration.real_below, calibration.fake_from]]))

    def forward(self, face: Tensor) -> GraphOutputs:
        pixels = face.float().permute(0, 3, 1, 2)  # TensorRT casts uint8 at the input and does nothing else with it
        out = self.net(pixels)
        logit = (out.logit - self.bias) / self.temperature
        heat = out.attention * torch.sigmoid((out.evidence - self.bias) / self.temperature)
        heat = F.interpolate(heat, (HEATMAP_SIDE, HEATMAP_SIDE), mode="bilinear", align_corners=False)[:, 0]
        rows = torch.ones_like(logit)  # a constant of the graph becomes one row for each face
        return GraphOutputs(
            torch.sigmoid(logit), logit, heat, self.quality(pixels), self.version * rows.int(), self.threshold * rows
        )

    def quality(self, pixels: Tensor) -> Tensor:
        """(B, 2): variance of the Laplacian of the luma, mean luma in 0..1.

        Written as sums: as convolutions to a single channel luma and Laplacian took OpenVINO 1.5 ms of 10 a face.
        """
        gray = sum(weight * pixels[:, channel] for channel, weight in enumerate(LUMA))  # (B, H, W)
        beside = gray[:, 1:-1, :-2] + gray[:, 1:-1, 2:] + gray[:, :-2, 1:-1] + gray[:, 2:, 1:-1]
        edges = (beside - 4 * gray[:, 1:-1, 1:-1]).flatten(1)
        variance = (edges - edges.mean(1, keepdim=True)).square().mean(1, keepdim=True)
        return torch.cat([variance, gray.flatten(1).mean(1, keepdim=True) / 255], 1)
