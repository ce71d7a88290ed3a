"""Regularisers of weights and outputs against autograd of their penalties, second implementations, hand numbers."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lopgym.agents.mitigations.c_chain import CChain
from lopgym.agents.mitigations.dropout import Dropout
from lopgym.agents.mitigations.extra_passes import given as given_to
from lopgym.agents.mitigations.extra_passes import put_out
from lopgym.agents.mitigations.l1_init import L1Init
from lopgym.agents.mitigations.l2 import L2
from lopgym.agents.mitigations.layer_norm import LayerNorm
from lopgym.agents.mitigations.leaky import Leaky
from lopgym.agents.mitigations.listener import Listener
from lopgym.agents.mitigations.normalise_and_project import NormaliseAndProject
from lopgym.agents.mitigations.parseval import Parseval
from lopgym.agents.mitigations.power_iteration import singular_vectors
from lopgym.agents.mitigations.spectral import Spectral
from lopgym.agents.mitigations.spectral_decoupling import SpectralDecoupling
from lopgym.agents.mitigations.spectral_normalisation import SpectralNormalisation
from lopgym.agents.mitigations.wasserstein_init import WassersteinInit, of_same_rank
from lopgym.agents.mitigations.weight_clipping import WeightClipping
from tests.learners import LEARNERS, assert_bitwise, backward, begin, observe, one_layer, q_learner, snapshot, train

EXACT = {"atol": 1e-6, "rtol": 1e-6}


def _double(learner):
    """Make a learner compute in double precision, so that 1e-6 is a test of the formula and not of rounding."""
    learner.network.double()
    return learner


def _gradients(learner, method, stem):
    """Return the gradient that `method` leaves by parameter name, and the loss's own, for one batch."""
    inputs = observe(stem, 8, torch.Generator().manual_seed(2)).to(next(learner.network.parameters()).dtype)
    backward(learner, inputs)
    plain = {key: p.grad.clone() for key, p in learner.network.named_parameters()}
    method.on_gradient(learner)
    return {key: p.grad.clone() for key, p in learner.network.named_parameters()}, plain


def _assert_penalty(learner, ours, plain, penalty):
    """Compare the change of the gradients with autograd of `penalty`; what that does not reach is bitwise as it was."""
    named = dict(learner.network.named_parameters())
    expected = torch.autograd.grad(penalty, list(named.values()), allow_unused=True)
    for (key, _), gradient in zip(named.items(), expected, strict=True):
        if gradient is None:
            assert torch.equal(ours[key], plain[key]), key
        else:
            torch.testing.assert_close(ours[key] - plain[key], gradient, msg=key, **EXACT)
    assert any(gradient is not None and gradient.any() for gradient in expected)


def _moved(name, methods=()):
    """Return a double-precision learner that trained a little since its methods began, and its first weights."""
    make, stem = LEARNERS[name]
    learner = make(stem, methods)
    begin(learner, methods)
    start = [p.detach().clone().double() for p in learner.weights_and_biases()]
    train(learner, [], 5, stem=stem)
    return _double(learner), start, stem


