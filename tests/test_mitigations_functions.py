"""Mitigations of function and structure, against second implementations after the papers and numbers by hand."""

import copy
import math

import numpy as np
import pytest
import torch
from stable_baselines3 import DQN, PPO
from torch import nn

from lopgym.agents.attach import Plasticity
from lopgym.agents.mitigations.c_chain import CChain
from lopgym.agents.mitigations.fire import Fire, isometry
from lopgym.agents.mitigations.hare_tortoise import HareTortoise
from lopgym.agents.mitigations.infer import InFeR
from lopgym.agents.mitigations.pfo import PFO
from lopgym.agents.mitigations.plasticity_injection import PlasticityInjection
from lopgym.agents.network import Trunk
from tests import training
from tests.learners import (
    LEARNERS,
    actor_critic,
    assert_bitwise,
    backward,
    begin,
    observe,
    one_layer,
    q_learner,
    snapshot,
    train,
)


def _batch(stem="mlp", n=16, seed=3):
    return observe(stem, n, torch.Generator().manual_seed(seed))


@torch.no_grad()
def _outputs(network, observations=None):
    return network(_batch() if observations is None else observations)


def _close(ours, theirs, tolerance=1e-6):
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def _gradients(network):
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


# --- plasticity injection


class _Injected(nn.Module):
    """Three heads on an encoder, as the paper draws them: one that learns, and two that are frozen."""

    def __init__(self, block, old, fresh):
        super().__init__()
        self.encoder = nn.Sequential(block.incoming, nn.ReLU())
        self.theta, self.theta1, self.theta2 = old.requires_grad_(False), fresh, copy.deepcopy(fresh)
        self.theta2.requires_grad_(False)

    def forward(self, x):
        z = self.encoder(x)
        return self.theta(z) + self.theta1(z) - self.theta2(z)


def _head_of(network, name):
    """Copy the last hidden layer of a trunk and its output map."""
    block = network.trunks[name].blocks[-1]
    return copy.deepcopy(nn.Sequential(block.incoming, nn.ReLU(), network.heads[name]))


@pytest.mark.parametrize("make", [q_learner, actor_critic])
def test_injection_is_the_papers_three_heads(make):
    """Twenty updates later outputs equal those of a second network, built of three heads, trained by its own Adam."""
    learner, method = make(), PlasticityInjection()
    train(learner, [], 7)
    names = list(learner.network.trunks)
    old = {name: _head_of(learner.network, name) for name in names}
    encoders = {name: copy.deepcopy(learner.network.trunks[name].blocks[0]) for name in names}
    memories = {name: learner.network.trunks[name].blocks[0].incoming for name in names}
    memories = {n: [copy.deepcopy(learner.optimizer.state[p]) for p in m.parameters()] for n, m in memories.items()}
    method.act(learner)
    second = {n: _Injected(encoders[n], old[n], _head_of(learner.network, n).requires_grad_(True)) for n in names}
    trained = [p for model in second.values() for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=1e-2)
    for name in names:
        for parameter, memory in zip(second[name].encoder.parameters(), memories[name], strict=True):
            optimizer.state[parameter] = memory
    batches = torch.Generator().manual_seed(5)
    train(learner, [method], 20, batches=torch.Generator().manual_seed(5), per_task=10)
    for _ in range(20):
        optimizer.zero_grad()
        x = observe("mlp", 16, batches)
        sum(((model(x) - i) ** 2).mean() for i, model in enumerate(second.values(), start=1)).backward()
        optimizer.step()
    seen = _batch()
    ours = learner.network(seen)
    for name in names:
        _close(ours[name], second[name](seen), 2e-6)


@pytest.mark.parametrize("layers", [1, 2, 9])
@pytest.mark.parametrize("name", LEARNERS)
def test_injection_preserves_the_function(name, layers):
    """Not a bit of any output changes; the target is synchronised; what was in the head is new and unremembered."""
    make, stem = LEARNERS[name]
    learner = make(stem)
    train(learner, [], 7, stem=stem)
    seen, weights = _batch(stem), snapshot(learner)
    before = _outputs(learner.network, seen)
    PlasticityInjection(layers=layers).act(learner)
    assert_bitwise(_outputs(learner.network, seen), before)
    if learner.target is not None:
        assert_bitwise(_outputs(learner.target, seen), before)
    now = learner.network.state_dict()
    changed = {key for key, value in now.items() if not torch.equal(value, weights[f"network.{key}"])}
    depth = len(learner.network.trunks[next(iter(learner.network.trunks))].blocks)
    kept = {f"blocks.{i}." for i in range(max(depth - layers, 0))}
    assert changed == {key for key in now if key != "log_std" and not any(part in key for part in kept)}
    forgotten = {key for key, p in learner.network.named_parameters() if p not in learner.optimizer.state}
    assert forgotten == changed


