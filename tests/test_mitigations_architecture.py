"""Mitigations that shape the network, against networks written out by hand."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from lopgym.agents.anatomy import anatomy_of
from lopgym.agents.mitigations import mitigations
from lopgym.agents.mitigations.cbp import ContinualBackprop
from lopgym.agents.mitigations.clone_release import CloneRelease
from lopgym.agents.mitigations.crelu import CReLU
from lopgym.agents.mitigations.fourier import DeepFourier
from lopgym.agents.mitigations.leaky import Leaky
from lopgym.agents.mitigations.listener import Listener
from lopgym.agents.mitigations.prelu import PReLU
from lopgym.agents.mitigations.redo import ReDo
from lopgym.agents.mitigations.rms_norm import RMSNorm
from lopgym.agents.mitigations.shrink_perturb import ShrinkPerturb
from lopgym.agents.mitigations.simba import SimBa
from lopgym.agents.network import NetworkSpec, Trunk
from lopgym.agents.promises import parts_of
from lopgym.agents.reset_units import outgoing_columns, reset_units
from lopgym.agents.stacking import refuse
from lopgym.probes import probes
from lopgym.probes.captures import Captures
from lopgym.probes.dormant import dormancy_scores
from lopgym.probes.wiring import own_weights
from tests.learners import LEARNERS, actor_critic, backward, observe, q_learner, snapshot, train
from tests.training import ALGORITHMS, build
from tests.training import train as train_agent

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
@pytest.mark.parametrize("method", ["crelu", "fourier", "leaky", "prelu", "rms_norm", "simba"])
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


def _layer_norm(x, gain, shift):
    centred = x - x.mean(1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5) * gain + shift


def _simba_by_hand(x, weights, blocks):
    """Return x_L of x_0 = W0 o + b0, x <- x + W2 max(W1 LN(x) + b1, 0) + b2, normalised; `weights` by their names."""

    def affine(name, z):
        return z @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name, z):
        return _layer_norm(z, weights[f"{name}.weight"], weights[f"{name}.bias"])

    stream = affine("blocks.0.embedding.1", x)
    for i in range(blocks):
        hidden = affine(f"blocks.{i}.inner.incoming", norm(f"blocks.{i}.norm", stream))
        stream = stream + affine(f"blocks.{i}.back", np.maximum(hidden, 0))
    return norm(f"blocks.{blocks - 1}.after", stream)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_simba_by_hand(name):
    """Every trunk is the paper's, equation by equation, with as many parameters; gains and shifts are drawn, too."""
    model = build(name, {"simba": SimBa()}, hidden=(12, 12, 12))
    trunks = [module for module in model.policy.modules() if isinstance(module, Trunk)]
    draw, rows = torch.Generator().manual_seed(1), torch.rand(5, *model.observation_space.shape)
    assert len(trunks) == 2, "actor and critic, or network and target"
    for trunk in trunks:
        with torch.no_grad():
            for parameter in trunk.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=0.3)
        weights = {key: value.detach().double().numpy() for key, value in trunk.state_dict().items()}
        flat = rows.flatten(1)
        expected = _simba_by_hand(flat.double().numpy(), weights, 3)
        assert np.abs(trunk.double()(rows.double()).detach().numpy() - expected).max() < 1e-6
        block = 2 * 12 + (12 + 1) * 48 + (48 + 1) * 12
        assert sum(value.size for value in weights.values()) == (flat.shape[1] + 1) * 12 + 3 * block + 2 * 12


@pytest.mark.parametrize("name", LEARNERS)
def test_hidden_units_of_simba_are_inside_its_blocks(name):
    """They are read by maps into the stream, which have no units and are hidden weights all the same; all learn."""
    make, stem = LEARNERS[name]
    learner = make(stem, [SimBa()])  # hidden=(6, 5): 24 and 20 units beside a stream of 5 channels
    inside = [layer for layer in learner.layers if isinstance(layer.incoming, nn.Linear)]
    trunks = len(learner.heads)
    assert [tuple(layer.incoming.weight.shape) for layer in inside] == [(24, 5), (20, 5)] * trunks
    assert [[tuple(m.weight.shape) for m in layer.outgoing] for layer in inside] == [[(5, 24)], [(5, 20)]] * trunks
    own = [passage.name.partition(".")[2] for layer in learner.layers for passage in layer.passages]
    assert own == ["stream0", "stream1", "stream2"] * trunks
    for layer, following in zip(inside[::2], inside[1::2], strict=True):
        readers = {passage.name[-1]: passage.readers for passage in (*layer.passages, *following.passages)}
        head = learner.heads[layer.name.partition(".")[0] + ".head"]
        assert readers["1"] == (following.incoming,)
        assert readers["2"] == (head,)
    if stem == "conv":
        assert [m.weight.shape[1] for m in learner.layers[1].outgoing] == [4 * 2 * 2], "the embedding of the image"
    parts = parts_of(learner)
    assert set(parts.values()) == {"hidden", "heads", "norms", "log_std"}
    assert sum(part == "hidden" for part in parts.values()) == 2 * sum(1 for _ in learner.hidden_affines())
    backward(learner, observe(stem, 16, torch.Generator().manual_seed(0)))
    assert all(parameter.grad.any() for parameter in learner.network.parameters())


