"""Mitigations that shape the optimizer, against second implementations in NumPy after the papers' pseudo-code."""

import copy
import math

import numpy as np
import pytest
import torch
from scipy import special
from torch import nn

from lopgym.agents.mitigations import mitigations
from lopgym.agents.mitigations.adam_betas import AdamBetas
from lopgym.agents.mitigations.adamw import AdamW
from lopgym.agents.mitigations.around import innermost
from lopgym.agents.mitigations.muon import Muon
from lopgym.agents.mitigations.trac import BETAS, TracMitigation, erfi
from lopgym.agents.mitigations.upgd import UPGD, UtilityPerturbed
from lopgym.agents.reset_units import reset_units
from tests.learners import actor_critic, assert_bitwise, begin, q_learner, snapshot, train
from tests.training import ALGORITHMS, build

LR, EPS, STEPS = 1e-2, 1e-5, 40
OPTIMIZERS = ("adam_betas", "adamw", "muon", "trac", "upgd")


def _problem():
    """Return a small network in double precision, and the loss of its step t: another target every 10 steps."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    inputs = torch.randn(8, 3, dtype=torch.float64)

    def loss(t):
        wanted = torch.stack([inputs.sum(1) * (-1) ** (t // 10), inputs[:, 0] * inputs[:, 1]], dim=1)
        return ((network(inputs) - wanted) ** 2).mean()

    return network, loss


def _adam(params, lr, **options):
    return torch.optim.Adam(params, lr=lr, **{"eps": EPS} | options)


def _assert_follows(method, update, steps=STEPS, atol=1e-9, prepare=lambda optimizer: None):
    """Train by `method`, and by `update(t, weights, gradients) -> weights` in NumPy on the same gradients."""
    network, loss = _problem()
    optimizer = method.wrap_optimizer(_adam)(network.parameters(), lr=LR)
    prepare(optimizer)
    weights = [p.detach().numpy().copy() for p in network.parameters()]
    for t in range(steps):
        optimizer.zero_grad()
        loss(t).backward()
        weights = update(t, weights, [p.grad.numpy().copy() for p in network.parameters()])
        optimizer.step()
        for p, expected in zip(network.parameters(), weights, strict=True):
            np.testing.assert_allclose(p.detach().numpy(), expected, rtol=0, atol=atol)
    return optimizer


class _Adam:
    """Adam's direction, after alg. 1 of its paper."""

    def __init__(self, beta1=0.9, beta2=0.999):
        self.betas, self.m, self.v = (beta1, beta2), {}, {}

    def direction(self, t, i, g):
        """Return the step of tensor i over the learning rate."""
        beta1, beta2 = self.betas
        self.m[i] = beta1 * self.m.get(i, 0) + (1 - beta1) * g
        self.v[i] = beta2 * self.v.get(i, 0) + (1 - beta2) * g**2
        return self.m[i] / (1 - beta1 ** (t + 1)) / (np.sqrt(self.v[i] / (1 - beta2 ** (t + 1))) + EPS)


def test_adamw_is_its_algorithm():
    """Weights decay beside the step, by lr * weight_decay; biases take Adam's own step."""
    adam = _Adam()

    def update(t, weights, gradients):
        return [
            w * (1 - LR * 0.5 * (w.ndim > 1)) - LR * adam.direction(t, i, g)
            for i, (w, g) in enumerate(zip(weights, gradients, strict=True))
        ]

    _assert_follows(AdamW(weight_decay=0.5), update)


def test_adamw_decays_no_vector():
    """Of an agent's parameters weights decay; biases, gains and log_std do not. With no gradient nothing else moves."""
    learner = actor_critic("conv", [mitigations.build("layer_norm", affine=True), AdamW(weight_decay=0.5)])
    before = {k: v.clone() for k, v in learner.network.state_dict().items()}
    for p in learner.network.parameters():
        p.grad = torch.zeros_like(p)
    learner.optimizer.step()
    for name, p in learner.network.named_parameters():
        kept = 1 - 1e-2 * 0.5 if p.ndim > 1 else 1.0
        torch.testing.assert_close(p.detach(), before[name] * kept, rtol=1e-6, atol=0)


