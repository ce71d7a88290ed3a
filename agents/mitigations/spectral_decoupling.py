"""Spectral decoupling: pull outputs, not weights, towards zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.agents.promises import Promises
from lopgym.bounds import NonNegativeFloat


@mitigations.register(
    "spectral_decoupling",
    cite="arXiv:2011.09468 (spectral decoupling)",
    null={"strength": 0.0},
    promises=Promises(function="n/a"),
)
@dataclass(kw_only=True, eq=False)
class SpectralDecoupling(Mitigation):
    """Spectral decoupling: add strength / 2 * ||outputs||^2, a mean over the minibatch, to the loss.

    Outputs that cannot grow leave no sample so well fitted that it stops teaching, so a feature learnt early does not
    starve the others of gradients. The outputs are those of every head in the pass that the update learns from: logits
    or means of a policy, its values, all Q-values of each observation. Their share, strength * y / B, joins the error
    on its way back, so it costs no further pass, and is clipped with the rest. The paper is about logits under
    cross-entropy; Q-values and values are biased towards zero by it, which hurts where returns are large: normalise
    rewards. It writes no gradient at a seam, and passes that other methods make at theirs are left alone, unless they
    are listed before it. The target is a copy that does not train: nothing is added to it.

    Args:
        strength: of the pull. More keeps outputs smaller; less is nearer to `none`.
    """

    strength: NonNegativeFloat = 1e-3
    _acting: bool = field(default=False, init=False, repr=False)
    _learning: bool = field(default=False, init=False, repr=False)
    _hooks: dict[int, RemovableHandle] = field(default_factory=dict, init=False, repr=False)

    def begin(self, learner: Learner) -> None:
        """Listen to the heads if it acts from the start, or acted before a resume. Called late, it costs an update."""
        if self.strength and (self._acting or not self.active_from):
            self._listen(learner)

    def end(self, learner: Learner) -> None:
        """Stop listening; what acted goes on when training does."""
        for hook in self._hooks.values():
            hook.remove()
        self._hooks, self._learning = {}, False

    def on_gradient(self, learner: Learner) -> None:
        """Stop listening: the update's pass is over."""
        self._learning = False

    def after_step(self, learner: Learner) -> None:
        """Listen to the next update's pass."""
        if self.strength:
            self._listen(learner)

    def _listen(self, learner: Learner) -> None:
        self._acting = self._learning = True
        if not self._hooks:
            heads = learner.heads.values()
            self._hooks = {id(head): head.register_forward_hook(self._intercept) for head in heads}

    def _intercept(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        """Attach the pull to an output; those of a copied network, which has copies of the hooks, go free."""
        if self._learning and id(module) in self._hooks and module.training and output.requires_grad:
            pull = output.detach() * (self.strength / len(output))
            output.register_hook(lambda error: error + pull)  # type: ignore[no-untyped-call]  # torch does not say

    def state_dict(self) -> dict[str, Any]:
        """Return whether it has begun to act."""
        return {"acting": self._acting}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self._acting = bool(state["acting"])
