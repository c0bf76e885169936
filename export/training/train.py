"""Faces -> checkpoint: trains a network, alone or under teachers. A run that was killed goes on where it was.

The same seed gives the same examples and the same weights, whether a run was interrupted or not. It runs on the CPU
and on CUDA through accelerate. On CUDA it computes in BF16, since FP16 autocast gives this network NaN gradients.
"""

from __future__ import annotations

import ctypes
import math
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from accelerate import Accelerator
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from ..data.faces import TrainingFace, digest_of, find_faces, of_split
from ..data.sources import folder_of
from ..network import Output, TimmNet
from ..options import Data, Out
from ..synthesis.batches import Batch, Loader, Material
from ..synthesis.material import gather
from .config import TrainConfig
from .losses import distillation_loss, focal_loss, one_teacher
from .mixing import mixed
from .teacher import frozen
from .weights import save_state, starting_network, trained

CHECKPOINT_S = 60  # at most this much work is done twice after a kill
PARTS = ("net", "average", "optimizer")  # of a run, that have a state
HARD_BELOW = 0.7  # a sample that gets less than this probability for the truth is hard


class Progress(NamedTuple):
    """Of one update: mean loss, batches in it, share of hard samples."""

    loss: float
    batches: int
    hard: float


def learning_rate_factor(done: float, warmup_share: float) -> float:
    """Linear warm-up, then half a cosine down to zero: factor 0..1 when the share `done` of a run is over."""
    if done < warmup_share:
        return done / warmup_share
    return 0.5 * (1 + math.cos(math.pi * (done - warmup_share) / (1 - warmup_share)))