@pytest.mark.parametrize("betas", [(0.95, 0.95), (0.8, 0.95)])
def test_matched_betas_are_adams_algorithm(betas):
    """Adam with the given betas, and with the agent's eps."""
    adam = _Adam(*betas)

    def update(t, weights, gradients):
        return [w - LR * adam.direction(t, i, g) for i, (w, g) in enumerate(zip(weights, gradients, strict=True))]

    _assert_follows(AdamBetas(beta1=betas[0], beta2=betas[1]), update)


def test_matched_betas_bound_the_step():
    """When gradients jump a thousandfold, steps stay below the learning rate; with Adam's betas they do not."""
    longest = {}
    for method in (AdamBetas(), AdamBetas(beta1=0.9, beta2=0.999)):
        p = torch.zeros(1, requires_grad=True)
        optimizer, steps = method.wrap_optimizer(_adam)([p], lr=1.0), []
        for t in range(200):
            p.grad, before = torch.tensor([1.0 if t < 150 else 1000.0]), p.item()
            optimizer.step()
            steps.append(abs(p.item() - before))
        longest[method.beta1] = max(steps)
    assert longest[0.99] <= 1.0001
    assert longest[0.9] > 2.0


@pytest.mark.parametrize("adaptive", [True, False])
def test_upgd_is_its_algorithm(adaptive):
    """UPGD and AdaUPGD, noise included: utilities, global maximum, gate, decay, in the order of the authors' code."""
    decay, sigma, weight_decay, adam = 0.9, 0.05, 0.1, _Adam()
    rng, utilities, gated = torch.Generator().manual_seed(3), {}, []

    def update(t, weights, gradients):
        for i, (w, g) in enumerate(zip(weights, gradients, strict=True)):
            utilities[i] = decay * utilities.get(i, 0) + (1 - decay) * (-g * w)
        greatest = max(u.max() for u in utilities.values())
        assert greatest > 0
        moved = []
        for i, (w, g) in enumerate(zip(weights, gradients, strict=True)):
            spared = special.expit(utilities[i] / (1 - decay ** (t + 1)) / greatest)
            gated.append(spared)
            way = adam.direction(t, i, g) if adaptive else g
            noise = sigma * torch.empty(w.shape, dtype=torch.float64).normal_(generator=rng).numpy()
            moved.append((1 - LR * weight_decay) * w - 2 * LR * (way + noise) * (1 - spared))
        return moved

    def prepare(optimizer):
        optimizer.rng = torch.Generator().manual_seed(3)

    method = UtilityPerturbed(adaptive=adaptive, decay=decay, sigma=sigma, weight_decay=weight_decay)
    _assert_follows(method, update, prepare=prepare)
    assert max(s.max() for s in gated) > 0.7
    assert min(s.min() for s in gated) < 0.3


def test_upgd_protects_nothing_if_nothing_is_of_use():
    """Where the greatest utility is not positive, dividing by it would protect the worst weights."""
    p = torch.tensor([1.0, 2.0, 0.0], requires_grad=True)
    optimizer = UPGD([p], lr=0.1, betas=(0.9, 0.999), eps=EPS, weight_decay=0.0, decay=0.0, sigma=0.0, adaptive=False)
    p.grad = torch.tensor([1.0, 1.0, 1.0])  # utilities -1, -2, 0
    optimizer.step()
    torch.testing.assert_close(p.detach(), torch.tensor([0.8, 1.8, -0.1]))


def test_upgd_draws_from_the_learner():
    """Its noise comes from the generator of mitigations, inside of TRAC as well, and from no global one."""
    method = UtilityPerturbed()
    learner, luck = q_learner(methods=[TracMitigation(), method]), torch.get_rng_state()
    begin(learner, [method])
    assert isinstance(innermost(learner.optimizer), UPGD)
    drawn, luck = learner.rng.get_state(), torch.get_rng_state()
    train(learner, [method], 2)
    assert not torch.equal(drawn, learner.rng.get_state())
    assert torch.equal(luck, torch.get_rng_state())


