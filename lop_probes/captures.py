"""Captures: what a network holds at one moment, each quantity computed when it is first asked for, and once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor, nn

from lopgym.probes import matrices
from lopgym.probes.recording import record, undisturbed
from lopgym.registry import nearest

Probe = Callable[..., dict[str, float]]
Tensors = dict[str, Tensor]  # name of a hidden layer or head -> its matrix


class Unavailable(LookupError):  # noqa: N818 - it is a state of affairs, not a mistake
    """A request that exists, but not for this network: no gradients yet, no action probabilities at all."""


def requests(probe: Callable[..., Any]) -> tuple[str, ...]:
    """Return what a probe asks for: the names of its positional parameters; keyword-only ones are options.

    >>> def dead(activations, *, share=0.95): ...
    >>> requests(dead)
    ('activations',)
    """
    parameters = inspect.signature(probe).parameters.values()
    return tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))


class Captures:
    """What probes may request of a network, by name. The requests are the public cached properties.

    It is of one moment: build it, `measure`, drop it. What it hands out is detached from the network, and neither the
    network's mode, gradients and buffers nor any random stream is touched.

    Args:
        network: any module.
        layers: hidden layers by name, each the affine map whose rows are its units and the activation module that
            follows, normalisation in between or not.
        heads: output maps by name; they have weights but no units.
        observations: (B, ...), as the network reads them.
        initial: copy of `network.state_dict()` from the start of training; for `initial_weights`.
        gradients: parameter names of `network` to gradients; for `gradients`.
        forward: evaluates `network` on observations, running every activation in `layers`; default `network` itself.
        action_probabilities: maps observations to (B, A); for discrete policies.

    Raises:
        ValueError: no observations, or two layers share one activation module, so that they cannot be told apart.
    """

    def __init__(
        self,
        network: nn.Module,
        layers: Mapping[str, tuple[nn.Module, nn.Module]],
        heads: Mapping[str, nn.Module],
        observations: Tensor,
        *,
        initial: Mapping[str, Tensor] | None = None,
        gradients: Mapping[str, Tensor] | None = None,
        forward: Callable[[Tensor], Any] | None = None,
        action_probabilities: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Note what there is; compute nothing yet."""
        if len(observations) == 0:
            raise ValueError("probes need at least one observation; the batch is empty")
        if len({id(activation) for _, activation in layers.values()}) < len(layers):
            raise ValueError(f"two of {', '.join(layers)} share one activation module; give each layer its own")
        self._network, self._layers, self._observations = network, layers, observations
        self._affines = {name: incoming for name, (incoming, _) in layers.items()} | dict(heads)
        self._initial, self._gradients = initial or {}, gradients or {}
        self._forward, self._policy = network if forward is None else forward, action_probabilities

    @classmethod
    @cache
    def known(cls) -> tuple[str, ...]:
        """Names that a probe may request, sorted."""
        members = inspect.getmembers_static(cls, lambda member: isinstance(member, cached_property))
        return tuple(name for name, _ in members if not name.startswith("_"))

    def supply(self, name: str, probe: Probe) -> dict[str, float]:
        """Call `probe`, known as `name`, with what it requests.

        Raises:
            TypeError: a request that nobody can meet; the message offers the nearest.
            Unavailable: a request that this network cannot meet.
        """
        wanted = requests(probe)
        for request in wanted:
            if request not in self.known():
                raise TypeError(f"probe {name!r} requests {request!r}; {nearest(request, self.known())}")
        return probe(*(getattr(self, request) for request in wanted))

    @cached_property
    def observations(self) -> Tensor:
        """The batch of observations, (B, ...)."""
        return self._observations.detach()

    @cached_property
    def activations(self) -> Tensors:
        """What each hidden layer's activation module returns, (B, U); of a convolution, (B * H * W, C)."""
        return self._recorded[1]

    @cached_property
    def pre_activations(self) -> Tensors:
        """What each hidden layer's activation module is given, shaped like `activations`."""
        return self._recorded[0]

    @cached_property
    def grams(self) -> Tensors:
        """Inner products between the units of each layer, (U, U), as doubles."""
        return {name: matrices.gram(a) for name, a in self.activations.items()}

    @cached_property
    def singular_values(self) -> Tensors:
        """Singular values of each layer's activations, (min(B, U),), falling."""
        smaller = {
            name: self.grams[name] if a.shape[1] <= len(a) else matrices.gram(a.T)
            for name, a in self.activations.items()
        }
        return {name: matrices.singular_values(gram) for name, gram in smaller.items()}

    @cached_property
    def correlations(self) -> Tensors:
        """Pearson correlations between the units of each layer, (U, U)."""
        return {
            name: matrices.correlations(self.grams[name], a.sum(dim=0, dtype=torch.float64), len(a))
            for name, a in self.activations.items()
        }

    @cached_property
    def cosines(self) -> Tensors:
        """Cosines between the units of each layer, uncentred, (U, U)."""
        return {name: matrices.cosines(gram) for name, gram in self.grams.items()}

    @cached_property
    def weights(self) -> Tensors:
        """Each layer's and head's weights beside its biases, (U, I + 1); (U, I) where there is no bias."""
        return {name: matrices.beside(_parameters(module)) for name, module in self._affines.items()}

    @cached_property
    def initial_weights(self) -> Tensors:
        """`weights` at the start of training."""
        return self._arranged("initial weights", self._initial)

    @cached_property
    def gradients(self) -> Tensors:
        """Gradients of the loss, shaped like `weights`; layers without a gradient are left out."""
        return self._arranged("gradients", self._gradients)

    @cached_property
    def action_probabilities(self) -> Tensor:
        """What the policy does on each observation, (B, A)."""
        if self._policy is None:
            raise Unavailable("there are no action probabilities: the agent has no discrete stochastic policy")
        with undisturbed(self._network):
            return self._policy(self._observations).detach()

    @cached_property
    def _recorded(self) -> tuple[Tensors, Tensors]:
        """Inputs and outputs of all activation modules, from one forward pass."""
        before, after = record(self._network, self._layers, lambda: self._forward(self._observations))
        if missing := self._layers.keys() - after.keys():
            raise Unavailable(f"the forward pass did not run the activation of {', '.join(sorted(missing))}")
        return before, after

    def _arranged(self, what: str, values: Mapping[str, Tensor]) -> Tensors:
        """Arrange `values`, known by parameter name, as `weights` is; leave incomplete layers out."""
        names = {id(parameter): name for name, parameter in self._network.named_parameters()}
        found: Tensors = {}
        for layer, module in self._affines.items():
            own = [names.get(id(parameter), "") for parameter in _parameters(module)]
            parts = [values[name] for name in own if name in values]
            if len(parts) == len(own):
                found[layer] = matrices.beside(parts)
        if not found:
            raise Unavailable(f"there are no {what} of {', '.join(self._affines)}")
        return found


def measure(captures: Captures, probes: Mapping[str, Probe]) -> dict[str, float]:
    """Return the values of all `probes` (name to function, options bound) as `<probe>/<layer>`.

    Raises:
        TypeError: a probe requests something that does not exist; the message names both.
        Unavailable: a probe requests what this network cannot give; measure the probes singly to skip such ones.
    """
    return {
        f"{name}/{of}": value for name, probe in probes.items() for of, value in captures.supply(name, probe).items()
    }


def _parameters(module: nn.Module) -> list[Tensor]:
    """Return weight and, if there is one, bias of an affine module."""
    return [p for p in (module.weight, getattr(module, "bias", None)) if isinstance(p, Tensor)]
