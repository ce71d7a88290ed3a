"""TensorBoard: a view of `metrics.jsonl` laid out for one question, and a server that only this machine can reach."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml
from matplotlib.figure import Figure

from lopgym.record import RunFolder, read_metrics
from lopgym.studies.figures import last_layers, run_overview
from lopgym.studies.notices import notice
from lopgym.studies.spectra import read_spectra, spectra_figure

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

Layout = dict[str, dict[str, list[Any]]]


class Band(NamedTuple):
    """The tags of a margin chart: a line inside a band."""

    value: str
    low: str
    high: str


LEARNING, REMAINS = "Does it still learn?", "What is left of the network?"
BEHIND = "Is it behind a fresh network? (fork probe)"
REMEMBERS = "Does it remember? (forgetting is not loss of plasticity)"
STRIPES = Band("stripes/value", "stripes/lo", "stripes/hi")
_LEARNING: dict[str, Sequence[str]] = {
    "return at the end of each task (its last quarter)": ["task/final"],
    "return over the whole of each task": ["task/auc"],
    "return all along": ["task/return"],
    "return, every other task shaded": STRIPES,
}
_REMAINS = {
    "frozen units (dead fraction)": "dead_fraction",
    "dormant units (fraction)": "dormant_fraction",
    "rank of the representation (effective rank)": "effective_rank",
    "size of the weights (norm)": "weight_norm",
    "distance of the weights from their start": "distance_from_init",
    "size of the gradient (norm)": "gradient_norm",
}
_GAP = re.compile(r"probe/fork/([^/]+)/gap")


def layout(tags: Iterable[str], revisited: Iterable[int] = ()) -> Layout:
    """Arrange those of `tags` that answer the question: category -> title -> [kind, tags].

    Equal tags give equal layouts, which TensorBoard merges: runs opened together share every chart, one line a run. A
    network is shown by its last hidden layer, because two lines a run are what a reader can tell apart.

    Args:
        tags: of the scalars that a run has.
        revisited: tasks that evaluation plays again and again.
    """
    tags = sorted(tags)
    remains: dict[str, Sequence[str]] = {title: last_layers(tags, probe) for title, probe in _REMAINS.items()}
    remains["exploration (entropy of the policy)"] = [tag for tag in tags if tag.startswith("probe/policy_entropy/")]
    remembers: dict[str, Sequence[str]] = {
        f"return on task {task}, played again": [f"eval/{task}/return"] for task in revisited
    }
    wanted = {LEARNING: _LEARNING, BEHIND: _behind(tags), REMAINS: remains, REMEMBERS: remembers}
    charts = {category: _charts(titles, set(tags)) for category, titles in wanted.items()}
    return {category: titles for category, titles in charts.items() if titles}


def _behind(tags: Sequence[str]) -> dict[str, Sequence[str]]:
    """Show the gap of each problem of the forks and the trunk's part in it, both in their intervals; then the rest."""
    charts: dict[str, Sequence[str]] = {}
    for problem in (found[1] for found in map(_GAP.fullmatch, tags) if found):
        fork = f"probe/fork/{problem}"
        for title, part in (("gap", "gap"), ("the trunk's part in the gap", "trunk")):
            what = f"{title} on {problem} (0: learns as fresh, 1: not at all)"
            charts[what] = Band(f"{fork}/{part}", f"{fork}/{part}_low", f"{fork}/{part}_high")
    fit = "probe/random_target_fit"
    charts["fit of random targets (R\N{SUPERSCRIPT TWO}), carried and fresh"] = [f"{fit}/carried", f"{fit}/fresh"]
    one_step = [tag for tag in tags if tag.startswith("probe/one_step_plasticity/")]
    charts["one step on one sample (share of its loss that goes), carried and fresh"] = one_step
    return charts


def _charts(titles: Mapping[str, Sequence[str]], tags: set[str]) -> dict[str, list[Any]]:
    """Describe the charts that have all their tags, as SummaryWriter wants it."""
    return {title: _chart(shown) for title, shown in titles.items() if shown and tags.issuperset(shown)}


