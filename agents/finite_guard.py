"""Finite guard: what is not finite, or too large to be meant, ends training before anything is learned from it.

`FiniteGuard` guards the worlds, a wrapper that stands under whatever keeps statistics of them; `GuardUpdates` guards
the network, a callback that looks at gradients where the optimizer steps. Neither changes a number of the training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, unwrap_vec_wrapper
from torch import Tensor
from torch.utils.hooks import RemovableHandle

Array = NDArray[Any]
LIMIT = 1e6
LOOK_EVERY = 100  # updates between two looks at the parameters: one costs as much as a look at the gradients


class NumericalError(ArithmeticError):
    """A number that must not be learned from; the message is one line: what, where, when, and what is kept.

    Args:
        what: and where, and when.
        kept: what was kept last, "" if nothing was yet, None if nothing ever is.
    """

    exit_code = 5

    def __init__(self, what: str, kept: str | None = None) -> None:
        """Say it all."""
        super().__init__(what if kept is None else f"{what}; kept last: {kept or 'nothing yet'}")
        self.what = what


@dataclass
class Whereabouts:
    """What a fault tells beside the number.

    Args:
        limit: largest magnitude that is let through.
        world: what to call the worlds.
        steps: env steps over all copies, the one in progress included.
        infos: of the latest step, one a copy.
        kept: says where the run kept its agent last, "" if it has not yet, None if it never does.
    """

    limit: float = LIMIT
    world: str = ""
    steps: int = 0
    infos: Sequence[Mapping[str, Any]] = field(default_factory=list)
    kept: Callable[[], str | None] = lambda: None

    def fault(self, what: str, value: float, info: Mapping[str, Any] | None = None) -> NumericalError:
        """Make the fault of a number; `info` is of its step, None for the latest one of the first copy."""
        told = next(iter(self.infos), {}) if info is None else info
        drift = told.get("drift")
        moved = ", ".join(f"{name}={number:g}" for name, number in drift.items()) if drift else ""
        said = [
            f"step {self.steps}: {what} is {value:g}, {self._wrong(value)}",
            f"in {self.world}" * bool(self.world),
            f"task {told['task']}" if "task" in told else "",
            f"drift {moved}" if moved else "",
        ]
        return NumericalError("; ".join(filter(None, said)), self.kept())

    def _wrong(self, value: float) -> str:
        return f"beyond the guard's limit of {self.limit:g}" if math.isfinite(value) else "not finite"


class FiniteGuard(VecEnvWrapper):
    """Stops at an observation, a reward or an action that is not finite or beyond +-limit.

    It stands under `VecNormalize`, whose running statistics would keep such a number for good. What a copy saw last
    and what it sees first again are looked at, too; integers are not, such as images and discrete actions.

    Args:
        venv: the worlds, whose observations are arrays.
        limit: largest magnitude that is let through.
        world: what faults call the worlds.

    Raises:
        ValueError: observations are not arrays.
    """

    def __init__(self, venv: VecEnv, *, limit: float = LIMIT, world: str = "") -> None:
        """Wrap `venv`."""
        if isinstance(venv.observation_space, gym.spaces.Dict | gym.spaces.Tuple):
            raise ValueError(f"the guard takes observations that are arrays, not {venv.observation_space}")
        super().__init__(venv)
        self.whereabouts = Whereabouts(limit, world, infos=self.reset_infos)

    def reset(self) -> Array:
        """Reset every copy.

        Raises:
            NumericalError: one begins with what it should not.
        """
        observations = np.asarray(self.venv.reset())
        self.whereabouts.infos = self.reset_infos = self.venv.reset_infos
        self._check("first observation", observations, self.reset_infos)
        return observations

    def step_async(self, actions: Array) -> None:
        """Pass the actions on.

        Raises:
            NumericalError: one is not to be taken.
        """
        self.whereabouts.steps += self.num_envs
        self._check("action", actions, self.whereabouts.infos)
        self.venv.step_async(actions)

    def step_wait(self) -> tuple[Any, Array, Array, list[dict[str, Any]]]:
        """Pass on what came of the step.

        Raises:
            NumericalError: it is not to be learned from.
        """
        observations, rewards, dones, infos = self.venv.step_wait()
        assert isinstance(observations, np.ndarray), "the space said so"
        self.whereabouts.infos, self.reset_infos = infos, self.venv.reset_infos
        self._check("reward", rewards, infos)
        if observations.dtype.kind == "f" and dones.any():
            ended = dones.nonzero()[0].tolist()
            last = np.stack([infos[i]["terminal_observation"] for i in ended])
            self._check("terminal observation", last, infos, ended)
            self._check("first observation", observations[ended], self.reset_infos, ended)
        self._check("observation", observations, infos)
        return observations, rewards, dones, infos

    def _check(
        self, what: str, rows: Array, infos: Sequence[Mapping[str, Any]], copies: Sequence[int] | None = None
    ) -> None:
        """Refuse numbers (N, ...) of these copies, by default all, if one is not finite or beyond the limit."""
        limit = self.whereabouts.limit
        # A sum of squares is below that of the limit only if every number is: one pass, which nan and inf fail.
        if rows.dtype.kind != "f" or float(np.vdot(rows, rows)) < limit * limit:
            return
        tame = np.abs(rows) <= np.float64(limit)  # compared in that, as the limit may be beyond the rows' precision
        if tame.all():
            return
        row, *place = np.argwhere(~tame)[0].tolist()
        copy, where = row if copies is None else copies[row], f"{place}" if place else ""
        raise self.whereabouts.fault(f"{what}{where} of copy {copy}", float(rows[row, *place]), infos[copy])


class GuardUpdates(BaseCallback):
    """Stops at a gradient that is not finite or beyond the limit, before the optimizer steps.

    In a list of callbacks it stands behind `Plasticity`: what mitigations add to a gradient is looked at, too, and
    gradients are looked at as they are stepped with, clipped. Parameters are looked at every so many updates; what
    writes them to disk asks `check_parameters` each time. The limit is that of the `FiniteGuard` around the worlds.

    Args:
        kept: says where the run kept its agent last, "" if it has not yet; see `newest_kept`.
    """

    def __init__(self, kept: Callable[[], str | None] = lambda: None) -> None:
        """Keep what faults will tell."""
        super().__init__()
        self._kept = kept
        self._hook: RemovableHandle | None = None
        self._updates = 0  # since the last look at the parameters

    def _on_training_start(self) -> None:
        self._let_go()  # of training that an exception ended: callbacks are not told of it
        self._whereabouts = _whereabouts(self.model)
        self._whereabouts.kept = self._kept
        self._optimizer: torch.optim.Optimizer = self.model.policy.optimizer
        self._witness = min(self._parts(), key=torch.Tensor.numel)
        self._hook = self._optimizer.register_step_pre_hook(lambda *_: self._before_step())

    def _on_rollout_start(self) -> None:
        self._whereabouts.steps = self.model.num_timesteps  # a resumed run does not begin at 0
        if self._updates >= LOOK_EVERY:
            self._updates = 0
            check_parameters(self.model)

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        self._let_go()

    def _let_go(self) -> None:
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def _before_step(self) -> None:
        self._updates += 1
        if self._was_clipped_well():
            return
        parts = [part for part in self._parts() if part.grad is not None]
        gradients = [part.grad for part in parts if part.grad is not None]
        if not _tame(gradients, self._whereabouts.limit):
            names = {id(part): name for name, part in self.model.policy.named_parameters()}
            told = [f"gradient of {names.get(id(part), 'a parameter')}" for part in parts]
            _refuse(told, gradients, self._whereabouts)

    def _was_clipped_well(self) -> bool:
        """Whether the gradient was clipped, and a number of it came out as from a length that is finite.

        Stable-Baselines3 clips right before the step: a length of nan makes every number nan, an infinite one makes
        them nan or 0. So one number that is neither proves that all are finite, and none is longer than the clip.
        """
        if getattr(self.model, "max_grad_norm", math.inf) > self._whereabouts.limit:
            return False  # nobody clips, or Plasticity does, for mitigations that act on the gradient
        witness = self._witness.grad
        return witness is not None and abs(witness.sum().item()) > 0  # which nan is not

    def _parts(self) -> Iterator[Tensor]:
        return (part for group in self._optimizer.param_groups for part in group["params"])


def check_parameters(model: Any) -> None:
    """Look at every parameter of a Stable-Baselines3 model, of target networks, too; due before they are kept.

    Raises:
        NumericalError: one is not finite, or beyond the limit of the `FiniteGuard` around the model's worlds.
    """
    names, parts = zip(*model.policy.named_parameters(), strict=True)
    parameters, whereabouts = [part.detach() for part in parts], _whereabouts(model)
    if not _tame(parameters, whereabouts.limit):
        _refuse([f"parameter {name}" for name in names], parameters, whereabouts)


def newest_kept(*folders: Path) -> str:
    """Return what was kept last in some folders, weights of a task or a folder that is a checkpoint; "" if nothing."""
    there = [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
    kept = [path for path in there if path.match("task-*.npz") or (path.is_dir() and path.name[0] != ".")]
    return str(max(kept, key=lambda path: path.stat().st_mtime_ns, default=""))


def _whereabouts(model: Any) -> Whereabouts:
    """Return those of the guard around the model's worlds; without one, what the model knows."""
    venv = model.get_env()
    guard = None if venv is None else unwrap_vec_wrapper(venv, FiniteGuard)
    return Whereabouts(steps=model.num_timesteps) if guard is None else guard.whereabouts


def _tame(tensors: list[Tensor], limit: float) -> bool:
    """Whether all numbers are finite and within +-limit: if the lengths sum to less, they are, and one pass saw it.

    `torch.nn.utils.get_total_norm` is the public way to the same pass, and sorts by device first: four times slower.
    """
    if not tensors or torch.stack(torch._foreach_norm(tensors)).sum().item() < limit:
        return True
    return not any(_wild(tensor, limit).any() for tensor in tensors)


def _wild(tensor: Tensor, limit: float) -> Tensor:
    """Return which numbers are not finite or beyond +-limit, which may itself be beyond the tensor's precision."""
    return ~(tensor.abs() <= limit) | tensor.isinf()


def _refuse(told: Sequence[str], tensors: Sequence[Tensor], whereabouts: Whereabouts) -> None:
    """Raise for the first number of the first tensor that is not tame."""
    for what, tensor in zip(told, tensors, strict=True):
        wild = tensor[_wild(tensor, whereabouts.limit)]
        if len(wild):
            raise whereabouts.fault(what, wild[0].item())