@pytest.mark.parametrize("x", [0.0, 1e-9, 0.1, 0.7, 1.0, 3.0, 6.0, 12.0, -2.5])
def test_erfi_is_scipys(x):
    """To 1e-12 of its value."""
    assert erfi(x) == pytest.approx(special.erfi(x), rel=1e-12, abs=0)


def test_trac_is_its_algorithm():
    """As in the authors' code, with their numbers: a way from the reference, tuned by six bets on <g, way>."""
    betas = np.array([0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999])
    adam, held, scale = _Adam(), {}, 1e-3
    v, sigma, s = np.zeros(6), np.full(6, 1e-8), np.zeros(6)
    totals = []

    def update(t, weights, gradients):
        nonlocal v, sigma, s
        start = held.setdefault("start", [w.copy() for w in weights])
        ways = [(w - r) / (s.sum() + 1e-8) for w, r in zip(weights, start, strict=True)]
        h = sum((way * g).sum() for way, g in zip(ways, gradients, strict=True))
        v, sigma = betas**2 * v + h**2, betas * sigma - h
        s = scale / special.erfi(1 / math.sqrt(2)) * special.erfi(sigma / (math.sqrt(2) * np.sqrt(v) + 1e-8))
        totals.append(s.sum())
        ways = [way - LR * adam.direction(t, i, g) for i, (way, g) in enumerate(zip(ways, gradients, strict=True))]
        return [r + way * max(s.sum(), 0.0) for r, way in zip(start, ways, strict=True)]

    assert tuple(betas) == BETAS
    optimizer = _assert_follows(TracMitigation(scale=scale), update, steps=120)
    assert max(totals) > 0.1  # it got going
    assert min(totals) < 0.02  # and began small
    state = next(s for s in optimizer.state.values() if "tuner" in s)
    np.testing.assert_allclose(state["tuner"][0].numpy(), np.stack([s, v, sigma]), rtol=1e-9)


def test_trac_falls_back_to_its_reference():
    """Where the way does not pay, as gradients now point along it, S is 0 and the weights are those of the start."""
    network, loss = _problem()
    start = [p.detach().clone() for p in network.parameters()]
    optimizer = TracMitigation(scale=0.1).wrap_optimizer(_adam)(network.parameters(), lr=LR)
    for t in range(9):
        optimizer.zero_grad()
        loss(t).backward()
        optimizer.step()
    assert any(not torch.equal(p, a) for p, a in zip(network.parameters(), start, strict=True))
    for p, a in zip(network.parameters(), start, strict=True):
        p.grad = 1e6 * (p.detach() - a)
    optimizer.step()
    assert all(torch.equal(p, a) for p, a in zip(network.parameters(), start, strict=True))


@pytest.mark.parametrize(("second", "learns"), [(1.0, True), (-1.0, False)])
def test_trac_may_stick_at_its_start_as_its_algorithm_does(second, learns):
    """If the second gradient points along the first step, S is below 0, the way is forgotten, and no bet is changed."""
    p = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = TracMitigation().wrap_optimizer(_adam)([p], lr=LR)
    base = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    adam, s, sigma, v, theirs, betas = (
        _adam([base], lr=LR),
        np.zeros(6),
        np.full(6, 1e-8),
        np.zeros(6),
        0.0,
        np.array(BETAS),
    )
    for t in range(30):
        gradient = {0: 1.0, 1: second}.get(t, 1.0)
        p.grad, base.grad, was = torch.full_like(p, gradient), torch.full_like(base, gradient), base.item()
        optimizer.step()
        adam.step()
        way = theirs / (s.sum() + 1e-8)  # the authors' code, with their reference at 0
        h = way * gradient
        v, sigma = betas**2 * v + h**2, betas * sigma - h
        s = 1e-8 / special.erfi(1 / math.sqrt(2)) * special.erfi(sigma / (math.sqrt(2) * np.sqrt(v) + 1e-8))
        theirs = (way + base.item() - was) * max(s.sum(), 0.0)
        assert p.item() == pytest.approx(theirs, rel=1e-6, abs=1e-300)
    assert (abs(p.item()) > 1e-6) is learns
    assert learns or (p.item() == 0.0 and optimizer.state[p]["tuner"][0, 0].sum() < 0)


