"""What a server's processes use, as the kernel tells it."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import tempfile

from perf.nvml import Nvml
from perf.resources import Sampler

SHARED_BYTES = 64 * 2**20
CHILD = """
import mmap, sys
sys.stdin.readline()
with open(sys.argv[1], "r+b") as file:
    region = mmap.mmap(file.fileno(), 0)
region.write(b"x" * len(region))
print("written", flush=True)
sys.stdin.readline()
"""


def test_memory_that_two_processes_share_counts_once():
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        file.truncate(SHARED_BYTES)
        command = [sys.executable, "-c", CHILD, file.name]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            sampler = Sampler(os.getpid(), Nvml())
            before = sampler.sample().memory_mb
            child.stdin.write("\n")
            child.stdin.flush()
            assert child.stdout.readline() == "written\n"
            with mmap.mmap(file.fileno(), 0) as region:
                assert set(region[:: mmap.PAGESIZE]) == {ord("x")}  # every page of it is mapped here, too
                grown = sampler.sample().memory_mb - before
            child.stdin.write("\n")
    assert 60 < grown < 90  # 64 MiB are 67 MB; twice would be 134