@pytest.mark.parametrize("name", LEARNERS)
def test_l2_is_the_gradient_of_its_penalty(name):
    """It adds autograd's gradient of strength / 2 * ||theta||^2, heads included, `log_std` not."""
    learner, _, stem = _moved(name)
    ours, plain = _gradients(learner, L2(strength=0.3), stem)
    _assert_penalty(learner, ours, plain, 0.15 * sum((p**2).sum() for p in learner.weights_and_biases()))


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_l2_is_pytorchs_coupled_weight_decay(kind):
    """Ten updates equal, bit for bit up to 1e-6, those of an optimizer with `weight_decay` on the same parameters."""
    ours, theirs = q_learner(), q_learner()
    decayed = list(theirs.weights_and_biases())
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": [theirs.network.log_std]}]
    ours.optimizer, theirs.optimizer = kind(ours.network.parameters(), lr=1e-2), kind(groups, lr=1e-2)
    train(ours, [L2(strength=0.05)], 10)
    train(theirs, [], 10)
    for a, b in zip(ours.network.parameters(), theirs.network.parameters(), strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def test_l2_is_not_decoupled_decay():
    """Under Adam a weight without a gradient of its own falls by the learning rate, not by a share of itself."""
    learner = one_layer([[5.0]], [[1.0]])
    weight = learner.network.hidden.weight
    weight.grad = torch.zeros_like(weight)
    L2(strength=1e-3).on_gradient(learner)
    learner.optimizer.step()
    assert weight.item() == pytest.approx(5.0 - 1e-2, abs=1e-6)


@pytest.mark.parametrize("name", LEARNERS)
def test_l1_init_is_the_gradient_of_its_penalty(name):
    """It adds autograd's gradient of strength * ||theta - theta_0||_1, heads included."""
    method = L1Init(strength=0.3)
    learner, start, stem = _moved(name, [method])
    method.load_state_dict({"start": start})
    ours, plain = _gradients(learner, method, stem)
    distance = sum((p - s).abs().sum() for p, s in zip(learner.weights_and_biases(), start, strict=True))
    _assert_penalty(learner, ours, plain, 0.3 * distance)


def test_l1_init_rests_at_the_start():
    """Where a weight is where it began there is no pull: at first, none at all."""
    learner, method = q_learner(), L1Init(strength=0.3)
    begin(learner, [method])
    ours, plain = _gradients(learner, method, "mlp")
    assert_bitwise(ours, plain)


@pytest.mark.parametrize("name", LEARNERS)
def test_wasserstein_init_is_the_gradient_of_its_penalty(name):
    """It adds autograd's gradient, through `sort`, of strength / 2 * ||sort(theta) - sort(theta_0)||^2."""
    method = WassersteinInit(strength=0.3)
    learner, start, stem = _moved(name, [method])
    method.load_state_dict({"start": start})
    ours, plain = _gradients(learner, method, stem)
    distance = sum(
        ((p.flatten().sort().values - s.flatten().sort().values) ** 2).sum()
        for p, s in zip(learner.weights_and_biases(), start, strict=True)
    )
    _assert_penalty(learner, ours, plain, 0.15 * distance)


def test_wasserstein_init_by_hand():
    """Weights 5, 1, 3 that began as 0, 2, 1 are pulled to 2, 0, 1: their own ranks, not their own places."""
    learner, method = one_layer([[0.0], [2.0], [1.0]], [[1.0, 1.0, 1.0]]), WassersteinInit(strength=0.5)
    begin(learner, [method])
    weight = learner.network.hidden.weight
    with torch.no_grad():
        weight.copy_(torch.tensor([[5.0], [1.0], [3.0]]))
    weight.grad = torch.zeros_like(weight)
    method.on_gradient(learner)
    assert weight.grad.flatten().tolist() == [1.5, 0.5, 1.0]


def test_wasserstein_init_follows_a_state_that_is_loaded_in_mid_run():
    """Equal weights take the initial values in the order in which they stand, before a state is loaded and after it."""
    units = 64  # so many that a sort which is not stable shows
    learner, method = one_layer([[float(i)] for i in range(units)], [[1.0] * units]), WassersteinInit(strength=1.0)
    begin(learner, [method])
    weight, state = learner.network.hidden.weight, method.state_dict()
    with torch.no_grad():
        weight.fill_(3.0)
    state["start"][0] += 7
    for expected in ([3.0 - i for i in range(units)], [-4.0 - i for i in range(units)]):
        weight.grad = torch.zeros_like(weight)
        method.on_gradient(learner)
        assert weight.grad.flatten().tolist() == expected
        method.load_state_dict(state)


def test_wasserstein_init_leaves_a_permuted_network_alone():
    """A layer whose weights changed places, and nothing else, is pulled nowhere; `l1_init` pulls it."""
    learner = q_learner()
    methods = [WassersteinInit(strength=1.0), L1Init(strength=1.0)]
    begin(learner, methods)
    weight = learner.layers[1].incoming.weight
    with torch.no_grad():
        weight.copy_(weight.flip(0, 1))
    for method, pulls in zip(methods, (False, True), strict=True):
        weight.grad = torch.zeros_like(weight)
        method.on_gradient(learner)
        assert weight.grad.any() == pulls


@settings(derandomize=True, max_examples=30, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-10, 10, width=32)] * 2), min_size=1, max_size=12))
def test_ranks_give_the_nearest_arrangement(pairs):
    """No pairing of the two lists is nearer than that of equal ranks: it is the optimal transport on the line."""
    values, others = torch.tensor(pairs, dtype=torch.float64).T
    arranged = of_same_rank(values, others)
    assert sorted(arranged.tolist()) == sorted(others.tolist())
    cost = ((values[:, None] - others[None, :]) ** 2).numpy()
    from scipy.optimize import linear_sum_assignment

    assert ((values - arranged) ** 2).sum().item() == pytest.approx(cost[linear_sum_assignment(cost)].sum())


