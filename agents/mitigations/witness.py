"""Witness: what went into and came out of the modules around hidden layers, and what the loss asked of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lopgym.agents.learner import Learner
from lopgym.agents.network import Layer
from lopgym.probes.recording import undisturbed


def learning(module: nn.Module) -> bool:
    """Tell whether this pass is one that the agent learns from: acting and probing go unheard."""
    return torch.is_grad_enabled() and module.training


class Witness:
    """Keeps the last pass through affine maps and activations, and the gradient of the loss by what they returned.

    Modules call bound methods and not closures, so that a deep copy of a network reports to a copy of this.

    Args:
        counts: whether a pass through a module is kept.
    """

    def __init__(self, counts: Callable[[nn.Module], bool] = learning) -> None:
        """Hear nothing yet."""
        self._counts = counts
        self._modules: list[nn.Module] = []
        self._handles: list[RemovableHandle] = []
        self._saved: Mapping[str, Sequence[Tensor | None]] = {}
        self.given: dict[nn.Module, Tensor] = {}
        self.returned: dict[nn.Module, Tensor] = {}
        self.asked: dict[nn.Module, Tensor] = {}

    def listen(self, layers: Sequence[Layer]) -> None:
        """Listen to these layers and to what reads them, and to no others; nothing happens if it does already."""
        modules = [*dict.fromkeys(m for layer in layers for m in (layer.incoming, layer.activation, *layer.outgoing))]
        if self._handles and modules == self._modules:
            return
        self.close()
        if modules != self._modules:  # what was saved is of them; what was heard is of others
            saved, self._modules = self._saved, modules
            self.forget()
            for what, tensors in saved.items():
                heard = zip(modules, tensors, strict=True)
                setattr(self, what, {module: tensor for module, tensor in heard if tensor is not None})
        self._handles = [module.register_forward_hook(self._hear) for module in modules]

    def close(self) -> None:
        """Stop listening; what was heard stays."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def state_dict(self) -> dict[str, list[Tensor | None]]:
        """Return what was heard: given, returned and asked, each module by module in the order of listening."""
        heard = {what: getattr(self, what) for what in ("given", "returned", "asked")}
        return {what: [tensors.get(module) for module in self._modules] for what, tensors in heard.items() if tensors}

    def load_state_dict(self, state: Mapping[str, Sequence[Tensor | None]]) -> None:
        """Take back what `state_dict` returned, when it listens again."""
        self._saved, self._modules = state, []

    def forget(self) -> None:
        """Let go of what was heard."""
        self.given, self.returned, self.asked, self._saved = {}, {}, {}, {}

    def _hear(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        if self._counts(module):
            self.given[module], self.returned[module] = inputs[0].detach(), output.detach()
            self.asked.pop(module, None)
            if output.requires_grad:
                output.register_hook(partial(self._ask, module))  # type: ignore[no-untyped-call]  # torch's

    def _ask(self, module: nn.Module, gradient: Tensor) -> None:
        self.asked[module] = gradient.detach()


def look(learner: Learner, samples: int) -> Witness:
    """Run the trunks on so many recent observations, without a trace, and return what they hold."""
    witness = Witness(lambda module: True)
    witness.listen(learner.layers)
    try:
        with undisturbed(learner.network):
            learner.forward(learner.observations(samples))
    finally:
        witness.close()
    return witness


def is_read_directly(layer: Layer, seen: Witness) -> bool:
    """Tell whether what the layer's activation returns is what the outgoing maps are given, at most flattened."""
    said = seen.returned[layer.activation].flatten(1)
    given = (seen.given[module].flatten(1) for module in layer.outgoing)
    return not _works_in_place(layer) and all(torch.equal(said, read) for read in given)


def is_normed(layer: Layer, seen: Witness) -> bool:
    """Tell whether something, such as a norm, stands between the layer's affine map and its activation."""
    return not torch.equal(seen.returned[layer.incoming], seen.given[layer.activation])


def _works_in_place(layer: Layer) -> bool:
    """Tell whether the activation overwrites what it is given, which can then not be read."""
    return bool(getattr(layer.activation, "inplace", False))
