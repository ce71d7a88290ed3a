"""The null: where a value stands among fresh networks, by hand, as a law, and in agents that nothing may disturb."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from lopgym.agents.anatomy import anatomy_of
from lopgym.agents.measuring import Measuring
from lopgym.agents.null import null_of, twin
from lopgym.probes import probes
from lopgym.probes.captures import Unavailable, measure
from lopgym.probes.dead import dead_fraction
from lopgym.probes.distance_from_init import distance_from_init
from lopgym.probes.gradient_norm import gradient_norm
from lopgym.probes.null import Null, calibrate, null
from lopgym.probes.policy_entropy import policy_entropy
from lopgym.probes.weight_norm import weight_norm
from lopgym.probes.zero_gradient import zero_gradient_fraction
from tests.training import ALGORITHMS, build, differing, everything

VALUES = st.floats(-1e3, 1e3)
SEVERAL = st.lists(VALUES, min_size=2, max_size=20)
ALL = {entry.name: entry.make for entry in probes}
SOME: dict[str, Any] = {"dead": dead_fraction, "norm": weight_norm, "zero": zero_gradient_fraction}


def test_by_hand() -> None:
    """Of 1, 1, 2 and 4, 2 has two below and one beside it: 62.5 %; their mean is 2, their squares about it sum to 6."""
    assert null(2.0, [4.0, 1.0, 2.0, 1.0]) == Null(2.0, 2.0, 2**0.5, 62.5, 0.0)
    assert null(9.0, [4.0, 1.0, 2.0, 1.0]).percentile == 100.0
    assert null(0.0, [4.0, 1.0, 2.0, 1.0]).percentile == 0.0
    assert null(4.0, [4.0, 1.0, 2.0, 1.0]).z == pytest.approx(2**0.5)


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0, -3.0])
@pytest.mark.parametrize("same", [0.0, 0.1, 1 / 3, 1e9])
def test_without_spread_there_is_no_z(value: float, same: float) -> None:
    """Fresh networks of a probe that counts often read all alike; the percentile still says which side one is on."""
    found = null(value, [same] * 7)
    assert found.z is None
    assert found.percentile == (50.0 if value == same else 100.0 * (value > same))


def test_rounding_is_no_spread() -> None:
    """Orthogonal weights of norm 4 that differ in the last digit of single precision have no z of millions."""
    assert null(3.9, [4.0, 4.0000005, 3.9999995]).z is None
    assert null(3.9, [4.0, 4.005, 3.995]).z == pytest.approx(-20.0)


def test_one_network_is_no_null() -> None:
    """It has no spread."""
    with pytest.raises(ValueError, match="at least 2 fresh networks, not 1"):
        null(1.0, [1.0])


@settings(derandomize=True)
@given(VALUES, SEVERAL)
def test_agrees_with_numpy_and_scipy(value: float, reference: list[float]) -> None:
    """Mean, unbiased deviation, mean-rank percentile; and z where there is one."""
    found = null(value, reference)
    assert found.mean == pytest.approx(np.mean(reference), abs=1e-9)
    assert found.sd == pytest.approx(np.std(reference, ddof=1), abs=1e-9)
    ranks = stats.percentileofscore(reference, value, kind="mean")
    assert found.percentile == pytest.approx(ranks)
    if found.z is not None:
        assert found.z * found.sd == pytest.approx(value - found.mean, abs=1e-6)


@settings(derandomize=True)
@given(VALUES, SEVERAL)
def test_turning_everything_round_turns_the_null_round(value: float, reference: list[float]) -> None:
    """Signs flipped, percentiles are counted from the other end; the order of the networks does not matter."""
    here, there = null(value, reference), null(-value, [-r for r in reversed(reference)])
    assert there.percentile == pytest.approx(100 - here.percentile)
    assert (there.z is None) == (here.z is None)
    if here.z is not None and there.z is not None:
        assert there.z == pytest.approx(-here.z, rel=1e-6, abs=1e-9)


def test_percentiles_of_one_more_fresh_network_are_uniform() -> None:
    """With 19 others, all 20 places are as likely: a chi-square test over 2,000 draws."""
    draws = np.random.default_rng(0).normal(size=(2000, 20)).tolist()
    places = [round(null(x, others).percentile * 19 / 100) for x, *others in draws]
    assert stats.chisquare(np.bincount(places, minlength=20)).pvalue > 0.01


def test_calibrate_measures_all_alike_and_one_by_one() -> None:
    """Each fresh network is measured before the next one is made."""
    order: list[str] = []

    def fresh() -> Any:
        for i in range(3):
            order.append(f"make {i}")
            yield float(i)

    def measure(network: float) -> dict[str, float]:
        order.append(f"measure {network:.0f}")
        return {"size": network, "one": 1.0}

    found = calibrate(measure, 5.0, fresh())
    assert found == {"size": Null(5.0, 1.0, 1.0, 100.0, 4.0), "one": Null(1.0, 1.0, 0.0, 50.0, None)}
    assert order[:4] == ["make 0", "measure 0", "make 1", "measure 1"]


def _trained(name: str) -> Any:
    """Train a little."""
    model = build(name)
    model.learn(100)
    return model


def _gradients(model: Any) -> dict[str, Tensor]:
    named = model.policy.named_parameters()
    return {name: p.grad.clone() for name, p in named if p.grad is not None}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_model_is_bitwise_untouched_by_the_null_of_every_probe(name: str) -> None:
    """Weights, targets, optimizer state, gradients and all random streams; what is asked about it stays as it was."""
    model = _trained(name)
    np.random.seed(0)
    expected = np.random.random()
    np.random.seed(0)
    before, gradients = {k: v.clone() for k, v in everything(model).items()}, _gradients(model)
    found = null_of(model, ALL, networks=2, samples=32)
    assert differing(before, everything(model)) == []
    assert differing(gradients, _gradients(model)) == []
    assert np.random.random() == expected
    assert {tag.partition("/")[0] for tag in found} >= {"dead_fraction", "gradient_norm", "policy_entropy", "srank"}


def test_nothing_that_looks_back_has_a_null() -> None:
    """A fresh network is at no distance from its own start."""
    found = null_of(_trained("dqn"), {"far": distance_from_init, "norm": weight_norm}, networks=2, samples=8)
    assert {tag.partition("/")[0] for tag in found} == {"norm"}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_dead_units_stand_out(name: str) -> None:
    """Planted in one layer: above every fresh network there, and no gradient; its weights are as large as any."""
    model = _trained(name)
    policy, tag = model.policy, {"dqn": "q", "ppo": "critic"}[name]
    trunk = model.q_net.features_extractor if name == "dqn" else policy.vf_features_extractor
    with torch.no_grad():
        trunk.blocks[1].incoming.bias.fill_(-100.0)
    found = null_of(model, SOME, networks=6, samples=64)
    dead = found[f"dead/{tag}.hidden1"]
    assert dead.value == 1.0
    assert dead.percentile == found[f"zero/{tag}.hidden1"].percentile == 100.0
    assert found[f"zero/{tag}.hidden1"].value == 1.0
    assert dead.mean < 0.5


def test_an_untrained_model_is_as_its_null() -> None:
    """No probe puts it at a distance that chance does not; and its uniform policy has the entropy of theirs."""
    model = build("ppo")
    _, callback = model._setup_learn(50)
    model.collect_rollouts(model.env, callback, model.rollout_buffer, 50)
    found = null_of(model, SOME | {"entropy": policy_entropy, "gradient": gradient_norm}, networks=20, samples=64)
    inside = [0 < one.percentile < 100 or one.z is None for one in found.values()]
    assert np.mean(inside) > 0.7  # each is outside with a chance of 2 in 21; they hang together
    assert found["entropy/policy"].value == pytest.approx(found["entropy/policy"].mean, rel=1e-3)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_no_probe_moves_with_who_is_measured_beside_it(name: str) -> None:
    """Each alone, from a forward pass of its own, reads to the last bit what it reads among all, from the loss's."""
    model = _trained(name)
    anatomy = anatomy_of(model)
    all_of = {entry.name: entry.make for entry in probes}

    def read(some: dict[str, Any]) -> dict[str, float]:
        captures = Measuring(anatomy, some, seed=3).captures(7)
        able = {}
        for name, probe in some.items():
            with suppress(Unavailable):
                captures.supply(name, probe)
                able[name] = probe
        return measure(Measuring(anatomy, some, seed=3).captures(7), able)

    together = read(all_of)
    assert len(together) > 60
    for name, probe in all_of.items():
        for tag, value in read({name: probe}).items():
            assert value == together[tag], tag


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_null_is_a_function_of_its_seed(name: str) -> None:
    """Networks, batches and draws."""
    model = _trained(name)
    first, second, other = (null_of(model, SOME, networks=3, samples=16, seed=seed) for seed in (0, 0, 1))
    assert first == second != other


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_twin_has_a_policy_of_its_own_and_says_the_same(name: str) -> None:
    """Equal weights, other memory: changing all of the one moves nothing of the other."""
    model = _trained(name)
    other = twin(model)
    before = {k: v.clone() for k, v in everything(model).items()}
    assert differing(before, everything(other)) == []
    seen = np.random.default_rng(0).random((8, *model.observation_space.shape), dtype=np.float32)
    said = model.predict(seen, deterministic=True)[0].tolist()
    assert other.predict(seen, deterministic=True)[0].tolist() == said
    with torch.no_grad():
        for parameter in other.policy.parameters():
            parameter.zero_()
        for state in other.policy.optimizer.state.values():
            state["exp_avg"].zero_()
    assert differing(before, everything(model)) == []
    trained = {id(p) for group in other.policy.optimizer.param_groups for p in group["params"]}
    assert trained == {id(p) for p in (other.q_net if name == "dqn" else other.policy).parameters()}