@settings(derandomize=True, max_examples=15, deadline=None)
@given(rows=st.integers(1, 6), columns=st.integers(1, 6), seed=st.integers(0, 1000))
def test_power_iteration_finds_the_largest_singular_value(rows, columns, seed):
    """After many steps u W v is sigma_1 of NumPy's SVD, and never above it before."""
    rng = np.random.default_rng(seed)
    matrix = torch.as_tensor(rng.normal(size=(rows, columns)))
    left = nn.functional.normalize(torch.as_tensor(rng.normal(size=rows)), dim=0)
    largest = np.linalg.svd(matrix.numpy(), compute_uv=False)[0]
    early, right = singular_vectors(matrix, left)
    assert early @ matrix @ right <= largest + 1e-9
    left, right = singular_vectors(matrix, left, 1000)
    assert (left @ matrix @ right).item() == pytest.approx(largest, rel=1e-6)


def test_power_iteration_survives_a_zero_matrix():
    """A layer at zero has no direction: the estimate stays finite and of unit length."""
    left, right = singular_vectors(torch.zeros(2, 3), torch.tensor([1.0, 0.0]))
    assert left.tolist() == [1.0, 0.0]
    assert right.tolist() == [0.0, 0.0, 0.0]


def _spectral_penalty(learner, k, norms=()):
    """Write the paper's penalty down once more, with the SVD in place of power iteration."""
    total = 0.0
    for _, module in learner.affines():
        total += (torch.linalg.matrix_norm(module.weight.flatten(1), ord=2) ** k - 1) ** 2
        total += (module.bias**2).sum() ** k
    for norm in norms:
        total += ((norm.weight - 1) ** 2).sum() + (norm.bias**2).sum() ** k
    return total


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("name", LEARNERS)
def test_spectral_is_the_gradient_of_its_penalty(name, k):
    """Once its vectors have settled, it adds autograd's gradient of the penalty with exact singular values."""
    learner, _, stem = _moved(name, [LayerNorm(affine=True)])
    method = Spectral(strength=0.3, k=k)
    method.load_state_dict(
        {key: torch.linalg.svd(module.weight.detach().flatten(1)).U[:, 0] for key, module in learner.affines()}
    )
    ours, plain = _gradients(learner, method, stem)
    norms = [m for m in learner.network.modules() if isinstance(m, nn.LayerNorm)]
    assert norms
    _assert_penalty(learner, ours, plain, 0.3 * _spectral_penalty(learner, k, norms))


def test_spectral_by_hand():
    """A 1 x 1 layer of weight 3 and bias 2: 2 k (3^k - 1) 3^(k-1) and 2 k 2^(2k-1), for k = 2 equal to 96 and 32."""
    learner = one_layer([[3.0]], [[1.0]])
    with torch.no_grad():
        learner.network.hidden.bias.fill_(2.0)
    for parameter in learner.network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    Spectral(strength=1.0, k=2).on_gradient(learner)
    assert learner.network.hidden.weight.grad.item() == pytest.approx(96.0, rel=1e-6)
    assert learner.network.hidden.bias.grad.item() == pytest.approx(32.0, rel=1e-6)
    assert learner.network.head.weight.grad.item() == pytest.approx(0.0, abs=1e-6), "sigma_1 = 1 is where it rests"


