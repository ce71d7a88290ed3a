"""Overhearing errors: what the loss asks of hidden units while the network trains, at no cost in backward passes."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lopgym.agents.mitigations.listener import Listener
from lopgym.agents.network import Layer


class ErrorListener(Listener):
    """Keeps, of the last backward pass, the derivative of the loss by what each layer's affine map returned.

    It hears the passes that `Listener` hears, once they go backward. `take` returns layer name -> (samples, U).
    """

    def _ear(self, layer: Layer) -> nn.Module:
        return layer.incoming

    def _hear(self, name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
        if torch.is_grad_enabled() and module.training and output.requires_grad:
            output.register_hook(partial(self._note, name))  # type: ignore[no-untyped-call]  # torch's is untyped

    def _note(self, name: str, error: Tensor) -> None:
        self._heard[name] = error.detach()
