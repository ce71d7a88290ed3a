"""What a person sees of forks and spectra: TensorBoard with a recorded run, in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest

from lopgym.record import MetricsFile, Recorder, RunFolder
from lopgym.studies import board
from lopgym.studies.spectra import SpectraFile
from tests import synthetic
from tests.chromium import ALL, Page

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore:html5lib's sanitizer is deprecated:DeprecationWarning"),  # TensorBoard's
]

TEXT = f"{ALL}.map(e => e.shadowRoot ? e.shadowRoot.textContent : '').join(' ') + document.body.textContent"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Record a run that forked at the end of every fourth task and kept its spectra; return the server's address."""
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "catch_dqn" / "none" / "seed-0").create()
    sink = board.TensorBoardSink(folder, synthetic.config("none"), synthetic.TASKS, synthetic.STEPS)
    recorder, spectra = Recorder([MetricsFile(folder.metrics), sink]), SpectraFile(folder.spectra)
    for task in range(0, synthetic.TASKS, 4):
        step, lost = (task + 1) * synthetic.STEPS, 1 - synthetic.health("none", task)
        recorder.write(step, {"task/index": float(task)} | _fork(lost))
        spectra.write(step, {"q.hidden1": {"activations": [0.5 ** (i * (1 + lost)) for i in range(16)]}})
    sink.finish({})
    recorder.close()
    return board.launch(folder.path.parents[2])


def _fork(lost: float) -> dict[str, float]:
    gap = {f"probe/fork/live/gap{end}": lost + width for end, width in (("", 0.0), ("_low", -0.1), ("_high", 0.1))}
    fits = {"carried": 0.8 * (1 - lost), "fresh": 0.8}
    return gap | {f"probe/random_target_fit/{who}": fit for who, fit in fits.items()}


def test_the_gap_stands_in_its_interval(url: str, tmp_path: Path) -> None:
    """Its own category, every title, and a band of some area around the line."""
    charts = board.layout([*_fork(0.5)])[board.BEHIND]
    areas = f"{ALL}.filter(e => e.matches('path.area') && e.getBBox().height > 10).length"
    with Page(url + "#custom_scalars", tmp_path / "profile") as page:
        for title in (board.BEHIND, *charts):
            page.wait(f"({TEXT}).includes({title!r})")
        page.wait(f"{areas} >= 1")
        (tmp_path / "gap.png").write_bytes(page.screenshot())


def test_spectra_are_among_the_images(url: str, tmp_path: Path) -> None:
    """Under the name of its layer, a picture beside that of the run, both wider than high."""
    drawn = f"{ALL}.filter(e => e.matches('img') && e.naturalWidth > e.naturalHeight && e.naturalHeight > 300).length"
    with Page(url + "#images", tmp_path / "profile") as page:
        page.wait(f"({TEXT}).includes('spectra')")
        page.wait(f"{drawn} == 2")
        (tmp_path / "spectra.png").write_bytes(page.screenshot())