@pytest.mark.parametrize("name", LEARNERS)
def test_spectral_is_near_from_its_first_update(name):
    """Fifteen iterations from a random vector find 97 % of sigma_1 or more, in every layer."""
    learner, _, stem = _moved(name)
    method = Spectral(strength=0.3)
    _gradients(learner, method, stem)
    for key, module in learner.affines():
        matrix = module.weight.flatten(1)
        largest = torch.linalg.matrix_norm(matrix, ord=2)
        assert 0.97 * largest <= (method.state_dict()[key] @ matrix).norm() <= 1.000001 * largest, key


def test_spectral_brings_sigma_to_one():
    """Under the pull alone the largest singular value of every layer goes to 1, from below and from above."""
    learner, method = q_learner(), Spectral(strength=1.0)
    with torch.no_grad():
        learner.layers[0].incoming.weight.mul_(4)
    learner.optimizer = torch.optim.SGD(learner.network.parameters(), lr=1e-2)
    for _ in range(300):
        for parameter in learner.network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        method.on_gradient(learner)
        learner.optimizer.step()
    for _, module in learner.affines():
        assert torch.linalg.matrix_norm(module.weight, ord=2).item() == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("name", LEARNERS)
def test_parseval_is_the_gradient_of_its_penalty(name):
    """It adds autograd's gradient of strength (64 / units)^2 ||W W^T - s I||_F^2 of hidden layers; heads are free."""
    learner, _, stem = _moved(name)
    ours, plain = _gradients(learner, Parseval(strength=1e-4, scale=1.5), stem)
    penalty = 0.0
    for layer in learner.layers:
        rows = layer.incoming.weight.flatten(1)
        gram = rows @ rows.T - 1.5 * torch.eye(len(rows), dtype=rows.dtype)
        penalty += 1e-4 * (64 / len(rows)) ** 2 * torch.linalg.matrix_norm(gram, ord="fro") ** 2
    _assert_penalty(learner, ours, plain, penalty)


def test_parseval_by_hand():
    """Rows (3, 0) and (0, 1), scale 2: excess 7 and -1, gradient 4 * 32^2 * strength times (21, 0) and (0, -1)."""
    learner = one_layer([[3.0, 0.0], [0.0, 1.0]], [[1.0, 1.0]])
    weight = learner.network.hidden.weight
    weight.grad = torch.zeros_like(weight)
    Parseval(strength=1 / 1024).on_gradient(learner)
    assert weight.grad.tolist() == [[84.0, 0.0], [0.0, -4.0]]


def test_parseval_rests_at_stable_baselines_initialisation():
    """Orthogonal rows of gain sqrt(2), no more of them than inputs, feel no pull at the default scale."""
    learner, method = LEARNERS["actor_critic-mlp"][0]("mlp"), Parseval(strength=1.0)
    ours, plain = _gradients(learner, method, "mlp")
    weight = "trunks.actor.blocks.1.incoming.weight"  # 5 units of 6 inputs
    torch.manual_seed(0)
    with torch.no_grad():
        nn.init.orthogonal_(learner.layers[1].incoming.weight, math.sqrt(2))
    ours, plain = _gradients(learner, method, "mlp")
    assert (ours[weight] - plain[weight]).abs().max() < 1e-3  # of rounding, times 4 * (64 / 5)^2


@pytest.mark.parametrize("name", LEARNERS)
def test_weight_clipping_is_what_the_authors_clip(name):
    """Every weight and bias ends within kappa / sqrt(fan_in) of NumPy's reckoning; those inside are not touched."""
    make, stem = LEARNERS[name]
    learner = make(stem)
    with torch.no_grad():
        for parameter in learner.network.parameters():
            parameter.mul_(3).add_(0.1)
    before = {key: value.numpy().copy() for key, value in snapshot(learner).items()}
    WeightClipping(kappa=1.5).after_step(learner)
    after = {key: value.numpy() for key, value in snapshot(learner).items()}
    fans = {}
    for key in before:
        layer, _, what = key.rpartition(".")
        if key.startswith("network") and what == "weight":
            fans[layer] = math.prod(before[key].shape[1:])
    clipped = 0
    for key, was in before.items():
        layer, _, what = key.rpartition(".")
        expected = was
        if layer in fans:
            bound = np.float32(1.5 / math.sqrt(fans[layer]))
            expected = np.minimum(np.maximum(was, -bound), bound)
            clipped += int((expected != was).sum())
        np.testing.assert_allclose(after[key], expected, rtol=1e-6, atol=0, err_msg=key)
        assert np.array_equal(after[key][expected == was], was[expected == was]), key
    assert clipped > 10


