"""State of a learner at one moment, to see afterwards what was written."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lopgym.agents.learner import Learner
from lopgym.agents.promises import Part, parts_of


@dataclass(frozen=True)
class State:
    """All that a hook could have written, at one moment.

    Args:
        tensors: name -> (kind, part, copy): `network`, `gradient`, `optimizer` or `target` by kind.
        parameters: the network's own, by name.
        luck: states of the global random streams.
    """

    tensors: Mapping[str, tuple[str, Part, Tensor]]
    parameters: Mapping[str, Tensor]
    luck: Mapping[str, Any]

    @classmethod
    def of(cls, learner: Learner) -> State:
        """Copy what is there."""
        _, keys, position, *_ = np.random.get_state()
        luck = {
            "torch": torch.get_rng_state().numpy().tobytes(),
            "numpy": (np.asarray(keys).tobytes(), position),
            "random": random.getstate(),
        }
        tensors = {name: (kind, part, value.detach().clone()) for name, kind, part, value in everything(learner)}
        return cls(tensors, dict(learner.network.named_parameters()), luck)

    def changes(self, after: State) -> dict[str, tuple[str, Part]]:
        """Return what differs bitwise, came or went: name -> kind and part; a parameter that came is `new`."""
        found: dict[str, tuple[str, Part]] = {}
        joined = after.parameters.keys() - self.parameters.keys()
        for name in [*self.tensors, *(after.tensors.keys() - self.tensors.keys())]:
            kind, part, value = self.tensors.get(name) or after.tensors[name]
            if any(f"{name}.".partition(".")[2].startswith(f"{one}.") for one in joined):
                found[name] = ("new", part)
            elif name not in self.tensors or name not in after.tensors or not same(value, after.tensors[name][2]):
                found[name] = (kind, part)
        return found

    def faults(self, after: State, extra: bool) -> Iterator[str]:
        """Say what no mitigation may do, whatever it promises."""
        for name, parameter in self.parameters.items():
            if after.parameters.get(name) is not parameter:
                yield f"put another tensor in the place of network.{name}"
            elif not alike(self.tensors[f"network.{name}"][2], parameter):
                yield f"changed type, place or shape of network.{name}"
        for name in after.parameters.keys() - self.parameters.keys() if not extra else ():
            yield f"added network.{name}, though it promises no 'extra' parameters"
        for stream, was in self.luck.items():
            if was != after.luck[stream]:
                yield f"drew from the global random numbers of {stream}"


def everything(learner: Learner) -> Iterator[tuple[str, str, Part, Tensor]]:
    """Yield name, kind, part and value of every tensor that a hook could write."""
    parts = parts_of(learner)
    for name, parameter in learner.network.named_parameters():
        yield f"network.{name}", "network", parts[name], parameter
        if parameter.grad is not None:
            yield f"gradient.{name}", "gradient", parts[name], parameter.grad
    for name, buffer in learner.network.named_buffers():
        yield f"network.{name}", "network", "buffers", buffer
    names: dict[Any, str] = {parameter: name for name, parameter in learner.network.named_parameters()}
    for owner, memories in learner.optimizer.state.items():
        for key, value in memories.items() if isinstance(memories, Mapping) else ():
            if isinstance(value, Tensor | int | float):
                memory = torch.as_tensor(value)
                entrywise = key != "step" and memory.shape == getattr(owner, "shape", None)
                name = f"optimizer.{names.get(owner, '?')}.{key}"
                yield name, "optimizer", "moments" if entrywise else "steps", memory
    if learner.target is not None:
        for name, value in learner.target.state_dict().items():
            yield f"target.{name}", "target", "target", value


def membership(learner: Learner, extra: bool) -> Iterator[str]:
    """Say which parameters the optimizer does not train, trains twice, or should not know."""
    held = [id(parameter) for group in learner.optimizer.param_groups for parameter in group["params"]]
    for name, parameter in learner.network.named_parameters():
        if parameter.requires_grad and id(parameter) not in held:
            yield f"left network.{name} out of the optimizer: it is never trained"
    if len({*held}) < len(held):
        yield "left a parameter twice in the optimizer"
    if not extra and not {*held} <= {id(parameter) for parameter in learner.network.parameters()}:
        yield "left a parameter in the optimizer that is not the network's"


def same(a: Tensor, b: Tensor) -> bool:
    """Tell whether two tensors are bitwise equal: -0.0 is not 0.0, and NaN is itself."""
    return alike(a, b) and torch.equal(*(x.detach().contiguous().reshape(-1).view(torch.uint8) for x in (a, b)))


def alike(a: Tensor, b: Tensor) -> bool:
    """Tell whether two tensors have one type, device and shape."""
    return (a.dtype, a.device, a.shape) == (b.dtype, b.device, b.shape)
