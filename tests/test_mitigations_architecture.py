"""Mitigations that shape the network, against networks written out by hand."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from lopgym.agents.mitigations import mitigations
from lopgym.agents.mitigations.cbp import ContinualBackprop
from lopgym.agents.mitigations.crelu import CReLU
from lopgym.agents.mitigations.fourier import DeepFourier
from lopgym.agents.mitigations.leaky import Leaky
from lopgym.agents.mitigations.listener import Listener
from lopgym.agents.mitigations.prelu import PReLU
from lopgym.agents.mitigations.redo import ReDo
from lopgym.agents.mitigations.rms_norm import RMSNorm
from lopgym.agents.mitigations.shrink_perturb import ShrinkPerturb
from lopgym.agents.network import NetworkSpec
from lopgym.agents.reset_units import outgoing_columns, reset_units
from lopgym.probes.captures import Captures
from lopgym.probes.dormant import dormancy_scores
from lopgym.probes.wiring import own_weights
from tests.learners import LEARNERS, actor_critic, backward, observe, q_learner, snapshot, train
from tests.training import ALGORITHMS, build

HALVED = {"crelu": CReLU, "fourier": DeepFourier}
Z = np.array([[-2.0, -0.5, 0.0, 1.0, 3.0]])
BY_HAND = {
    "crelu": [[0, 0, 0, 1, 3, 2, 0.5, 0, 0, 0]],
    "fourier": np.concatenate([np.sin(Z), np.cos(Z)], axis=1),
    "leaky": [[-0.02, -0.005, 0, 1, 3]],
    "prelu": [[-0.5, -0.125, 0, 1, 3]],
}


@pytest.mark.parametrize("name", BY_HAND)
def test_activations_by_hand(name):
    """What each returns for five numbers, halves side by side: of vectors, and of the channels of images."""
    activation = mitigations.build(name).build_network(NetworkSpec()).activation((5,))
    z, expected = torch.tensor(Z), torch.tensor(np.asarray(BY_HAND[name], dtype=float))
    activation = activation.double()
    torch.testing.assert_close(activation(z), expected, rtol=0, atol=1e-7)
    image = z[..., None, None].expand(1, 5, 2, 3)
    torch.testing.assert_close(activation(image), expected[..., None, None].expand(1, -1, 2, 3), rtol=0, atol=1e-7)


def test_rms_norm_by_hand():
    """(3, 4) has the root mean square sqrt(12.5); an image is normalised over channels and positions together."""
    norm = RMSNorm().build_network(NetworkSpec()).before_activation[0]
    expected = torch.tensor([[3.0, 4.0]]) / np.sqrt(12.5 + 1e-5)
    torch.testing.assert_close(norm((2,))(torch.tensor([[3.0, 4.0]])), expected)
    torch.testing.assert_close(norm((1, 1, 2))(torch.tensor([[[[3.0, 4.0]]]])), expected[None, None])
    assert [*norm((2,)).parameters()] == []
    gained = RMSNorm(affine=True).build_network(NetworkSpec()).before_activation[0]((2,))
    assert gained.weight.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("halve", [True, False])
@pytest.mark.parametrize("name", HALVED)
def test_halved_networks_are_what_one_writes_by_hand(name, halve):
    """Convolutions and linear maps with two numbers to a unit, every first half in front of every second one."""
    learner = q_learner("conv", [HALVED[name](halve=halve)])
    pair = {"crelu": (torch.relu, lambda z: torch.relu(-z)), "fourier": (torch.sin, torch.cos)}[name]
    x = observe("conv", 3, torch.Generator().manual_seed(0))
    h, (*incoming, head) = x, [m for _, m in learner.affines()]
    for module in incoming:
        convolution = isinstance(module, nn.Conv2d)
        h = (
            functional.conv2d(h, module.weight, module.bias)
            if convolution
            else h.flatten(1) @ module.weight.T + module.bias
        )
        h = torch.cat([function(h) for function in pair], dim=1)
    torch.testing.assert_close(learner.network(x)["q"], h @ head.weight.T + head.bias)
    assert [len(m.weight) for m in incoming] == ([2, 2, 3, 3] if halve else [3, 4, 6, 5])
    assert learner.layers[0].halves == 2


def test_a_slope_for_every_unit_is_learned():
    """PReLU's slopes, one to a unit or channel, are in the optimizer; their gradient is the sum of negative parts."""
    learner = q_learner("conv", [PReLU(start=0.5)])
    slopes = [layer.activation.weight for layer in learner.layers]
    assert [slope.tolist() for slope in slopes] == [[0.5] * 3, [0.5] * 4, [0.5] * 6, [0.5] * 5]
    trained = {id(p) for group in learner.optimizer.param_groups for p in group["params"]}
    assert {id(slope) for slope in slopes} <= trained
    train(learner, [], 1, stem="conv")
    assert all((slope != 0.5).any() for slope in slopes)
    activation, z = (
        PReLU(start=0.5).build_network(NetworkSpec()).activation((2,)),
        torch.tensor([[-2.0, 1.0], [-3.0, -1.0]]),
    )
    activation(z).sum().backward()
    assert activation.weight.grad.tolist() == [-5.0, -1.0]


