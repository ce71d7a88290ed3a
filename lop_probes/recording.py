"""Recording: run a network once, unnoticed, and keep what its hidden layers said."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@contextmanager
def undisturbed(network: nn.Module) -> Iterator[None]:
    """Let `network` be evaluated inside without a trace: no dropout, no autograd, no random number used up."""
    modes = [(module, module.training) for module in network.modules()]
    devices = {parameter.device for parameter in network.parameters() if parameter.is_cuda}
    with torch.no_grad(), torch.random.fork_rng(devices=devices):
        try:
            for module, _ in modes:  # the attribute, not `eval()`: a module may override that to do more
                module.training = False
            yield
        finally:
            for module, training in modes:
                module.training = training


def record(
    network: nn.Module, layers: Mapping[str, tuple[nn.Module, nn.Module]], evaluate: Callable[[], Any]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Call `evaluate`, which runs `network`, and return what goes into and what comes out of each activation module.

    Args:
        network: is left as it was.
        layers: name to affine map and activation module.
        evaluate: runs `network`; of an activation module that runs several times, the last time counts.

    Returns:
        Inputs and outputs by layer, (B, U); of convolutions, (B * H * W, C). A layer that did not run is missing.
    """
    before: dict[str, Tensor] = {}
    after: dict[str, Tensor] = {}
    with ExitStack() as hooks, undisturbed(network):
        for name, (incoming, activation) in layers.items():
            hooks.callback(activation.register_forward_pre_hook(_noting(before, name, incoming)).remove)
            hooks.callback(activation.register_forward_hook(_noting(after, name, incoming)).remove)
        evaluate()
    return before, after


def _noting(notes: dict[str, Tensor], name: str, incoming: nn.Module) -> Callable[..., None]:
    """Return a hook that notes what a module returns or, called before the module, what it is given."""

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor | None = None) -> None:
        notes[name] = _units_last(inputs[0] if output is None else output, incoming)

    return hook


def _units_last(values: Tensor, incoming: nn.Module) -> Tensor:
    """Copy `values` as a matrix with a column for each unit of `incoming`."""
    if isinstance(incoming, CONVOLUTIONS):
        values = values.movedim(1, -1)
    return values.detach().reshape(-1, values.shape[-1]).clone()  # a copy: an activation may work in place
