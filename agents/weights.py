"""Network weights in a file that holds arrays and nothing else: no pickle, nothing to execute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from lopgym.agents.finite_guard import check_parameters
from lopgym.files import whole

_NORMALISER = "normaliser/"


def save_weights(model: Any, path: Path) -> None:
    """Write the policy's parameters and buffers, and the observation statistics if there are any, as `.npz`.

    Raises:
        NumericalError: a parameter is not finite, or absurd; nothing is written.
        OSError: the disk does not take it; what was there stays.
    """
    check_parameters(model)
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in model.policy.state_dict().items()}
    normalizer = model.get_vec_normalize_env()
    if normalizer is not None and normalizer.norm_obs:
        rms = normalizer.obs_rms
        arrays |= {f"{_NORMALISER}{name}": np.asarray(getattr(rms, name)) for name in ("mean", "var", "count")}
    with whole(path, "wb") as file:
        np.savez(file, **arrays)


def load_weights(model: Any, path: Path) -> None:
    """Put weights of `save_weights` into a model of the same architecture.

    Raises:
        FileNotFoundError: no such file.
        RuntimeError: they are of another architecture.
    """
    with np.load(path) as arrays:
        stored = {name: arrays[name] for name in arrays.files}
    model.policy.load_state_dict(
        {name: torch.as_tensor(array) for name, array in stored.items() if not name.startswith(_NORMALISER)}
    )
    normalizer = model.get_vec_normalize_env()
    if normalizer is not None and normalizer.norm_obs:
        for name in ("mean", "var", "count"):
            setattr(normalizer.obs_rms, name, stored[f"{_NORMALISER}{name}"])
