"""Plasticity injection: a fresh head that learns what the old one no longer can, the function untouched."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lopgym.agents.chain import AFFINE
from lopgym.agents.initialisers import Affine
from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import mitigations
from lopgym.agents.mitigations.forgetting import clear
from lopgym.agents.mitigations.graft import Graft
from lopgym.agents.mitigations.triggered import Triggered
from lopgym.agents.network import Block, Layer
from lopgym.agents.promises import Promises
from lopgym.bounds import PositiveInt

State = dict[str, Tensor]


@mitigations.register(
    "plasticity_injection",
    cite="arXiv:2305.15555 expression 1",
    null={"when": {"kind": "updates", "every": 10**9}},
    beyond_weights=True,
    promises=Promises(
        function="exact",
        touches=("hidden", "heads", "norms", "extra", "moments", "steps", "target"),
        synchronises=True,
    ),
)
@dataclass(kw_only=True, eq=False)
class PlasticityInjection(Triggered):
    """Plasticity injection, once: f(x) = h_theta(x) + h_theta1(x) - h_theta2(x), of which only h_theta1 learns on.

    The head h is the output map with the last `layers` hidden layers. At the first act its weights theta are frozen,
    theta1 = theta2 are freshly initialised, theta2 frozen too: no output changes, and as many parameters learn as
    before, with the plasticity of fresh ones. An improvement diagnoses that plasticity was lost.

    theta1 is written into the network's own parameters, whose optimizer state is cleared, so the optimizer trains it
    from the next update on; theta and theta2 are copies, no parameters of the network, that no optimizer sees. Each
    head has a structure of its own: Q-values, actor and critic. The target is synchronised and shares the frozen parts,
    so that later updates of theta1 alone keep it a lagging copy. It acts once, at the first moment from task
    `active_from` on that the trigger names. Afterwards each pass through the head costs three. Reports `injections`.

    It hurts where the frozen head is so large that a fresh one cannot undo it. The frozen parts stay for good: they are
    in this method's state and not in the network's, so weights that are loaded without it, or a later reset, leave the
    frozen difference added to whatever the network then says.

    Args:
        layers: hidden layers in the head, 1 in the paper's Atari agents. More renew more of the network; all of them
            if there are fewer.
        when: a trigger: `task`, the true task change, or any other.
    """

    layers: PositiveInt = 1
    _frozen: dict[str, dict[str, State]] = field(default_factory=dict, init=False, repr=False)
    _grafted: nn.Module | None = field(default=None, init=False, repr=False)

    def begin(self, learner: Learner) -> None:
        """Put the structure of an injection that was loaded back on the network."""
        super().begin(learner)
        if self._frozen and self._grafted is not learner.network:
            self._graft(learner)

    def act(self, learner: Learner) -> None:
        """Inject, the first time."""
        if self._frozen:
            return
        chains = {name: nn.ModuleList(self._chain(learner, head)) for name, head in learner.heads.items()}
        old = {name: _copied(chain) for name, chain in chains.items()}
        self._renew(learner, chains)
        self._frozen = {name: {"old": old[name], "new": _copied(chain)} for name, chain in chains.items()}
        learner.synchronise_target()
        self._graft(learner)
        learner.report({"injections": 1})

    def _renew(self, learner: Learner, chains: Mapping[str, nn.Module]) -> None:
        """Draw fresh weights for all that the heads hold; layers that two heads share are drawn once."""
        fresh = learner.fresh()
        inside = {parameter for chain in chains.values() for parameter in chain.parameters()}
        with torch.no_grad():
            for name, parameter in learner.network.named_parameters():
                if parameter in inside:
                    parameter.copy_(fresh[name])
        clear(learner.optimizer, inside)

    def _chain(self, learner: Learner, head: Affine) -> list[nn.Module]:
        """Return what runs from the input of the head's first affine map to its outputs, in order."""
        found: list[nn.Module] = [head]
        reader = head
        for _ in range(self.layers):
            layer = next((layer for layer in learner.layers if any(m is reader for m in layer.outgoing)), None)
            if layer is None:
                break
            found, reader = [*_parts(learner.network, layer), *found], layer.incoming
        return found[found.index(reader) :]

    def _graft(self, learner: Learner) -> None:
        names = {module: name for name, module in learner.network.named_modules()}
        self._grafted = learner.network
        for name, head in learner.heads.items():
            chain, frozen = nn.ModuleList(self._chain(learner, head)), self._frozen[name]
            old, new = (_bare(chain, frozen[which]) for which in ("old", "new"))
            for network in (learner.network, learner.target):
                if network is not None:
                    first, last = (network.get_submodule(names[module]) for module in (chain[0], chain[-1]))
                    Graft(old, new).attach(first, last)

    def state_dict(self) -> dict[str, Any]:
        """Return the frozen weights of each head, and what the trigger remembers."""
        return super().state_dict() | {"frozen": copy.deepcopy(self._frozen)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        super().load_state_dict(state)
        self._frozen = copy.deepcopy(dict(state["frozen"]))


def _parts(network: nn.Module, layer: Layer) -> Iterator[nn.Module]:
    """Yield the modules of a hidden layer in the order of running, the shape of its input first.

    Raises:
        TypeError: its modules are neither in a block of ours nor in a `Sequential`.
    """
    parent = next(m for m in network.modules() if any(child is layer.incoming for child in m.children()))
    if isinstance(parent, Block):
        yield from (parent.flatten, parent.incoming, parent.before, parent.activation, parent.after)
    elif isinstance(parent, nn.Sequential):
        children = list(parent)
        start = children.index(layer.incoming)
        yield layer.incoming
        for child in children[start + 1 :]:
            if isinstance(child, AFFINE):
                return
            yield child
    else:
        raise TypeError(
            f"plasticity_injection: {layer.name} is part of a {type(parent).__name__}, which says nothing of its order;"
            " it can be in a block of this library or a torch.nn.Sequential"
        )


def _copied(module: nn.Module) -> State:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def _bare(chain: nn.ModuleList, state: Mapping[str, Tensor]) -> nn.Sequential:
    """Copy a chain without the hooks on its modules, which are somebody's who watches the original; freeze it."""
    hooks = [h for m in chain.modules() for h in (m._forward_hooks, m._forward_pre_hooks)]
    without: dict[int, Any] = {id(h): type(h)() for h in hooks}
    twin = copy.deepcopy(chain, without)
    twin.load_state_dict(dict(state))
    return nn.Sequential(*twin).requires_grad_(False).eval()