def test_weight_clipping_leaves_the_target_until_it_follows():
    """The target is no part of the optimizer's step: it keeps its weights, and gets clipped ones when it is copied."""
    learner = one_layer([[7.0]], [[7.0]])
    WeightClipping(kappa=2.0).after_step(learner)
    assert learner.network.hidden.weight.item() == 2.0
    assert learner.target.hidden.weight.item() == 7.0
    learner.synchronise_target()
    assert learner.target.hidden.weight.item() == 2.0


@pytest.mark.parametrize("name", LEARNERS)
def test_normalise_and_project_keeps_lengths_and_outputs(name):
    """After every update each hidden layer is as long as it began; the projection changes no output, nor any head."""
    make, stem = LEARNERS[name]
    method = NormaliseAndProject()
    learner = make(stem, [method])
    begin(learner, [method])
    first = [_length(layer) for layer in learner.layers]
    seen = observe(stem, 32, torch.Generator().manual_seed(5))
    for _ in range(10):
        train(learner, [], 3, stem=stem)
        drifted, before = [_length(layer) for layer in learner.layers], learner.network(seen)
        heads = [head.weight.clone() for head in learner.heads.values()]
        method.after_step(learner)
        assert [_length(layer) for layer in learner.layers] == pytest.approx(first, rel=1e-6)
        assert drifted != pytest.approx(first, rel=1e-3)
        for key, output in learner.network(seen).items():
            torch.testing.assert_close(output, before[key], atol=2e-3, rtol=1e-3)  # epsilon of the norm
        for head, was in zip(learner.heads.values(), heads, strict=True):
            assert torch.equal(head.weight, was)


def _length(layer):
    return math.hypot(*np.concatenate([p.detach().double().numpy().ravel() for p in layer.incoming.parameters()]))


def test_normalise_and_project_by_hand():
    """A layer that began as (3, 4) and stands at (6, 8) with bias 0 returns to (3, 4); every second update only."""
    learner, method = one_layer([[3.0, 4.0]], [[1.0]]), NormaliseAndProject(every=2)
    begin(learner, [method])
    with torch.no_grad():
        learner.network.hidden.weight.mul_(2)
    for learner.updates, expected in ((1, [[6.0, 8.0]]), (2, [[3.0, 4.0]])):
        method.after_step(learner)
        assert learner.network.hidden.weight.tolist() == expected


def test_normalise_and_project_puts_norms_without_parameters_before_activations():
    """What every activation reads has mean 0 and variance 1, and there is no gain to drift in the weights' place."""
    learner, seen = q_learner(methods=[NormaliseAndProject()]), []
    for layer in learner.layers:
        layer.activation.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    learner.network(10 * observe("mlp", 8, torch.Generator().manual_seed(0)))
    assert len(seen) == 2
    for x in seen:
        torch.testing.assert_close(x.mean(1), torch.zeros(8), atol=1e-5, rtol=0)
        torch.testing.assert_close(x.var(1, unbiased=False), torch.ones(8), atol=1e-2, rtol=0)
    assert {*dict(learner.network.named_parameters())} == {*dict(q_learner().network.named_parameters())}


@pytest.mark.parametrize("name", LEARNERS)
def test_spectral_decoupling_is_the_gradient_of_its_penalty(name):
    """The whole gradient is autograd's of loss + strength / 2 * mean ||y||^2 over the batch and every head."""
    make, stem = LEARNERS[name]
    learner, method = _double(make(stem)), SpectralDecoupling(strength=0.3)
    inputs = observe(stem, 8, torch.Generator().manual_seed(2)).double()
    backward(learner, inputs)
    plain = {key: p.grad.clone() for key, p in learner.network.named_parameters()}
    begin(learner, [method])
    backward(learner, inputs)
    method.on_gradient(learner)
    ours = {key: p.grad.clone() for key, p in learner.network.named_parameters()}
    outputs = learner.network(inputs).values()
    _assert_penalty(learner, ours, plain, 0.15 * sum((y**2).sum(1).mean() for y in outputs))


