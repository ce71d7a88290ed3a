"""Stock: the policy of Stable-Baselines3 that computes what one of ours does, where there is one.

Our features extractor is a class of ours, so whoever loads such a policy needs lopgym. A trunk that no mitigation has
shaped is the plain chain of maps that a stock `MlpPolicy` builds for itself: with its tensors under the stock names, a
model saved then needs nobody but Stable-Baselines3. The same maps run in the same order, so every bit is the same.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stable_baselines3 import DQN, PPO
from torch import nn
from torch.optim import Optimizer

from lopgym.agents.agent_state import load_optimizer
from lopgym.agents.network import Block, Trunk

# Where an algorithm's policy has our trunks, and where a stock one has the layers of each.
TRUNKS: dict[type, dict[str, str]] = {
    DQN: {
        "q_net.features_extractor": "q_net.q_net",
        "q_net_target.features_extractor": "q_net_target.q_net",
    },
    PPO: {
        "pi_features_extractor": "mlp_extractor.policy_net",
        "vf_features_extractor": "mlp_extractor.value_net",
    },
}


@dataclass(frozen=True)
class Stock:
    """How a model of ours was told as a stock one.

    Args:
        names: of each tensor of the stock policy: what it is called in ours.
        optimizer: whether the optimizer is the one it was; if not, it is a new one of Stable-Baselines3's choice.
    """

    names: Mapping[str, str]
    optimizer: bool


def become_stock(model: Any) -> Stock | None:
    """Give a model of ours a stock policy with the same parameters, buffers and optimizer state, if there is one.

    The model is built anew around it, in the way in which Stable-Baselines3 builds one that it loads.

    Returns:
        How it was told; None, and nothing was changed, if no stock policy computes the same.
    """
    trunks = next((places for kind, places in TRUNKS.items() if isinstance(model, kind)), {})
    layers = _plain_layers(model.policy, trunks)
    if layers is None:
        return None
    widths, activation = layers
    ours, kept = model.policy, _stock_optimizer(model.policy.optimizer)
    model.policy_kwargs = {"net_arch": list(widths), "activation_fn": activation, **kept}
    model._setup_model()
    names = {name: _our_name(name, trunks, len(widths)) for name in model.policy.state_dict()}
    tensors = ours.state_dict()
    model.policy.load_state_dict({name: tensors[our_name] for name, our_name in names.items()})
    if kept:
        _carry(ours, model.policy, names)
    return Stock(names, optimizer=bool(kept))


def _plain_layers(policy: nn.Module, trunks: Mapping[str, str]) -> tuple[tuple[int, ...], type[nn.Module]] | None:
    """Return widths and activation of the trunks, if they are chains that a stock policy builds, each its own."""
    found: list[Any] = [policy.get_submodule(name) for name in trunks]
    if not found or len({*map(id, found)}) < len(found) or any(map(_has_hooks, policy.modules())):
        return None
    blocks = [[*trunk.blocks] if type(trunk) is Trunk else [] for trunk in found]
    if not all(chain and _holds_only(trunk, chain) for trunk, chain in zip(found, blocks, strict=True)):
        return None
    widths = {tuple(block.incoming.out_features for block in chain) for chain in blocks}
    activations = {type(block.activation) for chain in blocks for block in chain}
    return (widths.pop(), activations.pop()) if len(widths) == len(activations) == 1 else None


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _holds_only(trunk: nn.Module, chain: Sequence[nn.Module]) -> bool:
    """Whether a trunk is nothing but plain blocks."""
    names = [f"blocks.{index}.incoming.{what}" for index in range(len(chain)) for what in ("weight", "bias")]
    return [*trunk.state_dict()] == names and all(map(_is_plain, chain))


def _is_plain(block: nn.Module) -> bool:
    """Whether a block is a linear map and one of PyTorch's own activations, as that is without options."""
    if type(block) is not Block or type(block.incoming) is not nn.Linear or len(block.before) + len(block.after):
        return False
    kind = type(block.activation)
    return kind.__module__ == nn.ReLU.__module__ and not [*block.activation.parameters()] and _is_usual(block)


def _is_usual(block: Block) -> bool:
    needed = [
        option
        for option in inspect.signature(type(block.activation)).parameters.values()
        if option.default is option.empty and option.kind is option.POSITIONAL_OR_KEYWORD
    ]
    return not needed and repr(block.activation) == repr(type(block.activation)())


def _our_name(name: str, trunks: Mapping[str, str], depth: int) -> str:
    """Return what a tensor of the stock policy is called in ours: maps and activations take turns in a stock chain."""
    for trunk, chain in trunks.items():
        if name.startswith(f"{chain}."):
            place, _, what = name.removeprefix(f"{chain}.").partition(".")
            index = int(place) // 2
            return f"{trunk}.blocks.{index}.incoming.{what}" if index < depth else f"{chain}.0.{what}"
    return name


def _stock_optimizer(optimizer: Optimizer) -> dict[str, Any]:
    """Return the arguments of a policy that make PyTorch's own optimizer again; {} if it is none, or of many groups."""
    if not type(optimizer).__module__.startswith("torch.optim.") or len(optimizer.param_groups) != 1:
        return {}
    options = inspect.signature(type(optimizer)).parameters
    chosen = {
        name: value
        for name, value in optimizer.param_groups[0].items()
        if name in options and name not in {"params", "lr"} and value != options[name].default
    }
    return {"optimizer_class": type(optimizer), "optimizer_kwargs": chosen}


def _carry(ours: Any, theirs: Any, names: Mapping[str, str]) -> None:
    """Give the stock optimizer what ours remembers of each parameter; the order of parameters is another one."""
    here = {id(parameter): name for name, parameter in theirs.named_parameters(remove_duplicate=False)}
    there = dict(ours.named_parameters(remove_duplicate=False))
    order = [there[names[here[id(one)]]] for one in theirs.optimizer.param_groups[0]["params"]]
    group = {**ours.optimizer.param_groups[0], "params": [*range(len(order))]}
    memories = {i: ours.optimizer.state[one] for i, one in enumerate(order) if one in ours.optimizer.state}
    load_optimizer(theirs.optimizer, copy.deepcopy({"state": memories, "param_groups": [group]}))
