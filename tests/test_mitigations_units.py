"""Mitigations that recycle units: ReDo and continual backprop, against arithmetic done by hand."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lopgym.agents.mitigations.cbp import ContinualBackprop
from lopgym.agents.mitigations.dropout import Dropout
from lopgym.agents.mitigations.listener import Listener
from lopgym.agents.mitigations.recycling import recent_activations
from lopgym.agents.mitigations.redo import ReDo
from lopgym.agents.mitigations.unit_utility import least, outgoing_magnitude
from lopgym.probes.captures import Captures
from lopgym.probes.utility import contributions, utility_quantile
from tests.learners import LEARNERS, one_layer, q_learner, train


def test_redo_by_hand():
    """Units of scores 0, 0.03, 1 and 2.97 at tau 0.1: the first two go, the last two stay, as eq. 1 says.

    Inputs are all ones, so that |h| is the incoming weight where it is positive: 0 (of -1), 0.03, 1, 2.97; mean 1.
    """
    learner = one_layer([[-1.0], [0.03], [1.0], [2.97]], [[1.0, 2.0, 3.0, 4.0]])
    reports = []
    learner.report, learner.updates = reports.append, 10
    ReDo(tau=0.1, every=5).after_step(learner)
    weights, before = learner.network.hidden.weight.flatten(), torch.tensor([-1.0, 0.03, 1.0, 2.97])
    assert learner.network.head.weight.flatten().tolist() == [0.0, 0.0, 3.0, 4.0]
    assert (weights == before).tolist() == [False, False, True, True]
    assert reports == [{"reset_units": 2, "reset_units/q.hidden0": 2}]


@pytest.mark.parametrize(("tau", "kept"), [(0.02, [0.0, 2.0, 3.0, 4.0]), (0.0, [0.0, 2.0, 3.0, 4.0])])
def test_redo_spares_units_above_tau(tau, kept):
    """Only the dead unit is at or below 0.02 and 0."""
    learner = one_layer([[-1.0], [0.03], [1.0], [2.97]], [[1.0, 2.0, 3.0, 4.0]])
    ReDo(tau=tau, every=1).after_step(learner)
    assert learner.network.head.weight.flatten().tolist() == kept


def test_redo_keeps_its_period():
    """Between sweeps it does not even look."""
    learner = q_learner()
    learner.observations = lambda n: pytest.fail("looked")
    for learner.updates in (1, 99, 101, 199):
        ReDo(every=100).after_step(learner)


def test_redo_looks_without_dropout_and_puts_every_mode_back():
    """Units are judged with nothing silenced; modes afterwards are what they were, module by module."""
    methods = [Dropout(p=0.5)]
    learner = q_learner(methods=methods)
    learner.network.train()
    learner.network.trunks["q"].blocks[0].eval()
    modes = [module.training for module in learner.network.modules()]
    scores = [recent_activations(learner, 256) for learner.observations in [lambda n: torch.ones(n, 4)] * 2]
    assert all(torch.equal(scores[0][key], scores[1][key]) for key in scores[0])
    assert modes == [module.training for module in learner.network.modules()]
    assert not any(module._forward_hooks for module in learner.network.modules())


def test_cbp_by_hand():
    """Three updates of one layer against NumPy, written out from eq. 1 of the paper.

    Constant input 1 and incoming weights (1, 2, 0.5) make |h| = (1, 2, 0.5); outgoing |w| sums are (3, 1, 1), so that
    contributions are (3, 2, 0.5). With rate 0.25 and maturity 1, mature units number 0, 3, 3: due is 0, 0.75, 1.5, so
    at the third update one unit goes, the last, and 0.5 stays due.
    """
    learner = one_layer([[1.0], [2.0], [0.5]], [[1.0, 1.0, -1.0], [-2.0, 0.0, 0.0]])
    method = ContinualBackprop(replacement_rate=0.25, maturity=1, decay=0.9)
    method.begin(learner)
    utility = np.zeros(3)
    for update in range(3):
        learner.network(torch.ones(4, 1))
        method.after_step(learner)
        utility = 0.9 * utility + 0.1 * np.array([3.0, 2.0, 0.5])
        state = method.state_dict()["q.hidden0"]
        assert state["age"].tolist() == ([update + 1] * 3 if update < 2 else [3, 3, 0])
        expected = utility if update < 2 else utility * [1, 1, 0]
        np.testing.assert_allclose(state["utility"], expected, rtol=1e-6)
        assert state["due"] == pytest.approx([0.0, 0.75, 0.5][update])
    head = learner.network.head
    assert head.weight.tolist() == [[1.0, 1.0, 0.0], [-2.0, 0.0, 0.0]]
    assert head.bias.tolist() == [-0.5, 0.0]  # what the unit contributed: -1 * 0.5 to output 0, nothing to output 1
    assert learner.network.hidden.weight.flatten()[:2].tolist() == [1.0, 2.0]


def test_cbp_magnitude_behind_a_flattened_image():
    """Each unit's outgoing magnitude sums over all outputs, all pixels and all kernels that read it."""
    learner = q_learner("conv")
    first, second, *_ = learner.layers
    magnitude = second.outgoing[0].weight.detach().reshape(6, 4, 2, 2).abs().sum((0, 2, 3))
    torch.testing.assert_close(outgoing_magnitude(second), magnitude)
    torch.testing.assert_close(outgoing_magnitude(first), second.incoming.weight.detach().abs().sum((0, 2, 3)))


