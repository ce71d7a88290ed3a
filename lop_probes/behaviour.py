"""Behaviour: what an agent's network says and does, now and at the last measurement, and what it learns from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from lopgym.probes.recording import record, swapped, undisturbed
from lopgym.probes.shared import Tensors
from lopgym.probes.unavailable import Unavailable

AGAIN = ("action_probabilities", "outputs", "preferences", "values")
"""Of these, `previous_...` is what the network of the last measurement says of the *present* observations."""


@dataclass(frozen=True)
class Behaviour:
    """What an agent's heads stand for, and the samples it learns from; what is not given, nobody can request.

    Args:
        value_heads: names of heads that say returns to be expected, of a state (B, 1) or of each action in it (B, A).
        action_heads: names of heads that say a number for each of A discrete actions, (B, A), the greatest for the
            best: logits, or action values. A head of action values is among the `value_heads`, too.
        regression: maps observations to what heads say of the samples and what they are to say: head to two of (B,).
        ages: env steps, over all copies, taken since each sample was, (B,).
    """

    value_heads: tuple[str, ...] = ()
    action_heads: tuple[str, ...] = ()
    regression: Callable[[Tensor], Mapping[str, tuple[Tensor, Tensor]]] | None = None
    ages: Tensor | None = None


class Behaving:
    """Requests about behaviour. Whoever inherits them holds the network and what belongs to it, by these names."""

    _network: nn.Module
    _heads: Mapping[str, nn.Module]
    _observations: Tensor
    _forward: Callable[[Tensor], Any]
    _policy: Callable[[Tensor], Tensor] | None
    _previous: Mapping[str, Mapping[str, Tensor]]
    _behaviour: Behaviour

    @cached_property
    def parameters(self) -> Tensors:
        """Copies of all parameters and buffers, by name."""
        held = (*self._network.named_parameters(), *self._network.named_buffers())
        return {name: tensor.detach().clone() for name, tensor in held}

    @cached_property
    def outputs(self) -> Tensors:
        """What each head says of the observations, (B, O); heads that the forward pass does not run are left out."""
        return self._say()

    @cached_property
    def previous_outputs(self) -> Tensors:
        """`outputs` of the network of the last measurement, on the observations of this one."""
        with self._as_it_was():
            return self._say()

    @cached_property
    def values(self) -> Tensors:
        """What heads expect as the return, of states (B, 1) or of their actions (B, A)."""
        return _those("values", self._behaviour.value_heads, self.outputs)

    @cached_property
    def previous_values(self) -> Tensors:
        """`values` of the network of the last measurement, on the observations of this one."""
        return _those("values", self._behaviour.value_heads, self.previous_outputs)

    @cached_property
    def preferences(self) -> Tensors:
        """What heads say of each discrete action, (B, A), the greatest for the best: logits, or action values."""
        return _those("preferences between actions", self._behaviour.action_heads, self.outputs)

    @cached_property
    def previous_preferences(self) -> Tensors:
        """`preferences` of the network of the last measurement, on the observations of this one."""
        return _those("preferences between actions", self._behaviour.action_heads, self.previous_outputs)

    @cached_property
    def action_probabilities(self) -> Tensor:
        """What the policy does on each observation, (B, A)."""
        return self._act()

    @cached_property
    def previous_action_probabilities(self) -> Tensor:
        """`action_probabilities` of the network of the last measurement, on the observations of this one.

        What else decides on actions, such as epsilon, is as it is now.
        """
        with self._as_it_was():
            return self._act()

    @cached_property
    def predictions(self) -> Tensors:
        """What each head that learns by regression says of the samples that it learns from, (B,)."""
        return {name: says for name, (says, _) in self._regressed.items()}

    @cached_property
    def targets(self) -> Tensors:
        """What each head that learns by regression is to say of the samples that it learns from, (B,)."""
        return {name: told for name, (_, told) in self._regressed.items()}

    @cached_property
    def ages(self) -> Tensor:
        """Env steps, over all copies, taken since each of the samples that the agent learns from was, (B,)."""
        if self._behaviour.ages is None:
            raise Unavailable("nobody says how old the samples are: give `ages` in `behaviour`")
        return self._behaviour.ages.clone()

    @cached_property
    def _regressed(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Predictions and targets, which belong together."""
        if self._behaviour.regression is None:
            raise Unavailable("nobody says what values are to become: give `regression` in `behaviour`")
        with undisturbed(self._network):
            found = self._behaviour.regression(self._observations)
        return {name: (says.detach().clone(), told.detach().clone()) for name, (says, told) in found.items()}

    def _say(self) -> Tensors:
        heads = {name: (head, head) for name, head in self._heads.items()}
        return record(self._network, heads, lambda: self._forward(self._observations)).outputs

    def _act(self) -> Tensor:
        if self._policy is None:
            raise Unavailable("there are no action probabilities: the agent has no discrete stochastic policy")
        with undisturbed(self._network):
            return self._policy(self._observations).detach()

    def _as_it_was(self) -> AbstractContextManager[None]:
        """Let the network be that of the last measurement inside."""
        return swapped(self._network, self._remembered("parameters"))

    def _remembered(self, what: str) -> Tensors:
        if what in self._previous:
            return dict(self._previous[what])
        raise Unavailable(f"there are no previous {what}: this is the first measurement")


def _those(what: str, heads: tuple[str, ...], outputs: Tensors) -> Tensors:
    if found := {name: outputs[name] for name in heads if name in outputs}:
        return found
    raise Unavailable(f"there are no {what}: `behaviour` names no head that says them")
