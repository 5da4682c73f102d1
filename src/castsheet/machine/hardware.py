"""The hardware that this process sees: processor, memory, disk, GPUs."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

GIB = 1 << 30
CPU_FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")


@dataclass(frozen=True)
class Gpu:
    """One accelerator; memory in GiB, and NVIDIA's compute capability."""

    name: str
    memory_gib: float
    free_gib: float
    capability: tuple[int, int]

    @property
    def bf16(self) -> bool:
        """Whether it multiplies bf16, without which castsheet does not use it."""
        return self.capability >= (8, 0)


@dataclass(frozen=True)
class Machine:
    """Hardware that this process sees; sizes in GiB, None if the system does not tell."""

    system: str
    cpu: str
    cores: int
    features: tuple[str, ...]
    ram_gib: float | None
    ram_free_gib: float | None
    disk_free_gib: float
    gpus: tuple[Gpu, ...]


def inspect_machine(folder: Path) -> Machine:
    """Hardware of this machine; the free disk space is that of the disk that holds `folder`."""
    nearest = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    cpu, features = _cpu()
    return Machine(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpu=cpu,
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        features=features,
        ram_gib=_pages_gib("SC_PHYS_PAGES"),
        ram_free_gib=_ram_free_gib(),
        disk_free_gib=round(shutil.disk_usage(nearest).free / GIB, 1),
        gpus=_gpus(),
    )


def _pages_gib(name: str) -> float | None:
    names = getattr(os, "sysconf_names", {})
    if name not in names or "SC_PAGE_SIZE" not in names:
        return None
    return round(os.sysconf(name) * os.sysconf("SC_PAGE_SIZE") / GIB, 1)


def ram_free_bytes() -> int | None:
    """Memory that programs can still take, within the limit of a container; None if the system does not tell.

    On Linux this counts the file cache, unlike SC_AVPHYS_PAGES.
    """
    table = Path("/proc/meminfo")
    if not table.is_file():
        pages = _pages_gib("SC_AVPHYS_PAGES")
        return None if pages is None else int(pages * GIB)
    free = None
    for line in table.read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    left = _container_bytes()
    return free if left is None else min(left, left if free is None else free)


def _container_bytes() -> int | None:
    """What a container's limit leaves (Linux control groups, version 2); None without a limit."""
    folder, values = Path("/sys/fs/cgroup"), []
    for name in ("memory.max", "memory.current"):
        try:
            values.append(int((folder / name).read_text(encoding="ascii")))
        except (OSError, ValueError):
            return None
    return max(values[0] - values[1], 0)


def _ram_free_gib() -> float | None:
    free = ram_free_bytes()
    return None if free is None else round(free / GIB, 1)


def _cpu() -> tuple[str, tuple[str, ...]]:
    table = Path("/proc/cpuinfo")
    if not table.is_file():
        return platform.processor() or platform.machine(), ()
    fields: dict[str, str] = {}
    for line in table.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    name = fields.get("model name") or platform.machine()
    return name, tuple(feature for feature in CPU_FEATURES if feature in flags)


def _gpus() -> tuple[Gpu, ...]:
    if importlib.util.find_spec("torch") is None:
        return ()
    import torch

    found = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        about = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        capability = (about.major, about.minor)
        found.append(Gpu(about.name, round(total / GIB, 1), round(free / GIB, 1), capability))
    return tuple(found)
