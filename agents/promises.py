"""Promises: what a mitigation says of itself beforehand, and tests and `lopgym train --check` hold it to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from torch import nn

from lopgym.agents.learner import Learner
from lopgym.registry import nearest

Part = Literal["hidden", "heads", "norms", "log_std", "extra", "buffers", "moments", "steps", "target"]
Function = Literal["exact", "approximate", "no", "n/a"]

PARTS: Mapping[Part, str] = {
    "hidden": "weights and biases of hidden layers",
    "heads": "weights and biases of output maps",
    "norms": "gains and shifts of norms",
    "log_std": "the policy's `log_std`",
    "extra": "parameters that the method itself, or another one, added",
    "buffers": "what the network remembers beside its parameters",
    "moments": "what the optimizer remembers entry by entry",
    "steps": "what it remembers of whole tensors, such as step counts",
    "target": "the target network",
}
FUNCTIONS: Mapping[Function, str] = {
    "exact": "no output of the network changes",
    "approximate": "outputs change little; a checked run logs how much",
    "no": "outputs change",
    "n/a": "no hook of the method writes weights",
}
_NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)


@dataclass(frozen=True)
class Promises:
    """What the hooks of one mitigation do at most, whatever its options.

    A hook may only write what is listed. `on_gradient` writes gradients: of what is listed, and of nothing else. A
    method that shapes the optimizer lists the parameters that it treats otherwise than the plain one.

    Args:
        function: whether an act preserves the network's function: its outputs in evaluation mode.
        touches: the parts that it writes.
        synchronises: an act that writes the target makes it equal to the network.
        unless: part -> option -> values at which that part stays untouched.
        slack: greatest change of an output that counts as none, as a share of the largest output; rounding.

    Raises:
        ValueError: a word that does not exist, or an `unless` of a part that is not touched.
    """

    function: Function
    touches: tuple[Part, ...] = ()
    synchronises: bool = False
    unless: Mapping[Part, Mapping[str, tuple[Any, ...]]] = field(default_factory=dict)
    slack: float = 1e-5

    def __post_init__(self) -> None:
        """Refuse words that nobody knows."""
        for word, known in [(self.function, get_args(Function)), *((part, get_args(Part)) for part in self.touches)]:
            if word not in known:
                raise ValueError(f"{word!r} cannot be promised; {nearest(str(word), known)}")
        for part in self.unless:
            if part not in self.touches:
                raise ValueError(f"unless {part!r}: it is not among what is touched, {', '.join(self.touches)}")

    def parts(self, method: object) -> frozenset[Part]:
        """Return what `method`, with its options as they are, may write."""
        spared = {
            part
            for part, options in self.unless.items()
            if all(getattr(method, name) in values for name, values in options.items())
        }
        return frozenset(self.touches) - spared


def parts_of(learner: Learner) -> dict[str, Part]:
    """Return the part that each parameter of the network belongs to, by its name."""
    found: dict[int, Part] = {}
    for module in learner.network.modules():
        if isinstance(module, _NORMS):
            found |= {id(parameter): "norms" for parameter in module.parameters()}
    for head in learner.heads.values():
        found |= {id(parameter): "heads" for parameter in head.parameters()}
    for _, module in learner.hidden_affines():
        found |= {id(parameter): "hidden" for parameter in module.parameters()}
    return {
        name: found.get(id(parameter), "log_std" if name.endswith("log_std") else "extra")
        for name, parameter in learner.network.named_parameters()
    }
