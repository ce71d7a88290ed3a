"""Agent state: all that a PPO or DQN of ours knows between two rollouts, kept and taken back, bit for bit.

Between two rollouts the rollout buffer is empty and no update is half done, so this is all, beside the random streams
(`lopgym.agents.luck`), the callbacks and the world. What happens to an agent at a task change is in it as well: the
protocol has no memory of its own but `learning_starts`, and epsilon is a function of the step.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor
from torch.optim import Optimizer

from lopgym.agents import agents

Array = NDArray[Any]

COUNTERS = (  # of those, what the algorithm has
    "num_timesteps",
    "_current_progress_remaining",
    "_n_updates",
    "_episode_num",
    "_n_calls",
    "exploration_rate",
    "learning_starts",
)
LAST = ("_last_obs", "_last_original_obs", "_last_episode_starts")
EPISODES = ("ep_info_buffer", "ep_success_buffer")


def state_of(model: Any) -> dict[str, Any]:
    """Return what a model in training knows at the start of a rollout: a copy, of plain data, arrays and tensors.

    Raises:
        TypeError: no registered agent is built on the model's algorithm.
    """
    normalizer, buffer = model.get_vec_normalize_env(), getattr(model, "replay_buffer", None)
    return {
        "algorithm": _algorithm(model),
        "policy": _copied(model.policy.state_dict()),
        "optimizer": optimizer_state(model.policy.optimizer),
        "counters": {name: getattr(model, name) for name in COUNTERS if hasattr(model, name)},
        "last": {name: copy.deepcopy(getattr(model, name)) for name in LAST},
        "episodes": {name: copy.deepcopy([*(getattr(model, name) or ())]) for name in EPISODES},
        "replay": None if buffer is None else _replay(buffer),
        "normaliser": None if normalizer is None else _statistics(normalizer),
    }


def restore(model: Any, state: Mapping[str, Any]) -> None:
    """Take back what `state_of` returned, into a model that was built the same way; `state` is copied.

    The place for it is in `learn`, before the first rollout: `learn` resets the world and what hangs on that.
    `model.num_timesteps` has to be that of the state before `learn`, which reckons from there.

    Raises:
        ValueError: the state is of another algorithm, network, buffer or world; nothing was changed then.
    """
    _refuse_another(model, state)
    model.policy.load_state_dict(state["policy"])
    load_optimizer(model.policy.optimizer, state["optimizer"])
    for name, value in (state["counters"] | copy.deepcopy(state["last"])).items():
        setattr(model, name, value)
    for name, episodes in copy.deepcopy(state["episodes"]).items():
        setattr(model, name, deque(episodes, maxlen=model._stats_window_size))
    if state["replay"] is not None:
        _refill(model.replay_buffer, state["replay"])
    if state["normaliser"] is not None:
        _load_statistics(model.get_vec_normalize_env(), state["normaliser"])


def optimizer_state(optimizer: Optimizer) -> dict[str, Any]:
    """Return a copy of an optimizer's `state_dict`, whose tensors are the optimizer's own."""
    return copy.deepcopy(optimizer.state_dict())


def load_optimizer(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Give an optimizer a copy of a `state_dict`, exactly.

    PyTorch's own way keeps the tensors that it is given, so that steps would write into `state`, and casts what floats
    to the type of its parameter.
    """
    optimizer.load_state_dict(copy.deepcopy(dict(state)))
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, memories in state["state"].items():
        for name, value in memories.items() if index in range(len(parameters)) else ():
            own = optimizer.state[parameters[index]]
            if isinstance(value, Tensor) and own[name].dtype != value.dtype:
                own[name] = value.detach().clone().to(own[name].device)


def _algorithm(model: Any) -> str:
    known = sorted(entry.facts["algorithm"].__name__ for entry in agents)
    for entry in agents:
        if isinstance(model, entry.facts["algorithm"]):
            return str(entry.facts["algorithm"].__name__)
    raise TypeError(f"nobody knows what {type(model).__name__} has to remember; known: {', '.join(known)}")


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def _rows(buffer: ReplayBuffer) -> int:
    """Return how many rows of a ring are worth keeping: those filled, and what followed the last one.

    A buffer that saves memory keeps that in the next row, whose action, reward and end are still to come.
    """
    return buffer.buffer_size if buffer.full else min(buffer.pos + 1, buffer.buffer_size)


