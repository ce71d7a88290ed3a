"""Mitigations that act on all weights, on gradients or on the shape of the network, against what they promise."""

import pytest
import torch
from torch import nn

from lopgym.agents.mitigations.dropout import Dropout
from lopgym.agents.mitigations.fresh import Fresh
from lopgym.agents.mitigations.gradient_noise import GradientNoise
from lopgym.agents.mitigations.l2_init import L2Init
from lopgym.agents.mitigations.layer_norm import LayerNorm
from lopgym.agents.mitigations.shrink_perturb import ShrinkPerturb
from tests.learners import LEARNERS, assert_bitwise, backward, begin, observe, one_layer, q_learner, snapshot, train


def test_shrink_perturb_mixes_with_a_fresh_network():
    """Theta becomes half of itself and half of a network that the initialisers drew; the target follows."""
    learner = q_learner()
    train(learner, [], 7)
    before, state = snapshot(learner), learner.rng.get_state()
    drawn = learner.fresh()
    learner.rng.set_state(state)
    ShrinkPerturb(shrink=0.5, perturb=0.5).on_task_change(learner)
    after = snapshot(learner)
    for key in (k for k in drawn if k != "log_std"):
        torch.testing.assert_close(after[f"network.{key}"], 0.5 * before[f"network.{key}"] + 0.5 * drawn[key])
        assert torch.equal(after[f"target.{key}"], after[f"network.{key}"])
    for key in (k for k in before if k.startswith("optimizer.")):
        assert torch.equal(before[key], after[key])


def test_soft_shrink_perturb_noise_has_its_size():
    """Gaussian noise has mean 0 and the standard deviation asked for, on top of the shrunk weights."""
    learner = one_layer([[2.0]] * 4000, [[2.0] * 4000])
    learner.updates = 4
    ShrinkPerturb(shrink=0.9, perturb=0.3, when="updates", every=2, noise="gaussian").after_step(learner)
    weights = learner.network.hidden.weight.detach()
    assert weights.mean() == pytest.approx(1.8, abs=0.03)  # 6 standard errors of 0.3 / sqrt(4000)
    assert weights.std() == pytest.approx(0.3, rel=0.07)
    assert learner.target.hidden.weight.unique().tolist() == [2.0]


def test_shrink_perturb_keeps_its_period():
    """By updates it acts every third one and at no task change; by task at no update."""
    learner, norms = one_layer([[8.0]], [[8.0]]), []
    by_updates = ShrinkPerturb(shrink=0.5, perturb=0.0, when="updates", every=3)
    by_task = ShrinkPerturb(shrink=0.5, perturb=0.0)
    for learner.updates in (1, 2, 3, 4, 5, 6):
        by_updates.after_step(learner)
        by_updates.on_task_change(learner)
        by_task.after_step(learner)
        norms.append(learner.network.hidden.weight.item())
    assert norms == [8.0, 8.0, 4.0, 4.0, 4.0, 2.0]


@pytest.mark.parametrize(("choice", "steps"), [("keep", 5), ("reset_moments", 5), ("clear", None)])
def test_shrink_perturb_and_the_optimizer(choice, steps):
    """Each choice does to moments and step count what it says; `log_std` loses its own only if all is cleared."""
    learner = q_learner()
    train(learner, [], 5)
    before = snapshot(learner)
    ShrinkPerturb(optimizer=choice).on_task_change(learner)
    state = learner.optimizer.state
    if steps is None:
        assert not state
        return
    assert all(memory["step"] == steps for memory in state.values())
    weight = learner.layers[0].incoming.weight
    kept = before["optimizer.trunks.q.blocks.0.incoming.weight.exp_avg"]
    assert torch.equal(state[weight]["exp_avg"], kept if choice == "keep" else torch.zeros_like(kept))
    assert state[learner.network.log_std]["exp_avg"].any()


def test_fresh_starts_over():
    """After a task change weights are newly drawn, the optimizer knows nothing, and the target equals the network."""
    learner = q_learner()
    train(learner, [], 5)
    state = learner.rng.get_state()
    drawn = learner.fresh()
    learner.rng.set_state(state)
    method = Fresh()
    method.on_task_change(learner)
    assert not learner.optimizer.state
    assert_bitwise(drawn, learner.network.state_dict())
    assert_bitwise(drawn, learner.target.state_dict())
    method.on_task_change(learner)
    assert not torch.equal(learner.heads["q.head"].weight, drawn["heads.q.weight"]), "every task has its own draw"


