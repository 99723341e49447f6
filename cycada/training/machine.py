"""What a training computes on: kinds of hardware, never the name of a machine or its user."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import accelerate
import torch
from accelerate import Accelerator


def machine_of(accelerator: Accelerator) -> dict[str, Any]:
    """Return what may change the bits of a training, for ``config.json``."""
    found: dict[str, Any] = {
        "device": accelerator.device.type,
        "processor": processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
        "processes": accelerator.num_processes,
        "hosts": hosts_of(accelerator),
        "distributed": accelerator.distributed_type.value,
        "mixed_precision": accelerator.mixed_precision,
        "accumulate": accelerator.gradient_accumulation_steps,
        "accelerate": accelerate.__version__,
    }
    if accelerator.device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(accelerator.device)
        found["cuda"] = torch.version.cuda
    return found


def hosts_of(accelerator: Accelerator) -> int:
    """Return on how many hosts the processes run, of which launchers start as many on each."""
    here = os.environ.get("LOCAL_WORLD_SIZE", "")
    if accelerator.num_processes == 1 or not here.isdecimal():
        return 1
    hosts: int = accelerator.num_processes // max(int(here), 1)
    return hosts


def processor() -> str:
    """Return the name of the kind of processor."""
    file = Path("/proc/cpuinfo")
    if file.exists():
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
