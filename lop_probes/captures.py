"""Captures: what a network holds at one moment, each quantity computed when it is first asked for, and once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache, cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from lopgym.probes import matrices
from lopgym.probes.arranged import arranged, chained, parameters
from lopgym.probes.backward import Backward, Direction, backward, hessian_vector_product
from lopgym.probes.behaviour import Behaving, Behaviour
from lopgym.probes.local import Local
from lopgym.probes.notes import Notes
from lopgym.probes.patches import columns
from lopgym.probes.recording import Recorded, channels_last, record, record_inputs, swapped
from lopgym.probes.shared import Shared, Tensors
from lopgym.probes.unavailable import Unavailable
from lopgym.registry import nearest

__all__ = ["Captures", "Probe", "Unavailable", "measure", "requests"]

Probe = Callable[..., dict[str, float]]


GOING_BACK = frozenset({"signals", "errors", "loss_gradients"})  # requests that need a pass back from the loss


@lru_cache(maxsize=1024)  # reading a signature takes longer than many a probe
def requests(probe: Callable[..., Any]) -> tuple[str, ...]:
    """Return what a probe asks for: the names of its positional parameters; keyword-only ones are options.

    >>> def dead(activations, *, share=0.95): ...
    >>> requests(dead)
    ('activations',)
    """
    parameters = inspect.signature(probe).parameters.values()
    return tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))


class Captures(Local, Shared, Behaving):
    """What probes may request of a network, by name. The requests are the public cached properties.

    It is of one moment: build it, `measure`, drop it. What it hands out is detached from the network, and neither the
    network's mode, gradients and buffers nor any random stream is touched. Rows are samples; of a convolution they are
    the places of the images, B * H * W of them. An activation that returns several numbers for each it is given, as
    CReLU does, has that many columns to a unit in `activations` and `signals`: U is their number there.

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
        outgoing: hidden layer to the names of the layers and heads that read it; default: the next in order of
            `layers`, and all heads behind the last.
        flow: the same, and of maps into residual streams, which are among `heads`, what reads the stream next; default:
            `outgoing`.
        loss: maps observations to the loss of each sample, (B,), by a forward pass that runs the layers.
        rng: what the probes' random numbers start from; default: seed 0.
        previous: `activations`, `weights` and `parameters` as of the last measurement, by these names.
        behaviour: what the heads stand for, and the samples that the agent learns from.

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
        outgoing: Mapping[str, tuple[str, ...]] | None = None,
        flow: Mapping[str, tuple[str, ...]] | None = None,
        loss: Callable[[Tensor], Tensor] | None = None,
        rng: torch.Generator | None = None,
        previous: Mapping[str, Mapping[str, Tensor]] | None = None,
        behaviour: Behaviour | None = None,
    ) -> None:
        """Note what there is; compute nothing yet."""
        if len(observations) == 0:
            raise ValueError("probes need at least one observation; the batch is empty")
        if len({id(activation) for _, activation in layers.values()}) < len(layers):
            raise ValueError(f"two of {', '.join(layers)} share one activation module; give each layer its own")
        self._network, self._layers, self._heads = network, layers, heads
        self._observations = channels_last(observations)
        self._affines = {name: incoming for name, (incoming, _) in layers.items()} | dict(heads)
        self._initial, self._gradients = initial or {}, gradients or {}
        self._forward, self._policy = network if forward is None else forward, action_probabilities
        self._outgoing = chained(layers, heads) if outgoing is None else outgoing
        self._flow = self._outgoing if flow is None else flow
        self._loss, self._previous, self._behaviour = loss, previous or {}, behaviour or Behaviour()
        self._rng = torch.Generator().manual_seed(0) if rng is None else rng

    @classmethod
    @cache
    def known(cls) -> tuple[str, ...]:
        """Names that a probe may request, sorted."""
        members = inspect.getmembers_static(cls, lambda member: isinstance(member, cached_property | property))
        return tuple(name for name, _ in members if not name.startswith("_"))

    def go_back(self) -> None:
        """Go back from the loss now, if there is one: its forward pass then serves for all that is recorded."""
        with suppress(Unavailable):
            _ = self._backward

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
        return self._recorded.outputs

    @cached_property
    def pre_activations(self) -> Tensors:
        """What each hidden layer's activation module is given, shaped like `activations`."""
        return self._recorded.inputs

    @cached_property
    def weights(self) -> Tensors:
        """Each layer's and head's weights beside its biases, (U, I + 1); (U, I) where there is no bias."""
        return {name: matrices.beside(parameters(module)) for name, module in self._affines.items()}

    @cached_property
    def kernels(self) -> Tensors:
        """`weights` without the biases, (U, I)."""
        return {name: matrices.beside(parameters(module)[:1]) for name, module in self._affines.items()}

    @cached_property
    def initial_weights(self) -> Tensors:
        """`weights` at the start of training."""
        return self._arranged("initial weights", self._initial)

    @cached_property
    def gradients(self) -> Tensors:
        """Gradients of the loss, shaped like `weights`; layers without a gradient are left out."""
        return self._arranged("gradients", self._gradients)

    @cached_property
    def inputs(self) -> Tensors:
        """What each affine map is given, 1 beside it where there is a bias, as the columns of `weights`: (B, I + 1).

        Of a convolution its patches, (B * H * W, I * k * k + 1); those of several groups, and maps that the forward
        pass does not run, are left out.
        """
        plain = {name: affine for name, affine in self._affines.items() if getattr(affine, "groups", 1) == 1}
        given = record_inputs(self._network, plain, lambda: self._forward(self._observations))
        return {name: columns(plain[name], x) for name, x in given.items()}

    @cached_property
    def signals(self) -> Tensors:
        """Derivative of each sample's loss by each hidden layer's activations, shaped like `activations`."""
        return self._backward.signals

    @cached_property
    def errors(self) -> Tensors:
        """Derivative of each sample's loss by what each layer's and head's affine map returns, (B, U).

        `signals` times `derivatives` where nothing stands in between; heads that the loss does not run are left out.
        """
        return self._backward.errors

    @cached_property
    def loss_gradients(self) -> Tensors:
        """Gradient of the mean loss, shaped like `weights`: `errors`^T `inputs` / B. Frozen layers are left out."""
        return {name: g / len(self._observations) for name, g in self._backward.gradients.items()}

    @cached_property
    def hvp(self) -> Callable[[Direction], Tensors]:
        """The Hessian of the mean loss, as a function of directions arranged like `weights`."""
        return hessian_vector_product(self._network, self._affines, self._losses)

    @cached_property
    def outgoing(self) -> dict[str, tuple[str, ...]]:
        """The names of the layers and heads that read each hidden layer."""
        return dict(self._outgoing)

    @cached_property
    def flow(self) -> dict[str, tuple[str, ...]]:
        """The names of what comes next behind each hidden layer and each map into a residual stream."""
        return dict(self._flow)

    @cached_property
    def initial_activations(self) -> Tensors:
        """`activations` of the network with the weights of the start of training."""
        if lacking := dict(self._network.named_parameters()).keys() - self._initial.keys():
            raise Unavailable(f"there are no initial values of {', '.join(sorted(lacking))}")
        with swapped(self._network, self._initial):
            return self._record().outputs

    @cached_property
    def previous_activations(self) -> Tensors:
        """`activations` of the last measurement, on the observations of that."""
        return self._remembered("activations")

    @cached_property
    def previous_weights(self) -> Tensors:
        """`weights` of the last measurement."""
        return self._remembered("weights")

    @property
    def rng(self) -> torch.Generator:
        """Random numbers of the probes' own. Each probe's start alike, so that none moves another's."""
        return torch.Generator(self._rng.device).set_state(self._rng.get_state())

    @cached_property
    def _recorded(self) -> Recorded:
        """Inputs and outputs of all activation modules, from one forward pass: the loss's, if it has run."""
        return self._backward.recorded if "_backward" in vars(self) else self._record()

    @cached_property
    def _backward(self) -> Backward:
        """What the loss asks of units and weights, its forward pass done."""
        found = backward(self._network, self._layers, self._affines, self._losses)
        self._refuse_missing(found.notes, "loss did not run")
        return found

    def _record(self) -> Recorded:
        recorded = record(self._network, self._layers, lambda: self._forward(self._observations))
        self._refuse_missing(recorded.notes, "forward pass did not run")
        return recorded

    def _refuse_missing(self, notes: Notes, why: str) -> None:
        if missing := self._layers.keys() - notes.of("output").keys():
            raise Unavailable(f"the {why} the activation of {', '.join(sorted(missing))}")

    def _losses(self) -> Tensor:
        if self._loss is None:
            raise Unavailable("there is no loss to go back from: give `loss`, observations to the loss of each sample")
        losses, samples = self._loss(self._observations), len(self._observations)
        if losses.shape != (samples,):
            raise ValueError(f"loss must return one number a sample, ({samples},), not {tuple(losses.shape)}")
        if not losses.requires_grad:
            raise ValueError("loss must be differentiable; what it returned does not depend on the network")
        return losses

    def _arranged(self, what: str, values: Mapping[str, Tensor]) -> Tensors:
        if found := arranged(self._network, self._affines, values):
            return found
        raise Unavailable(f"there are no {what} of {', '.join(self._affines)}")


def measure(captures: Captures, probes: Mapping[str, Probe]) -> dict[str, float]:
    """Return the values of all `probes` (name to function, options bound) as `<probe>/<layer>`.

    If any of them needs the backward pass, the forward pass of the loss is the only one.

    Raises:
        TypeError: a probe requests something that does not exist; the message names both.
        Unavailable: a probe requests what this network cannot give; measure the probes singly to skip such ones.
    """
    if any(GOING_BACK.intersection(requests(probe)) for probe in probes.values()):
        captures.go_back()
    return {
        f"{name}/{of}": value for name, probe in probes.items() for of, value in captures.supply(name, probe).items()
    }