def _arrays(buffer: ReplayBuffer) -> Iterator[tuple[str, Array]]:
    """Yield the arrays of a buffer with a row for each step, and their names; those of dicts are `<name>/<key>`."""
    for name, held in vars(buffer).items():
        parts = {f"{name}/{key}": value for key, value in held.items()} if isinstance(held, dict) else {name: held}
        for part, value in parts.items():
            if isinstance(value, np.ndarray) and len(value) == buffer.buffer_size:
                yield part, value


def _replay(buffer: ReplayBuffer) -> dict[str, Any]:
    rows = _rows(buffer)
    arrays = {name: array[:rows].copy() for name, array in _arrays(buffer)}
    return {"length": buffer.buffer_size, "pos": int(buffer.pos), "full": bool(buffer.full), "arrays": arrays}


def _refill(buffer: ReplayBuffer, state: Mapping[str, Any]) -> None:
    for name, array in _arrays(buffer):
        array[: len(state["arrays"][name])] = state["arrays"][name]
    buffer.pos, buffer.full = state["pos"], state["full"]


def _statistics(normalizer: VecNormalize) -> dict[str, Any]:
    """Return the running statistics with the returns so far, which `VecNormalize.save` leaves out."""
    moments = {
        name: {what: np.array(getattr(rms, what)) for what in ("mean", "var")} | {"count": float(rms.count)}
        for name, rms in _running(normalizer)
    }
    last = {
        name: copy.deepcopy(vars(normalizer).get(name)) for name in ("old_obs", "old_reward")
    }  # none before a reset
    return {"moments": moments, "returns": np.array(normalizer.returns), **last}


def _load_statistics(normalizer: VecNormalize, state: Mapping[str, Any]) -> None:
    for name, rms in _running(normalizer):
        for what, value in copy.deepcopy(state["moments"][name]).items():
            setattr(rms, what, value)
    for name in ("returns", "old_obs", "old_reward"):
        setattr(normalizer, name, copy.deepcopy(state[name]))


def _running(normalizer: VecNormalize) -> Iterator[tuple[str, RunningMeanStd]]:
    """Yield the running statistics by name: of rewards, and of observations if these are normalised."""
    yield "rewards", normalizer.ret_rms
    seen: Any = getattr(normalizer, "obs_rms", {})
    named = {f"observations/{key}": rms for key, rms in seen.items()} if isinstance(seen, dict) else {"": seen}
    yield from ((name or "observations", rms) for name, rms in named.items())


def _refuse_another(model: Any, state: Mapping[str, Any]) -> None:
    if state["algorithm"] != (own := _algorithm(model)):
        raise ValueError(f"the state is of a {state['algorithm']}, and this is a {own}")
    ours, theirs = _forms_here(model), _forms_there(state)
    for name in [*ours, *(theirs.keys() - ours.keys())]:
        here, there = ours.get(name, "nowhere"), theirs.get(name, "nowhere")
        if here != there:
            raise ValueError(f"the state is of another agent or world: {name} is {here} here, and {there} there")


def _forms_here(model: Any) -> dict[str, str]:
    normalizer, buffer = model.get_vec_normalize_env(), getattr(model, "replay_buffer", None)
    forms = {f"policy.{name}": _form(tensor) for name, tensor in model.policy.state_dict().items()}
    if buffer is not None:
        forms |= {f"replay.{name}": _form(array[0]) for name, array in _arrays(buffer)}
        forms["the replay's length"] = str(buffer.buffer_size)
    if normalizer is not None:
        forms |= {f"normaliser.{name}": _form(rms.var) for name, rms in _running(normalizer)}
    return forms


def _forms_there(state: Mapping[str, Any]) -> dict[str, str]:
    forms = {f"policy.{name}": _form(tensor) for name, tensor in state["policy"].items()}
    if (replay := state["replay"]) is not None:
        forms |= {f"replay.{name}": _form(array[0]) for name, array in replay["arrays"].items()}
        forms["the replay's length"] = str(replay["length"])
    if (normaliser := state["normaliser"]) is not None:
        forms |= {f"normaliser.{name}": _form(moments["var"]) for name, moments in normaliser["moments"].items()}
    return forms


def _form(value: Any) -> str:
    return f"{tuple(np.shape(value))} of {str(value.dtype).removeprefix('torch.')}"