def test_injection_freezes_what_it_says():
    """The frozen parts get no gradient and never move; every parameter of the fresh head does; it happens once."""
    learner, method = q_learner(), PlasticityInjection()
    train(learner, [method], 20)
    frozen = copy.deepcopy(method.state_dict()["frozen"])
    assert frozen["q.head"]["old"].keys() == frozen["q.head"]["new"].keys()
    start = {key: value.clone() for key, value in learner.network.state_dict().items()}
    train(learner, [method], 40)
    for which in ("old", "new"):
        assert_bitwise(method.state_dict()["frozen"]["q.head"][which], frozen["q.head"][which])
    (graft,) = {hook.__self__ for hook in learner.heads["q.head"]._forward_hooks.values()}
    parts = [*graft._old.parameters(), *graft._new.parameters()]
    assert not any(p.requires_grad or p.grad is not None for p in parts)
    now = learner.network.state_dict()
    assert [key for key in now if torch.equal(now[key], start[key])] == []


def test_injection_comes_back_with_its_state():
    """A new network that is given weights and state says what the old one says, and so does its target."""
    learner, method = q_learner(), PlasticityInjection()
    train(learner, [method], 30)
    other, resumed = q_learner(seed=4), PlasticityInjection()
    other.network.load_state_dict(learner.network.state_dict())
    other.target.load_state_dict(learner.target.state_dict())
    resumed.load_state_dict(method.state_dict())
    for _ in range(2):  # a second start of training adds nothing
        begin(other, [resumed])
    assert_bitwise(_outputs(other.network), _outputs(learner.network))
    assert_bitwise(_outputs(other.target), _outputs(learner.target))


def test_injected_networks_can_be_copied():
    """A deep copy says the same, has frozen parts of its own, and can be taken with a pass left half done."""
    learner = q_learner()
    PlasticityInjection().act(learner)
    train(learner, [], 3)
    learner.network.trunks["q"](_batch())  # its head has not run: what it was given waits, graph and all
    twin = copy.deepcopy(learner.network)
    said = _outputs(learner.network)
    assert_bitwise(_outputs(twin), said)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    twin(_batch(n=3))
    assert_bitwise(_outputs(learner.network), said)


@pytest.mark.parametrize("name", training.ALGORITHMS)
def test_injection_inside_stable_baselines(name):
    """In PPO's actor and critic and in DQN: an act between rollouts changes no output, and training goes on."""
    method = PlasticityInjection()
    model, callback = training.train(name, {"plasticity_injection": method}, steps=200, task=200)
    learner = callback.learner
    heads = learner.heads
    assert not method.state_dict()["frozen"]
    seen = learner.observations(8)
    said = {key: _said(learner, head, seen) for key, head in heads.items()}
    method.act(learner)
    for key, head in heads.items():
        assert torch.equal(_said(learner, head, seen), said[key])
    start = {key: value.clone() for key, value in learner.network.state_dict().items()}
    model.learn(100, reset_num_timesteps=False)
    now = learner.network.state_dict()
    assert [key for key in now if torch.equal(now[key], start[key])] == []
    assert model.predict(np.zeros(model.observation_space.shape, np.float32))


@pytest.mark.parametrize(
    "make",
    [
        lambda: PPO("CnnPolicy", training.Screen(36), n_steps=16, batch_size=16, n_epochs=1, device="cpu"),
        lambda: DQN("MlpPolicy", "CartPole-v1", learning_starts=8, device="cpu"),
    ],
    ids=["ppo, one trunk for two heads", "dqn"],
)
def test_injection_into_stock_policies(make):
    """Policies that others built keep their function as well; what two heads share is drawn once."""
    model, method = make(), PlasticityInjection()
    callback = Plasticity(mitigations={"plasticity_injection": method}, steps_per_task=10_000)
    model.learn(16, callback=callback)
    learner = callback.learner
    seen = learner.observations(8)
    said = {key: _said(learner, head, seen) for key, head in learner.heads.items()}
    method.act(learner)
    for key, head in learner.heads.items():
        assert torch.equal(_said(learner, head, seen), said[key])
    model.learn(16, reset_num_timesteps=False)