def test_slopes_are_no_affine_map():
    """A perturbation of all weights leaves the slopes as they are."""
    learner = q_learner(methods=[PReLU()])
    train(learner, [], 3)
    before = [layer.activation.weight.clone() for layer in learner.layers]
    ShrinkPerturb().on_task_change(learner)
    assert all(torch.equal(a, layer.activation.weight) for a, layer in zip(before, learner.layers, strict=True))


def test_leaky_at_zero_is_relu():
    """0 * z would be -0 for negative z."""
    assert Leaky(slope=0.0).build_network(NetworkSpec()) == NetworkSpec()


@pytest.mark.parametrize("second", ["crelu", "fourier", "leaky", "prelu"])
@pytest.mark.parametrize("first", ["crelu", "fourier", "leaky", "prelu"])
def test_two_that_choose_the_activation_are_refused(first, second):
    """In one line that names both."""
    spec = mitigations.build(first).build_network(NetworkSpec())
    with pytest.raises(ValueError, match=f"^{first} and {second} both choose the activation"):
        mitigations.build(second).build_network(spec)


def _mask(layer, *units):
    mask = torch.zeros(len(layer.incoming.weight), dtype=torch.bool)
    mask[list(units)] = True
    return mask


@pytest.mark.parametrize("make", [q_learner, actor_critic])
@pytest.mark.parametrize("stem", ["mlp", "conv"])
def test_a_reset_silences_both_halves_of_a_unit(make, stem):
    """Whatever its two numbers are, readers say the same; no weight or moment of another unit changes by a bit."""
    learner = make(stem, [CReLU(halve=False)])
    train(learner, [], 3, stem=stem)
    x = observe(stem, 8, torch.Generator().manual_seed(3))
    for layer in learner.layers:
        units, before = _mask(layer, 1), snapshot(learner)
        seen = []
        hook = layer.activation.register_forward_hook(lambda m, i, out, seen=seen: seen.append(out.detach().clone()))
        learner.network(x)
        hook.remove()
        reset_units(learner, layer, units)
        for module in layer.outgoing:
            given = torch.zeros_like(seen[0])
            given[:, [1, 1 + len(units)]] = 1.0  # channels of unit 1
            read = given if isinstance(module, nn.Conv2d) else given.flatten(1)
            assert torch.equal(module(read), module(torch.zeros_like(read)))
            name = next(k for k, p in learner.network.named_parameters() if p is module.weight)
            columns = outgoing_columns(module, layer.numbers(units))
            assert torch.equal(module.weight[:, ~columns], before[f"network.{name}"][:, ~columns])
            assert (before[f"network.{name}"][:, columns] != 0).all()
            memory = learner.optimizer.state[module.weight]["exp_avg"]
            assert not memory[:, columns].any()
            assert torch.equal(memory[:, ~columns], before[f"optimizer.{name}.exp_avg"][:, ~columns])


def test_columns_are_those_that_probes_read():
    """`Layer.numbers` and the wiring of the probes agree on which weights belong to a unit."""
    learner = q_learner("mlp", [CReLU(halve=False)])
    first, second = learner.layers
    weights = {"a": first.incoming.weight.detach(), "b": second.incoming.weight.detach()}
    own = own_weights(weights, {"a": 12}, {"a": ["b"]})["a"]
    for unit in range(6):
        columns = outgoing_columns(second.incoming, first.numbers(_mask(first, unit)))
        read = second.incoming.weight[:, columns].detach()
        assert sorted(own[unit, 4:].tolist()) == sorted(read.flatten().tolist())


