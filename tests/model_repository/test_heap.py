"""Free memory goes back to the system, in a process of its own: an allocator's settings are for good."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from serving.triton import heap

GAPS = """
from pathlib import Path
from serving.triton.heap import Heap

def anonymous_mb():
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024

heap = Heap(period_s=0)
buffers = [bytearray(b"x" * 2**17) for _ in range(512)]  # 64 MiB, below PICTURE_BYTES
del buffers[:-1]  # the last holds the heap's end, so what is free before it stays
held = anonymous_mb()
heap.trim_now_and_then()
print(held - anonymous_mb())
"""


def test_gaps_in_the_heap_are_given_back():
    path = str(Path(heap.__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", GAPS], env={"PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert float(done.stdout) > 32