def _said(learner, head, observations):
    found = []
    hook = head.register_forward_hook(lambda module, inputs, output: found.append(output))
    with torch.no_grad():
        learner.forward(observations)
    hook.remove()
    return found[-1]


def test_injection_refuses_modules_whose_order_it_cannot_know():
    """A hidden layer in a module of somebody else's making is refused by its name."""
    with pytest.raises(TypeError, match=r"^plasticity_injection: q.hidden0 is part of a Tiny, which says nothing"):
        PlasticityInjection().act(one_layer([[1.0]], [[1.0]]))


# --- Hare and Tortoise


@pytest.mark.parametrize(("choice", "steps"), [("keep", 5), ("reset_moments", 5), ("clear", None)])
def test_hare_tortoise_by_hand(choice, steps):
    """The average of 8, then 4, 2, 0 at decay 1/2 is 6, 4, 2, and every third update the weight is set to it."""
    learner = one_layer([[8.0]], [[8.0]])
    learner.network.hidden.weight.grad = torch.zeros(1, 1)
    for _ in range(5):
        learner.optimizer.step()
    learner.optimizer.state[learner.network.hidden.weight]["exp_avg"].fill_(7.0)
    method, reports = HareTortoise(decay=0.5, every=3, optimizer=choice), []
    learner.report = reports.append
    method.begin(learner)
    weight, seen = learner.network.hidden.weight, []
    for learner.updates, value in ((1, 4.0), (2, 2.0), (3, 0.0)):
        with torch.no_grad():
            weight.fill_(value)
        method.after_step(learner)
        seen.append((weight.item(), method.state_dict()["slow"]["hidden.weight"].item()))
    assert seen == [(4.0, 6.0), (2.0, 4.0), (2.0, 2.0)]
    assert reports == [{"resets": 1}]
    assert learner.target.hidden.weight.item() == 8.0
    memory = learner.optimizer.state.get(weight)
    if steps is None:
        assert memory is None
    else:
        assert memory["step"] == steps
        assert memory["exp_avg"].item() == (7.0 if choice == "keep" else 0.0)


def test_hare_tortoise_averages_all_but_log_std():
    """At a reset each tensor becomes its own average, reckoned apart; `log_std` stays."""
    learner, method = q_learner(), HareTortoise(decay=0.8, every=10)
    begin(learner, [method])
    slow = {key: value.double() for key, value in learner.network.state_dict().items()}
    for _ in range(10):
        before = learner.updates
        train(learner, [], 1, batches=torch.Generator().manual_seed(before))
        slow = {key: 0.8 * slow[key] + 0.2 * value.double() for key, value in learner.network.state_dict().items()}
        log_std = learner.network.log_std.clone()
        method.after_step(learner)
    for key, value in learner.network.state_dict().items():
        if key == "log_std":
            assert torch.equal(value, log_std)
        else:
            _close(value.double(), slow[key])


# --- FIRE


def _newton_schulz_by_values(weight, iterations):
    """Iterate s <- 1.5 s - 0.5 s^3 on singular values of a matrix of Frobenius norm 1, in double precision."""
    left, values, right = np.linalg.svd(weight.double().numpy(), full_matrices=False)
    values = values / math.sqrt((values**2).sum())
    for _ in range(iterations):
        values = 1.5 * values - 0.5 * values**3
    return left @ np.diag(values) @ right


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (1, 6)])
@pytest.mark.parametrize("iterations", [1, 10, 40])
def test_fire_is_newton_schulz(shape, iterations):
    """The projection equals the iteration on singular values, and in the limit the polar factor, times the scale."""
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    ours, scale = isometry(weight, iterations), math.sqrt(shape[0] / shape[1])
    _close(ours.double(), torch.as_tensor(scale * _newton_schulz_by_values(weight, iterations)))
    if iterations == 40:
        left, _, right = np.linalg.svd(weight.double().numpy(), full_matrices=False)
        _close(ours.double(), torch.as_tensor(scale * left @ right), 3e-6)


def test_fire_projects_a_kernel_place_by_place():
    """Each place is projected by itself, and scaled by the number of places."""
    weight = torch.randn((4, 2, 3, 2), generator=torch.Generator().manual_seed(1))
    ours = isometry(weight, 10)
    for i in range(3):
        for j in range(2):
            theirs = math.sqrt(4 / 2) / 6 * _newton_schulz_by_values(weight[:, :, i, j], 10)
            _close(ours[:, :, i, j].double(), torch.as_tensor(theirs))


