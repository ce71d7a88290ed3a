"""What TensorBoard and the figures show: read back with TensorBoard's own loaders."""

from __future__ import annotations

import json
import math
import re
import socket
import time
import urllib.parse
import urllib.request
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lopgym.record import RunFolder, read_metrics, series
from lopgym.studies import board, figures
from tests import synthetic

pytestmark = pytest.mark.filterwarnings("ignore:html5lib's sanitizer is deprecated:DeprecationWarning")  # TensorBoard's


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with one finished run of each variant."""
    folder = tmp_path_factory.mktemp("runs")
    for variant in synthetic.VARIANTS:
        synthetic.record(folder, variant)
    return folder


@pytest.fixture(scope="module")
def folder(runs: Path) -> RunFolder:
    """Return the folder of the untreated run."""
    return RunFolder(runs / "catch_dqn" / "none" / "seed-0")


@pytest.fixture(scope="module")
def events(folder: RunFolder) -> Any:
    """Return TensorBoard's own reading of it, all points."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder.path), size_guidance={"scalars": 0, "tensors": 0, "images": 0})
    return reader.Reload()


def _layout(events: Any) -> Any:
    from tensorboard.plugins.custom_scalar import layout_pb2

    last = events.Tensors("custom_scalars__config__")[-1]
    return layout_pb2.Layout.FromString(last.tensor_proto.string_val[0])


def test_every_value_is_in_the_events(folder: RunFolder, events: Any) -> None:
    """What metrics.jsonl says, TensorBoard says, to float32, at the same steps."""
    for tag in {tag for _, values in read_metrics(folder.metrics) for tag in values}:
        steps, values = series(folder.metrics, tag)
        points = events.Scalars(tag)
        assert [point.step for point in points] == steps
        assert [point.value for point in points] == pytest.approx(values, rel=1e-6)


def test_every_event_file_can_be_read_alone(runs: Path) -> None:
    """No file is cut off or empty: each gives its version and at least one event more."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    files = sorted(runs.rglob("events.out.*"))
    assert len(files) == len(synthetic.VARIANTS)
    assert all(len(list(EventFileLoader(str(file)).Load())) > 1 for file in files)


def test_layout_names_only_what_is_there(events: Any) -> None:
    """Each regular expression of the layout matches exactly one tag of the run, and each chart has one."""
    tags = events.Tags()["scalars"]
    layout = _layout(events)
    assert [category.title for category in layout.category] == [board.LEARNING, board.REMAINS]
    charts = [chart for category in layout.category for chart in category.chart]
    assert len(charts) == 10
    for chart in charts:
        for pattern in chart.multiline.tag:
            assert len([tag for tag in tags if re.match(pattern, tag)]) == 1
        for band in chart.margin.series:
            assert {band.value, band.lower, band.upper} <= set(tags)
        assert chart.multiline.tag or chart.margin.series


def test_layouts_of_variants_are_equal(runs: Path) -> None:
    """TensorBoard merges equal layouts: runs opened together share their charts, one line a run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folders = [path.parent for path in runs.rglob("config.yaml")]
    texts = {_layout(EventAccumulator(str(path)).Reload()).SerializeToString() for path in folders}
    assert len(folders) == 3
    assert len(texts) == 1


def test_layout_of_no_tags_is_empty() -> None:
    """Nothing recorded, nothing promised."""
    assert board.layout([]) == {}
    assert board.layout(["rollout/ep_rew_mean", "time/fps"]) == {}


def test_layout_shows_the_last_layer_of_each_network() -> None:
    """Of a deep actor and critic: two lines, one a network; hidden10 comes after hidden9."""
    tags = [f"probe/dead_fraction/{net}.hidden{i}" for net in ("actor", "critic") for i in range(11)]
    chart = board.layout(tags)[board.REMAINS]["frozen units (dead fraction)"]
    assert [p.replace("\\", "") for p in chart[1]] == [
        f"probe/dead_fraction/{n}.hidden10$" for n in ("actor", "critic")
    ]


def test_layout_tells_forgetting_apart() -> None:
    """Tasks that are played again have a category of their own; a task that was evaluated once has no chart."""
    layout = board.layout(["eval/0/return", "eval/7/return"], revisited=(0, 3))
    assert layout == {board.REMEMBERS: {"return on task 0, played again": ["Multiline", ["eval/0/return$"]]}}