def test_tracs_reference_moves_with_what_others_write_and_with_nothing_else():
    """New units begin anew from their new weights, and are not blown up by the next S; a cleared state begins anew."""
    learner = q_learner(methods=[TracMitigation(scale=1e-6)])
    begun = {k: v.clone() for k, v in learner.network.state_dict().items()}
    train(learner, [], 10)
    names = {p: name for name, p in learner.network.named_parameters()}
    assert all(torch.equal(s["reference"][0], begun[names[p]]) for p, s in learner.optimizer.state.items())
    layer, before = learner.layers[0], snapshot(learner)
    reset_units(learner, layer, torch.arange(6) == 2)
    after = snapshot(learner)
    kept = [key for key in before if key.endswith((".reference", ".tuner"))]
    assert_bitwise({key: before[key] for key in kept}, {key: after[key] for key in kept})
    train(learner, [], 1)
    for p, state in learner.optimizer.state.items():
        written = after[f"network.{names[p]}"] != before[f"network.{names[p]}"]
        reference = state["reference"][0]
        assert torch.equal(reference[~written], begun[names[p]][~written])
        torch.testing.assert_close(reference[written], after[f"network.{names[p]}"][written], rtol=0, atol=1e-7)
        assert (p - after[f"network.{names[p]}"]).abs().max() < 0.1
    mitigations.build("fresh").on_task_change(learner)
    fresh = {k: v.clone() for k, v in learner.network.state_dict().items()}
    train(learner, [], 3)
    assert all(torch.equal(s["reference"][0], fresh[names[p]]) for p, s in learner.optimizer.state.items())


def _newton_schulz(matrix):
    """Orthogonalise as Muon's authors do: a quintic iteration, five times, in bfloat16."""
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = wide.bfloat16()
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=-4.775, alpha=2.0315), x, beta=3.4445)
    return x.T if matrix.shape[0] > matrix.shape[1] else x


def test_muon_is_its_algorithm():
    """Hidden matrices move by orthogonalised Nesterov momentum, 0.2 sqrt(max(m, n)) lr long; the rest is Adam's."""
    adam, momentum = _Adam(), {}

    def update(t, weights, gradients):
        moved = [w - LR * adam.direction(t, i, g) for i, (w, g) in enumerate(zip(weights, gradients, strict=True))]
        gradient = torch.tensor(gradients[0])
        momentum[0] = 0.9 * momentum.get(0, torch.zeros_like(gradient)) + 0.1 * gradient
        step = _newton_schulz(0.1 * gradient + 0.9 * momentum[0])
        values = np.linalg.svd(step.double().numpy(), compute_uv=False)
        assert values.min() > 0.4
        assert values.max() < 1.5
        decayed = torch.tensor(weights[0]) * (1 - LR * 0.1)
        moved[0] = (decayed - LR * 0.2 * math.sqrt(4) * step.double()).numpy()
        return moved

    def prepare(optimizer):
        optimizer.param_groups[0]["muon"] = [0]

    _assert_follows(Muon(momentum=0.9, weight_decay=0.1), update, atol=1e-6, prepare=prepare)


def test_muon_takes_the_matrices_of_hidden_layers():
    """Not convolutions, heads, biases or log_std: those have Adam's moments."""
    method = Muon()
    learner = actor_critic("conv", [method])
    begin(learner, [method])
    train(learner, [method], 2, stem="conv")
    matrices = {id(layer.incoming.weight) for layer in learner.layers if isinstance(layer.incoming, nn.Linear)}
    assert len(matrices) == 4
    for p, state in learner.optimizer.state.items():
        assert set(state) == ({"momentum_buffer"} if id(p) in matrices else {"step", "exp_avg", "exp_avg_sq"})


def _wrapped(names):
    methods = [mitigations.build(name) for name in names]
    learner = q_learner(methods=methods)
    begin(learner, methods)
    return learner, methods


