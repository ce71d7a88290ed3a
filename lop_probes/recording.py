"""Recording: run a network once, unnoticed, and keep what its layers were given and what they said."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
Layers = Mapping[str, tuple[nn.Module, nn.Module]]  # name -> affine map, activation


@contextmanager
def evaluated(network: nn.Module) -> Iterator[None]:
    """Let `network` be evaluated inside, with autograd or without: no dropout, no random number used up."""
    modes = [(module, module.training) for module in network.modules()]
    devices = {parameter.device for parameter in network.parameters() if parameter.is_cuda}
    with torch.random.fork_rng(devices=devices):
        try:
            for module, _ in modes:  # the attribute, not `eval()`: a module may override that to do more
                module.training = False
            yield
        finally:
            for module, training in modes:
                module.training = training


@contextmanager
def undisturbed(network: nn.Module) -> Iterator[None]:
    """Let `network` be evaluated inside without a trace: no dropout, no autograd, no random number used up."""
    with torch.no_grad(), evaluated(network):
        yield


@contextmanager
def swapped(network: nn.Module, values: Mapping[str, Tensor]) -> Iterator[None]:
    """Let `network` hold other parameters and buffers inside, by name; afterwards the very memory it held before."""
    own = dict(network.named_parameters()) | dict(network.named_buffers())
    held = {name: own[name].data for name in own.keys() & values.keys()}
    try:
        for name, data in held.items():
            own[name].data = values[name].detach().to(data)
        yield
    finally:
        for name, data in held.items():
            own[name].data = data


def record(
    network: nn.Module, layers: Layers, evaluate: Callable[[], Any]
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


def record_inputs(
    network: nn.Module, affines: Mapping[str, nn.Module], evaluate: Callable[[], Any]
) -> dict[str, Tensor]:
    """Call `evaluate`, which runs `network`, and return what each affine map is given, as it is given: (B, ..., I).

    Args:
        network: is left as it was.
        affines: name to affine map.
        evaluate: runs `network`; of a map that runs several times, the last time counts.

    Returns:
        Inputs by name; of convolutions, images (B, I, ...). A map that did not run is missing.
    """
    given: dict[str, Tensor] = {}

    def noting(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            given[name] = inputs[0].detach().clone()  # a copy: what follows may work in place

        return hook

    with ExitStack() as hooks, undisturbed(network):
        for name, affine in affines.items():
            hooks.callback(affine.register_forward_pre_hook(noting(name)).remove)
        evaluate()
    return given


def units_last(values: Tensor, incoming: nn.Module) -> Tensor:
    """Lay out `values` as a matrix with a column for each unit of `incoming`: (B, U); places of an image are rows."""
    if isinstance(incoming, CONVOLUTIONS):
        values = values.movedim(1, -1)
    return values.detach().reshape(-1, values.shape[-1])


def _noting(notes: dict[str, Tensor], name: str, incoming: nn.Module) -> Callable[..., None]:
    """Return a hook that notes what a module returns or, called before the module, what it is given."""

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor | None = None) -> None:
        # a copy: an activation may work in place
        notes[name] = units_last(inputs[0] if output is None else output, incoming).clone()

    return hook
