"""Overhearing: what hidden layers put out while the network trains, at no cost in forward passes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lopgym.agents.network import Layer


class Listener:
    """Keeps what each hidden layer put out in the last forward pass that recorded gradients: the minibatch learned.

    Passes under `no_grad` (acting) and in evaluation mode (probing, which may go backward) go unheard. Modules call a
    bound method and not a closure, so that a deep copy of a network reports to a copy of the listener and never to
    this one.
    """

    def __init__(self) -> None:
        """Hear nothing yet."""
        self._layers: Sequence[Layer] = ()
        self._handles: list[RemovableHandle] = []
        self._heard: dict[str, Tensor] = {}
        self._units: dict[str, int] = {}

    def listen(self, layers: Sequence[Layer]) -> None:
        """Listen to these layers and to no others; nothing happens if they are listened to already."""
        if layers is self._layers:
            return
        self.close()
        self._layers = layers
        self._units = {layer.name: len(layer.incoming.weight) for layer in layers}
        self._handles = [layer.activation.register_forward_hook(partial(self._hear, layer.name)) for layer in layers]

    def take(self) -> dict[str, Tensor]:
        """Return layer name -> (samples, U) of the last pass, and let go of it.

        Pixels of an image are samples, and so are the numbers that an activation such as CReLU returns for a unit.
        """
        heard, self._heard = self._heard, {}
        return {name: _rows(output, self._units[name]) for name, output in heard.items()}

    def close(self) -> None:
        """Stop listening."""
        for handle in self._handles:
            handle.remove()
        self._layers, self._handles = (), []

    def _hear(self, name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
        if torch.is_grad_enabled() and module.training:
            self._heard[name] = output.detach()


def _rows(output: Tensor, units: int) -> Tensor:
    return output if output.shape[1:] == (units,) else output.movedim(1, -1).reshape(-1, units)
