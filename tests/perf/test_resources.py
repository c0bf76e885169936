"""What a server's processes use, as the kernel tells it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from perf.measure.nvml import Nvml
from perf.measure.resources import Sampler

UNNAMED = """
import mmap, os, sys
region = mmap.mmap(-1, 64 * 2**20)  # shared with what is forked
heard, told = os.pipe()
if os.fork() == 0:
    os.read(heard, 1)
    pages = sum(region[:: mmap.PAGESIZE])  # each is mapped here, too
    print(pages, flush=True)
    os.read(heard, 1)
    os._exit(0)
print("ready", flush=True)
sys.stdin.readline()
for place in range(0, len(region), mmap.PAGESIZE):
    region[place] = 1
os.write(told, b"1")
sys.stdin.readline()
os.write(told, b"1")
os.wait()
"""

REGION = """
import mmap, os, sys, tempfile
size = 32 * 2**20
heard, told = os.pipe()
print("ready", flush=True)
sys.stdin.readline()
with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
    os.posix_fallocate(file.fileno(), 0, size)
    once, again = mmap.mmap(file.fileno(), size), mmap.mmap(file.fileno(), size)
    for region in (once, again)[: int(sys.argv[1])]:
        for place in range(0, size, mmap.PAGESIZE):
            region[place] = 1
    if os.fork() == 0:
        once[0] = 2  # and another process maps it
        print("made", flush=True)
        os.read(heard, 1)
        os._exit(0)
    sys.stdin.readline()
    os.write(told, b"1")
    os.wait()
"""


def test_memory_that_two_processes_share_counts_once():
    command = [sys.executable, "-c", UNNAMED]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        sampler = Sampler(process.pid, Nvml())
        before = sampler.sample().memory_mb
        process.stdin.write("\n")
        process.stdin.flush()
        assert int(process.stdout.readline()) > 0
        grown = sampler.sample().memory_mb - before
        process.stdin.write("\n")
    assert 60 < grown < 90  # 64 MiB are 67 MB; twice would be 134


@pytest.mark.parametrize("looked", [0, 1, 2])
def test_shared_memory_counts_once_whoever_has_looked_at_it(looked):
    command = [sys.executable, "-c", REGION, str(looked)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        sampler = Sampler(process.pid, Nvml())
        before = sampler.sample().memory_mb
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "made\n"
        grown = sampler.sample().memory_mb - before
        process.stdin.write("\n")
    assert 30 < grown < 45  # 32 MiB are 34 MB; twice would be 67
