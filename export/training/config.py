"""The settings of one training, checked on construction."""

from __future__ import annotations

from typing import Any

import msgspec
import torch

from serving.settings import Settings

from ..network import FaceNet, PlainNet, ProbeNet, TimmNet
from ..synthesis.batches import Recipe

HEADS: dict[str, type[TimmNet]] = {"taps": FaceNet, "plain": PlainNet, "probe": ProbeNet}


class TrainConfig(Settings):
    """Settings of one run, saved in its checkpoint."""

    backbone: str = "efficientnet_b0"  # any timm model with feature maps; the student is B0
    head: str = "taps"  # at three depths, under attention; "plain" is one linear layer, "probe" one on a transformer
    pretrained: bool = False  # timm's published weights, where there is internet
    activation: str = ""  # of the backbone; the pretrained one where empty
    side_px: int = 176  # 0.62 of the cost of 224 px
    epochs: int = 5
    distinct_epochs: int = 0  # after so many the same altered faces come again, and no teacher is asked twice; 0: never
    batch_size: int = 32  # in memory at once; halved by itself where CUDA memory ends
    hard_samples: int = 6  # an update waits for as many: batches grow as the data gets easier
    max_accumulation: int = 4  # batches in one update, at most
    learning_rate: float = 6e-4  # of AdamW, for the backbone
    head_learning_rate: float = 3e-3  # what is not the backbone starts from nothing
    weight_decay: float = 0.02
    warmup_share: float = 0.1  # of the run; fresh heads have large first gradients
    mix: float = 0.0  # of the batches: faces blended with, or cut into, each other
    focal_gamma: float = 1.0  # 0 is cross-entropy; 2 of the paper is for 1:1000 imbalance
    distill_share: float = 0.7  # of the loss that the teacher gives, where there is one
    distill_temperature: float = 2.0
    map_weight: float = 1.0  # of attention and evidence maps against the verdict in distillation
    recipe: Recipe = Recipe()  # which fakes are made, and how pictures are degraded
    ema_decay: float = 0.99  # averages the last hundred updates
    seed: int = 20  # of every random choice

    def __post_init__(self) -> None:
        counts = (self.epochs, self.max_accumulation, self.hard_samples)
        if min(counts) < 1 or self.batch_size < 2 or self.side_px < 16 or self.side_px % 16:
            raise ValueError(
                f"epochs, max_accumulation, hard_samples >= 1, batch_size >= 2, side_px a multiple of 16: got {self}"
            )
        if 0 < self.focal_gamma < 1 or self.focal_gamma < 0 or self.distill_temperature <= 0:
            raise ValueError(
                f"focal_gamma is 0 or from 1 on (between, it has no gradient), temperatures above 0: got {self}"
            )
        if not (0 <= self.warmup_share < 1 and 0 <= self.ema_decay < 1):
            raise ValueError(f"warmup_share and ema_decay are from 0 on and below 1, got {self}")
        if not 0 <= self.distinct_epochs <= self.epochs:
            raise ValueError(f"distinct_epochs is 0 or 1..{self.epochs} (epochs), got {self.distinct_epochs}")
        if not (0 <= self.distill_share <= 1 and 0 <= self.mix <= 1):
            raise ValueError(f"distill_share and mix are in 0..1, got {self.distill_share} and {self.mix}")
        if self.head not in HEADS:
            raise ValueError(f"head is one of {', '.join(HEADS)}, got {self.head!r}")

    @classmethod
    def of_checkpoint(cls, settings: dict[str, Any]) -> TrainConfig:
        """From what a checkpoint holds; settings that a later release gave up are left out."""
        return msgspec.convert({name: settings[name] for name in cls.__struct_fields__ if name in settings}, cls)

    def network(self) -> TimmNet:
        """A fresh network of this configuration; the same seed gives the same."""
        torch.manual_seed(self.seed)
        return HEADS[self.head](self.backbone, self.side_px, self.activation, self.pretrained)
