"""Runs a pipeline of `pipelines.py` outside of the DALI backend: for the Python backend, training and tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from nvidia.dali import Pipeline

from .check import ImageError, undecoded


class PipelineHost:
    """One pipeline from encoded images to arrays; an image that does not decode fails alone.

    Not thread-safe: one object per instance of a model.

    Args:
        definition: `pipelines.preprocess` or `pipelines.detector_input`.
        max_batch_size: images decoded in one run; longer lists are run in pieces.
        threads: CPU threads of the pipeline.
        device_id: GPU that decodes, or None for the CPU.
        stay_on_gpu: results are CuPy arrays on that GPU.
    """

    def __init__(
        self,
        definition: Callable[..., Pipeline],
        max_batch_size: int,
        threads: int,
        device_id: int | None = None,
        stay_on_gpu: bool = False,
    ) -> None:
        self.definition, self.max_batch_size = definition, max_batch_size
        self.threads, self.device_id, self.stay_on_gpu = threads, device_id, stay_on_gpu
        self.pipeline = self._build()

    def run(self, **inputs: Sequence[np.ndarray]) -> list[np.ndarray | ImageError]:
        """The pipeline's output for each image in order, an ImageError in the place of what did not decode.

        `inputs` are the pipeline's own, by name, of one length: IMAGE holds (L,) uint8 arrays, checked before.
        """
        rows = list(zip(*inputs.values(), strict=True))
        pieces = [rows[i : i + self.max_batch_size] for i in range(0, len(rows), self.max_batch_size)]
        return [result for piece in pieces for result in self._run_piece(list(inputs), piece)]

    def _run_piece(self, names: list[str], rows: list[tuple[np.ndarray, ...]]) -> list[np.ndarray | ImageError]:
        try:
            return self._decode(names, rows)
        except Exception as exc:
            self.pipeline = self._build()  # DALI: "current pipeline object is no longer valid"
            if not isinstance(exc, RuntimeError):
                raise
            if len(rows) == 1:
                return [undecoded(exc)]
        return [self._run_piece(names, [row])[0] for row in rows]

    def _decode(self, names: list[str], rows: list[tuple[np.ndarray, ...]]) -> list[Any]:
        for name, column in zip(names, zip(*rows, strict=True), strict=True):
            self.pipeline.feed_input(name, list(column))
        (results,) = self.pipeline.run()
        if self.stay_on_gpu:
            import cupy

            return [cupy.from_dlpack(results.at(i)).copy() for i in range(len(rows))]  # DALI uses its buffer again
        results = results.as_cpu()
        return [np.from_dlpack(results[i]).copy() for i in range(len(rows))]

    def _build(self) -> Pipeline:
        on_cpu = self.device_id is None
        pipeline = self.definition(
            batch_size=self.max_batch_size,
            num_threads=self.threads,
            device_id=self.device_id,
            decoder="cpu" if on_cpu else "mixed",
            exec_async=not on_cpu,  # a run is waited for, and no GPU works meanwhile: threads of the executor's own
            exec_pipelined=not on_cpu,  # would only hand it on to each other
        )
        pipeline.build()
        return pipeline