def test_a_simba_unit_is_recycled_exactly():
    """A reset takes away what the unit said, W2[:, u] h_u; of a constant one that is compensated, to a rounding."""
    learner = q_learner(methods=[SimBa()])
    train(learner, [], 3)
    x = observe("mlp", 8, torch.Generator().manual_seed(5))
    layer = learner.layers[-1]
    (back,), said = layer.outgoing, []
    hooks = [
        module.register_forward_hook(lambda m, i, out: said.append(out.detach())) for module in (layer.activation, back)
    ]
    learner.network(x)
    expected = said[1] - said[0][:, [2]] * back.weight[:, 2].detach().clone()
    reset_units(learner, layer, _mask(layer, 2))
    learner.network(x)
    torch.testing.assert_close(said[3], expected, rtol=0, atol=1e-6)
    for hook in hooks:
        hook.remove()
    with torch.no_grad():
        layer.incoming.weight[7], layer.incoming.bias[7] = 0.0, 0.6
    before = learner.network(x)["q"]
    means = torch.zeros(20)
    means[7] = 0.6
    reset_units(learner, layer, _mask(layer, 7), compensate=means, target=True)
    torch.testing.assert_close(learner.network(x)["q"], before, rtol=0, atol=1e-6)


@pytest.mark.parametrize("halved", HALVED)
def test_simba_stacks_with_activations_of_two_halves(halved):
    """In either order: half as many of everything, rounded up, and maps into the stream read both numbers of a unit."""
    for order in (1, -1):
        learner = q_learner(methods=[HALVED[halved](), SimBa(expansion=3)][::order])
        assert [tuple(m.weight.shape) for name, m in learner.affines() if "hidden" in name] == [(9, 3), (9, 3)]
        assert [tuple(layer.outgoing[0].weight.shape) for layer in learner.layers] == [(3, 18), (3, 18)]
        train(learner, [], 3)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_tangent_kernel_of_simba_takes_in_the_whole_trunk(name):
    """The rank of its outputs' gradients by every affine map, one sample after the other; passages are no heads."""
    methods, probe = {"simba": SimBa()}, probes["ntk_rank"].make
    model, callback = train_agent(name, methods, {"ntk_rank": probe}, steps=100, task=100, hidden=(6, 6))
    captures = callback._measuring.captures(0)
    values = probe(captures.errors, captures.inputs, captures.flow, samples=12)
    anatomy = anatomy_of(model)
    assert values.keys() == set(anatomy.heads)
    for head, value in values.items():
        pull = captures.errors[head].double()
        seen = captures.observations[:: -(-len(pull) // 12)]
        pull = functional.normalize(pull[:: -(-len(pull) // 12)])
        trunk = head.partition(".")[0]
        maps = [m for key, m in callback.learner.affines() if key.partition(".")[0] == trunk]
        own = [parameter for module in maps for parameter in module.parameters()]
        rows = []
        for x, direction in zip(seen, pull, strict=True):
            said = []
            hook = anatomy.heads[head].register_forward_hook(lambda m, i, out, said=said: said.append(out))
            anatomy.forward(x[None])
            hook.remove()
            gradient = torch.autograd.grad((said[0][0].double() * direction).sum(), own)
            rows.append(torch.cat([part.flatten() for part in gradient]).double())
        shares = torch.linalg.svdvals(torch.stack(rows)) ** 2
        shares = shares[shares > 0] / shares.sum()
        assert value == pytest.approx(torch.exp(-(shares * shares.log()).sum()).item(), rel=1e-4)


def test_a_copy_of_simba_says_the_same():
    """Deep copies, such as the target, share nothing and compute what the original does."""
    learner = q_learner(methods=[SimBa()])
    train(learner, [], 2)
    x, twin = observe("mlp", 4, torch.Generator().manual_seed(2)), copy.deepcopy(learner.network)
    assert torch.equal(learner.network(x)["q"], twin(x)["q"])
    ShrinkPerturb().on_task_change(learner)
    assert not torch.equal(learner.network(x)["q"], twin(x)["q"])


@pytest.mark.parametrize("name", ["layer_reset", "pfo", "plasticity_injection"])
def test_what_needs_a_chain_is_refused_beside_simba(name):
    """By name, and before anything is built."""
    with pytest.raises(ValueError, match=f"^{name} and simba cannot be stacked: "):
        refuse([SimBa(), mitigations.build(name)])


def test_clone_release_bounds_no_output_behind_a_stream():
    """What reads released clones changes by no more than is reported; how that goes on behind a norm is not said."""
    learner, told = q_learner(methods=[SimBa()]), {}
    layer = learner.layers[0]
    with torch.no_grad():
        layer.incoming.weight[1], layer.incoming.bias[1] = layer.incoming.weight[0] * 2, layer.incoming.bias[0] * 2
    before = learner.network(x := learner.observations(64))["q"].detach()
    learner.report, learner.updates = told.update, 1
    CloneRelease(every=1, threshold=0.9999).after_step(learner)
    assert told["released_units"] >= 1
    assert "reader_change_bound" in told
    assert "change_bound" not in told
    torch.testing.assert_close(learner.network(x)["q"], before, rtol=0, atol=1e-4)
