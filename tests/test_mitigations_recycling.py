"""Methods that recycle units or weights, each against a second implementation in NumPy or numbers by hand."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch

from lopgym.agents.mitigations import cbp as cbp_module
from lopgym.agents.mitigations import mitigations, recycling
from lopgym.agents.mitigations import snr as snr_module
from lopgym.agents.mitigations.cbp import ContinualBackprop
from lopgym.agents.mitigations.knife import Knife
from lopgym.agents.mitigations.redo import ReDo
from lopgym.agents.mitigations.redo_fixed_rate import ReDoFixedRate, least_share
from lopgym.agents.mitigations.regrama import ReGraMa
from lopgym.agents.mitigations.snr import SelfNormalisedResets
from lopgym.agents.mitigations.swr import SelectiveWeightReinitialisation
from lopgym.agents.mitigations.unit_utility import UTILITIES
from lopgym.agents.reset_units import reset_units
from lopgym.probes.captures import Captures
from lopgym.probes.grama import grama
from tests.learners import actor_critic, backward, begin, observe, one_layer, q_learner, train
from tests.lively import LIVELY

CENTRED = ("zero_contribution", "adaptable_contribution", "feature_by_input")


def _numpy(learner):
    """Return weights and biases of the two hidden layers and the head of a Q learner, as doubles."""
    maps = [*(layer.incoming for layer in learner.layers), learner.heads["q.head"]]
    return [(m.weight.detach().double().numpy().copy(), m.bias.detach().double().numpy().copy()) for m in maps]


def _activations(maps, x):
    """Return what the two hidden layers put out, from the equations of a ReLU network."""
    first = np.maximum(x @ maps[0][0].T + maps[0][1], 0)
    return [first, np.maximum(first @ maps[1][0].T + maps[1][1], 0)]


def _instant(name, h, centre, w_in, w_out):
    """Return what units are worth by one minibatch: eqs. 1 to 5 of arXiv:2108.06325 and the rest of its code."""
    outgoing, incoming = np.abs(w_out).sum(0), np.abs(w_in).sum(1)
    deviation = np.abs(h - centre).mean(0)
    return {
        "contribution": np.abs(h).mean(0) * outgoing,
        "weight": outgoing,
        "zero_contribution": deviation * outgoing,
        "adaptable_contribution": deviation * outgoing / incoming,
        "feature_by_input": deviation / incoming,
        "adaptation": 1 / incoming,
        "random": np.zeros_like(outgoing),
    }[name]


def _update(learner, methods, batches):
    """Take one gradient step, up to but without `after_step`; return the minibatch and the weights it met."""
    x, before = observe("mlp", 16, batches), _numpy(learner)
    learner.updates += 1
    learner.network.train()
    backward(learner, x)
    for method in methods:
        method.on_gradient(learner)
    learner.optimizer.step()
    return x.double().numpy(), before


@pytest.mark.parametrize("name", UTILITIES)
def test_cbp_utilities_are_the_papers(name):
    """Running means of all seven utilities over 20 updates that replace nothing, by a second implementation."""
    learner, method, batches = q_learner(), ContinualBackprop(utility=name, decay=0.9, maturity=99), torch.Generator()
    begin(learner, [method])
    utility, mean = [np.zeros(6), np.zeros(5)], [np.zeros(6), np.zeros(5)]
    for age in range(1, 21):
        x, before = _update(learner, [method], batches)
        method.after_step(learner)
        after = _numpy(learner)
        for i, h in enumerate(_activations(before, x)):
            mean[i] = 0.9 * mean[i] + 0.1 * h.mean(0)
            now = _instant(name, h, mean[i] / (1 - 0.9**age), after[i][0], after[i + 1][0])
            utility[i] = 0.9 * utility[i] + 0.1 * now
    for i, saved in enumerate(method.state_dict().values()):
        np.testing.assert_allclose(saved["utility"], utility[i], rtol=2e-6, atol=1e-7)
        np.testing.assert_allclose(saved["mean"], mean[i] if name in CENTRED else 0, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("compensation", ["minibatch", "running"])
@pytest.mark.parametrize("name", UTILITIES)
def test_cbp_replaces_as_the_pseudo_code(name, compensation):
    """60 updates of algorithm 1, step by step: who goes, what is drawn, what passes to biases, what is forgotten."""
    options = {"replacement_rate": 0.05, "maturity": 5, "decay": 0.9}
    method = ContinualBackprop(utility=name, compensation=compensation, **options)
    learner, batches, replaced = q_learner(), torch.Generator(), 0
    begin(learner, [method])
    utility, mean, age = ([np.zeros(6), np.zeros(5)] for _ in range(3))
    due = [0.0, 0.0]
    for _ in range(60):
        x, before = _update(learner, [method], batches)
        expected, rng = _numpy(learner), torch.Generator()
        rng.set_state(learner.rng.get_state())
        method.after_step(learner)
        for i, h in enumerate(_activations(before, x)):
            age[i] += 1
            correction = 1 - 0.9 ** age[i]
            mean[i] = 0.9 * mean[i] + 0.1 * h.mean(0)
            now = _instant(name, h, mean[i] / correction, expected[i][0], expected[i + 1][0])
            utility[i] = 0.9 * utility[i] + 0.1 * now
            eligible = np.flatnonzero(age[i] > 5)
            due[i] += 0.05 * len(eligible)
            count = int(due[i])
            if not count:
                continue
            due[i] -= count
            ranks = torch.rand(len(h[0]), generator=rng).numpy() if name == "random" else utility[i] / correction
            gone = eligible[np.argsort(ranks[eligible], kind="stable")[:count]]
            drawn, _ = learner.layers[i].initialiser(learner.layers[i].incoming, rng)
            passed = mean[i] / correction if compensation == "running" else h.mean(0)
            expected[i + 1][1][:] += expected[i + 1][0][:, gone] @ passed[gone]
            expected[i][0][gone], expected[i][1][gone], expected[i + 1][0][:, gone] = drawn[gone], 0, 0
            utility[i][gone], mean[i][gone], age[i][gone] = 0, 0, 0
            replaced += count
        for (weight, bias), (w, b) in zip(_numpy(learner), expected, strict=True):
            np.testing.assert_allclose(weight, w, rtol=1e-6, atol=1e-7)
            np.testing.assert_allclose(bias, b, rtol=1e-5, atol=1e-6)
    assert replaced > 20


def test_running_compensation_differs():
    """The two compensations are two: with a mean of the past, another bias."""
    biases = []
    for compensation in ("minibatch", "running"):
        method = ContinualBackprop(compensation=compensation, replacement_rate=0.2, maturity=2)
        learner, batches = q_learner(), torch.Generator()
        begin(learner, [method])
        for _ in range(3):
            _update(learner, [method], batches)
            method.after_step(learner)
        biases.append(learner.heads["q.head"].bias.detach().clone())
    assert not torch.allclose(*biases)


def test_matched_norms_by_hand():
    """The mean norm of the rows (3, 4) and (0, 1) that stay is 3: the fresh row points where it did and is as long."""
    learner = one_layer([[3.0, 4.0], [9.0, 9.0], [0.0, 1.0]], [[1.0, 1.0, 1.0]])
    layer, rng = learner.layers[0], torch.Generator()
    rng.set_state(learner.rng.get_state())
    drawn, _ = layer.initialiser(layer.incoming, rng)
    reset_units(learner, layer, torch.tensor([False, True, False]), match_norms=True)
    row = layer.incoming.weight[1].detach()
    assert row.norm().item() == pytest.approx(3.0, abs=1e-6)
    torch.testing.assert_close(row / row.norm(), drawn[1] / drawn[1].norm())
    assert layer.incoming.weight[::2].tolist() == [[3.0, 4.0], [0.0, 1.0]]


def test_matched_norms_where_nobody_stays():
    """Without a row to match, the rows are as drawn; with a convolution, norms are of whole kernels."""
    learner = one_layer([[3.0], [4.0]], [[1.0, 1.0]])
    layer, rng = learner.layers[0], torch.Generator()
    rng.set_state(learner.rng.get_state())
    drawn, _ = layer.initialiser(layer.incoming, rng)
    reset_units(learner, layer, torch.tensor([True, True]), match_norms=True)
    assert torch.equal(layer.incoming.weight, drawn)
    learner = q_learner("conv")
    kernels = learner.layers[1].incoming.weight
    wanted = kernels[1:].detach().flatten(1).norm(dim=1).mean()
    reset_units(learner, learner.layers[1], torch.tensor([True, False, False, False]), match_norms=True)
    torch.testing.assert_close(kernels[0].norm(), wanted)


def test_redo_matches_norms_if_asked():
    """The option reaches the reset: of hidden weights (-1, 2, 4), the fresh one is 3 long."""
    learner = one_layer([[-1.0], [2.0], [4.0]], [[1.0, 2.0, 3.0]])
    learner.updates = 1
    ReDo(tau=0.0, every=1, match_norms=True).after_step(learner)
    assert abs(learner.network.hidden.weight[0].item()) == pytest.approx(3.0)


# Hidden weights (5, 1, 0.5, 3) and inputs of 1 make |h| so; the second unit alone varies if the second input does.
WEIGHTS, OUTGOING = [[5.0, 0.0], [1.0, 1.0], [0.5, 0.0], [3.0, 0.0]], [[1.0, 2.0, 3.0, 4.0]]


def _fixed_rate(**options):
    """Sweep once, all inputs 1 but the second, which is 1 and 3 by turns; return which units went."""
    learner = one_layer(WEIGHTS, OUTGOING)
    learner.observations = lambda n: torch.tensor([[1.0, 1.0], [1.0, 3.0]]).repeat(n // 2, 1)
    learner.updates = options.pop("updates", 200)
    rng = torch.Generator()
    rng.set_state(learner.rng.get_state())
    ReDoFixedRate(**options).after_step(learner)
    return (learner.network.head.weight == 0).flatten().tolist(), rng


@pytest.mark.parametrize(
    ("score", "rate", "gone"),
    [
        ("redo", 0.25, [False, False, True, False]),  # |h| is 5, 3, 0.5, 3 on average
        ("redo", 0.5, [False, True, True, True]),  # the second and the last score alike
        ("redo_inverted", 0.25, [True, False, False, False]),
        ("redo_inverted", 0.5, [True, True, False, True]),
        ("redo", 0.01, [False, False, True, False]),  # at least one
        ("redo", 0.62, [False, True, True, True]),  # 2.48 units are 2
        ("redo", 0.0, [False] * 4),
    ],
)
def test_fixed_rate_masks_by_hand(score, rate, gone):
    """Whom the released code would recycle: the least scores, ties with the last included, one at least."""
    assert _fixed_rate(score=score, rate=rate)[0] == gone


def test_fixed_rate_cbp_by_hand():
    """mean|h - mean h| is (0, 1, 0, 0), so that units 0, 2 and 3 score 0 and tie; with all varying, none does."""
    assert _fixed_rate(score="cbp", rate=0.25)[0] == [True, False, True, True]
    learner = one_layer([[5.0], [1.0], [0.5], [3.0]], OUTGOING)
    learner.observations, learner.updates = lambda n: torch.tensor([[1.0], [3.0]]).repeat(n // 2, 1), 200
    ReDoFixedRate(score="cbp", rate=0.25).after_step(learner)
    # deviations are (5, 1, .5, 3), sum|w_out| 1, 2, 3, 4 and sum|w_in| the deviations: scores 1, 2, 3, 4
    assert (learner.network.head.weight == 0).flatten().tolist() == [True, False, False, False]


def test_fixed_rate_random():
    """The scores are dealt out anew by a permutation drawn from the learner: the least falls where it says."""
    gone, rng = _fixed_rate(score="random", rate=0.25)
    dealt = np.array([5.0, 3.0, 0.5, 3.0])[torch.randperm(4, generator=rng).numpy()]
    assert gone == (dealt == 0.5).tolist()


def test_fixed_rate_falls_as_a_cosine():
    """Half way, cos(pi/4) * 0.5 * 4 = 1.41 units go, one, for 2 and a tie at first; later and between sweeps none."""
    assert sum(_fixed_rate(rate=0.5, until=400)[0]) == 1
    assert sum(_fixed_rate(rate=0.75, until=400)[0]) == 3  # 2.12, and a tie
    assert sum(_fixed_rate(rate=0.5)[0]) == 3
    for updates in (400, 600, 201):
        assert not any(_fixed_rate(rate=0.75, until=400, updates=updates)[0])
    scores = torch.arange(100.0)
    share = 0.3 * math.cos(math.pi / 2 * 0.5)
    assert int(least_share(scores, share).sum()) == 21  # 21.2


def _sweep_errors(method, factors):
    """Go back once from the loss sum_u factor_u * z_u^2 / 2 averaged over two samples; sweep; return who went."""
    learner = one_layer([[1.0], [1.0], [1.0], [-1.0]], [[1.0, 1.0, 1.0, 1.0]])
    begin(learner, [method])
    learner.updates = 1
    with torch.no_grad():
        learner.network.head.weight.copy_(torch.tensor([factors]))
    x = torch.tensor([[1.0], [1.0]])
    (learner.network(x) * torch.tensor([[1.0], [-1.0]])).mean().backward()
    method.on_gradient(learner)
    method.after_step(learner)
    return (learner.network.head.weight == 0).flatten().tolist()


def test_regrama_by_hand():
    """|dL/dz| is (1, 0.01, 2, 0) / 2: the last ReLU is off. The mean of (1, 0.01, 2, 0) is 0.7525; scores follow.

    Samples pull in opposite directions, so that gradients of weights cancel and magnitudes do not.
    """
    factors = [1.0, 0.01, 2.0, 7.0]
    assert _sweep_errors(ReGraMa(every=1, tau=0.0), factors) == [False, False, False, True]
    assert _sweep_errors(ReGraMa(every=1, tau=0.013), factors) == [False, False, False, True]  # 0.01 / 0.7525 = 0.01329
    assert _sweep_errors(ReGraMa(every=1, tau=0.0134), factors) == [False, True, False, True]
    assert _sweep_errors(ReGraMa(every=1, tau=1.33), factors) == [True, True, False, True]  # 1 / 0.7525 = 1.3289


def test_regrama_leaves_layers_without_errors():
    """A loss that does not reach a layer says nothing of its units."""
    learner, method = q_learner(), ReGraMa(every=1, tau=0.5)
    begin(learner, [method])
    learner.updates, before = 1, copy.deepcopy(learner.network.state_dict())
    (0 * learner.network(observe("mlp", 8, torch.Generator()))["q"]).sum().backward()
    method.after_step(learner)
    assert all(torch.equal(value, before[key]) for key, value in learner.network.state_dict().items())


@pytest.mark.parametrize("make", [q_learner, actor_critic])
@pytest.mark.parametrize("stem", ["mlp", "conv"])
def test_regrama_judges_as_the_probe(make, stem):
    """On one minibatch it recycles the share that `grama` reads of it, layer by layer, whatever the threshold."""
    for tau in (0.0, 0.3, 0.9):
        learner, method, counts = make(stem), ReGraMa(every=1, tau=tau), {}
        begin(learner, [method])
        learner.report = counts.update
        learner.updates, x = 1, observe(stem, 32, torch.Generator().manual_seed(3))

        def loss(seen, network=learner.network):
            return sum((y**2).flatten(1).mean(1) for y in network(seen).values())

        maps = {layer.name: (layer.incoming, layer.activation) for layer in learner.layers}
        errors = Captures(learner.network, maps, {}, x, loss=loss, outgoing=dict.fromkeys(maps, ())).errors
        loss(x).mean().backward()
        method.after_step(learner)
        shares = grama({name: errors[name] for name in maps}, tau=tau)
        for layer in learner.layers:
            units = len(layer.incoming.weight)
            assert counts[f"reset_units/{layer.name}"] == pytest.approx(units * shares[layer.name])


def test_knife_is_its_formula():
    """Activities over 7 updates by a second implementation of ||g_u|| / ||w_u||, and whom the threshold takes."""
    learner, method, batches = q_learner(), Knife(every=7, threshold=0.8), torch.Generator()
    total, counts = [np.zeros(6), np.zeros(5)], {}
    learner.report = counts.update
    for _ in range(7):
        weights = [layer.incoming.weight.detach().clone().numpy() for layer in learner.layers]
        _update(learner, [method], batches)
        for i, layer in enumerate(learner.layers):
            gradient = layer.incoming.weight.grad.numpy()
            total[i] += np.sqrt((gradient**2).sum(1)) / np.sqrt((weights[i] ** 2).sum(1))
        state = method.state_dict()["totals"]
        for i, layer in enumerate(learner.layers):
            np.testing.assert_allclose(state[layer.name], total[i], rtol=1e-5)
    method.after_step(learner)
    for i in range(2):
        stagnant = total[i] / 7 < 0.8 * (total[i] / 7).mean()
        assert 0 < stagnant.sum() < len(stagnant)
        assert counts[f"reset_units/q.hidden{i}"] == stagnant.sum()
        assert ((_numpy(learner)[i][1] == 0) == stagnant).all()
    assert method.state_dict()["totals"] == {}


def test_knife_leaves_layers_without_gradients():
    """A layer that did not move at all has no stagnant units; one that is at the threshold is none, either."""
    learner, method = one_layer([[1.0], [2.0]], [[1.0, 1.0]]), Knife(every=1)
    learner.updates = 1
    learner.network.hidden.weight.grad = torch.zeros(2, 1)
    method.on_gradient(learner)
    method.after_step(learner)
    assert learner.network.head.weight.tolist() == [[1.0, 1.0]]
    learner.network.hidden.weight.grad = torch.tensor([[7.0], [2.0]])  # activities 7 and 1; 1 / 4 is 0.25 itself
    method.on_gradient(learner)
    method.after_step(learner)
    assert learner.network.head.weight.tolist() == [[1.0, 1.0]]
    learner.network.hidden.weight.grad = torch.tensor([[1.0], [0.1]])  # activities 1 and 0.05; 0.05 / 0.525 < 0.25
    method.on_gradient(learner)
    method.after_step(learner)
    assert learner.network.head.weight.tolist() == [[1.0, 0.0]]


class _Unit:
    """One neuron of the released algorithm, in plain Python: a list of the silences that ended."""

    def __init__(self, limit):
        self.age, self.limit, self.silences = 0, limit, []

    def update(self, fires):
        """Take in one minibatch; return whether the unit is reset."""
        if fires:
            self.silences += [self.age] if self.age else []
            self.age = 0
            return False
        self.age += 1
        if self.age < self.limit:
            return False
        self.silences.append(self.age)
        self.age = 0
        return True

    def adapt(self, percentile, longest):
        """Contract to the least length that is at least as long as so many of the silences, or double."""
        past = sorted(self.silences)
        enough = [a for i, a in enumerate(past, start=1) if i >= percentile * len(past)]
        index = enough[0] if enough else 1
        self.limit = max(1, min(longest, index if index < self.limit else 2 * self.limit))
        self.silences = []


@pytest.mark.parametrize("eta", [0.01, 0.2])
def test_snr_is_its_algorithm(eta, monkeypatch):
    """400 minibatches of 12 units that fire by chances of their own, against plain Python: resets and limits."""
    chosen = []
    monkeypatch.setattr(snr_module, "recycle", lambda learner, units, **how: chosen.append(units["q.hidden0"].tolist()))
    method = SelfNormalisedResets(eta=eta, limit=6, adapt_every=50, longest=20)
    learner, units = one_layer(np.eye(12).tolist(), [[1.0] * 12]), [_Unit(6) for _ in range(12)]
    begin(learner, [method])
    rng, chances = np.random.default_rng(0), np.linspace(0.0, 1.0, 12)
    total = 0
    for update in range(1, 401):
        samples = np.where(rng.random((3, 12)) < 1 - (1 - chances) ** (1 / 3), 1.0, -1.0)
        learner.updates = update
        learner.network(torch.tensor(samples, dtype=torch.float32))
        chosen.clear()
        method.after_step(learner)
        expected = [unit.update((column > 0).any()) for unit, column in zip(units, samples.T, strict=True)]
        assert chosen == ([expected] if any(expected) else [])
        total += sum(expected)
        if update % 50 == 0:
            for unit in units:
                unit.adapt(1 - eta, 20)
        assert method.state_dict()["q.hidden0"]["limit"].tolist() == [unit.limit for unit in units]
    assert total > 50


def test_snr_resets_a_unit_that_falls_silent():
    """A unit silent for `limit` minibatches is reset, and not one earlier; the other is never."""
    method = SelfNormalisedResets(limit=3)
    learner = one_layer([[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0]])
    begin(learner, [method])
    for learner.updates in range(1, 4):
        assert learner.network.head.weight.tolist() == [[1.0, 1.0]]
        learner.network(torch.tensor([[1.0, -1.0], [-1.0, -1.0]]))
        method.after_step(learner)
    assert learner.network.head.weight.tolist() == [[1.0, 0.0]]


def _swr(weight, gradient, **options):
    learner, reports = one_layer(weight, [[1.0] * len(weight)]), []
    learner.report, learner.updates = reports.append, 200
    learner.network.hidden.weight.grad = torch.tensor(gradient)
    before = learner.network.hidden.weight.detach().clone()
    rng = torch.Generator()
    rng.set_state(learner.rng.get_state())
    SelectiveWeightReinitialisation(**options).after_step(learner)
    assert learner.network.head.weight.tolist() == [[1.0] * len(weight)]
    changed = learner.network.hidden.weight.detach() != before
    assert reports == [{"reset_weights": int(changed.sum())}]
    return changed.tolist(), rng, learner


def test_swr_by_hand():
    """|g w| is ((6, 1), (0.5, 4)), |w| ((2, 1), (0.5, 4)): whom each utility and rule takes."""
    weight, gradient = [[2.0, 1.0], [-0.5, 4.0]], [[-3.0, 1.0], [1.0, -1.0]]
    for options, expected in [
        ({"factor": 0.25}, [[False, False], [True, False]]),
        ({"factor": 0.5}, [[False, True], [True, False]]),
        ({"factor": 0.75}, [[False, True], [True, True]]),
        ({"factor": 0.75, "utility": "magnitude"}, [[True, True], [True, False]]),
        ({"factor": 0.3, "prune": "threshold"}, [[False, False], [True, False]]),  # at most 0.3 * 2.875 = 0.8625
        ({"factor": 0.35, "prune": "threshold"}, [[False, True], [True, False]]),  # at most 1.006
        ({"factor": 1.0, "prune": "threshold", "utility": "magnitude"}, [[False, True], [True, False]]),  # 1.875
    ]:
        assert _swr(weight, gradient, **options)[0] == expected, options
    level = {"factor": 1.0, "prune": "threshold", "utility": "magnitude"}
    assert _swr([[1.0, 1.0]], [[0.0, 0.0]], **level)[0] == [[True, True]], "the mean itself is at most the mean"


def test_swr_draws_from_the_initialiser_and_at_random():
    """Random utilities and the leftover fraction come from the learner's stream, new values from the initialiser."""
    weight, gradient = [[2.0, 1.0], [-0.5, 4.0]], [[0.0, 0.0], [0.0, 0.0]]
    changed, rng, learner = _swr(weight, gradient, factor=0.5, utility="random")
    utility, _, _ = torch.rand(2, 2, generator=rng), torch.rand((), generator=rng), torch.randperm(4, generator=rng)
    expected = (utility <= utility.flatten().sort().values[1]).tolist()
    drawn, _ = learner.layers[0].initialiser(learner.network.hidden, rng)
    assert changed == expected
    assert torch.equal(learner.network.hidden.weight[torch.tensor(changed)], drawn[torch.tensor(changed)])