def test_layout_shows_gaps_in_their_intervals() -> None:
    """A margin chart each for gap and trunk of every problem; what has no interval stands as lines, its null beside."""
    ends = ("", "_low", "_high")
    tags = [f"probe/fork/live/{part}{end}" for part in ("gap", "head", "optimizer", "trunk") for end in ends]
    tags += [f"probe/random_target_fit/{who}" for who in ("carried", "cleared", "fresh_head", "fresh")]
    tags += ["probe/one_step_plasticity/live", "probe/one_step_plasticity/live/fresh"]
    charts = board.layout(tags)[board.BEHIND]
    bands = [chart[1] for chart in charts.values() if chart[0] == "Margin"]
    assert bands == [[f"probe/fork/live/{part}{end}" for end in ends] for part in ("gap", "trunk")]
    lines = [[p.replace("\\", "") for p in chart[1]] for chart in charts.values() if chart[0] == "Multiline"]
    assert lines == [[f"{tags[-6]}$", f"{tags[-3]}$"], [f"{tags[-2]}$", f"{tags[-1]}$"]]


def test_stripes_are_flat_lines_with_a_band_in_odd_tasks(events: Any) -> None:
    """All three tags at the same steps, as a margin chart needs; in odd tasks a band as high as all returns so far."""
    value, low, high = (events.Scalars(tag) for tag in board.STRIPES)
    finals = [point.value for point in events.Scalars("task/final")]
    returns = [(point.step, point.value) for tag in ("task/return", "task/final") for point in events.Scalars(tag)]
    assert [p.step for p in value] == [p.step for p in low] == [p.step for p in high]
    assert len(value) == 2 * synthetic.TASKS
    for i, (v, lo, hi) in enumerate(zip(value, low, high, strict=True)):
        task, end = divmod(i, 2)
        assert v.step == (task + end) * synthetic.STEPS + (1 - end)
        assert v.value == finals[task]
        seen = [r for step, r in returns if step <= (task + 1) * synthetic.STEPS]
        assert (lo.value, hi.value) == ((min(seen), max(seen)) if task % 2 else (v.value, v.value))


def test_config_figure_and_hyperparameters_are_there(runs: Path, events: Any) -> None:
    """The config as text, one picture of the run, one row of the table, and no run beside the three."""
    text = events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "learning_rate: 0.003" in text
    assert events.Images("run")[0].step == synthetic.TASKS * synthetic.STEPS
    tags = events.Tags()
    assert "summary/task/final_last_quarter" in tags["scalars"]
    assert {path.parent for path in runs.rglob("events.out.*")} == {path.parent for path in runs.rglob("config.yaml")}


def test_hyperparameters_have_the_same_columns_for_every_variant() -> None:
    """TensorBoard takes the columns from one run; the telling ones are among the first five by name."""
    rows = [board.hyperparameters(synthetic.config(variant)) for variant in synthetic.VARIANTS]
    assert rows[0].keys() == rows[1].keys() == rows[2].keys()
    assert sorted(rows[0])[:3] == ["agent", "mitigation", "seed"]
    assert [row["mitigation"] for row in rows] == ["fresh", "none", "redo"]


def test_summary_names_survive_the_writer() -> None:
    """SummaryWriter replaces characters silently; then the table of hyperparameters would not find its scores."""
    assert board._clean("task/auc (last quarter)") == "task/auc_last_quarter"


