"""Doctor: what this machine has, and whether a run could start here."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("lopgym", "torch", "stable-baselines3", "gymnasium", "numpy", "tensorboard", "hydra-core", "pydantic")
EXTRAS = {"mujoco": "mujoco", "box2d": "Box2D"}  # extra -> module that it brings


def examine(runs: Path) -> Iterator[tuple[str, str]]:
    """Yield (what, finding) pairs; `runs` is where runs would go."""
    yield "python", f"{platform.python_version()} at {sys.executable}"
    yield "platform", platform.platform()
    yield from ((package, _version(package)) for package in PACKAGES)
    yield from ((f"extra {extra}", _extra(extra, module)) for extra, module in EXTRAS.items())
    yield "devices", _devices()
    yield (
        "threads",
        f"{_cores()} cores here; a run uses one thread (OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')})",
    )
    yield "disk", f"{shutil.disk_usage(_there(runs)).free / 2**30:.1f} GiB free at {_there(runs)}"
    trouble = trouble_writing(runs)
    yield "runs", f"{runs} can be written" if trouble is None else f"{runs} cannot be written: {trouble}"


def trouble_writing(folder: Path) -> str | None:
    """Say why nothing could be written into `folder`, which may not exist yet; None if it could."""
    there = _there(folder)
    if not there.is_dir():
        return f"{there} is a file"
    try:
        with tempfile.TemporaryFile(dir=there):
            return None
    except OSError as error:
        return str(error.strerror)


def _there(folder: Path) -> Path:
    """Return the nearest of the folder and its parents that exists."""
    path = folder.absolute()
    return next(place for place in (path, *path.parents) if place.exists())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing: install lopgym again"


def _extra(extra: str, module: str) -> str:
    return "installed" if find_spec(module) else f"not installed: pip install 'lopgym[{extra}]'"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _devices() -> str:
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library of it is missing
        return f"torch does not load: {error}"
    return ", ".join(
        ["cpu", *(f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count()))]
    )
