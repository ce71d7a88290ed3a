"""Targeted escape: push clones off their manifold and frozen units over their threshold, no farther than it takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lopgym.agents.draws import normal_like
from lopgym.agents.initialisers import Affine, bias_of
from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import mitigations
from lopgym.agents.mitigations.attentive import Attentive
from lopgym.agents.mitigations.columns import forget_incoming, forget_outgoing, in_target, pack, silence, unpack
from lopgym.agents.mitigations.likeness import rows_of
from lopgym.agents.mitigations.split_size import lengths, step_size
from lopgym.agents.mitigations.splitting import Clusters, Coupling, Split, split
from lopgym.agents.mitigations.waking import nearest_rows, waking_shift
from lopgym.agents.mitigations.witness import Witness, is_normed, is_read_directly, look
from lopgym.agents.network import Layer
from lopgym.agents.promises import Promises
from lopgym.agents.triggers import When
from lopgym.bounds import Fraction, PositiveInt
from lopgym.probes import matrices
from lopgym.probes.clones import clusters, have_clones, resemblance
from lopgym.probes.patches import columns
from lopgym.probes.recording import units_last
from lopgym.probes.slopes import output_slopes


@mitigations.register(
    "targeted_escape",
    cite="our own; manifolds and their stability: arXiv:2510.00304",
    null={"threshold": 1.0, "share": 0.0},
    promises=Promises(
        function="approximate",
        touches=("hidden", "heads", "moments", "target"),
        unless={"moments": {"moments": (False,)}, "target": {"target": (False,)}},
    ),
)
@dataclass(kw_only=True, eq=False)
class TargetedEscape(Attentive):
    """Give clones noise normal to their manifold, as much as it takes, and frozen units the least shift that wakes.

    Clones, units that say the same *and* are told the same (Pearson's correlation on recent observations and cosine of
    errors in the minibatch just learned both above `threshold`), get differences that add up to 0 within the cluster,
    a_u in incoming and b_u in outgoing weights: a = M x noise, b = -M^T a / r, M = E[f'(z) x g^T], so the function
    stays what it is to first order. Such a split grows by 1 + eta r an update, r = ||M^T a|| / ||a|| the closed-form
    escape rate of that direction. It begins t (1 + eta r)^-10 times as long as the cluster's incoming weights, or its
    outgoing ones if they are shorter, for units that differ in one of them are no clones; ten updates later it is
    t = sqrt((1 - threshold) / (1 + threshold)) times as long, where two clones are as unlike as `threshold` says. eta r
    counts as 1 at most. eta is the learning rate; of Adam and its kin it is divided by the root mean square of the
    gradient that they remember of these weights, which makes the growth an estimate, as clipping does.

    Frozen units, whose escape rate is 0, are those of rectifying activations, flat below 0, that are silent on all
    recent observations. Of these the `share` nearest to the threshold, by |z_b| / ||x_b||, are to be heard: the
    incoming weights and the bias get the shortest change v with z_b + v x_b > 0 on all of them, solved exactly.
    Outgoing weights become 0, and what the units said all the time goes to the bias of what reads them.

    Layers behind a norm, where the shift of one unit moves all, and layers that are not read directly are left alone.
    It hurts where few observations are remembered: units that are silent on those may serve others.

    Reports `split_units`, `woken_units`, `waking_shift`, the lengths of the shifts, and `layers_left_alone`.

    Args:
        when: a trigger: the word `updates` for every `every` updates, or another one.
        every: updates between two sweeps; more often catches frozen units earlier, and disturbs more.
        batch: recent observations on which units are judged; more of them find fewer units frozen.
        threshold: resemblance above which units are clones; lower splits more units, and farther; 1: none.
        share: of the observations that a frozen unit is to be heard on; higher moves it farther; 0 wakes none.
        moments: also zero the optimizer's moments of the woken units' weights.
        target: also move the units of the target network; if not, it follows at its next update.
    """

    when: When = "updates"
    every: PositiveInt = 200
    batch: PositiveInt = 256
    threshold: Fraction = 0.95
    share: Fraction = 0.25
    moments: bool = True
    target: bool = False

    def asks(self) -> bool:
        """Say whether clones are looked for."""
        return self.threshold < 1

    @torch.no_grad()
    def act(self, learner: Learner) -> None:
        """Sweep."""
        if self.share or self.threshold < 1:
            self._sweep(learner)
        self._witness.forget()

    def _sweep(self, learner: Learner) -> None:
        seen = look(learner, self.batch)
        plain = [r for r in reversed(learner.layers) if not is_normed(r, seen) and is_read_directly(r, seen)]
        report = {"split_units": 0.0, "woken_units": 0.0, "waking_shift": 0.0}
        for layer in plain:  # before any unit wakes: waking enlarges weights, and a split goes by their size
            report["split_units"] += self._split(learner, layer, seen)
        for layer in plain:
            frozen = self._frozen(layer, seen)
            if frozen.any():
                report["waking_shift"] += self._wake(learner, layer, seen, frozen)
                report["woken_units"] += float(frozen.sum())
        learner.report(report | {"layers_left_alone": float(len(learner.layers) - len(plain))})

    def _frozen(self, layer: Layer, seen: Witness) -> Tensor:
        """Return which units of a rectifying layer are silent on all that was seen, bool (U,)."""
        units = len(layer.incoming.weight)
        below_and_above = torch.tensor([-3.0, -1e-3, 1e-3, 3.0])[:, None].repeat(1, units).to(layer.incoming.weight)
        moves = output_slopes(layer.activation, below_and_above).reshape(4, -1, units).any(dim=1)
        rectifies = ~moves[:2].any(dim=0) & moves[2:].all(dim=0)
        silent = (units_last(seen.given[layer.activation], layer.incoming) <= 0).all(dim=0)
        return rectifies & silent & (self.share > 0)

    def _wake(self, learner: Learner, layer: Layer, seen: Witness, frozen: Tensor) -> float:
        x = columns(layer.incoming, seen.given[layer.incoming]).double().cpu()
        x = x.reshape(len(seen.given[layer.incoming]), -1, x.shape[1])
        weights = matrices.beside(_parameters(layer.incoming)).double().cpu()
        shifts = torch.zeros_like(weights)
        for unit in frozen.nonzero()[:, 0].tolist():
            shifts[unit] = waking_shift(nearest_rows(x, weights[unit], self.share), weights[unit])
        constants = rows_of(seen.returned[layer.activation], len(frozen)).mean(dim=0)
        for incoming, outgoing in self._networks(learner, layer):
            _shift(incoming, shifts)
            for module in outgoing:
                silence(module, frozen, layer.halves, constants)
        if self.moments:
            forget_incoming(learner.optimizer, layer, frozen)
            forget_outgoing(learner.optimizer, layer, frozen)
        return float(shifts.norm(dim=1).sum())

    def _split(self, learner: Learner, layer: Layer, seen: Witness) -> float:
        heard = self._witness
        if self.threshold >= 1 or not all(m in heard.asked for m in (layer.incoming, *layer.outgoing)):
            return 0.0
        rows = rows_of(seen.returned[layer.activation], len(layer.incoming.weight))
        told = units_last(heard.asked[layer.incoming], layer.incoming)
        found = clusters(resemblance(rows, told), self.threshold)
        groups = Clusters(found, have_clones(found))
        if not groups.clones.any():
            return 0.0
        halves, readers = layer.halves, [module.weight for module in layer.outgoing]
        inside = matrices.beside(_parameters(layer.incoming))
        outside = pack(readers, len(found), halves)
        noise = (normal_like(inside, learner.rng), normal_like(outside, learner.rng))
        parting = split(Coupling(layer, heard, halves), groups, noise)
        growth = step_size(learner.optimizer, layer, groups.clones) * parting.rates
        sizes = lengths(_room(groups, parting, inside, outside), growth, self.threshold)[:, None]
        for incoming, outgoing in self._networks(learner, layer):
            _shift(incoming, sizes * parting.incoming)
            for module, change in zip(outgoing, unpack(sizes * parting.outgoing, readers, halves), strict=True):
                module.weight.add_(change)
        return float(groups.clones.sum())

    def _networks(self, learner: Learner, layer: Layer) -> Iterator[tuple[Affine, list[Any]]]:
        """Yield the affine map and its readers, of the network and, if asked for, of its target."""
        yield layer.incoming, [*layer.outgoing]
        if self.target and learner.target is not None:
            yield in_target(learner, layer.incoming), [in_target(learner, module) for module in layer.outgoing]


def _room(groups: Clusters, parting: Split, inside: Tensor, outside: Tensor) -> Tensor:
    """Return how long a split is that moves a cluster's incoming or outgoing weights by their own length, (U,)."""
    ways = []
    for weights, moved in ((inside, parting.incoming), (outside, parting.outgoing)):
        own, way = (groups.sums(side.square().sum(dim=1)).sqrt() for side in (weights, moved))
        ways.append(torch.where(way > 0, own / way, torch.inf))
    return torch.minimum(*ways).where(groups.clones, 0.0)


def _shift(module: Affine, change: Tensor) -> None:
    """Add a change (U, I + 1) to weights and biases."""
    own = _parameters(module)
    for parameter, part in zip(own, matrices.apart(change, own), strict=True):
        parameter.add_(part.to(parameter))


def _parameters(module: Affine) -> list[Tensor]:
    return [module.weight, bias_of(module)]
