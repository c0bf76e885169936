"""GPU memory and utilisation by NVML, of given processes; nothing where there is no GPU or no driver."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import pynvml


@dataclass(frozen=True)
class GpuUse:
    """Memory in bytes, utilisation 0..1 of the busiest GPU."""

    memory: int
    utilisation: float


class Nvml:
    """All GPUs that the driver shows; `available` says whether there is one.

    In a container the driver may not tell whose memory it is: then memory is what the whole GPU gained since this
    object was made, so make it before the server starts.
    """

    def __init__(self) -> None:
        self._gpus: list[object] = []
        with suppress(pynvml.NVMLError):
            pynvml.nvmlInit()
            self._gpus = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        self._used_before = self._used()

    @property
    def available(self) -> bool:
        """Whether there is a GPU to measure."""
        return bool(self._gpus)

    def use(self, pids: Iterable[int]) -> GpuUse | None:
        """What these processes hold, and how busy the GPUs are; None without a GPU."""
        if not self._gpus:
            return None
        wanted, memory = set(pids), 0
        for gpu in self._gpus:
            for process in pynvml.nvmlDeviceGetComputeRunningProcesses(gpu):
                if process.pid in wanted and process.usedGpuMemory:
                    memory += process.usedGpuMemory
        busiest = max(pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu for gpu in self._gpus)
        return GpuUse(memory or max(0, self._used() - self._used_before), busiest / 100)

    def _used(self) -> int:
        return sum(int(pynvml.nvmlDeviceGetMemoryInfo(gpu).used) for gpu in self._gpus)