def test_spectral_decoupling_pulls_in_the_updates_pass_alone():
    """Not between `on_gradient` and the step, not in evaluation, not in copies, and not when training has ended."""
    learner, method = q_learner(), SpectralDecoupling(strength=0.3)
    plain, pulled = _head_gradient(learner), None
    begin(learner, [method])
    assert not torch.equal(pulled := _head_gradient(learner), plain)
    learner.network.eval()
    assert torch.equal(_head_gradient(learner), plain)
    learner.network.train()
    twin = copy.copy(learner)
    twin.network = copy.deepcopy(learner.network)
    assert torch.equal(_head_gradient(twin), plain)
    method.on_gradient(learner)
    assert torch.equal(_head_gradient(learner), plain)
    method.after_step(learner)
    assert torch.equal(_head_gradient(learner), pulled)
    method.end(learner)
    assert torch.equal(_head_gradient(learner), plain)
    for _ in range(2):  # training goes on, or is begun by another one
        begin(learner, [method])
        assert torch.equal(_head_gradient(learner), pulled)
        method.end(learner)
        method = SpectralDecoupling(strength=0.3)


def _head_gradient(learner):
    backward(learner, observe("mlp", 8, torch.Generator().manual_seed(2)))
    return learner.network.heads["q"].weight.grad.clone()


def test_spectral_decoupling_that_began_late_goes_on_after_a_resume():
    """What it remembers is that it acts: a resumed run pulls from its very first update."""
    method = SpectralDecoupling(strength=0.3, active_from=1)
    learner = q_learner()
    begin(learner, [method])
    plain = _head_gradient(learner)
    resumed = SpectralDecoupling(strength=0.3, active_from=1)
    method.on_gradient(learner)
    method.after_step(learner)
    pulled = _head_gradient(learner)
    resumed.load_state_dict(method.state_dict())
    other = q_learner()
    begin(other, [resumed])
    assert torch.equal(_head_gradient(other), pulled)
    assert not torch.equal(pulled, plain)


@pytest.mark.parametrize("layers", ["last", "hidden"])
@pytest.mark.parametrize("name", LEARNERS)
def test_spectral_normalisation_is_pytorchs_parametrisation(name, layers):
    """Outputs and gradients equal those of `torch.nn.utils.parametrizations.spectral_norm` on the same weights."""
    make, stem = LEARNERS[name]
    ours, theirs = (_double(make(stem, methods)) for methods in ([SpectralNormalisation(layers=layers)], []))
    inputs = observe(stem, 8, torch.Generator().manual_seed(3)).double()
    for trunk in theirs.network.trunks.values():
        for block in [*trunk.blocks][-1:] if layers == "last" else trunk.blocks:
            nn.utils.parametrizations.spectral_norm(block.incoming, n_power_iterations=500)
    for _ in range(500):  # ours takes one iteration in each training pass
        ours.network(inputs)
    mine, yours = ours.network(inputs), theirs.network(inputs)
    for key in mine:
        torch.testing.assert_close(mine[key], yours[key], **EXACT)
    for outputs in (mine, yours):
        sum((y**3).sum() for y in outputs.values()).backward()
    wrapped = "parametrizations.weight.original"
    original = {key.replace(wrapped, "weight"): p for key, p in theirs.network.named_parameters()}
    for key, parameter in ours.network.named_parameters():
        if key != "log_std":
            torch.testing.assert_close(parameter.grad, original[key].grad, **EXACT)


def test_spectral_normalisation_by_hand():
    """A layer of weight 3 and bias 1 computes x + 1; doubling the weight changes nothing; its gradient in W is zero."""
    from lopgym.agents.mitigations.spectral_normalisation import watch

    module = nn.Linear(1, 1)
    with torch.no_grad():
        module.weight.fill_(3.0)
        module.bias.fill_(1.0)
    watch(module)
    assert module(torch.tensor([[2.0]])).item() == pytest.approx(3.0, abs=1e-6)
    with torch.no_grad():
        module.weight.mul_(2)
    module(torch.tensor([[2.0]])).sum().backward()
    assert module.weight.grad.item() == pytest.approx(0.0, abs=1e-6)
    with torch.no_grad():
        module.weight.zero_()
    assert module(torch.tensor([[2.0]])).item() == 1.0