def test_fire_leaves_zero_and_isometries_where_they_are():
    """A weight of zeros stays finite; what is projected already stays, up to rounding."""
    assert torch.equal(isometry(torch.zeros(3, 2), 10), torch.zeros(3, 2))
    projected = isometry(torch.randn((5, 3), generator=torch.Generator().manual_seed(1)), 40)
    _close(isometry(projected, 40), projected, 1e-5)


@pytest.mark.parametrize("heads", [False, True])
@pytest.mark.parametrize("name", LEARNERS)
def test_fire_touches_weights_alone(name, heads):
    """Weights of hidden layers are projected, those of heads if asked; the rest stays, and the target follows."""
    make, stem = LEARNERS[name]
    learner, reports = make(stem), []
    learner.report = reports.append
    train(learner, [], 5, stem=stem)
    before = snapshot(learner)
    Fire(heads=heads, iterations=3).act(learner)
    changed = {key for key, p in learner.network.state_dict().items() if not torch.equal(p, before[f"network.{key}"])}
    weights = {key for key in learner.network.state_dict() if key.endswith("weight")}
    assert changed == {key for key in weights if heads or not key.startswith("heads.")}
    assert reports == [{"projections": len(changed)}]
    for key in changed:
        assert torch.equal(learner.network.state_dict()[key], isometry(before[f"network.{key}"], 3))
    if learner.target is not None:
        assert_bitwise(learner.target.state_dict(), learner.network.state_dict())
    assert all(torch.equal(v, before[k]) for k, v in snapshot(learner).items() if k.startswith("optimizer."))


# --- C-CHAIN


@pytest.mark.parametrize("make", [q_learner, actor_critic])
def test_c_chain_is_the_gradient_of_scaled_churn(make):
    """For six updates the gradient is that of loss + lambda * churn, by copies of the network before each update."""
    learner, method = make(), CChain(share=0.3, decay=0.9, batch=8)
    (acting, *_) = learner.network.trunks
    rows, batches = torch.Generator().manual_seed(2), torch.Generator().manual_seed(8)
    history, losses, churns, reference = [], [], [], None
    for t in range(6):
        x = observe("mlp", 16, batches)
        backward(learner, x)
        plain, network = _gradients(learner.network), copy.deepcopy(learner.network)
        method.on_gradient(learner)
        expected = dict(plain)
        if t:
            with torch.no_grad():
                said = history[-1](reference)[acting]
            churn = ((network(reference)[acting] - said) ** 2).mean()
            reached = {n: p for n, p in network.named_parameters() if f".{acting}." in n}
            pulls = dict(zip(reached, torch.autograd.grad(churn, list(reached.values())), strict=True))
            losses.append(math.sqrt(sum(float(plain[n].double().square().sum()) for n in reached)))
            churns.append(math.sqrt(sum(float(pull.double().square().sum()) for pull in pulls.values())))
            weights = [0.9 ** (len(losses) - 1 - i) for i in range(len(losses))]
            ratio = np.dot(weights, losses) / np.dot(weights, churns)
            expected |= {n: plain[n] + 0.3 * ratio * pull for n, pull in pulls.items()}
        for name, gradient in _gradients(learner.network).items():
            _close(gradient, expected[name], 2e-5 if t else 0.0)
        history.append(network)
        reference = observe("mlp", 8, rows)
        learner.optimizer.step()


def test_c_chain_takes_cross_entropy_for_discrete_actions():
    """The gradient by logits z of -sum p_old log softmax(z) is softmax(z) - p_old; a critic says nothing of it."""
    learner = one_layer([[1.0]], [[1.0], [0.0]])
    learner.heads = {"actor.head": learner.network.head}
    learner.layers, method = (), CChain(share=1.0, decay=0.0, batch=3)
    bias = learner.network.head.bias
    for parameter in learner.network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    method.on_gradient(learner)
    with torch.no_grad():
        bias.copy_(torch.tensor([-1.0, math.log(3.0)]))  # logits were (1, 0); now they are (0, log 3)
    bias.grad.copy_(torch.tensor([2.0, 0.0]))
    method.on_gradient(learner)
    old = math.e / (math.e + 1)
    error = torch.tensor([0.25 - old, 0.75 - (1 - old)])
    by_bias = bias.grad - torch.tensor([2.0, 0.0])
    _close(by_bias / by_bias.norm(), error / error.norm())
    pull = learner.network.hidden.weight.grad.item() / by_bias[0].item()
    assert pull == pytest.approx(1.0, abs=1e-5)  # d z_0 / d w = 1 and d z_1 / d w = 0, at x = 1
    length = math.sqrt(
        sum(
            float((p.grad - (torch.tensor([2.0, 0.0]) if p is bias else 0)).square().sum())
            for p in learner.network.parameters()
        )
    )
    assert length == pytest.approx(2.0, abs=1e-5), "at decay 0 the pull is as long as share times the loss's gradient"


