"""The null of an agent: what its probes would read if it had learned nothing, on the very same observations."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from typing import Any

import torch
from torch import Tensor

from lopgym.agents.anatomy import anatomy_of
from lopgym.agents.measuring import Measuring
from lopgym.agents.stand_in import captures_of, stand_in, strangers
from lopgym.bounds import PositiveInt
from lopgym.probes.captures import Captures, Unavailable, requests
from lopgym.probes.null import Null, calibrate
from lopgym.probes.recording import undisturbed

Probe = Callable[..., dict[str, float]]

LOOKING_BACK = ("initial_", "previous_")  # requests of these prefixes are of another moment


def null_of(
    model: Any, probes: Mapping[str, Probe], *, networks: int = 20, samples: PositiveInt = 256, seed: int = 0
) -> dict[str, Null]:
    """Measure a Stable-Baselines3 model and freshly initialised networks of its architecture, and compare them.

    All meet the same samples of what the model learns from, each as if it were the model: with a target network like
    itself, and a rollout that it had collected. Probes that look back, at the initial network or at an earlier
    measurement, have no null and are left out; so are those that the model cannot answer. The model itself is not
    changed: a copy is measured.

    Args:
        model: in training or after it, so that there are data in its buffer.
        probes: probe functions by name.
        networks: fresh networks, at least 2.
        samples: in a batch.
        seed: of batches, networks and what probes draw.

    Returns:
        `<probe>/<layer>` to its null.

    Raises:
        TypeError: the model's algorithm is unknown, or a probe requests what does not exist.
        ValueError: fewer than 2 networks.
    """
    still = {name: p for name, p in probes.items() if not any(r.startswith(LOOKING_BACK) for r in requests(p))}
    other = twin(model)
    anatomy = anatomy_of(other)

    def measure(state: Mapping[str, Tensor] | None) -> dict[str, float]:
        with nullcontext() if state is None else stand_in(other, state):
            captures = captures_of(
                anatomy, Measuring(anatomy, {}, seed=seed, samples=samples), samples=samples, seed=seed
            )
            return _values(captures, still)

    return calibrate(measure, None, strangers(anatomy, networks, seed))


def twin(model: Any) -> Any:
    """Return a copy of a Stable-Baselines3 model with a policy, targets and optimizer of its own; the rest is shared.

    The copy is there to be looked at, not to act: its buffers and its world are the model's.
    """
    anatomy = anatomy_of(model)
    with undisturbed(anatomy.network):  # the latest action distribution has a graph, which cannot be copied
        anatomy.forward(anatomy.observations(1, torch.Generator()))
    other = copy.copy(model)
    other.policy = copy.deepcopy(model.policy)
    if hasattr(other, "_create_aliases"):  # of algorithms that keep parts of their policy under names of their own
        other._create_aliases()
    return other


def _values(captures: Captures, probes: Mapping[str, Probe]) -> dict[str, float]:
    """Read what can be read, as `<probe>/<layer>`."""
    values: dict[str, float] = {}
    for name, probe in probes.items():
        with suppress(Unavailable):
            values |= {f"{name}/{of}": value for of, value in captures.supply(name, probe).items()}
    return values
