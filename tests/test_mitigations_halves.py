"""Methods that recycle units, where a unit says two numbers: CReLU's signs, sine and cosine of Fourier features."""

from __future__ import annotations

import pytest
import torch

from lopgym.agents.mitigations import Mitigation, mitigations
from tests.learners import LEARNERS, begin, snapshot, train
from tests.lively import LIVELY

SILENT = {"crelu": 0.0, "fourier": -2.5}  # bias at which a unit without incoming weights says nothing above 0
EAGER = {"cbp": {"replacement_rate": 0.2}, "redo": {"tau": 1.1}, "clone_release": {"threshold": 0.9}}
NAMES = ("cbp", "redo", "redo_fixed_rate", "regrama", "knife", "snr", "swr", "clone_release", "targeted_escape")
CASES = {name: (name, LIVELY[name] | EAGER.get(name, {})) for name in NAMES}
SPARING = ("swr", "targeted_escape")  # write weights out of a unit without silencing it
CASES["cbp-running"] = ("cbp", CASES["cbp"][1] | {"compensation": "running", "utility": "zero_contribution"})


class _Watch(Mitigation):
    """Stands on both sides of a method and notes, for each half of each unit, whether its weights out were written.

    Those into another hidden layer may be written because a unit there was recycled: of them only zeroing counts,
    unless the method silences no unit, `single`.
    """

    def __init__(self, learner, *, single):
        super().__init__()
        self.layers, self.before = learner.layers, None
        heads = {id(head) for head in learner.heads.values()}
        self.counts = [single or heads.issuperset(map(id, layer.outgoing)) for layer in learner.layers]
        self.written, self.zeroed = (
            [torch.zeros(2, len(layer.incoming.weight), dtype=torch.bool) for layer in learner.layers] for _ in range(2)
        )

    def after_step(self, learner):
        """Look; every second time compare."""
        now = [torch.cat([_out(layer, m.weight) for m in layer.outgoing], dim=2) for layer in self.layers]
        was, self.before = self.before, now if self.before is None else None
        for i in range(0 if was is None else len(now)):
            moved = (was[i] != now[i]).any(2)
            zeroed = moved & ~now[i].any(2)
            self.zeroed[i] |= zeroed
            self.written[i] |= moved if self.counts[i] else zeroed

    on_task_change = after_step


def _out(layer, weight):
    """Lay out the weights of a module that reads `layer`: (halves, units, weights out of each)."""
    return weight.detach().reshape(len(weight), 2, len(layer.incoming.weight), -1).permute(1, 2, 0, 3).flatten(2)


def _twenty_updates(case, halved, learner_name):
    """Train 20 updates, with a silent unit and clones at first; return learner and watch."""
    make, stem = LEARNERS[learner_name]
    name, options = CASES[case]
    method, half = mitigations.build(name, **options), mitigations.build(halved, halve=False)
    learner = make(stem, [half, method])
    with torch.no_grad():
        for tensor, value in zip(learner.layers[0].incoming.parameters(), (0.0, SILENT[halved]), strict=True):
            tensor[1] = value
        for tensor in (t for layer in learner.layers for t in layer.incoming.parameters()):
            tensor[2] = tensor[0]
    watch = _Watch(learner, single=name in SPARING)
    methods = [half, watch, method, watch]
    begin(learner, methods)
    train(learner, methods, 20, stem=stem)
    method.end(learner)
    return learner, watch


@pytest.mark.parametrize("learner_name", [pytest.param(n, marks=[pytest.mark.slow] * ("conv" in n)) for n in LEARNERS])
@pytest.mark.parametrize("halved", SILENT)
@pytest.mark.parametrize("case", CASES)
def test_both_halves_of_a_unit_are_recycled_and_learn_on(case, halved, learner_name):
    """Where one half of a unit is silenced the other one is; both halves are written; afterwards everything learns."""
    learner, watch = _twenty_updates(case, halved, learner_name)
    for half in (0, 1):
        assert any(both[half].any() for both in watch.written)
    for first, second in watch.zeroed:
        assert torch.equal(first, second)
    before = snapshot(learner)
    assert all(tensor.isfinite().all() for tensor in before.values())
    train(learner, [], 3, stem=LEARNERS[learner_name][1], batches=torch.Generator().manual_seed(5))
    names = {p: f"network.{name}" for name, p in learner.network.named_parameters()}
    assert [name for p, name in names.items() if torch.equal(p, before[name])] == []
    for layer, written in zip(learner.layers, watch.written, strict=True):
        for weight in (module.weight for module in layer.outgoing):
            moved = (_out(layer, weight) != _out(layer, before[names[weight]])).any(2)
            assert moved.any(0)[written.any(0)].all(), "a recycled unit that nobody reads any more"
