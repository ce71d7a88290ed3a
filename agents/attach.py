"""Attach probes and mitigations to a Stable-Baselines3 model: the only file that knows its life cycle.

The order within one gradient step is: backward, probes, `on_gradient` of every mitigation, clipping, the optimizer's
step, `after_step` of every mitigation. Between two rollouts, at a task change: `on_task_change` of every mitigation,
then the protocol. Stable-Baselines3 clips right after backward: where nothing looks at gradients that is left to it,
and else done here in its place.
"""

from __future__ import annotations

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
from lopgym.agents.measuring import Measuring
from lopgym.agents.mitigations import HOOKS, Mitigation
from lopgym.agents.stacking import refuse
from lopgym.agents.task_change import TaskChange
from lopgym.probes.captures import Unavailable, requests
from lopgym.seeding import derive

Write = Callable[[int, Mapping[str, float]], None]
Probe = Callable[..., dict[str, float]]

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
        self._hooks: list[RemovableHandle] = []

    def __enter__(self) -> Self:
        """Train inside a `with`, to be detached however training ends."""
        return self

    def __exit__(self, *_: object) -> None:
        """Detach."""
        self.detach()

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
        self._refuse_what_cannot_be_measured()
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

    def _refuse_what_cannot_be_measured(self) -> None:
        if self._anatomy.action_probabilities is None:
            for name, probe in self.probes.items():
                if not {"action_probabilities", "preferences"}.isdisjoint(requests(probe)):
                    raise Unavailable(f"probe {name!r} needs discrete actions, not {self.model.action_space}")

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
        if self.num_timesteps >= self._flush_at:
            self._flush()
        self.learner.steps = self.num_timesteps
        task = self.num_timesteps // self.steps_per_task if self.steps_per_task else self._told
        if task != self.learner.task:
            self.learner.task = task
            self._call("on_task_change")
            self.task_change.apply(self.model, self._warm_up)

    def _on_step(self) -> bool:
        self.learner.steps = self.num_timesteps
        tell(self.model, self.locals, self.learner.ears)
        if self.steps_per_task is None:  # what the next step is in: a copy that was reset says it in its reset's info
            infos = zip(self.locals["infos"], self.training_env.reset_infos, self.locals["dones"], strict=True)
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