class Run:
    """Network, average, optimiser and position of one training; `save` and `load` carry all of it.

    Args:
        total: batches.
        period: after so many batches the same ones come again, and teachers need not be asked again.
        faces: digest of what is trained on.
    """

    def __init__(
        self,
        config: TrainConfig,
        total: int,
        start: TimmNet,
        teachers: Iterable[TimmNet] = (),
        cpu: bool = False,
        period: int | None = None,
        faces: str = "",
    ) -> None:
        torch.manual_seed(config.seed)
        self.accelerator = Accelerator(mixed_precision="bf16" if _has_bf16(cpu) else "no", cpu=cpu)
        self.config, self.total, self.position, self.chunk = config, total, 0, config.batch_size
        self.period, self.faces = total if period is None else period, faces
        self.answers: dict[int, tuple[Tensor, ...]] = {}  # of a batch of the period, where it comes again
        self.net = start.to(self.accelerator.device, memory_format=torch.channels_last)
        self.teachers = [frozen(teacher, self.accelerator.device) for teacher in teachers]
        self.average = ModelEmaV3(self.net, decay=config.ema_decay, use_warmup=True)
        parts: tuple[list[Tensor], list[Tensor]] = ([], [])
        for name, parameter in self.net.named_parameters():
            parts[not name.startswith("backbone.")].append(parameter)
        peaks = (config.learning_rate, config.head_learning_rate)
        groups = [{"params": part, "lr": peak, "peak": peak} for part, peak in zip(parts, peaks, strict=True)]
        self.optimizer = self.accelerator.prepare(
            torch.optim.AdamW(groups, weight_decay=config.weight_decay, fused=True)
        )

    def update(self, batches: Iterator[Batch]) -> Progress | None:
        """One optimisation step over as many batches as it takes to meet enough hard samples; None at the end."""
        taken: list[Batch] = []
        losses: list[float] = []
        hard = 0
        while len(taken) < self.config.max_accumulation and hard < self.config.hard_samples:
            batch = next(batches, None)
            if batch is None:
                break
            taken.append(batch)
            try:
                loss, found = self._backward(batch)
            except torch.cuda.OutOfMemoryError:
                losses, hard = self._smaller(taken)
                continue
            losses.append(loss)
            hard += found
        if not taken:
            return None
        self._step(len(taken))
        return Progress(float(np.mean(losses)), len(taken), hard / sum(len(batch.labels) for batch in taken))

    def _smaller(self, taken: list[Batch]) -> tuple[list[float], int]:
        """Does the batches of this update again in halves, after memory ended; in quarters, where it ends again."""
        begin = self.position - (len(taken) - 1)  # the last one was not counted
        while self.chunk >= 4:
            self.chunk //= 2
            self.optimizer.zero_grad()
            torch.cuda.empty_cache()
            self.position = begin
            try:
                results = [self._backward(batch) for batch in taken]
            except torch.cuda.OutOfMemoryError:
                continue
            return [loss for loss, _ in results], sum(found for _, found in results)
        raise MemoryError(f"CUDA memory ends at {self.chunk} faces of {self.config.side_px} px; lower side_px")

    def _backward(self, batch: Batch) -> tuple[float, int]:
        """Adds the gradients of one batch; mean loss and number of hard samples."""
        torch.manual_seed(self.config.seed + self.position)  # dropout: the same after a resume
        self.net.train()
        total, hard = 0.0, 0
        at = [self.config.seed, self.position % self.period]  # the same after a resume
        pixels, labels = to_pixels(batch), torch.from_numpy(batch.labels)
        pixels, labels = mixed(pixels, labels, at, self.config.mix)
        pixels, labels = pixels.to(self.accelerator.device), labels.to(self.accelerator.device)
        answer = self._answer(pixels, labels) if self.teachers else ()
        parts = (value.split(self.chunk) for value in (pixels, labels, *answer))
        for part, label, *said in zip(*parts, strict=True):
            with self.accelerator.autocast():
                out = self.net(part)
            logit = out.logit[:, 0].float()
            loss = self._loss(Output(*(value.float() for value in out)), label, said).sum() / len(labels)
            self.accelerator.backward(loss)
            total += loss.item()
            truth = torch.sigmoid(torch.where(label > 0.5, logit, -logit))
            hard += int((truth < HARD_BELOW).sum())
        self.position += 1
        return total, hard

    def _answer(self, pixels: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """What the teachers say of a batch, as one: the values of its Output, and where one of them is right."""
        at = self.position % self.period
        if at in self.answers:
            return self.answers[at]
        parts = zip(pixels.split(self.chunk), labels.split(self.chunk), strict=True)
        said = [self._asked(part, label) for part, label in parts]
        answer = tuple(torch.cat(values) for values in zip(*said, strict=True))
        if self.total > self.period:
            self.answers[at] = answer
        return answer

    @torch.no_grad()
    def _asked(self, pixels: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        with self.accelerator.autocast():
            outputs = [Output(*(value.float() for value in net(pixels))) for net in self.teachers]
        teacher, known = one_teacher(outputs, labels)
        return (*teacher, known)

    def _loss(self, out: Output, label: Tensor, answer: list[Tensor]) -> Tensor:
        loss = focal_loss(out.logit[:, 0], label, self.config.focal_gamma)
        if not answer:
            return loss
        *teacher, known = answer
        verdict, maps = distillation_loss(out, Output(*teacher), self.config.distill_temperature)
        share = self.config.distill_share * known
        return (1 - share) * loss + share * (verdict + self.config.map_weight * maps)

    def _step(self, batches: int) -> None:
        for parameter in self.net.parameters():
            if parameter.grad is not None:
                parameter.grad /= batches
        self.accelerator.clip_grad_norm_(self.net.parameters(), 2.0)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * learning_rate_factor(self.position / self.total, self.config.warmup_share)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.update(self.net, self.position)

    def save(self, path: Path) -> None:
        """Writes everything at once, or nothing."""
        state: dict[str, Any] = {name: getattr(self, name).state_dict() for name in PARTS}
        state |= {name: getattr(self, name) for name in ("position", "total", "chunk", "answers", "faces")}
        save_state({**state, "config": msgspec.to_builtins(self.config)}, path)

    def load(self, path: Path) -> None:
        """Goes on where `save` left off; raises ValueError where the checkpoint is of another configuration."""
        state: dict[str, Any] = torch.load(path, map_location=self.accelerator.device, weights_only=True)
        if (state["config"], state["total"]) != (msgspec.to_builtins(self.config), self.total):
            raise ValueError(
                f"{path} was trained with {state['config']}, {state['total']} batches; remove it to start anew"
            )
        if state.get("faces") != self.faces:
            raise ValueError(f"{path} was trained on other faces; remove it to start anew")
        for name in PARTS:
            getattr(self, name).load_state_dict(state[name])
        self.position, self.chunk, self.answers = state["position"], state["chunk"], state["answers"]


def to_pixels(batch: Batch) -> Tensor:
    """(B, 3, 224, 224) float 0..255; a permuted view, so channels last in memory."""
    return torch.from_numpy(batch.faces).permute(0, 3, 1, 2).float()


def keep_freed_memory() -> None:
    """Tells glibc to keep the memory of freed tensors: asking the kernel for it again at every step costs a training on
    a CPU a tenth (mallopt(3)). Does nothing where there is no glibc.
    """
    trim_threshold, top_pad, mmap_max = -1, -2, -4
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(top_pad, 2**29)


def train(
    config: TrainConfig,
    faces: list[TrainingFace],
    data: Path,
    out: Path,
    start: TimmNet,
    teachers: Iterable[TimmNet] = (),
    material: Material | None = None,
    cpu: bool = False,
) -> nn.Module:
    """Trains `start` on the split `train` and returns the averaged network; `out` keeps the checkpoint.

    Args:
        faces: of every split; only `train` is used here.
        data: the folder that the faces' paths are relative to.
        teachers: distil from these; of each face, from those that are right about it.
        material: what blends and reconstructions are made with.
        cpu: stay on the CPU where there is CUDA.
    """
    loader = Loader(data, config.batch_size, config.seed, material)
    chosen = of_split(faces, "train")
    epochs = [loader.plan(chosen, epoch, config.recipe) for epoch in range(config.distinct_epochs or config.epochs)]
    plan = [batch for epoch in range(config.epochs) for batch in epochs[epoch % len(epochs)]]
    if not plan:
        raise ValueError(
            f"{len(chosen)} faces of the split train fill no batch of {config.batch_size}; lower batch_size"
        )
    run = Run(config, len(plan), start, teachers, cpu, period=sum(map(len, epochs)), faces=digest_of(chosen))
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        run.load(checkpoint)
        print(f"going on at batch {run.position} of {run.total}", flush=True)
    if run.accelerator.device.type == "cpu":
        keep_freed_memory()
    if run.position < run.total:
        _updates(run, loader.load(plan[run.position :], config.recipe), checkpoint)
        run.save(checkpoint)
    return run.average.module.eval()


def _updates(run: Run, batches: Iterator[Batch], checkpoint: Path) -> None:
    saved, since, recent = time.monotonic(), run.position, []
    while progress := run.update(batches):
        recent.append(progress)
        elapsed = time.monotonic() - saved
        if elapsed > CHECKPOINT_S:
            run.save(checkpoint)
            loss, size, hard = np.mean(recent, 0)
            pace = (run.position - since) * run.config.batch_size / elapsed
            print(
                f"batch {run.position}/{run.total} loss {loss:.3f} hard {hard:.0%} "
                f"{size:.1f} batches an update {pace:.1f} faces/s",
                flush=True,
            )
            saved, since, recent = time.monotonic(), run.position, []


@torch.inference_mode()
def logits(net: nn.Module, batches: Iterable[Batch]) -> tuple[np.ndarray, np.ndarray]:
    """(N,) labels and (N,) uncalibrated logits."""
    net.eval()
    device = next(net.parameters()).device
    pairs = [(batch.labels, net(to_pixels(batch).to(device)).logit[:, 0].cpu().numpy()) for batch in batches]
    return np.concatenate([label for label, _ in pairs]), np.concatenate([logit for _, logit in pairs])


def _has_bf16(cpu: bool) -> bool:
    return not cpu and torch.cuda.is_available() and torch.cuda.is_bf16_supported()


def main(
    data: Data,
    out: Out,
    config: TrainConfig,
    init: Path | None = None,
    teacher: tuple[Path, ...] = (),
    cpu: bool = False,
) -> int:
    """One training by its options; `python -m export run` does several by a configuration.

    Args:
        init: a checkpoint (pruned or not), or a backbone with timm's tensor names.
        teacher: checkpoints to distil from.
        cpu: stay on the CPU where there is CUDA.
    """
    faces, folder = find_faces(data, out), folder_of(data)
    material = gather([config.recipe], None, faces, folder, out)
    teachers = [trained(path)[0] for path in teacher]
    train(config, faces, folder, out, starting_network(config, init), teachers, material, cpu)
    return 0
