"""Clone release: let one clone speak for all, and start the others afresh."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from lopgym.agents.initialisers import Affine
from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import mitigations
from lopgym.agents.mitigations.columns import forget_outgoing, in_target, silence
from lopgym.agents.mitigations.likeness import Likeness, change_bound, likeness, move, overlap, rows_of
from lopgym.agents.mitigations.triggered import Periodic
from lopgym.agents.mitigations.witness import Witness, is_normed, is_read_directly, look
from lopgym.agents.network import Layer
from lopgym.agents.promises import Promises
from lopgym.agents.reset_units import reset_units
from lopgym.agents.triggers import When
from lopgym.bounds import Fraction, PositiveInt
from lopgym.probes.slopes import output_slopes


@mitigations.register(
    "clone_release",
    cite="our own; clones and their manifold: arXiv:2510.00304",
    null={"threshold": 1.0},
    promises=Promises(
        function="approximate",  # exact on exact and scaled clones
        touches=("hidden", "heads", "moments", "target"),
        unless={"moments": {"moments": (False,)}, "target": {"target": (False,)}},
    ),
)
@dataclass(kw_only=True, eq=False)
class CloneRelease(Periodic):
    """Give the outgoing weights of all but one of a cluster of clones to that one, and the others a fresh start.

    Units that say the same up to a factor, h_v = a_v h_s + c_v, are one feature: nothing is lost if the survivor s is
    read in their place, w_s <- w_s + sum_v a_v w_v, and what reads them gets the bias sum_v c_v w_v. Their own outgoing
    weights become 0 and their incoming ones fresh, so degrees of freedom that the clone manifold had taken are back.

    Clones are found by what they say on recent observations, Pearson's correlation above `threshold`, and not by what
    they are told: the function depends on nothing else, and errors would only say whether the gradient parts them by
    itself. The survivor is the one that varies most. Clones that are exact or scaled are released without a trace; of
    others, what a map reads changes by -sum_v W_v r_v, r_v being what the fit leaves, in root mean square over samples
    at most sum_v ||W_v|| std(h_v) sqrt(1 - rho_v^2). Times the spectral norms of the maps behind it, that bounds the
    change of the outputs. Layers are released from the last to the first, so that the bounds add up.

    Behind a norm a fresh row would move the statistics of the whole layer: there clones keep their incoming weights,
    and part by themselves, as a split that is read unequally lies on no manifold. Layers that are not read directly,
    such as residual ones, are left alone. The survivor keeps its moments: the gradient of its outgoing weights stays
    what it was; that of its incoming ones becomes the cluster's sum, which Adam takes a while to notice.
    It hurts where near clones carry a small difference that matters, and where units have to be alike.

    Reports `released_units`, in all and by layer, `reader_change_bound` and, where no norm follows, `change_bound`, the
    bound on the outputs: both add up over the sweeps between two entries of the log.

    Args:
        when: a trigger: the word `updates` for every `every` updates, or another one.
        every: updates between two sweeps; more often catches clones earlier, and gives them less time to part.
        batch: recent observations on which units are compared; more of them tell more units apart.
        threshold: correlation above which units are clones; lower releases more and changes the function more; 1: none.
        moments: also zero the optimizer's moments of the released units' weights.
        target: also release the units in the target network, by the same factors; if not, it follows later.
    """

    when: When = "updates"
    every: PositiveInt = 200
    batch: PositiveInt = 256
    threshold: Fraction = 0.99
    moments: bool = True
    target: bool = False

    @torch.no_grad()
    def act(self, learner: Learner) -> None:
        """Sweep."""
        if self.threshold >= 1:
            return
        seen = look(learner, self.batch)
        report = {"released_units": 0.0}
        for layer in reversed(learner.layers):
            if is_read_directly(layer, seen):
                for what, value in self._release(learner, layer, seen).items():
                    report[what] = report.get(what, 0.0) + value
        learner.report(report)

    def _release(self, learner: Learner, layer: Layer, seen: Witness) -> dict[str, float]:
        said = seen.returned[layer.activation]
        padded = any(_pads(module) for module in layer.outgoing)  # a border reads no offset
        like = likeness(rows_of(said, len(layer.incoming.weight)), len(said), self.threshold, offsets=not padded)
        count = float(like.clones.sum())
        if not count:
            return {}
        bounds = [change_bound(module, like, layer.halves) for module in layer.outgoing]
        gains = [gain(learner, module, seen) for module in layer.outgoing]
        self._write(learner, layer, like, normed=is_normed(layer, seen))
        outputs = math.hypot(*(bound * more for bound, more in zip(bounds, gains, strict=True)))
        report = {"released_units": count, f"released_units/{layer.name}": count}
        report["reader_change_bound"] = math.hypot(*bounds)
        return report | ({"change_bound": outputs} if math.isfinite(outputs) else {})

    def _write(self, learner: Learner, layer: Layer, like: Likeness, *, normed: bool) -> None:
        readers: list[Affine] = [*layer.outgoing]
        if self.target and learner.target is not None:
            readers += [in_target(learner, module) for module in layer.outgoing]
        for module in readers:
            move(module, like, layer.halves)
            silence(module, like.clones, layer.halves, like.offsets)
        if not normed:
            reset_units(learner, layer, like.clones, moments=self.moments, target=self.target)
        elif self.moments:
            forget_outgoing(learner.optimizer, layer, like.clones)


def gain(learner: Learner, module: Affine, seen: Witness) -> float:
    """Bound how much longer a change of what `module` returns can be in the outputs: 1 of a head.

    The product of the spectral norms of the maps behind it, and of the steepest slopes of the activations; infinite
    where a norm divides, as it does behind a residual stream, or a layer is read by more than its outgoing maps.
    """
    if any(module is head for head in learner.heads.values()):
        return 1.0
    readers = [layer for layer in learner.layers if layer.incoming is module]
    found = 0.0 if readers else math.inf
    for layer in readers:
        if is_normed(layer, seen) or not is_read_directly(layer, seen):
            return math.inf
        found = math.hypot(found, *(_steepest(layer) * _norm(m) * gain(learner, m, seen) for m in layer.outgoing))
    return found


def _norm(module: Affine) -> float:
    return float(torch.linalg.matrix_norm(module.weight.flatten(1).double(), 2)) * math.sqrt(overlap(module))


def _steepest(layer: Layer) -> float:
    """Return the greatest length of the slopes of what the activation returns for a unit."""
    units = len(layer.incoming.weight)
    z = torch.linspace(-8, 8, 401)[:, None].repeat(1, units).to(layer.incoming.weight)
    slopes = output_slopes(layer.activation, z).reshape(len(z), -1, units)
    return float(slopes.square().sum(dim=1).sqrt().max())


def _pads(module: Affine) -> bool:
    return isinstance(module, nn.Conv2d) and module.padding not in (0, (0, 0), "valid")