STACKS = [(name,) for name in OPTIMIZERS] + [("trac", "upgd"), ("muon", "trac"), ("adam_betas", "adamw", "trac")]


@pytest.mark.parametrize("names", STACKS, ids="-".join)
def test_hooks_run_once_a_step(names):
    """What is registered on the optimizer that the agent sees runs once before and once after each step."""
    (learner, methods), calls = _wrapped(names), []
    learner.optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    learner.optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    train(learner, methods, 3)
    assert calls == ["before", "after"] * 3


@pytest.mark.parametrize("names", STACKS, ids="-".join)
def test_copies_go_on_alike_and_apart(names):
    """A deep copy of network and optimizer takes the very same steps, and the original does not notice."""
    learner, methods = _wrapped(names)
    train(learner, methods, 5)
    network, optimizer = copy.deepcopy((learner.network, learner.optimizer))
    before = snapshot(learner)
    for p in network.parameters():
        p.grad = torch.ones_like(p)
    for part in (innermost(optimizer), innermost(learner.optimizer)):
        part.rng = torch.Generator().manual_seed(1)  # which UPGD's copy has of its own
    optimizer.step()
    assert_bitwise(before, snapshot(learner))
    for p in learner.network.parameters():
        p.grad = torch.ones_like(p)
    learner.optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), learner.network.parameters(), strict=True))
    assert any((a != before[f"network.{name}"]).any() for name, a in network.named_parameters())


@pytest.mark.parametrize("names", [names for names in STACKS if "trac" not in names], ids="-".join)
def test_steps_obey_the_learning_rate_of_the_groups(names):
    """Stable-Baselines3 schedules it by writing to the groups: at 0 nothing moves. TRAC still scales the way so far."""
    learner, methods = _wrapped(names)
    train(learner, methods, 2)
    for group in learner.optimizer.param_groups:
        group["lr"] = 0.0
    before = snapshot(learner)
    train(learner, methods, 1)
    assert all(torch.equal(before[f"network.{k}"], p) for k, p in learner.network.named_parameters())


@pytest.mark.parametrize("names", [("adamw", "muon"), ("adamw", "upgd"), ("muon", "upgd")], ids="-".join)
def test_two_that_replace_adam_are_refused(names):
    """In either order, in one line that names both."""
    for order in (names, names[::-1]):
        with pytest.raises(ValueError, match=rf"(?=.*\b{names[0]}\b)(?=.*\b{names[1]}\b).*take one"):
            _wrapped(order)


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("method", OPTIMIZERS)
def test_agents_state_eps_and_train_every_parameter(method, name):
    """Stable-Baselines3 would give another eps to a wrapped Adam; every parameter is in the optimizer."""
    model = build(name, {method: mitigations.build(method)})
    optimizer = model.policy.optimizer
    assert {group["eps"] for group in optimizer.param_groups} == {{"ppo": 1e-5, "dqn": 1e-8}[name]}
    network = model.policy if name == "ppo" else model.q_net
    trained = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(trained) == sorted(id(p) for p in network.parameters())
    assert {group["lr"] for group in optimizer.param_groups} == {{"ppo": 3e-4, "dqn": 1e-4}[name]}


@pytest.mark.parametrize("names", STACKS, ids="-".join)
def test_the_state_of_the_optimizer_round_trips(names):
    """Loaded into another optimizer, the state continues the very same run."""
    learner, methods = _wrapped(names)
    train(learner, methods, 4)
    other, others = _wrapped(names)
    other.network.load_state_dict(learner.network.state_dict())
    other.optimizer.load_state_dict(copy.deepcopy(learner.optimizer.state_dict()))
    other.rng.set_state(learner.rng.get_state())
    begin(other, others)
    for each, its in ((learner, methods), (other, others)):
        train(each, its, 3, batches=torch.Generator().manual_seed(5))
    a, b = snapshot(learner), snapshot(other)
    assert_bitwise({k: v for k, v in a.items() if "target" not in k}, {k: v for k, v in b.items() if "target" not in k})
