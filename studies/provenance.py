"""Where a run comes from: versions, command, commit, threads, device."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("lopgym", "gymnasium", "stable-baselines3", "torch", "numpy", "tensorboard", "hydra-core", "pydantic")


def provenance(device: str) -> dict[str, Any]:
    """Return what `run.json` says of the circumstances of a run."""
    import torch

    return {
        "versions": {"python": platform.python_version()} | {package: version(package) for package in PACKAGES},
        "command": sys.argv,
        "git": git_state(Path(__file__).resolve().parent),
        "threads": torch.get_num_threads(),
        "device": device,
        "platform": platform.platform(),
    }


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return commit and dirty flag of the checkout that lopgym runs from; None if it runs from an installed wheel."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None or _git(folder, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None  # a wheel inside somebody's checkout is not that checkout's commit
    return {"commit": commit, "dirty": bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))}


def _git(folder: Path, *words: str) -> str | None:
    try:
        ran = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)
    except OSError:  # no git on this machine
        return None
    return ran.stdout.strip() if ran.returncode == 0 else None