@pytest.mark.parametrize("name", LEARNERS)
def test_cbp_judges_by_the_utility_that_is_probed(name):
    """Its first utility, the bias of the running mean corrected, has the quantiles that the probe reads.

    It is the same arithmetic in single precision, next to training; the probe takes any network's layers.
    """
    make, stem = LEARNERS[name]
    learner, method = make(stem), ContinualBackprop(decay=0.9)
    seen = learner.observations(64)
    method.begin(learner)
    learner.network(seen)
    method.after_step(learner)
    state = method.state_dict()
    maps = {layer.name: (layer.incoming, layer.activation) for layer in learner.layers}
    named = {module: name for name, (module, _) in maps.items()} | {head: name for name, head in learner.heads.items()}
    read = {layer.name: tuple(named[module] for module in layer.outgoing) for layer in learner.layers}
    captures = Captures(learner.network, maps, learner.heads, seen, outgoing=read)
    for quantile in (0.0, 0.3, 0.5, 1.0):
        probed = captures.supply("utility", partial(utility_quantile, quantile=quantile))
        assert probed.keys() == state.keys()
        for place, value in probed.items():
            utility = state[place]["utility"].double()
            assert value == pytest.approx((utility.quantile(quantile) / utility.mean()).item(), rel=1e-5, abs=1e-7)


def test_cbp_measures_contributions_themselves():
    """In size, too, not only beside the layer's mean: exact, since small whole numbers are."""
    learner = one_layer([[1.0], [2.0], [0.0]], [[1.0, 1.0, -1.0], [-2.0, 0.0, 0.0]])
    method = ContinualBackprop(decay=0.5)
    method.begin(learner)
    learner.network(torch.ones(4, 1))
    heard = torch.tensor([[1.0, 2.0, 0.0]]).expand(4, 3)
    method.after_step(learner)
    expected = contributions(heard, learner.network.head.weight.detach().T)
    assert (2 * method.state_dict()["q.hidden0"]["utility"]).tolist() == expected.tolist() == [3.0, 2.0, 0.0]


def test_cbp_does_not_prefer_newborn_units():
    """A unit that has just matured ranks by its corrected utility: as good as a veteran, it is not taken first."""
    method = ContinualBackprop(replacement_rate=0.4, maturity=2, decay=0.99)
    learner = one_layer([[1.0], [1.0], [1.0]], [[2.0, 1.0, 2.0]])
    method.load_state_dict(
        {
            "q.hidden0": {
                "utility": torch.tensor([2 * (1 - 0.99**3), 0.9, 2.0]),
                "age": torch.tensor([3.0, 500.0, 5000.0]),
                "mean": torch.zeros(3),
                "due": 0.0,
            }
        }
    )
    method.begin(learner)
    learner.network(torch.ones(4, 1))
    method.after_step(learner)  # raw utilities are 0.08, 0.9, 2.0, corrected ones 2, 0.9, 2: the second goes
    assert method.state_dict()["q.hidden0"]["age"].tolist() == [4.0, 0.0, 5001.0]


def test_cbp_replaces_at_its_rate():
    """Over many updates the share replaced is the rate times the mature units, fractions included."""
    learner, total = q_learner(), []
    learner.report = lambda values: total.append(values["reset_units"])
    train(learner, [ContinualBackprop(replacement_rate=0.01, maturity=0)], 401, per_task=10**6)
    # 6 and 5 units, all mature from their first update on; the first update goes unheard: 400 * 0.01 = 4 a unit, but
    # for the fraction that is due at the end
    assert 22 + 18 <= sum(total) <= 24 + 20


@given(
    utility=st.lists(st.floats(0, 10, width=32), min_size=1, max_size=8),
    count=st.integers(0, 10),
    data=st.data(),
)
@settings(max_examples=50)
def test_cbp_takes_the_least(utility, count, data):
    """It takes as many eligible units as it may, and none of those left is worth less than one taken."""
    eligible = data.draw(st.lists(st.booleans(), min_size=len(utility), max_size=len(utility)))
    chosen = least(torch.tensor(utility), torch.tensor(eligible), count).tolist()
    assert sum(chosen) == min(count, sum(eligible))
    assert all(e for c, e in zip(chosen, eligible, strict=True) if c)
    taken = [u for u, c in zip(utility, chosen, strict=True) if c]
    left = [u for u, c, e in zip(utility, chosen, eligible, strict=True) if e and not c]
    assert not taken or not left or max(taken) <= min(left)


def test_listener_hears_training_alone():
    """Passes without gradients and passes of a copy go unheard; what was heard is let go of; no hook is left behind."""
    learner, listener = q_learner("conv"), Listener()
    listener.listen(learner.layers)
    listener.listen(learner.layers)
    assert [len(layer.activation._forward_hooks) for layer in learner.layers] == [1] * 4
    with torch.no_grad():
        learner.network(torch.ones(2, 1, 6, 6))
    copy.deepcopy(learner.network)(torch.ones(2, 1, 6, 6))
    assert listener.take() == {}
    learner.network(torch.ones(2, 1, 6, 6))
    heard = listener.take()
    assert {name: tuple(h.shape) for name, h in heard.items()} == {
        "q.hidden0": (2 * 4 * 4, 3),
        "q.hidden1": (2 * 2 * 2, 4),
        "q.hidden2": (2, 6),
        "q.hidden3": (2, 5),
    }
    assert not any(h.requires_grad for h in heard.values())
    assert listener.take() == {}
    listener.close()
    assert not any(layer.activation._forward_hooks for layer in learner.layers)


def test_listener_follows_a_new_network():
    """Given other layers, it leaves the old ones."""
    old, new, listener = q_learner(), q_learner(seed=1), Listener()
    listener.listen(old.layers)
    listener.listen(new.layers)
    old.network(torch.ones(2, 4))
    assert listener.take() == {}
    new.network(torch.ones(2, 4))
    assert len(listener.take()) == 2
