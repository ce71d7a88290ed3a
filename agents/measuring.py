"""Measuring: the probes of one model in training, one measurement after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from lopgym.agents.anatomy import Anatomy
from lopgym.probes.behaviour import AGAIN, Behaviour
from lopgym.probes.captures import Captures, Unavailable, measure, requests
from lopgym.probes.memory import keep_freed_memory
from lopgym.seeding import derive

Probe = Callable[..., dict[str, float]]

_PREFERRED = frozenset({"action_probabilities", "preferences"})
PREVIOUS = "previous_"  # requests of this prefix are of the last measurement, or of the network that it had


def refuse_unmeasurable(anatomy: Anatomy, probes: Mapping[str, Probe], actions: object) -> None:
    """Refuse probes of what a policy prefers where it has no preferences between discrete actions.

    Raises:
        Unavailable: with the first such probe, and the space of `actions`.
    """
    if anatomy.action_probabilities is None:
        for name, probe in probes.items():
            if needs_discrete(probe):
                raise Unavailable(f"probe {name!r} needs discrete actions, not {actions}")


def needs_discrete(probe: Probe) -> bool:
    """Whether a probe asks what a policy prefers, which only one over discrete actions can say."""
    return not _PREFERRED.isdisjoint(requests(probe))


class Measuring:
    """Measures probes now and then, each time on a fresh batch of what the agent learns from.

    It remembers the network as it was at first and, of the last measurement, what probes ask for. Those that ask join
    in from the second measurement on.

    Args:
        anatomy: of the model; its weights are now those of the start of training.
        probes: probe functions by name.
        seed: of the batches and of what probes draw.
        samples: observations in a batch, B.
    """

    def __init__(self, anatomy: Anatomy, probes: Mapping[str, Probe], *, seed: int = 0, samples: int = 256) -> None:
        """Remember the start."""
        keep_freed_memory()
        self._anatomy, self._probes, self._seed, self._samples = anatomy, dict(probes), seed, samples
        network = anatomy.network
        held = [*network.named_parameters(), *network.named_buffers()]
        self._initial = {name: tensor.detach().clone() for name, tensor in held}
        self._rows = torch.Generator().manual_seed(derive(seed, "probes"))
        asked = {request for probe in self._probes.values() for request in requests(probe)}
        earlier = {request.removeprefix(PREVIOUS) for request in asked if request.startswith(PREVIOUS)}
        self._remembered = sorted({"parameters" if what in AGAIN else what for what in earlier})
        self._previous: dict[str, dict[str, Tensor]] = {}

    def __call__(self, step: int) -> dict[str, float]:
        """Measure; return values as `<probe>/<layer>`. What probes draw is a function of seed and `step`."""
        captures = self.captures(step)
        values = measure(captures, self._probes if self._previous else self._first())
        self._previous = {what: getattr(captures, what) for what in self._remembered}
        return values

    def captures(self, step: int) -> Captures:
        """Return what probes may request now, on the next batch."""
        anatomy = self._anatomy
        batch = anatomy.batch(self._samples, self._rows)
        passages = [passage for layer in anatomy.layers for passage in layer.passages]
        unitless = {passage.name: passage.module for passage in passages} | dict(anatomy.heads)
        names = {layer.incoming: layer.name for layer in anatomy.layers} | {m: n for n, m in unitless.items()}
        outgoing = {layer.name: tuple(names[module] for module in layer.outgoing) for layer in anatomy.layers}
        return Captures(
            anatomy.network,
            {layer.name: (layer.incoming, layer.activation) for layer in anatomy.layers},
            unitless,
            batch.observations,
            initial=self._initial,
            gradients={name: p.grad for name, p in anatomy.network.named_parameters() if p.grad is not None},
            forward=anatomy.forward,
            action_probabilities=anatomy.action_probabilities,
            outgoing=outgoing,
            flow=outgoing | {passage.name: tuple(names[m] for m in passage.readers) for passage in passages},
            loss=batch.loss,
            rng=torch.Generator().manual_seed(derive(self._seed, "probes", "draws", step)),
            previous=self._previous,
            behaviour=Behaviour(anatomy.value_heads, anatomy.action_heads, batch.regression, batch.ages),
        )

    def state_dict(self) -> dict[str, Any]:
        """Return what is remembered, and where the stream of batches is."""
        return {
            "initial": _copied(self._initial),
            "previous": {what: _copied(tensors) for what, tensors in self._previous.items()},
            "rows": self._rows.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self._initial = _copied(state["initial"])
        self._previous = {what: _copied(tensors) for what, tensors in state["previous"].items()}
        self._rows.set_state(state["rows"])

    def _first(self) -> dict[str, Probe]:
        """Return the probes that need no earlier measurement."""
        return {
            name: probe
            for name, probe in self._probes.items()
            if not any(request.startswith(PREVIOUS) for request in requests(probe))
        }


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}
