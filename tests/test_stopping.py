"""Stopping: a signal asks, the next one insists; nobody listening is no reason to stop; workers follow their parent."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import lopgym
from lopgym.studies import termination
from lopgym.studies.exits import told
from lopgym.studies.notices import notice
from lopgym.studies.progress import Progress, display
from lopgym.studies.termination import Stop, Terminated, stoppable
from tests.living import LOPGYM, alive, gone, reads_proc

ASKING = [
    (signal.SIGINT, KeyboardInterrupt, 130),
    (signal.SIGTERM, Terminated, 143),
    (signal.SIGHUP, Terminated, 143),
]
WORDS = [(number, raised) for number, raised, _ in ASKING]


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Signals mean afterwards what they meant before; SIGINT is heard, which shells' background jobs ignore."""
    before = {number: signal.getsignal(number) for number, _ in WORDS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def no_echo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every second signal for one, however soon it comes."""
    monkeypatch.setattr(termination, "ECHO", -1.0)


def _send(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0)  # Python looks for signals between two instructions


@pytest.mark.parametrize(("number", "raised"), WORDS)
def test_the_first_signal_asks_and_the_second_insists(
    number: signal.Signals, raised: type[BaseException], no_echo: None
) -> None:
    """One line says so; work goes on until somebody obeys; afterwards all is as it was."""
    said: list[str] = []
    before = signal.getsignal(number)
    with stoppable(said.append) as stop:
        stop.obey()
        assert stop.asked is None
        _send(number)
        assert stop.asked == number.name
        assert said == [f"{number.name}: stops at the next moment from which it can go on; once more: at once"]
        with pytest.raises(raised):
            _send(number)
        with pytest.raises(raised):
            stop.obey()
    assert signal.getsignal(number) is before
    assert len(said) == 1


def test_the_second_signal_says_how_it_ends(no_echo: None) -> None:
    """Asked by SIGTERM, and Ctrl-C after that."""
    with stoppable(lambda line: None) as stop:
        _send(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            _send(signal.SIGINT)
        assert stop.asked == "SIGTERM"


def test_an_echo_is_not_a_second_signal() -> None:
    """`timeout` signals its command, and then its group, in which the command is."""
    with stoppable(lambda line: None) as stop:
        for _ in range(3):
            _send(signal.SIGTERM)
        assert stop.asked == "SIGTERM"
        stop._at -= termination.ECHO
        with pytest.raises(Terminated):
            _send(signal.SIGTERM)


@pytest.mark.parametrize(("number", "raised"), WORDS)
def test_what_is_ignored_stays_ignored(number: signal.Signals, raised: type[BaseException], no_echo: None) -> None:
    """SIGHUP under `nohup`, SIGINT in a worker."""
    signal.signal(number, signal.SIG_IGN)
    with stoppable(lambda line: None) as stop:
        for _ in range(2):
            _send(number)
        assert stop.asked is None
    assert signal.getsignal(number) is signal.SIG_IGN


def test_a_thread_is_never_asked() -> None:
    """Signals do not reach it, and Python would not let it listen; it works all the same."""
    seen: list[Stop] = []

    def work() -> None:
        with stoppable() as stop:
            stop.obey()
            seen.append(stop)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [stop.asked for stop in seen] == [None]


@pytest.mark.parametrize(("number", "code"), [(number, code) for number, _, code in ASKING])
@pytest.mark.parametrize("insist", [False, True])
def test_a_command_ends_with_the_code_of_its_signal(
    number: signal.Signals, code: int, insist: bool, no_echo: None
) -> None:
    """At the boundary as well as at once, in one line."""
    app, reached = typer.Typer(), []

    @app.command()
    def work() -> None:
        with told(), stoppable(lambda line: None) as stop:
            _send(number)
            reached.append("boundary")
            if insist:
                _send(number)
                reached.append("never")
            stop.obey()

    result = CliRunner().invoke(app, [])
    assert (result.exit_code, reached) == (code, ["boundary"])
    assert result.stderr.splitlines() == ["error: interrupted" if code == 130 else "error: terminated"]


def _broken() -> Any:
    """Return a stream whose reader has gone, as behind `| head`."""
    read, write = os.pipe()
    os.close(read)
    return io.TextIOWrapper(io.FileIO(write, "w"), write_through=True)


def _closed() -> Any:
    stream = io.StringIO()
    stream.close()
    return stream


class _Terminal(io.StringIO):
    """A terminal that was hung up."""

    def isatty(self) -> bool:
        """Be one."""
        return True

    def write(self, text: str) -> int:
        """Fail."""
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize("stream", [_broken, _closed, _Terminal, lambda: None], ids=["pipe", "closed", "tty", "none"])
def test_nobody_who_listens_is_no_reason_to_stop(stream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress and notices go on into nothing."""
    gone = stream()
    monkeypatch.setattr(sys, "stderr", gone)
    with display(every=0.0) as show:
        for step in range(3):
            show(Progress("none", 0, 1, step, 3, 0.0))
            notice("a line")
    if gone is not None and not gone.closed:
        gone.close()


def test_a_notice_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error, where results do not go."""
    notice("stops")
    assert capsys.readouterr() == ("", "stops\n")


PARENT = """
import sys, types
sys.path.insert(0, sys.argv[1])
sys.modules["lopgym"] = types.ModuleType("lopgym")  # without its worlds, which take seconds to import
sys.modules["lopgym"].__path__ = [sys.argv[2]]
from here import work
from lopgym.studies import parallel
parallel._PRELOAD.clear()
if __name__ == "__main__":
    parallel.run_all({"a": {"folder": sys.argv[1]}}, 1, work=work)
"""
WORK = """
import os, pathlib, time
def work(config, report):
    folder = pathlib.Path(config["folder"])
    try:
        (folder / "pid").write_text(str(os.getpid()))
        time.sleep(60)
    finally:
        (folder / "tidied").touch()
"""


@reads_proc
def test_a_worker_does_not_outlive_its_parent(tmp_path: Path) -> None:
    """The parent is killed, which it cannot tell anybody; the worker, in the middle of its work, tidies up and ends."""
    (tmp_path / "here.py").write_text(WORK)
    (tmp_path / "parent.py").write_text(PARENT)
    words = [str(tmp_path / "parent.py"), str(tmp_path), *lopgym.__path__]
    with subprocess.Popen([sys.executable, *words]) as parent:
        assert _eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), 60)
        worker = int((tmp_path / "pid").read_text())
        assert alive(worker)
        parent.kill()
    ended = gone([worker], 8.0)
    if not ended:
        os.kill(worker, signal.SIGKILL)
    assert ended
    assert (tmp_path / "tidied").exists()


def _eventually(holds: Any, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(holds())


@pytest.mark.slow
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_run_whose_output_nobody_reads_is_finished(stream: str, tmp_path: Path) -> None:
    """As behind `| head -0`: it trains to its end."""
    words = ["train", "study=catch_dqn", "tasks=2", "steps_per_task=400", f"runs_dir={tmp_path}"]
    with _broken() as nobody:
        pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: nobody}
        subprocess.run([LOPGYM, *words], check=False, timeout=300, **pipes)
    (about,) = tmp_path.rglob("run.json")
    assert '"status": "finished"' in about.read_text()
