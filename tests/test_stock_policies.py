"""Probes and mitigations in an unmodified Stable-Baselines3 script: stock policies, stock optimizer, one callback."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest
import torch
from stable_baselines3 import A2C, DQN, PPO
from torch import nn

import lopgym  # noqa: F401  registers the ids
from lopgym.agents import Plasticity
from lopgym.agents.anatomy import anatomy_of
from lopgym.agents.chain import hidden_layers
from lopgym.agents.initialisers import torch_default
from lopgym.agents.mitigations import Mitigation, mitigations
from lopgym.probes import probes
from tests.training import Screen, differing, everything

DRIFTS = {name: {"kind": "count", "period": 100} for name in ("observation_order", "action_order")}
STOCK: dict[str, Any] = {
    "dqn": lambda env: DQN("MlpPolicy", env, learning_starts=20, buffer_size=500, seed=0, device="cpu"),
    "ppo": lambda env: PPO("MlpPolicy", env, n_steps=50, n_epochs=2, batch_size=25, seed=0, device="cpu"),
}
every_agent = pytest.mark.parametrize("name", sorted(STOCK))


def _catch() -> Any:
    return gym.make("lopgym/Catch-v0", drifts=DRIFTS, apply="truncate")


@every_agent
def test_a_stock_policy_is_measured_without_being_disturbed(name: str) -> None:
    """Every probe reads every layer, and the training is bitwise the one without the callback."""
    events: list[dict[str, float]] = []
    watched = STOCK[name](_catch())
    callback = Plasticity(
        probes={e.name: e.make for e in probes}, probe_every=50, write=lambda step, values: events.append(dict(values))
    )
    watched.learn(300, callback=callback)
    state = everything(watched)
    alone = STOCK[name](_catch())
    alone.learn(300)
    assert differing(state, everything(alone)) == []
    networks = {"dqn": ["q"], "ppo": ["actor", "critic"]}[name]
    for network in networks:
        assert all(f"probe/effective_rank/{network}.hidden{i}" in events[-1] for i in range(2))
    assert watched.max_grad_norm == alone.max_grad_norm


@every_agent
def test_a_second_call_of_learn_is_measured_from_its_start(name: str) -> None:
    """One callback for two calls: the steps begin at 0 again, and so do the measurements."""
    steps: list[int] = []
    model = STOCK[name](_catch())
    callback = Plasticity(
        probes={"weight_norm": probes["weight_norm"].make},
        probe_every=50,
        write=lambda step, values: steps.append(step),
    )
    model.learn(200, callback=callback)
    first, steps[:] = list(steps), []
    model.learn(200, callback=callback)
    assert first == steps != []


@every_agent
def test_the_world_tells_when_the_task_changes(name: str) -> None:
    """Without `steps_per_task` the change is seen in the infos, before the first action of the new task."""
    changes: list[tuple[int, int]] = []

    class Watch(Mitigation):
        def on_task_change(self, learner: Any) -> None:
            changes.append((learner.steps, learner.task))

    STOCK[name](_catch()).learn(250, callback=Plasticity(mitigations={"watch": Watch()}))
    assert changes == [(100, 1), (200, 2)]


@every_agent
def test_a_mitigation_acts_on_a_stock_policy(name: str) -> None:
    """ReDo with a threshold that every unit is under resets, and every parameter stays in training."""
    events: list[dict[str, float]] = []
    model = STOCK[name](_catch())
    redo = mitigations.build("redo", tau=10.0, every=10)
    model.learn(300, callback=Plasticity(mitigations={"redo": redo}, write=lambda step, v: events.append(dict(v))))
    assert sum(values.get("mitigation/redo/reset_units", 0) for values in events) > 100
    before = {key: value.clone() for key, value in anatomy_of(model).network.state_dict().items()}
    model.learn(100, reset_num_timesteps=False)
    assert set(differing(before, anatomy_of(model).network.state_dict())) == set(before)


@pytest.mark.parametrize("algorithm", [DQN, PPO])
def test_layers_of_a_cnn_policy_are_named(algorithm: Any) -> None:
    """Three convolutions and a linear layer; what actor and critic share is named once and silenced in both."""
    model = algorithm("CnnPolicy", Screen(36), device="cpu", **({"buffer_size": 10} if algorithm is DQN else {}))
    layers = anatomy_of(model).layers
    prefix = "q" if algorithm is DQN else "shared"
    assert [layer.name for layer in layers] == [f"{prefix}.hidden{i}" for i in range(4)]
    assert [type(layer.incoming) for layer in layers] == [nn.Conv2d] * 3 + [nn.Linear]
    assert all(isinstance(layer.activation, nn.ReLU) for layer in layers)
    assert len(layers[-1].outgoing) == (1 if algorithm is DQN else 2)
    seen = anatomy_of(model)
    with torch.no_grad():
        seen.forward(torch.zeros(2, 1, 36, 36, dtype=torch.uint8))


def test_what_is_no_chain_is_refused_with_a_sentence() -> None:
    """No activation between two maps; maps that do not fit; an algorithm that nobody has described."""
    with pytest.raises(ValueError, match="has no activation behind it"):
        hidden_layers("q", [nn.Linear(2, 3), nn.Linear(3, 4), nn.ReLU()], [nn.Linear(4, 1)], torch_default)
    with pytest.raises(ValueError, match="are no chain"):
        hidden_layers("q", [nn.Linear(2, 3), nn.ReLU()], [nn.Linear(4, 1)], torch_default)
    with pytest.raises(TypeError, match="no anatomy is registered for A2C; known: DQN, PPO"):
        anatomy_of(A2C("MlpPolicy", "CartPole-v1", device="cpu"))
