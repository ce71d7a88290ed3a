"""Settings at which each mitigation does a lot within 60 updates of a small network, 20 to a task.

One that is missing here acts with its defaults.
"""

from __future__ import annotations

from typing import Any

LIVELY: dict[str, dict[str, Any]] = {
    "hare_tortoise": {"decay": 0.9, "every": 5, "optimizer": "reset_moments"},
    "fire": {"heads": True, "optimizer": "clear"},
    "drm": {"every": 5, "tau": 0.9, "batch": 16},
    "redo": {"every": 5, "tau": 0.9, "batch": 16},
    "cbp": {"replacement_rate": 0.05, "maturity": 5},
    "shrink_perturb": {"optimizer": "reset_moments"},
    "layer_norm": {"affine": True},
    "rms_norm": {"affine": True},
    "adamw": {"weight_decay": 1.0},
    "upgd": {"sigma": 0.1},
    "trac": {"scale": 1e-9},
    "l2": {"strength": 0.1},
    "l1_init": {"strength": 0.1},
    "spectral": {"strength": 0.1},
    "parseval": {"strength": 1e-4},
    "redo_fixed_rate": {"when": {"kind": "updates", "every": 5}, "batch": 16},
    "regrama": {"every": 5, "tau": 0.9},
    "knife": {"every": 5, "threshold": 0.9},
    "snr": {"limit": 1, "adapt_every": 10},
    "swr": {"every": 5, "factor": 0.2},
    "clone_release": {"every": 5, "threshold": 0.5},
    "targeted_escape": {"every": 5, "threshold": 0.5},
}
