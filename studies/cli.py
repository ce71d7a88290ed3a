"""The command line: it parses and prints. Here only typer is imported; each command imports what it needs."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from lopgym.studies.exits import FILE_SYSTEM, USAGE, check_writable, say, tell, told

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: 0.1 s faster
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Loss of plasticity in reinforcement learning: lose it, see it, regain it.",
)

LISTS = ("envs", "schedules", "probes", "mitigations", "triggers", "detectors", "studies", "agents")


def _complete(ctx: typer.Context, incomplete: str) -> list[str]:
    from lopgym.studies.completion import complete

    return complete(ctx.params.get("overrides") or (), incomplete)


Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        autocompletion=_complete,
        help="study=NAME mitigation=NAME agent.learning_rate=1e-3 seed=3 ...",
    ),
]
ConfigDirs = Annotated[
    list[Path] | None,
    typer.Option(
        "--config-dir",
        metavar="FOLDER",
        exists=True,
        file_okay=False,
        help="Folder with studies and presets of your own.",
    ),
]
AllowImport = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-import",
        metavar="PACKAGE",
        help="Package that env.id=PACKAGE:Id-v0 may import; it is sought here, too.",
    ),
]
Trusted = Annotated[bool, typer.Option("--i-trust-this-file", help="Unpickle a zip: that runs what its author put in.")]
Runs = Annotated[Path, typer.Argument(help="Folder with runs.")]


@app.command()
def train(
    overrides: Overrides = None,
    config_dir: ConfigDirs = None,
    allow_import: AllowImport = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Hold mitigations to what they promise, at every call; slower.")
    ] = False,
) -> None:
    """Train one agent.

    Example: lopgym train study=catch_dqn mitigation=redo seed=3

    Deeper looks, off unless asked for: fork.every=5 (tasks); null_calibration.every=4000, spectra_every=800 (steps).
    """
    _look_here(allow_import)
    with told():
        from lopgym.studies.compose import load, session

        with session(*(config_dir or ())) as loader:
            config = load(loader, overrides or (), allow_import=allow_import or ())
        check_writable(config.runs_dir)
        from lopgym.studies.progress import display
        from lopgym.studies.run import execute

        with nullcontext() if quiet else display() as show:
            run = execute(config, on_progress=show, check=check)
    say(run.path)
    for name, calls in run.checked_calls.items():
        say(f"checked: {name} kept its promises in {calls} calls")
    if check and not run.checked_calls:
        say("checked: nothing, as there is no mitigation in this run")
    say(f"look at it: lopgym tensorboard {shlex.quote(str(config.runs_dir / config.study))}")


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(help="Folder of one run.")],
    changes: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="tasks=N, checkpoint.every=N, checkpoint.keep=N.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse other versions, threads or another device than before.")
    ] = False,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Begin again if there is no checkpoint that can be read.")
    ] = False,
    allow_import: AllowImport = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Let a run go on.

    One that was cut off, from its newest checkpoint, bit for bit; a finished one, for more tasks: tasks=30.
    """
    _look_here(allow_import)
    with told():
        from lopgym.studies.changes import from_words
        from lopgym.studies.progress import display
        from lopgym.studies.run import resume as go_on

        new, allowed = from_words(changes or ()), allow_import or ()
        with nullcontext() if quiet else display() as show:
            finished = go_on(
                run, on_progress=show, strict=strict, from_start=from_start, changes=new, allow_import=allowed
            )
    say(finished.path)


def _look_here(allow_import: list[str] | None) -> None:
    """Seek packages where one's own usually are; last, so that they hide nothing."""
    if allow_import:
        sys.path.append(os.getcwd())


@app.command()
def demo(
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the runs, the figure and demo.json; else demo, demo-2, ...")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes at once; one for each variant if left out.")
    ] = None,
) -> None:
    """Lose plasticity and regain it.

    Three agents side by side on catch_dqn: untreated, treated from task 14 on, and fresh in every task.
    """
    with told():
        check_writable(out or Path())
        from lopgym.studies.notices import notice

        notice("Three agents learn a game that keeps changing: one to three minutes on two cores.")
        from lopgym.studies.demo import demo as play

        play(seed, out, workers)


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(metavar="|".join(LISTS), autocompletion=lambda: list(LISTS))],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List what there is.

    Example: lopgym list mitigations
    """
    with told({ValueError: USAGE}):
        from lopgym.studies.listing import rows, text

        found = rows(what)
    say(json.dumps(found, indent=2) if as_json else text(found, _width()))


def _width() -> int | None:
    """Return the columns of the terminal; files and pipes have as many as they need."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