@pytest.mark.parametrize("name", LEARNERS)
def test_l2_init_is_the_gradient_of_its_penalty(name):
    """The gradient equals autograd's of loss + strength / 2 * ||theta - theta_0||^2, heads included."""
    make, stem = LEARNERS[name]
    learner, method = make(stem), L2Init(strength=0.3)
    begin(learner, [method])
    start = [p.detach().clone() for p in learner.weights_and_biases()]
    train(learner, [], 5, stem=stem)
    inputs = observe(stem, 8, torch.Generator().manual_seed(2))
    backward(learner, inputs)
    method.on_gradient(learner)
    ours = {key: p.grad.clone() for key, p in learner.network.named_parameters()}
    backward(learner, inputs)
    (0.15 * sum(((p - s) ** 2).sum() for p, s in zip(learner.weights_and_biases(), start, strict=True))).backward()
    for key, parameter in learner.network.named_parameters():
        torch.testing.assert_close(ours[key], parameter.grad)


def test_l2_init_begins_at_the_beginning_even_if_it_acts_late():
    """`begin` fixes theta_0; without it, the first pull does, and is none."""
    early, late = L2Init(strength=1.0), L2Init(strength=1.0)
    learner = q_learner()
    begin(learner, [early])
    train(learner, [], 5)
    weight = learner.heads["q.head"].weight
    for method, pulled in ((early, True), (late, False)):
        backward(learner, torch.ones(2, 4))
        plain = weight.grad.clone()
        method.on_gradient(learner)
        assert torch.equal(weight.grad, plain) != pulled


def test_gradient_noise_has_its_size():
    """Noise is N(0, (sigma_t ||g||)^2) in every entry of a tensor, and sigma_t falls by `decay` an update."""
    parameter = nn.Parameter(torch.zeros(100, 100))
    learner = q_learner()
    learner.optimizer = torch.optim.SGD([parameter], lr=1.0)
    method, gradient = GradientNoise(sigma=0.1, decay=0.5), torch.linspace(-1, 1, 10_000).reshape(100, 100)
    for t in range(3):
        parameter.grad = gradient.clone()
        method.on_gradient(learner)
        noise = (parameter.grad - gradient) / (0.1 * 0.5**t * gradient.norm())
        assert noise.mean() == pytest.approx(0.0, abs=0.05)  # 5 standard errors of 1 / 100
        assert noise.std() == pytest.approx(1.0, abs=0.04)
        kurtosis = (noise**4).mean() / (noise**2).mean() ** 2
        assert kurtosis == pytest.approx(3.0, abs=0.3)


def test_gradient_noise_scales_with_each_tensor():
    """Norms are of one tensor each, and a zero gradient stays exactly zero."""
    small, large, zero, unused = (nn.Parameter(torch.zeros(500)) for _ in range(4))
    learner = q_learner()
    learner.optimizer = torch.optim.SGD([small, large, zero, unused], lr=1.0)
    small.grad, large.grad, zero.grad = torch.full((500,), 1e-3), torch.ones(500), torch.zeros(500)
    GradientNoise(sigma=0.01).on_gradient(learner)
    assert (large.grad - 1).std() == pytest.approx(0.01 * 500**0.5, rel=0.2)
    assert (small.grad - 1e-3).std() == pytest.approx(1e-5 * 500**0.5, rel=0.2)
    assert not zero.grad.any()
    assert unused.grad is None


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("name", LEARNERS)
def test_layer_norm_stands_before_every_activation(name, affine):
    """What every activation reads has mean 0 and variance 1 for each sample; gains exist only if asked for."""
    make, stem = LEARNERS[name]
    learner, seen = make(stem, [LayerNorm(affine=affine)]), []
    for layer in learner.layers:
        layer.activation.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].flatten(1)))
    learner.network(10 * observe(stem, 8, torch.Generator().manual_seed(0)))
    assert len(seen) == len(learner.layers)
    for x in seen:
        torch.testing.assert_close(x.mean(1), torch.zeros(8), atol=1e-5, rtol=0)
        torch.testing.assert_close(x.var(1, unbiased=False), torch.ones(8), atol=1e-2, rtol=0)
    gains = [key for key, _ in learner.network.named_parameters() if ".before." in key]
    assert len(gains) == (2 * len(learner.layers) if affine else 0)


def test_dropout_silences_its_share_in_training_alone():
    """A tenth of the outputs is 0 and the mean is kept; in evaluation and at p = 0 there is nothing of it."""
    learner = q_learner(methods=[Dropout(p=0.1)])
    block = learner.network.trunks["q"].blocks[0]
    ones = torch.ones(2000, 6)
    torch.manual_seed(0)
    out = block.after(ones)
    assert (out == 0).float().mean() == pytest.approx(0.1, abs=0.02)
    assert (out == 0).any(1).float().mean() == pytest.approx(1 - 0.9**6, abs=0.05), "each output by itself"
    assert out.max() == pytest.approx(1 / 0.9)
    block.eval()
    assert torch.equal(block.after(ones), ones)
    assert len(q_learner(methods=[Dropout(p=0.0)]).network.trunks["q"].blocks[0].after) == 0
