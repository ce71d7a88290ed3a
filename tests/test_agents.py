"""Our agents are Stable-Baselines3's, bit for bit, until a mitigation acts; probes change nothing."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3
import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.utils import FloatSchedule
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from lopgym.agents.anatomy import anatomy_of
from lopgym.agents.attach import Plasticity
from lopgym.agents.dqn import td_losses
from lopgym.agents.measuring import Measuring
from lopgym.agents.mitigations import HOOKS, Mitigation, mitigations
from lopgym.agents.mitigations.listener import Listener
from lopgym.agents.network import NetworkSpec, Trunk
from lopgym.agents.ppo import clipped_losses
from lopgym.agents.task_change import TaskChange
from lopgym.agents.vec_env import GymVecEnv
from lopgym.agents.weights import load_weights, save_weights
from lopgym.probes import probes
from lopgym.probes.captures import Unavailable
from tests.training import ALGORITHMS, OPTIONS, TASK, Screen, build, cartpole, catch, differing, everything, train

NULLABLE = [entry.name for entry in mitigations if entry.facts["null"] is not None]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_adam_is_stable_baselines3s_own(name: str) -> None:
    """Every default of the optimizer is what Stable-Baselines3 uses, but for the fused kernel."""
    ours = build(name).policy.optimizer.defaults
    theirs = getattr(stable_baselines3, name.upper())("MlpPolicy", "CartPole-v1", device="cpu")
    expected = theirs.policy.optimizer.defaults | {"fused": True, "lr": ours["lr"]}
    assert ours == expected
    assert ours["eps"] == {"ppo": 1e-5, "dqn": 1e-8}[name]


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("world", [cartpole, catch])
def test_without_a_mitigation_training_is_stable_baselines3s_bit_for_bit(name: str, world: Any) -> None:
    """The same network, optimizer, seed and world, with Stable-Baselines3's own clipping and no callback."""
    ours = build(name, world=world())
    ours.learn(400, callback=Plasticity())
    options = {key: value for key, value in OPTIONS[name].items() if key != "hidden"}
    defaults: dict[str, Any] = {"dqn": {"max_grad_norm": 10.0}, "ppo": {"max_grad_norm": 0.5}}[name]
    shape = {
        "net_arch": [],
        "features_extractor_class": Trunk,
        "features_extractor_kwargs": {"spec": NetworkSpec(hidden=(16, 16))},
        "optimizer_kwargs": {"fused": True, "eps": {"ppo": 1e-5, "dqn": 1e-8}[name]},
    } | ({"share_features_extractor": False} if name == "ppo" else {})
    theirs = getattr(stable_baselines3, name.upper())(
        "MlpPolicy",
        world(),
        seed=0,
        device="cpu",
        policy_kwargs=shape,
        learning_rate={"ppo": 3e-4, "dqn": 1e-4}[name],
        **defaults,
        **options,
    )
    before = anatomy_of(theirs).layers[0].incoming.weight.clone()
    theirs.learn(400)
    assert differing(everything(ours), everything(theirs)) == []
    assert not torch.equal(before, anatomy_of(theirs).layers[0].incoming.weight), "nothing was trained"


def _eavesdroppers() -> dict[str, Mitigation]:
    """Return methods that probes could disturb: one draws at every pass, one listens to what units say."""
    listening = mitigations.build("cbp", replacement_rate=0.02, maturity=30, decay=0.0)
    return {"dropout": mitigations.build("dropout"), "cbp": listening}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_probes_change_nothing(name: str) -> None:
    """Training with every probe on, at least 20 times, is bitwise the training with all off; so are NumPy's numbers."""
    events: list[dict[str, float]] = []
    on, _ = train(
        name,
        _eavesdroppers(),
        probes={e.name: e.make for e in probes},
        write=lambda step, values: events.append(dict(values)),
        steps=1200,
        probe_every=50,
    )
    state, drawn = everything(on), np.random.get_state()
    off, _ = train(name, _eavesdroppers(), steps=1200)
    assert differing(state, everything(off)) == []
    np.testing.assert_equal(drawn, np.random.get_state())
    measured = [values for values in events if any(tag.startswith("probe/") for tag in values)]
    assert len(measured) >= 20
    assert any("mitigation/cbp/reset_units" in values for values in events)
    seen = {tag.split("/")[1] for values in measured for tag in values if tag.startswith("probe/")}
    assert seen == {entry.name for entry in probes}
    assert all(np.isfinite(list(values.values())).all() for values in measured)


def _gradients_in_training(model: Any, look: Any) -> list[dict[str, torch.Tensor]]:
    """Train a little; return the gradients of each update, and call `look` right before the optimizer steps."""
    found: list[dict[str, torch.Tensor]] = []
    model.max_grad_norm = float("inf")

    def note(*_: object) -> None:
        found.append({name: p.grad.clone() for name, p in anatomy_of(model).network.named_parameters()})
        look()

    handle = anatomy_of(model).optimizer.register_step_pre_hook(note)
    model.learn(150)
    handle.remove()
    return found


def _gradients_of(model: Any, observations: torch.Tensor, losses: Any) -> dict[str, torch.Tensor]:
    parts = anatomy_of(model)
    names, own = zip(*parts.network.named_parameters(), strict=True)
    mean = losses(observations).mean()
    return dict(zip(names, torch.autograd.grad(mean, own), strict=True))


@pytest.mark.parametrize("normalised", [False, True])
def test_the_loss_of_dqn_is_that_of_its_training(normalised: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the transitions that an update draws, the mean's gradient is the one that the optimizer gets."""
    model = build("dqn", world=VecNormalize(catch()) if normalised else catch(), gamma=0.9, learning_rate=1e-2)
    drawn: list[Any] = []
    draw = ReplayBuffer._get_samples
    monkeypatch.setattr(
        ReplayBuffer, "_get_samples", lambda buffer, rows, env=None: drawn.append(rows) or draw(buffer, rows, env)
    )
    ours: list[dict[str, torch.Tensor]] = []

    def look() -> None:
        rows = (drawn[-1], np.zeros_like(drawn[-1]))
        stored = model.replay_buffer._normalize_obs(model.replay_buffer.observations[rows], model._vec_normalize_env)
        ours.append(_gradients_of(model, torch.as_tensor(stored), partial(td_losses, model, rows)))

    theirs = _gradients_in_training(model, look)
    assert len(theirs) > 50
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("options", [{}, {"clip_range_vf": FloatSchedule(0.01)}, {"normalize_advantage": False}])
def test_the_loss_of_ppo_is_that_of_its_training(options: dict[str, Any]) -> None:
    """On a minibatch that is the whole rollout, the mean's gradient is the one that the optimizer gets."""
    model = build("ppo", world=catch(), learning_rate=1e-2)
    vars(model).update(options)
    ours: list[dict[str, torch.Tensor]] = []

    def look() -> None:
        rows = np.arange(50)
        stored = torch.as_tensor(model.rollout_buffer.observations)
        ours.append(_gradients_of(model, stored, partial(clipped_losses, model, rows)))

    theirs = _gradients_in_training(model, look)
    assert len(theirs) == 3 * 8
    torch.testing.assert_close(ours, theirs)


def test_probing_is_not_overheard() -> None:
    """A mitigation that listens to what units say while they learn hears the minibatch, not the probes' batch."""
    model, _ = train("dqn", steps=60)
    parts, listener = anatomy_of(model), Listener()
    listener.listen(parts.layers)
    parts.network.train()
    captures = Measuring(parts, {}).captures(0)
    assert captures.signals.keys() == captures.hvp({}).keys() - {"q.head"}
    assert listener.take() == {}
    parts.network(captures.observations)
    assert listener.take().keys() == captures.signals.keys()
    listener.close()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_measurements_remember_one_another(name: str) -> None:
    """Probes that compare with the last measurement join in at the second; none moves what another reads."""
    events: dict[str, list[dict[str, float]]] = {"alone": [], "all": []}
    chosen = {"alone": ["update_norm"], "all": [entry.name for entry in probes]}
    for run, names in chosen.items():
        train(
            name,
            probes={n: probes[n].make for n in names},
            write=lambda step, values, run=run: events[run].append(dict(values)),
            probe_every=50,
        )
    measured = [[e for e in events[run] if "time/probes_cpu_seconds" in e] for run in chosen]
    has = [any(tag.startswith("probe/update_norm/") for tag in values) for values in measured[0]]
    assert has == [False] + [True] * (len(has) - 1)
    assert len(has) > 5
    for alone, full in zip(*measured, strict=True):
        own = {tag: value for tag, value in alone.items() if tag.startswith("probe/")}
        assert own == {tag: value for tag, value in full.items() if tag.startswith("probe/update_norm/")}
    assert any(tag.startswith("probe/update_norm/") and value > 0 for tag, value in measured[0][-1].items())


def test_transitions_that_are_not_stored_one_by_one_have_no_loss() -> None:
    """Said in a sentence; what needs no loss can be measured."""
    model = stable_baselines3.DQN("MlpPolicy", cartpole(), learning_starts=10, n_steps=3, device="cpu")
    model.learn(60)
    batch = anatomy_of(model).batch(8, torch.Generator())
    assert batch.observations.shape == (8, 4)
    with pytest.raises(Unavailable, match="the replay buffer does not store them one by one"):
        batch.loss(batch.observations)


# Settings in which every hook is called at least 50 times: short tasks, short rollouts.
BUSY: dict[str, dict[str, Any]] = {
    "dqn": {"steps": 600, "task": 10, "learning_starts": 5},
    "ppo": {"steps": 1040, "task": 20, "n_steps": 20, "batch_size": 20, "n_epochs": 1},
}


@pytest.mark.parametrize("mitigation", NULLABLE)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_mitigation_at_its_null_is_bitwise_none(name: str, mitigation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every hook of the method is called at least 50 times, and nothing differs."""
    calls: Counter[str] = Counter()
    entry = mitigations[mitigation]
    method = entry.make(**entry.facts["null"])
    hooks = set(HOOKS) & set(method.seams())
    for seam in hooks:
        monkeypatch.setattr(method, seam, _counted(calls, seam, getattr(method, seam)))
    with_null, _ = train(name, {mitigation: method}, **BUSY[name])
    state = everything(with_null)
    without, _ = train(name, **BUSY[name])
    assert differing(state, everything(without)) == []
    assert all(calls[seam] >= 50 for seam in hooks), calls


def _counted(calls: Counter[str], seam: str, original: Any) -> Any:
    def call(learner: Any) -> None:
        calls[seam] += 1
        original(learner)

    return call


def test_a_late_mitigation_is_none_until_then() -> None:
    """ReDo active from task 1 leaves task 0 bit for bit, and acts afterwards."""
    late = {"redo": mitigations.build("redo", tau=0.5, every=10, active_from=1)}
    first, _ = train("dqn", late, steps=TASK)
    state = everything(first)
    plain, _ = train("dqn", steps=TASK)
    assert differing(state, everything(plain)) == []
    late = {"redo": mitigations.build("redo", tau=0.5, every=10, active_from=1)}
    both, _ = train("dqn", late, steps=2 * TASK)
    state = everything(both)
    plain, _ = train("dqn", steps=2 * TASK)
    assert differing(state, everything(plain)) != []


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_parameter_is_trained_and_named(name: str) -> None:
    """Layers and heads cover every parameter of the network, and all of them are in the optimizer."""
    model = build(name)
    parts = anatomy_of(model)
    named = {id(p) for layer in parts.layers for p in layer.incoming.parameters()}
    named |= {id(p) for head in parts.heads.values() for p in head.parameters()}
    assert named == {id(p) for p in parts.network.parameters()}
    assert named == {id(p) for group in parts.optimizer.param_groups for p in group["params"]}
    assert all(layer.outgoing for layer in parts.layers)


@pytest.mark.parametrize("stack", [(), ("layer_norm",), ("dropout",), ("layer_norm", "dropout")])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_units_are_read_behind_their_activation(name: str, stack: tuple[str, ...]) -> None:
    """Whatever is built around it, the module that stands for a layer's output is its ReLU."""
    model = build(name, {method: mitigations.build(method) for method in stack})
    layers = anatomy_of(model).layers
    assert len(layers) == {"dqn": 2, "ppo": 4}[name]
    assert all(type(layer.activation) is torch.nn.ReLU for layer in layers)


def test_a_fresh_network_disturbs_no_random_stream_and_differs() -> None:
    """`fresh` draws another network each time and leaves torch's generator where it was."""
    for name in ALGORITHMS:
        _, callback = train(name)
        before = torch.get_rng_state()
        one, two = callback.learner.fresh(), callback.learner.fresh()
        assert torch.equal(before, torch.get_rng_state())
        assert one.keys() == callback.learner.network.state_dict().keys()
        weights = [key for key in one if key.endswith("incoming.weight")]
        assert weights
        assert all(not torch.equal(one[key], two[key]) for key in weights)


def test_the_vec_env_is_dummy_vec_env_with_monitor() -> None:
    """Observations, rewards, dones and infos agree with Stable-Baselines3's own on CartPole."""
    ours, theirs = cartpole(3), DummyVecEnv([lambda: Monitor(gym.make("CartPole-v1"))] * 3)
    for venv in (ours, theirs):
        venv.seed(5)
    assert np.array_equal(ours.reset(), theirs.reset())
    rng = np.random.default_rng(0)
    finished = 0
    for _ in range(200):
        actions = rng.integers(2, size=3)
        (o, r, d, i), (p, s, e, j) = ours.step(actions), theirs.step(actions)
        assert np.array_equal(o, p)
        assert np.array_equal(r, s)
        assert np.array_equal(d, e)
        for mine, other in zip(i, j, strict=True):
            assert mine.get("TimeLimit.truncated", False) == other["TimeLimit.truncated"]
            if "episode" in other:
                finished += 1
                assert (mine["episode"]["r"], mine["episode"]["l"]) == (other["episode"]["r"], other["episode"]["l"])
                assert np.array_equal(mine["terminal_observation"], other["terminal_observation"])
    assert finished > 10


def test_a_vector_environment_that_resets_in_the_next_step_is_refused() -> None:
    """The sentence says why."""
    venv = gym.make_vec("CartPole-v1", 2, vectorization_mode="sync")
    with pytest.raises(ValueError, match="the action that follows would be ignored"):
        GymVecEnv(venv)
    assert venv.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP


class _Watch(BaseCallback):
    """Notes what the agent acts with: epsilon, size of the replay, warm-up."""

    def __init__(self) -> None:
        super().__init__()
        self.epsilon: dict[int, float] = {}
        self.size: dict[int, int] = {}

    def _on_rollout_start(self) -> None:
        model: Any = self.model
        self.epsilon[self.num_timesteps] = model.exploration_rate
        self.size[self.num_timesteps] = model.replay_buffer.size()

    def _on_step(self) -> bool:
        return True


def test_the_protocol_acts_before_the_first_action_of_the_new_task() -> None:
    """The replay is empty, epsilon and the warm-up restart, and the run is one call of `learn`."""
    model = build("dqn", exploration_fraction=0.5, exploration_final_eps=0.1)
    change = TaskChange(replay_buffer="clear", exploration="restart", optimizer="clear")
    watch = _Watch()
    model.learn(2 * TASK + 1, callback=[Plasticity(task_change=change, steps_per_task=TASK), watch])
    assert watch.size[TASK - 1] == TASK - 1
    assert (watch.size[TASK], watch.size[TASK + 1]) == (0, 1)
    assert watch.epsilon[TASK] == 1.0
    assert watch.epsilon[TASK + TASK // 4] == pytest.approx(0.55)
    assert watch.epsilon[TASK + TASK // 2] == pytest.approx(0.1)
    assert watch.epsilon[2 * TASK - 1] == pytest.approx(0.1)
    assert model.learning_starts == 2 * TASK + OPTIONS["dqn"]["learning_starts"]
    assert len(model.policy.optimizer.state) == 0


def test_the_normaliser_is_part_of_the_protocol() -> None:
    """Cleared at a task change, its statistics count the new task's observations only."""
    counts = {}
    for choice in ("keep", "clear"):
        world = VecNormalize(catch(), norm_reward=True)
        model = build("ppo", world=world)
        change = TaskChange(normaliser=choice)
        model.learn(2 * TASK, callback=Plasticity(task_change=change, steps_per_task=TASK))
        counts[choice] = world.obs_rms.count
    assert counts["keep"] - counts["clear"] == pytest.approx(TASK, abs=2)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_weights_round_trip_without_pickle(name: str, tmp_path: Any) -> None:
    """Saved weights come back bit for bit, in a file that NumPy opens without pickle."""
    model, _ = train(name, steps=100)
    save_weights(model, tmp_path / "w.npz")
    other = build(name)
    load_weights(other, tmp_path / "w.npz")
    assert differing(model.policy.state_dict(), other.policy.state_dict()) == []
    assert [p.name for p in tmp_path.iterdir()] == ["w.npz"]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_images_are_seen_through_the_conv_stem(name: str) -> None:
    """A trunk of convolutions trains, and its layers chain: every unit has outgoing weights."""
    modes = AutoresetMode.SAME_STEP
    world = GymVecEnv(gym.vector.SyncVectorEnv([lambda: Screen(7)], autoreset_mode=modes))
    model = build(name, world=world, stem="conv")
    before = {k: v.clone() for k, v in model.policy.state_dict().items()}
    model.learn(200, callback=Plasticity(probes={e.name: e.make for e in probes}, probe_every=50))
    changed = differing(before, model.policy.state_dict())
    assert any("blocks.0" in key for key in changed)
    layers = anatomy_of(model).layers
    assert [type(layer.incoming).__name__ for layer in layers[:3]] == ["Conv2d", "Conv2d", "Linear"]
    assert layers[1].outgoing[0].weight.shape[1] == 32 * 3 * 3