def test_swr_takes_its_share_on_average():
    """Of 30 weights a share of 0.05 is 1.5: one or two a sweep, half of the sweeps each."""
    counts, learner = [], one_layer(np.ones((5, 6)).tolist(), [[1.0] * 5])
    learner.report = lambda values: counts.append(values["reset_weights"])
    learner.network.hidden.weight.grad = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    method = SelectiveWeightReinitialisation(factor=0.05, every=1)
    for learner.updates in range(1, 401):
        method.after_step(learner)
    assert set(counts) == {1, 2}
    assert sum(counts) / 400 == pytest.approx(1.5, abs=0.1)


def test_swr_takes_equal_weights_by_chance():
    """Where all gradients are zero, sweeps take other weights each time: after forty of them all 12 have gone."""
    learner = one_layer(np.ones((3, 4)).tolist(), [[1.0] * 3])
    weight = learner.network.hidden.weight
    weight.grad = torch.zeros(3, 4)
    method, gone = SelectiveWeightReinitialisation(factor=0.25, every=1), torch.zeros(3, 4, dtype=torch.bool)
    for learner.updates in range(1, 41):
        before = weight.detach().clone()
        method.after_step(learner)
        assert (weight != before).sum() == 3
        gone |= weight != before
    assert gone.all()


@pytest.mark.parametrize("moments", [True, False])
def test_swr_forgets_moments_of_drawn_weights_alone(moments):
    """Adam's moments of exactly the weights drawn anew are zero afterwards, if asked; all others are as they were."""
    learner, batches = q_learner(), torch.Generator()
    method = SelectiveWeightReinitialisation(factor=0.5, every=1, moments=moments)
    _update(learner, [], batches)
    weights = [layer.incoming.weight for layer in learner.layers]
    before = [(weight.detach().clone(), copy.deepcopy(learner.optimizer.state[weight])) for weight in weights]
    method.after_step(learner)
    for weight, (old, was) in zip(weights, before, strict=True):
        drawn = weight != old
        assert 0 < drawn.sum() < drawn.numel()
        for what in ("exp_avg", "exp_avg_sq"):
            moment = learner.optimizer.state[weight][what]
            assert torch.equal(moment, was[what] * ~drawn if moments else was[what])
            assert was[what][drawn].any()