def test_nothing_is_written_twice_without_news(tmp_path: Path) -> None:
    """The layout is written when a tag that belongs in it appears, not with every value."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    sink = board.TensorBoardSink(RunFolder(tmp_path), {}, tasks=4, steps_per_task=10)
    for step in range(1, 31):
        sink.write(step, {"task/return": 0.0, "rollout/ep_rew_mean": 0.0})
    sink.close()
    assert len(EventAccumulator(str(tmp_path)).Reload().Tensors("custom_scalars__config__")) == 1


def test_nan_returns_do_not_reach_the_stripes(tmp_path: Path) -> None:
    """A report without a finished episode leaves the range of the stripes finite."""
    sink = board.TensorBoardSink(RunFolder(tmp_path), {}, tasks=2, steps_per_task=10)
    sink.write(5, {"task/return": math.nan})
    sink.write(10, {"task/return": 0.5, "task/final": 0.25})
    sink.close()
    assert (sink._low, sink._high) == (0.25, 0.5)


def _get(url: str, **query: str) -> Any:
    with urllib.request.urlopen(f"{url}?{urllib.parse.urlencode(query)}", timeout=20) as answer:
        return json.load(answer)


def test_server_sends_every_point_on_loopback_only(runs: Path) -> None:
    """The server that people open sends the merged layout, and all 192 returns of a run."""
    url = board.launch(runs)
    assert url.startswith("http://127.0.0.1:")
    base = f"{url}data/plugin/custom_scalars"
    layout = _eventually(lambda: _get(f"{base}/layout"))
    assert [category["title"] for category in layout["category"]] == [board.LEARNING, board.REMAINS]
    query = {"run": "catch_dqn/none/seed-0", "tag": r"task/return$"}
    points = _eventually(lambda: _get(f"{base}/scalars", **query)["tag_to_events"].get("task/return"))
    assert len(points) == 8 * synthetic.TASKS


def _eventually(get: Any, seconds: float = 30.0) -> Any:
    """Ask until there is an answer: the server reads its files in a thread of its own."""
    end = time.monotonic() + seconds
    while not (answer := get()) and time.monotonic() < end:
        time.sleep(0.1)
    return answer


def test_server_refuses_what_is_not_there(tmp_path: Path) -> None:
    """A missing folder is told in one line, before anything is started."""
    with pytest.raises(FileNotFoundError, match="is not a folder of runs"):
        board.launch(tmp_path / "nowhere")


def test_server_refuses_a_port_that_is_taken(tmp_path: Path) -> None:
    """One line with the number of the port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"port {port}") as caught:
            board.launch(tmp_path, port)
    assert "\n" not in str(caught.value)


def _ink(figure: Figure) -> float:
    """Return the share of pixels that are not white."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    return float((pixels < 250).any(axis=-1).mean())


def test_overview_draws_each_panel(folder: RunFolder) -> None:
    """Return, dead fraction, rank and weights, in that order; odd tasks shaded in each."""
    figure = figures.run_overview(read_metrics(folder.metrics), title="none")
    panels = figure.axes
    assert [axes.get_title("left") for axes in panels] == ["return", "dead fraction", "effective rank", "weight norm"]
    assert all(len(axes.patches) == synthetic.TASKS // 2 for axes in panels)
    first = panels[0].patches[0].get_extents().transformed(panels[0].transData.inverted())
    assert (first.x0, first.x1) == pytest.approx((synthetic.STEPS, 2 * synthetic.STEPS))
    assert 0.02 < _ink(figure) < 0.6


def test_overview_of_nothing_says_so() -> None:
    """A run that recorded nothing still has a figure."""
    figure = figures.run_overview([])
    assert figure.axes[0].get_title("left") == "nothing was recorded"


def test_returns_per_task_shows_lines_references_and_treatment(runs: Path) -> None:
    """Three lines, four bars each at the quarters' means, two references, one mark; names at the right do not touch."""
    finals = {
        v: series(runs / "catch_dqn" / v / "seed-0" / "metrics.jsonl", "task/final")[1] for v in synthetic.VARIANTS
    }
    figure = figures.returns_per_task(finals, references={"random": -0.6, "optimal": 1.0}, treated=("redo@14", 14))
    (axes,) = figure.axes
    assert len(axes.lines) == 2 + 1 + 3 * (1 + 4)
    bars = [line.get_ydata()[0] for line in axes.lines if len(line.get_xdata()) == 2 and line.get_linewidth() > 4]
    assert bars == pytest.approx([mean for values in finals.values() for mean in figures.quarters(values)])
    assert 13.5 in [line.get_xdata()[0] for line in axes.lines]
    ends = sorted(t.xy[1] for t in axes.texts if hasattr(t, "xy"))
    assert len(ends) == 3
    assert min(b - a for a, b in pairwise(ends)) > 0.05
    assert 0.02 < _ink(figure) < 0.6


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=50))
def test_quarters_are_means_of_consecutive_parts(values: list[float]) -> None:
    """Weighted by their sizes, which differ by one at most, they make the mean of all."""
    edges = figures.quarter_edges(len(values))
    sizes = [b - a for a, b in pairwise(edges)]
    assert max(sizes) - min(sizes) <= 1
    whole = sum(size * mean for size, mean in zip(sizes, figures.quarters(values), strict=True))
    assert whole == pytest.approx(sum(values), abs=1e-9)


def test_quarters_of_three_tasks_are_refused() -> None:
    """Too few tasks is an error with both numbers in it."""
    with pytest.raises(ValueError, match="at least 4 tasks, not 3"):
        figures.quarters([1.0, 2.0, 3.0])