@app.command()
def tensorboard(
    runs: Runs = Path("runs"),
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="A free one if left out.")] = None,
) -> None:
    """Look at runs in TensorBoard, on this machine only."""
    with told({FileNotFoundError: USAGE, ValueError: FILE_SYSTEM}):
        from lopgym.studies.board import serve

        serve(runs, port)


@app.command()
def record(
    run: Annotated[Path, typer.Argument(help="Folder of one run.")],
    task: Annotated[int, typer.Option(min=0, help="Number of the task, from 0.")],
    out: Annotated[Path | None, typer.Option(help="MP4 or GIF file; RUN/task-K.mp4 if left out.")] = None,
    allow_import: AllowImport = None,
) -> None:
    """Film the agent of a run.

    As it was at the end of a task: lopgym record RUN --task 3
    """
    _look_here(allow_import)
    with told({ValueError: USAGE}):
        from lopgym.studies.video import record as film

        say(film(run, task, out, allow_import=allow_import or ()))


@app.command()
def probe(
    path: Annotated[
        Path | None, typer.Argument(help="Folder of one run, task-K.npz in it, or a zip of Stable-Baselines3.")
    ] = None,
    task: Annotated[int | None, typer.Option(min=0, help="Number of the task; the last one if left out.")] = None,
    env: Annotated[str | None, typer.Option(metavar="ID", help="World of a zip.")] = None,
    trusted: Trusted = False,
    fresh: Annotated[int, typer.Option(min=2, help="Freshly initialised networks to compare with.")] = 20,
    as_json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Every number.")] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Page with figures; in the run, or beside the zip, if left out.")
    ] = None,
    calibrate: Annotated[
        str | None, typer.Option(metavar="STUDY", help="Propose how often a study can afford to measure; no PATH.")
    ] = None,
    allow_import: AllowImport = None,
) -> None:
    """Look into an agent.

    What is left of its plasticity, and where it is stuck, beside fresh networks: lopgym probe RUN --task 3
    """
    _look_here(allow_import)
    if (path is None) == (calibrate is None):
        tell(["say what to look into: lopgym probe PATH, or lopgym probe --calibrate STUDY"], USAGE)
    with told({ValueError: USAGE}):
        if calibrate is not None:
            from lopgym.studies.cadence import calibrate as propose

            say(propose(calibrate))
        elif path is not None:
            from lopgym.studies.probe_command import probe as look_into

            files = {"as_json": as_json, "html": html}
            for line in look_into(path, task, env, trusted, fresh=fresh, allow_import=allow_import or (), **files):
                say(line)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Folder of one run.")],
    task: Annotated[int | None, typer.Option(min=0, help="As it was at the end of this task.")] = None,
    step: Annotated[int | None, typer.Option(min=0, help="As it is in the checkpoint of this step.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to make; RUN/export-step-N if left out.")] = None,
    allow_import: AllowImport = None,
) -> None:
    """Write a run's agent for others.

    As a zip of Stable-Baselines3 and a plain state_dict: lopgym export RUN --out exported
    """
    _look_here(allow_import)
    with told({ValueError: USAGE}):
        from lopgym.studies.exporting import export as write

        for line in write(run, task=task, step=step, out=out, allow_import=allow_import or ()).lines:
            say(line)


@app.command("import-sb3")
def import_sb3(
    path: Annotated[Path, typer.Argument(metavar="ZIP", help="Zip of Stable-Baselines3.")],
    env: Annotated[str | None, typer.Option(metavar="ID", help="Its world.")] = None,
    trusted: Trusted = False,
    out: Annotated[Path | None, typer.Option(help="Folder to make; NAME-imported beside it if left out.")] = None,
    allow_import: AllowImport = None,
) -> None:
    """Turn a zip of Stable-Baselines3 into plain data, which `lopgym probe` looks into."""
    _look_here(allow_import)
    with told({ValueError: USAGE}):
        from lopgym.studies.importing import import_sb3 as read

        for line in read(path, env, trusted=trusted, out=out, allow_import=allow_import or ()).lines:
            say(line)


@app.command()
def doctor(runs: Runs = Path("runs")) -> None:
    """Say what this machine has.

    Versions, devices, threads, extras, disk.
    """
    with told():
        from lopgym.studies.doctor import examine

        for what, finding in examine(runs):
            say(f"{what:18} {finding}")
