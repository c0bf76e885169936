"""Where and with what a figure was made: machine, versions of the libraries, commit. Goes beside every figure."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from serving.paths import ROOT

LIBRARIES = (
    *("torch", "timm", "onnx", "onnxruntime", "onnxruntime-gpu", "openvino", "nncf", "tensorrt"),
    "nvidia-dali-cuda130",
)


def about(command: str, *libraries: str) -> dict[str, Any]:
    """Command, date, commit, machine, versions, and the machine's load: call it before anything is started."""
    return {
        "command": command,
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit() or "unknown",
        "machine": machine(),
        "versions": versions(*libraries),
        "load_before": round(os.getloadavg()[0], 2),
    }


def machine() -> dict:
    """CPU model, cores that this process may use, memory in GiB, GPU where there is one."""
    cpu = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    memory_kib = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return {
        "cpu": cpu or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory_kib / 2**20),
        "gpu": gpu(),
        "system": platform.platform(),
    }


def gpu() -> dict[str, str] | None:
    """Name, compute capability and driver of the first GPU that the driver shows; None without a driver."""
    fields = ("name", "compute_cap", "driver_version")
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader", "--id=0"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return dict(zip(fields, done.stdout.strip().split(", "), strict=True))


def versions(*more: str) -> dict[str, str]:
    """Python, and those of `more` and of LIBRARIES that are installed."""
    found = {"python": platform.python_version()}
    for name in (*more, *LIBRARIES):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The checkout's commit, with a + behind it where files differ; None outside a checkout."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []
