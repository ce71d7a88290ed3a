"""Attach probes and mitigations to a Stable-Baselines3 model: the only file that knows its life cycle.

The order within one gradient step is: backward, probes, `on_gradient` of every mitigation, clipping, the optimizer's
step, `after_step` of every mitigation. Between two rollouts, at a task change: `on_task_change` of every mitigation,
then the protocol. Where nothing looks at gradients, clipping is left to Stable-Baselines3, right after backward.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Self
from weakref import WeakKeyDictionary, ref

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from lopgym.agents.anatomy import Anatomy, anatomy_of
from lopgym.agents.hearing import tell
from lopgym.agents.learner import Learner
from lopgym.agents.measuring import Measuring, refuse_unmeasurable
from lopgym.agents.mitigations import HOOKS, Mitigation
from lopgym.agents.stacking import refuse
from lopgym.agents.task_change import TaskChange
from lopgym.seeding import derive

Write = Callable[[int, Mapping[str, float]], None]
Probe = Callable[..., dict[str, float]]

_REMEMBERED = ("_counts", "_told", "_probe_at", "_flush_at", "_warm_up")  # between two rollouts
_COUNTED = ("updates", "task", "steps")  # by the learner
_STREAMS = ("rng", "rows")  # of the learner

# Who holds a model: an exception inside `learn` leaves its callback attached, and the next one must find it.
_attached: WeakKeyDictionary[BaseAlgorithm, ref[Plasticity]] = WeakKeyDictionary()


class Plasticity(BaseCallback):
    """Probes and mitigations inside one Stable-Baselines3 model, as an ordinary callback.

    While it trains, the model's optimizer has hooks, and its own clipping is off where these do it. Training that ends
    gives both back; training that an exception ends cannot, as Stable-Baselines3 tells callbacks nothing of it:
    `detach` does, and so do `with Plasticity(...) as callback: model.learn(..., callback=callback)` and the next
    Plasticity of the model.

    Args:
        probes: probe functions by name.
        mitigations: methods by name, in the order in which they act.
        task_change: what else happens at a task change.
        steps_per_task: env steps over all copies between two task changes; None: the world says, by `info["task"]`.
        probe_every: env steps over all copies between two measurements; 0 measures nothing.
        write: takes (env step, values); tags are `probe/<name>/<layer>` and `mitigation/<name>/<what>`.
        seed: of everything that probes and mitigations draw.
    """

    def __init__(
        self,
        *,
        probes: Mapping[str, Probe] | None = None,
        mitigations: Mapping[str, Mitigation] | None = None,
        task_change: TaskChange | None = None,
        steps_per_task: int | None = None,
        probe_every: int = 1000,
        write: Write = lambda step, values: None,
        seed: int = 0,
    ) -> None:
        """Keep the parts; they come together when training starts."""
        super().__init__()
        self.probes, self.mitigations = dict(probes or {}), dict(mitigations or {})
        refuse(self.mitigations.values())
        self.task_change, self.steps_per_task = task_change or TaskChange(), steps_per_task
        self.probe_every, self.write, self.seed = probe_every, write, seed
        self.learner: Learner
        self._counts: dict[str, float] = {}
        self._seconds, self._told = 0.0, 0
        # Stable-Baselines3 reads `learning_starts` before it tells callbacks of a rollout, so that a task change moves
        # it from the second rollout on: a run that goes on has to know both numbers.
        self._read_before, self._to_read = 0, None
        self._hooks: list[RemovableHandle] = []

    def __enter__(self) -> Self:
        """Train inside a `with`, to be detached however training ends."""
        return self

    def __exit__(self, *_: object) -> None:
        """Detach."""
        self.detach()

    def state_dict(self) -> dict[str, Any]:
        """Return all that is remembered between two rollouts, a copy; `time` is a measured one."""
        return {
            "remembered": {name: copy.copy(getattr(self, name)) for name in _REMEMBERED},
            "counted": {name: getattr(self.learner, name) for name in _COUNTED},
            "streams": {name: getattr(self.learner, name).get_state() for name in _STREAMS},
            "mitigations": {name: copy.deepcopy(m.state_dict()) for name, m in self.mitigations.items()},
            "measuring": self._measuring.state_dict(),
            "learning_starts": [self._read_before, self._read_next()],
            "time": self._seconds,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned, once training has begun with the same methods.

        The methods have met the learner by then: each lets go of it, takes its state, and begins again, so that a
        method that puts something on the network when it begins, or listens at certain moments, finds its state.

        Raises:
            ValueError: the state is of other methods; nothing was changed then.
        """
        if state["mitigations"].keys() != self.mitigations.keys():
            ours, theirs = (", ".join(names) or "none" for names in (self.mitigations, state["mitigations"]))
            raise ValueError(f"the state is of the mitigations {theirs}, and here there are {ours}")
        for name in _REMEMBERED:
            setattr(self, name, copy.copy(state["remembered"][name]))
        for name in _COUNTED:
            setattr(self.learner, name, state["counted"][name])
        self._begin_again(state["mitigations"])
        self._measuring.load_state_dict(state["measuring"])
        self._seconds = state["time"]
        if hasattr(self.model, "learning_starts"):
            self._read_before, self._to_read = state["learning_starts"]
            self.model.learning_starts = self._read_before
        for name in _STREAMS:  # last: whoever begins may draw
            getattr(self.learner, name).set_state(state["streams"][name])
        self._choose_who_clips()

    def _begin_again(self, states: Mapping[str, Mapping[str, Any]]) -> None:
        for method in self.mitigations.values():
            method.end(self.learner)
        self.learner.ears.clear()
        for name, method in self.mitigations.items():
            method.load_state_dict(copy.deepcopy(states[name]))
        self._begin()

    def detach(self) -> None:
        """Give the model its clipping back and take all hooks off; nothing happens if that was done."""
        if not self._hooks:
            return
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        for method in self.mitigations.values():
            method.end(self.learner)
        model: Any = self.model
        model.max_grad_norm = self._longest
        del _attached[model]

    def _on_training_start(self) -> None:
        model: Any = self.model
        self._probe_at = self._flush_at = self.num_timesteps + self.probe_every
        self._warm_up = getattr(model, "learning_starts", 0)
        if self.steps_per_task is not None:
            self.task_change.prepare(model, self.steps_per_task, self.locals["total_timesteps"])
        self._take_over()
        self._anatomy = anatomy_of(model)
        refuse_unmeasurable(self._anatomy, self.probes, model.action_space)
        self.learner = self._make_learner(self._anatomy)
        self._acting = {
            seam: [(name, method) for name, method in self.mitigations.items() if seam in method.seams()]
            for seam in HOOKS
        }
        self._attach()
        self._begin()
        self._measuring = Measuring(self._anatomy, self.probes, seed=self.seed)
        self._parameters = list(model.policy.parameters())

    def _begin(self) -> None:
        """Let every method meet the learner; if one refuses it, the others let go of it again."""
        try:
            for method in self.mitigations.values():
                method.begin(self.learner)
        except BaseException:
            self.detach()
            raise

    def _take_over(self) -> None:
        """Take the model over from a callback whose training an exception ended.

        Raises:
            ValueError: another one has taken it in this training: of two, one would act after the other's clipping.
        """
        model: Any = self.model
        before = _attached[model]() if model in _attached else None
        if before is not None:
            if before is not self and before.locals is self.locals:
                raise ValueError("this model has a Plasticity already: give one of them all probes and mitigations")
            before.detach()

    def _attach(self) -> None:
        model: Any = self.model
        self._longest = model.max_grad_norm
        self._choose_who_clips()
        optimizer = self._anatomy.optimizer
        self._hooks = [
            optimizer.register_step_pre_hook(lambda *_: self._before_step()),
            optimizer.register_step_post_hook(lambda *_: self._call("after_step")),
        ]
        _attached[model] = ref(self)

    def _make_learner(self, anatomy: Anatomy) -> Learner:
        rng = torch.Generator().manual_seed(derive(self.seed, "mitigations"))
        rows = torch.Generator().manual_seed(derive(self.seed, "mitigations", "observations"))

        def fresh() -> Mapping[str, Tensor]:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(torch.randint(2**62, (), generator=rng)))
                return anatomy.fresh()

        return Learner(
            network=anatomy.network,
            target=anatomy.target,
            optimizer=anatomy.optimizer,
            forward=anatomy.forward,
            layers=anatomy.layers,
            heads=anatomy.heads,
            observations=lambda n: anatomy.observations(n, rows),
            fresh=fresh,
            rng=rng,
            rows=rows,
        )

    def _on_rollout_start(self) -> None:
        model: Any = self.model
        self._read_before = getattr(model, "learning_starts", 0)
        if self._to_read is not None:
            model.learning_starts, self._to_read = self._to_read, None
        if self.num_timesteps >= self._flush_at:
            self._flush()
        self.learner.steps = self.num_timesteps
        task = self.num_timesteps // self.steps_per_task if self.steps_per_task else self._told
        if task != self.learner.task:
            self.learner.task = task
            self._call("on_task_change")
            self.task_change.apply(self.model, self._warm_up)

    def _read_next(self) -> Any:
        return getattr(self.model, "learning_starts", 0) if self._to_read is None else self._to_read

    def _on_step(self) -> bool:
        self.learner.steps = self.num_timesteps
        tell(self.model, self.locals, self.learner.ears)
        if self.steps_per_task is None:  # what the next step is in: a copy that was reset says it in its reset's info
            first = self.training_env.unwrapped.reset_infos  # a wrapper has some of its own, which stay empty
            infos = zip(self.locals["infos"], first, self.locals["dones"], strict=True)
            self._told = max((first if done else info).get("task", 0) for info, first, done in infos)
        return True

    def _on_rollout_end(self) -> None:
        self._choose_who_clips()

    def _choose_who_clips(self) -> None:
        """Decide it for the updates to come: the number of steps stands still until they are done."""
        self._due = bool(self.probes and self.probe_every) and self.num_timesteps >= self._probe_at
        self._clips = self._due or bool(self._acting["on_gradient"])
        model: Any = self.model
        model.max_grad_norm = float("inf") if self._clips else self._longest

    def _on_training_end(self) -> None:
        self._flush()
        self.detach()

    def _before_step(self) -> None:
        self.learner.updates += 1
        if self._due:
            self._probe()
        self._call("on_gradient")
        if self._clips:
            torch.nn.utils.clip_grad_norm_(self._parameters, self._longest)

    def _call(self, seam: str) -> None:
        for name, method in self._acting[seam]:
            if self.learner.task >= method.active_from:
                self.learner.report = partial(self._count, name)
                getattr(method, seam)(self.learner)

    def _count(self, name: str, values: Mapping[str, float]) -> None:
        for what, value in values.items():
            tag = f"mitigation/{name}/{what}"
            self._counts[tag] = self._counts.get(tag, 0.0) + value

    def _flush(self) -> None:
        if self._counts:
            self.write(self.num_timesteps, self._counts)
        self._counts = {}
        self._flush_at = self.num_timesteps + self.probe_every

    def _probe(self) -> None:
        started = time.process_time()
        values = {f"probe/{tag}": value for tag, value in self._measuring(self.num_timesteps).items()}
        self._seconds, self._due = self._seconds + time.process_time() - started, False
        self._probe_at = (self.num_timesteps // self.probe_every + 1) * self.probe_every
        self.write(self.num_timesteps, values | {"time/probes_cpu_seconds": self._seconds})
