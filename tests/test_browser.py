"""What a person sees: TensorBoard with a recorded study, in a real browser."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lopgym.studies import board
from tests import synthetic
from tests.chromium import ALL, Page

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address that `serve` prints, and stop it with Ctrl-C, as a person does."""
    runs = tmp_path_factory.mktemp("runs")
    for variant in synthetic.VARIANTS:
        synthetic.record(runs, variant)
    script = f"from pathlib import Path; from lopgym.studies.board import serve; serve(Path({str(runs)!r}))"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield next(word for word in server.stdout.readline().split() if word.startswith("http"))
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=20) == 0


def _titles() -> list[str]:
    tags = {tag for variant in synthetic.VARIANTS for _, values in synthetic.lines(variant) for tag in values}
    layout = board.layout([*tags, *board.STRIPES])
    return [*layout, *(title for charts in layout.values() for title in charts)]


def test_custom_scalars_show_the_question_and_its_curves(url: str, tmp_path: Path) -> None:
    """Every title is on the page, every chart has a curve for every run, and the picture has their colours."""
    text = f"{ALL}.map(e => e.shadowRoot ? e.shadowRoot.textContent : '').join(' ') + document.body.textContent"
    # A curve of n points is one path of n - 1 lines; TensorBoard draws each twice, smoothed and, faintly, as it is.
    curves = f"{ALL}.filter(e => e.matches('path.line') && (e.getAttribute('d') || '').split('L').length > 5).length"
    titles = _titles()
    charts = len(titles) - 2
    with Page(url, tmp_path / "profile", height=1600) as page:
        for title in [*titles, *synthetic.VARIANTS]:
            page.wait(f"({text}).includes({title!r})")
        page.wait(f"{curves} >= {charts * len(synthetic.VARIANTS)}")
        picture = page.screenshot()
    (tmp_path / "custom_scalars.png").write_bytes(picture)
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).reshape(-1, 3)
    assert len(np.unique(pixels, axis=0)) > 500
    assert 0.05 < (pixels < 235).any(axis=1).mean() < 0.9


def test_without_chromium_the_line_that_installs_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No skip: a machine without a browser has not seen the page."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="apt-get install chromium"):
        Page("about:blank", tmp_path)