def _chart(tags: Sequence[str]) -> list[Any]:
    """Describe one chart; TensorBoard reads the tags of a line chart as regular expressions that begin a tag."""
    return ["Margin", [*tags]] if isinstance(tags, Band) else ["Multiline", [f"{re.escape(tag)}$" for tag in tags]]


def stripe(task: int, steps_per_task: int, final: float, low: float, high: float) -> list[tuple[int, dict[str, float]]]:
    """Return the two points, at its first and last step, by which a margin chart shows one task.

    The value is the task's final return, a flat line as long as the task; the band around it reaches from `low` to
    `high` in odd tasks and has no height in even ones. Lines and gaps at a task change do not show in TensorBoard.

    >>> stripe(1, 800, 0.5, -1.0, 1.0)[0]
    (801, {'stripes/value': 0.5, 'stripes/lo': -1.0, 'stripes/hi': 1.0})
    """
    band = (final, low, high) if task % 2 else (final, final, final)
    point = dict(zip(STRIPES, band, strict=True))
    return [(task * steps_per_task + 1, point), ((task + 1) * steps_per_task, point)]


class TensorBoardSink:
    """The sink that lets TensorBoard show a run; all of it could be rebuilt from the run's other files.

    Scalars over environment steps, a custom layout, the config as text, and at the end a figure of the whole run, one
    of each layer's spectra if they were kept, and a row in the table of hyperparameters.
    """

    def __init__(
        self,
        folder: RunFolder,
        config: Mapping[str, Any],
        tasks: int,
        steps_per_task: int,
        *,
        say: Callable[[str], None] = notice,
    ) -> None:
        """Write to `folder`; `config` is plain data, `say` gets the line that tells of a disk that takes no more."""
        from lopgym.studies.event_file import EventFiles  # 2 s: only runs pay

        self._folder, self._config = folder, dict(config)
        self._total, self._steps_per_task = tasks * steps_per_task, steps_per_task
        self._events = EventFiles(folder.path, say)
        self._forget()

    def _forget(self) -> None:
        self._step = -1  # of the last values
        self._tags: set[str] = set()
        self._arranged: set[str] = set()
        self._layout: Layout = {}
        self._low, self._high = math.inf, -math.inf  # of all returns so far: the height of the stripes

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write scalars measured at `step`, and the layout again if a tag that belongs in it is new."""
        if self._step < 0:
            self._events.add(self._introduce)
        self._step = step
        self._add(step, values)
        returns = [values[tag] for tag in ("task/return", "task/final") if math.isfinite(values.get(tag, math.nan))]
        self._low, self._high = min([self._low, *returns]), max([self._high, *returns])
        if "task/final" in values:
            task = (step - 1) // self._steps_per_task
            for at, point in stripe(task, self._steps_per_task, values["task/final"], self._low, self._high):
                self._add(at, point)
        self._arrange()

    def finish(self, summary: Mapping[str, float]) -> None:
        """Draw the whole run and enter it into the table of hyperparameters; `summary` is what it is judged by."""
        title = " / ".join(self._folder.path.parts[-3:])
        self._draw("run", run_overview(read_metrics(self._folder.metrics), title=title))
        for layer, spectra in read_spectra(self._folder.spectra).items():
            self._draw(f"spectra/{layer}", spectra_figure(layer, spectra))
        row = hyperparameters(self._config) | {"variant": self._folder.path.parent.name}
        scores = {f"summary/{_clean(name)}": float(value) for name, value in summary.items()}
        self._events.add(lambda writer: writer.add_hparams(row, scores, global_step=self._total))

    def close(self) -> None:
        """Close the file."""
        self._events.close()

    def state_dict(self) -> dict[str, Any]:
        """Return what is needed to go on: how long the event files are, the last step, the tags, the range of returns.

        Of what the files hold, nothing: if they turn out to be damaged, `metrics.jsonl` has it.
        """
        return {
            "files": self._events.sizes(),
            "step": self._step,
            "tags": sorted(self._tags),
            "low": self._low,
            "high": self._high,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned, with no step twice; `metrics.jsonl` has been cut by then.

        Event files are cut to what they were; if they are not all there any more, they are written anew.
        """
        if self._events.go_on(state["files"], state["step"] + 1):
            self._step, self._tags = state["step"], set(state["tags"])
            self._low, self._high = state["low"], state["high"]
            self._arranged, self._layout = set(self._tags), self._arrangement()
        elif self._folder.metrics.exists():
            self._forget()
            for step, values in read_metrics(self._folder.metrics):
                self.write(step, values)

    def _introduce(self, writer: SummaryWriter) -> None:
        writer.add_text("config", f"```yaml\n{yaml.safe_dump(self._config, sort_keys=False)}```")

    def _add(self, step: int, values: Mapping[str, float]) -> None:
        def scalars(writer: SummaryWriter) -> None:
            for tag, value in values.items():
                writer.add_scalar(tag, value, step)

        self._events.add(scalars)
        self._tags.update(values)

    def _draw(self, tag: str, figure: Figure) -> None:
        self._events.add(lambda writer: writer.add_figure(tag, figure, self._total))

    def _arrange(self) -> None:
        """Write the layout if it has changed; TensorBoard takes the last."""
        if self._tags == self._arranged:
            return
        self._arranged = set(self._tags)
        new = self._arrangement()
        if new != self._layout:
            self._layout = new
            self._events.add(lambda writer: writer.add_custom_scalars(new))

    def _arrangement(self) -> Layout:
        return layout(self._tags, self._config.get("evaluation", {}).get("tasks", ()))