def test_a_constant_unit_with_halves_is_compensated_exactly():
    """A unit whose incoming weights are 0 says two constants; with both means its reset leaves no trace."""
    learner = q_learner("conv", [DeepFourier(halve=False)])
    x = observe("conv", 6, torch.Generator().manual_seed(5))
    for layer in learner.layers:
        with torch.no_grad():
            layer.incoming.weight[2], layer.incoming.bias[2] = 0.0, 0.7
        listener, before = Listener(), learner.network(x)["q"].detach()
        listener.listen([layer])
        learner.network.train()
        learner.network(x)
        rows = listener.take()[layer.name]
        listener.close()
        means = layer.means(rows)
        assert means[2].item() == pytest.approx(np.sin(0.7), abs=1e-6)
        assert means[2 + len(layer.incoming.weight)].item() == pytest.approx(np.cos(0.7), abs=1e-6)
        reset_units(learner, layer, _mask(layer, 2), compensate=means)
        torch.testing.assert_close(learner.network(x)["q"], before, rtol=0, atol=1e-6)
        with pytest.raises(ValueError, match=f"compensate has 1 means; {layer.name} returns"):
            reset_units(learner, layer, _mask(layer, 2), compensate=means[:1])


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("halved", HALVED)
def test_units_with_halves_are_recycled(halved, name):
    """ReDo and continual backprop judge and replace whole units, and the run stays finite."""
    make, stem = LEARNERS[name]
    methods = [ReDo(every=5, tau=0.9, batch=16), ContinualBackprop(replacement_rate=0.2, maturity=3)]
    learner, counted = make(stem, [HALVED[halved](), *methods]), []
    learner.report = lambda values: counted.append(values["reset_units"])
    for method in methods:
        method.begin(learner) if hasattr(method, "begin") else None
    train(learner, methods, 20, stem=stem)
    assert sum(counted) > 0
    assert all(tensor.isfinite().all() for tensor in snapshot(learner).values())


def test_a_unit_is_dormant_if_both_halves_are():
    """ReDo's score of a CReLU unit is its mean |z|, relative to the layer: one half off makes no dormant unit."""
    learner = q_learner("mlp", [CReLU(halve=False)])
    first = learner.layers[0]
    with torch.no_grad():
        first.incoming.weight.zero_()
        first.incoming.bias.copy_(torch.tensor([-3.0, 3.0, 0.0, 0.001, 1.0, -1.0]))
    seen = Captures(
        learner.network, {"a": (first.incoming, first.activation)}, {}, learner.observations(4), forward=learner.forward
    ).activations["a"]
    scores = dormancy_scores(first.per_unit(seen))
    torch.testing.assert_close(scores, torch.tensor([3.0, 3, 0, 0.001, 1, 1]).to(scores) * 6 / 8.001)


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("method", ["crelu", "fourier", "leaky", "prelu", "rms_norm"])
def test_agents_are_built_and_their_target_follows(method, name):
    """Layers are named, every parameter is trained, and the target has the same names and, at first, values."""
    options = {"affine": True} if method == "rms_norm" else {}
    model = build(name, {method: mitigations.build(method, **options)})
    trained = {id(p) for group in model.policy.optimizer.param_groups for p in group["params"]}
    network = model.policy if name == "ppo" else model.q_net
    assert {id(p) for p in network.parameters()} == trained
    if name == "dqn":
        target = model.q_net_target.state_dict()
        assert all(torch.equal(value, target[key]) for key, value in model.q_net.state_dict().items())


def test_gradients_reach_units_that_are_off():
    """A layer that is off on the whole batch: ReLU's learns nothing, those of the others all do."""
    for method, lives in [(None, False), (Leaky(), True), (PReLU(), True), (CReLU(halve=False), True)]:
        learner = q_learner(methods=[method] if method else [])
        with torch.no_grad():
            learner.layers[0].incoming.bias.fill_(-50.0)
        backward(learner, observe("mlp", 16, torch.Generator().manual_seed(0)))
        assert learner.layers[0].incoming.weight.grad.any().item() is lives
