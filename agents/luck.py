"""Luck: every random stream that a Stable-Baselines3 model draws from, kept and taken back."""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def state_of_luck(model: Any) -> dict[str, Any]:
    """Return where the random streams are: Python's, NumPy's and torch's global ones, and that of random actions.

    PPO draws its actions from torch's and its minibatches from NumPy's; DQN explores and replays with NumPy's, and its
    warm-up and exploration take random actions from the stream of its action space. What mitigations and probes draw
    comes from streams of their own, which are theirs to keep. Those of GPUs are there if one is in use.
    """
    version, numbers, gauss = random.getstate()
    kind, keys, position, has_gauss, last_gauss = np.random.get_state()
    on_gpu = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # torch's
    return {
        "python": {"version": version, "numbers": np.array(numbers, dtype=np.uint32), "gauss": gauss},
        "numpy": {
            "kind": kind,
            "keys": np.array(keys),
            "position": int(position),
            "has_gauss": int(has_gauss),
            "gauss": float(last_gauss),
        },
        "torch": torch.get_rng_state().clone(),
        "cuda": [stream.clone() for stream in torch.cuda.get_rng_state_all()] if on_gpu else [],
        "actions": copy.deepcopy(dict(model.action_space.np_random.bit_generator.state)),
    }


def restore_luck(model: Any, state: Mapping[str, Any]) -> None:
    """Take back what `state_of_luck` returned. It comes last: whatever else is restored may have drawn numbers.

    Raises:
        ValueError: the streams are those of other generators than the ones in use.
    """
    python, numpy = state["python"], state["numpy"]
    random.setstate((python["version"], tuple(python["numbers"].tolist()), python["gauss"]))
    np.random.set_state(tuple(numpy[name] for name in ("kind", "keys", "position", "has_gauss", "gauss")))
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    model.action_space.np_random.bit_generator.state = copy.deepcopy(dict(state["actions"]))