@pytest.mark.parametrize("name", ["redo", "regrama", "knife", "redo_fixed_rate", "cbp", "snr"])
def test_options_reach_the_reset(name, monkeypatch):
    """Whether moments are forgotten and the target follows, and on how many observations units are judged."""
    told, asked = [], set()
    for module in (recycling, cbp_module):
        monkeypatch.setattr(module, "reset_units", lambda *args, **how: told.append(how) or 1)
    for moments, target in itertools.product((True, False), repeat=2):
        learner, method = q_learner(), mitigations.build(name, moments=moments, target=target, **LIVELY[name])
        seen = learner.observations
        learner.observations = lambda n, seen=seen: asked.add(n) or seen(n)
        told.clear()
        begin(learner, [method])
        train(learner, [method], 20, per_task=99)
        assert {(how["moments"], how["target"]) for how in told} == {(moments, target)}
    assert asked == ({LIVELY[name]["batch"]} if "batch" in LIVELY[name] else set())


def test_fixed_rate_sweeps_every_200_updates_or_when_told():
    """The bare word `updates` is its own period; a trigger takes its place."""
    for options, swept in [({}, [200, 400]), ({"when": {"kind": "updates", "every": 150}}, [150, 300, 450])]:
        learner, at, method = q_learner(), [], ReDoFixedRate(**options)
        learner.report = lambda values, learner=learner, at=at: at.append(learner.updates)
        for learner.updates in range(1, 500):
            method.after_step(learner)
        assert at == swept