# --- PFO


def _pre_activations(network, name, x, *, every):
    h, found = x, []
    for block in network.trunks[name].blocks:
        z = block.incoming(h)
        h = z.relu()
        found.append(z)
    return found if every else found[-1:]


@pytest.mark.parametrize("layers", ["last", "all"])
@pytest.mark.parametrize("make", [q_learner, actor_critic])
def test_pfo_is_the_gradient_of_its_penalty(make, layers):
    """The pull is towards the target's pre-activations, or those at the start of the rollout; the critic is free."""
    learner, method = make(), PFO(strength=0.7, layers=layers, batch=8)
    (acting, *_) = learner.network.trunks
    rows, old = torch.Generator().manual_seed(2), None
    for t, learner.steps in enumerate((100, 100, 100, 200, 200)):
        backward(learner, _batch(seed=t))
        plain = _gradients(learner.network)
        if learner.target is not None:
            old = learner.target
        elif t in (0, 3):
            old = copy.deepcopy(learner.network)
        method.on_gradient(learner)
        seen, twin = observe("mlp", 8, rows), copy.deepcopy(learner.network)
        pairs = zip(*(_pre_activations(n, acting, seen, every=layers == "all") for n in (twin, old)), strict=True)
        twin.zero_grad()
        now, then = (torch.cat(side, dim=1) for side in zip(*pairs, strict=True))
        (0.7 * ((now - then.detach()) ** 2).mean()).backward()
        pulls = _gradients(twin)
        assert not any("critic" in name or "heads" in name for name in pulls)
        for name, gradient in _gradients(learner.network).items():
            _close(gradient, plain[name] + pulls.get(name, 0.0))
        learner.optimizer.step()
    assert any(pull.abs().max() > 1e-4 for pull in pulls.values())


# --- InFeR


@pytest.mark.parametrize("name", LEARNERS)
def test_infer_is_the_gradient_of_its_regression(name):
    """The gradient is that of loss + alpha * E sum_i (g_i - beta g_i0)^2, by a copy of the network at the start."""
    make, stem = LEARNERS[name]
    method = InFeR(alpha=0.2, beta=3.0, heads=4, batch=8)
    learner = make(stem, [method])
    begin(learner, [method])
    start, rows = copy.deepcopy(learner.network), torch.Generator().manual_seed(2)
    for t in range(3):
        backward(learner, _batch(stem, seed=t))
        plain = {key: 0 if p.grad is None else p.grad.clone() for key, p in learner.network.named_parameters()}
        method.on_gradient(learner)
        seen, twin = observe(stem, 8, rows), copy.deepcopy(learner.network)
        twin.zero_grad()
        for key, trunk in twin.trunks.items():
            now, then = (
                t.beside[0].weight @ t(seen).T + t.beside[0].bias[:, None] for t in (trunk, start.trunks[key])
            )  # (heads, B)
            (0.2 * ((now - 3.0 * then.detach()) ** 2).sum() / 8).backward()
        pulls = _gradients(twin)
        for key, gradient in _gradients(learner.network).items():
            _close(gradient, plain[key] + pulls.get(key, 0), 1e-5)
        learner.optimizer.step()


@pytest.mark.parametrize("name", training.ALGORITHMS)
def test_infer_heads_are_trained(name):
    """In Stable-Baselines3's agents the auxiliary heads are parameters of the network that its optimizer moves."""
    method = InFeR(heads=3)
    model, callback = training.train(name, {"infer": method}, steps=100, task=100)
    learner = callback.learner
    trunks = [module for module in learner.network.modules() if isinstance(module, Trunk)]
    assert len(trunks) == (2 if name == "ppo" else 1)
    start, now = method.state_dict()["start"], dict(learner.network.named_parameters())
    moved = [key for key in now if "beside" in key and not torch.equal(now[key], start[key])]
    assert len(moved) == 2 * len(trunks)
    held = {id(p) for group in model.policy.optimizer.param_groups for p in group["params"]}
    assert {id(p) for p in learner.network.parameters()} <= held