def _clean(name: str) -> str:
    """Keep to the characters that SummaryWriter leaves alone, or the table would look for scores under other names."""
    return re.sub(r"[^-/\w.]+", "_", name).strip("_")


def hyperparameters(config: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """Return one row of the table: columns that every variant of a study has, for TensorBoard shows one run's to all.

    It sorts them and shows the first five: what tells runs apart comes before the agent's options, under `with.`.
    """
    agent = dict(config.get("agent", {}))
    mitigation = "+".join(config.get("mitigation") or {}) or "none"
    row = {"agent": agent.pop("kind", None), "mitigation": mitigation, "seed": config.get("seed")}
    row |= {f"with.{name}": value for name, value in agent.items()}
    return {name: value for name, value in row.items() if isinstance(value, bool | int | float | str)}


def serve(runs: Path, port: int | None = None) -> None:
    """Show `runs` in TensorBoard, on 127.0.0.1, until Ctrl-C; prints the address.

    Args:
        runs: folder of run folders.
        port: any free one if None.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the port is taken.
    """
    url = launch(runs, port)
    if next(runs.rglob("events.out.tfevents.*"), None) is None:
        print(f"{runs} holds no runs yet: they appear as they are trained")
    print(f"TensorBoard shows {runs} at {url}#custom_scalars  (Ctrl-C stops it)", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print()


def launch(runs: Path, port: int | None = None) -> str:
    """Start TensorBoard in a thread that ends with this process, and return its address; raises as `serve` does."""
    from tensorboard import program  # type: ignore[import-untyped]  # it ships no types

    if not runs.is_dir():
        raise FileNotFoundError(f"{runs} is not a folder of runs; `lopgym train` makes one")
    server = program.TensorBoard()
    server.configure(
        argv=[
            "tensorboard",
            f"--logdir={runs.resolve()}",
            "--host=127.0.0.1",
            f"--port={port or 0}",
            # All points: the default keeps 1,000 a tag. Not 0, which is documented as all and sends none (2.21).
            "--samples_per_plugin=scalars=1000000",
            "--reload_interval=5",
            "--load_fast=false",  # in this process: nothing is left behind when it ends
        ]
    )
    try:
        url: str = server.launch()
    except program.TensorBoardServerException as error:
        raise ValueError(f"port {port}: {error}") from None
    return url