def test_spectral_normalisation_stands_still_in_evaluation_and_in_copies():
    """Only a training pass turns u; a copy has a u of its own; initial weights are those of a network without it."""
    learner = q_learner(methods=[SpectralNormalisation()])
    for a, b in zip(learner.network.parameters(), q_learner().network.parameters(), strict=True):
        assert torch.equal(a, b)
    module, seen = learner.layers[-1].incoming, observe("mlp", 8, torch.Generator().manual_seed(3))
    with torch.no_grad():
        module.weight.copy_(torch.randn(module.weight.shape, generator=torch.Generator().manual_seed(1)))
    was = module.running_left.clone()
    with torch.no_grad():
        learner.network(seen)
    learner.network.eval()(seen)
    copy.deepcopy(learner.network).train()(seen)
    assert torch.equal(module.running_left, was)
    learner.network.train()(seen)
    assert not torch.equal(module.running_left, was)
    learner.synchronise_target()
    assert torch.equal(learner.target.trunks["q"].blocks[-1].incoming.running_left, module.running_left)


def test_spectral_normalisation_reaches_the_target_of_dqn():
    """Stable-Baselines3 copies `running_left` with the weights: the target computes what the network computed."""
    from stable_baselines3.common.utils import get_parameters_by_name

    learner = q_learner(methods=[SpectralNormalisation(layers="hidden")])
    assert len(get_parameters_by_name(learner.network, ["running_"])) == 2


def test_extra_passes_are_of_evaluation_and_unheard():
    """What a batch puts out is what it puts out in evaluation, although the network trains: no luck, nobody listens."""
    learner, listener = q_learner(methods=[Dropout(p=0.5)]), Listener()
    listener.listen(learner.layers)
    x, head = observe("mlp", 8, torch.Generator().manual_seed(3)), learner.heads["q.head"]
    learner.network.train()
    luck, found = torch.get_rng_state(), put_out(learner, {"q.head": head}, x)["q.head"]
    assert learner.network.training
    assert torch.equal(torch.get_rng_state(), luck)
    assert listener.take() == {}
    assert found.requires_grad
    assert torch.equal(found, learner.network.eval()(x)["q"])


def test_extra_passes_see_what_is_overwritten():
    """What an activation is given is returned as it was, and learns, though the activation writes over it."""
    learner = one_layer([[1.0], [-1.0]], [[1.0, 1.0]])
    learner.network.act.inplace = True
    seen = given_to(learner, {"act": learner.network.act}, torch.tensor([[2.0]]))["act"]
    assert seen.tolist() == [[2.0, -2.0]]
    seen.square().sum().backward()
    assert learner.network.hidden.bias.grad.tolist() == [4.0, -4.0]


def test_c_chain_takes_cross_entropy_from_the_old_policy_to_the_new_one():
    """By logits it is softmax(z) - p_old: of three actions, where its direction tells it from that of the reverse."""
    learner, method = one_layer([[1.0]], [[1.0], [0.0], [0.0]]), CChain(share=1.0, decay=0.0, batch=3)
    learner.heads, learner.layers = {"actor.head": learner.network.head}, ()
    for parameter in learner.network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    method.on_gradient(learner)
    bias, loss = learner.network.head.bias, torch.tensor([1.0, 0.0, 0.0])
    with torch.no_grad():
        bias.copy_(torch.tensor([-1.0, math.log(2), math.log(5)]))  # logits were (1, 0, 0), now (0, log 2, log 5)
    bias.grad.copy_(loss)
    method.on_gradient(learner)
    error = torch.tensor([1.0, 2.0, 5.0]) / 8 - torch.tensor([math.e, 1.0, 1.0]) / (math.e + 2)
    torch.testing.assert_close((bias.grad - loss) / (bias.grad - loss).norm(), error / error.norm(), **EXACT)


def test_leaky_has_the_slope_that_it_is_given():
    """Which PyTorch has a default for, too."""
    learner = q_learner(methods=[Leaky(slope=0.25)])
    assert [layer.activation(torch.tensor([-4.0])).item() for layer in learner.layers] == [-1.0, -1.0]
