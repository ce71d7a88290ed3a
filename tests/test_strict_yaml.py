"""Strict YAML: every value is what YAML 1.2 says, every fault one line with its place, no file takes time or memory."""

from __future__ import annotations

import math
import os
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from lopgym.record import RunFolder
from lopgym.strict_yaml import DEEPEST, MOST_BYTES, MOST_FAULTS, MOST_VALUES, YamlError, dump, parse, read
from lopgym.studies.compose import ConfigError, from_file, load, session

CONFIGS = sorted((Path(__file__).parents[1] / "configs").rglob("*.yaml"))
STUDY = "# @package _global_\ndefaults: [catch_dqn]\n"


def _faults(text: str) -> tuple[str, ...]:
    with pytest.raises(YamlError) as caught:
        parse(text, "a.yaml")
    assert all("\n" not in line for line in caught.value.lines)
    return caught.value.lines


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("3e-4", 0.0003),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("-2_000.5", -2000.5),
        ("20_480", 20480),
        ("+7", 7),
        ("-0", 0),
        ("0o17", 15),
        ("0x1F", 31),
        ("-.inf", -math.inf),
        ("true", True),
        ("False", False),
        ("~", None),
        ("Null", None),
        ("", None),
        *(
            (text, text)
            for text in ("no", "yes", "on", "off", "y", "1:30", "1:30.5", "2026-01-02", "0b11", "1__0", "_1")
        ),
        *((text, text) for text in ("nan", "inf", "0o8", "tRue", "1,000", "=", "${seed}", "1e", "0x")),
        ("'1'", "1"),
        ('"null"', "null"),
        ("|\n  3\n", "3\n"),
    ],
)
def test_a_value_is_read_by_the_rules_of_yaml_12(written: str, value: Any) -> None:
    """Values worked out by hand from its core schema, with underscores between digits beside."""
    found = parse(f"a: {written}\n", "a.yaml").data["a"]
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "1:1: it is empty; a config is a mapping"),
        ("# nothing\n", "it is empty"),
        ("- a\n", "1:1: a list; a config is a mapping, lines of KEY: VALUE"),
        ("hello\n", "1:1: only the value 'hello'"),
        ("null\n", "1:1: nothing but null"),
        ("a: 1\nb: 2\na: 3\n", "3:1: 'a' a second time; it stands in line 1 already"),
        ("a: {b: 1, 'b': 2}\n", "1:11: 'b' a second time"),
        ("a: 010\n", "1:4: 010: a number with a leading zero; write 10, or 0o10 to the base of eight"),
        ("a: 009\n", "1:4: 009: a number with a leading zero; write 9"),
        ("a: 1e999\n", "1:4: 1e999: beyond the largest number"),
        (f"a: {'1' * 400}\n", "1:4: a number of 400 characters; at most 64"),
        ("a: &x 1\n", "1:4: the anchor &x; write the value out, or refer to another key as ${KEY}"),
        ("a: *x\n", "1:4: the alias *x; write the value out"),
        ("*x : 1\n", "1:1: the alias *x"),
        ("a: {<<: {b: 1}}\n", "1:5: the merge key <<"),
        ("a: !!python/object/apply:os.system [id]\n", "1:4: the tag !!python/object/apply:os.system; plain values"),
        ("a: !!binary aGk=\n", "1:4: the tag !!binary"),
        ("a: ! x\n", "1:4: the tag !"),
        ("!!map {a: 1}\n", "1:1: the tag !!map"),
        ("%YAML 1.1\n---\na: 1\n", "1:1: a directive (%)"),
        ("a: 1\n---\nb: 1\n", "2:1: a second document (---)"),
        ("1: a\n", "1:1: the key 1 is no text; keys are: write '1'"),
        ("? [a]\n: 1\n", "1:3: a key that is a list or a mapping"),
        ("a: [1\n", "did not find expected ',' or ']'"),
        ("a: b: c\n", "1:5: mapping values are not allowed"),
        ("a: @b\n", "1:4: found character that cannot start any token"),
    ],
)
def test_a_fault_is_one_line_with_its_place(text: str, said: str) -> None:
    """What came and what is allowed, at line and column."""
    if "expected ','" in said and yaml.__with_libyaml__ is False:
        pytest.skip("the words of the compiled parser")
    (line,) = _faults(text)
    assert line.startswith("a.yaml:")
    assert said in line


def test_faults_are_told_all_at_once_up_to_a_number() -> None:
    """Three faults are three lines; a file of thousands is not printed back."""
    assert len(_faults("a: 010\nb: !!str x\na: 1\n")) == 3
    assert len(_faults("a: 010\n" * 1000)) == MOST_FAULTS


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"a: 1\nb: caf\xe9\n", "2:7: the byte 0xE9 is not UTF-8"),
        (b"\xef\xbb\xbfa: 1\n", "1:1: a byte order mark"),
        ("a: 1\n".encode("utf-16"), "1:1: a byte order mark"),
        (b"a: 1\nb: x\0y\n", "2:5: the control character U+0000"),
        (b"a:\n  b: 1\n \tc: 1\n", "3:2: indented by a tab; indent by spaces"),
    ],
)
def test_what_an_editor_does_not_show_is_placed(tmp_path: Path, raw: bytes, said: str) -> None:
    """Bytes, marks and tabs are told before anything is parsed."""
    (tmp_path / "a.yaml").write_bytes(raw)
    with pytest.raises(YamlError) as caught:
        read(tmp_path / "a.yaml", "a.yaml")
    assert caught.value.lines[0].startswith(f"a.yaml:{said}")


def test_a_file_may_have_tabs_elsewhere_and_windows_line_ends(tmp_path: Path) -> None:
    """Before a comment and between words a tab does no harm."""
    (tmp_path / "a.yaml").write_bytes(b"a: 1\t# one\r\nb: 'x\ty'\r\n")
    assert read(tmp_path / "a.yaml").data == {"a": 1, "b": "x\ty"}


def _aliases() -> str:
    lines = [
        f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    return "\n".join(["a: &a [1]", *lines])


BOMBS: dict[str, Callable[[], str]] = {
    "aliases": _aliases,
    "deep lists": lambda: "a: " + "[" * 500_000,
    "deep mappings": lambda: "".join(" " * depth + "a:\n" for depth in range(1000)),
    "deep keys": lambda: "? " * 500_000,
    "many values": lambda: "a: [" + "1," * 500_000 + "]",
    "many digits": lambda: "a: " + "1" * 1_000_000,
    "many tags": lambda: "!" * 1_000_000,
    "many faults": lambda: "a: 010\n" * 140_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_no_file_takes_time_or_memory(name: str) -> None:
    """CPU time below a second and memory below 100 MB, whatever came; the file itself is 1 MB."""
    text, begun = BOMBS[name](), time.process_time()
    tracemalloc.start()
    try:
        _faults(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100e6
    assert time.process_time() - begun < (5 if name == "many values" else 2)  # tracing slows allocation down


def test_what_is_no_small_file_is_refused_unread(tmp_path: Path) -> None:
    """A gigabyte, a pipe that nobody writes into, a folder."""
    with (tmp_path / "big.yaml").open("wb") as file:
        file.truncate(10**9)
    os.mkfifo(tmp_path / "pipe.yaml")
    for name, said in (
        ("big.yaml", f"1,000,000,000 bytes; at most {MOST_BYTES:,}"),
        ("pipe.yaml", "not a regular file"),
    ):
        with pytest.raises(YamlError, match=said):
            read(tmp_path / name)


def test_limits_are_where_they_are_said_to_be() -> None:
    """One less is read."""
    assert parse("a: " + "[" * (DEEPEST - 1) + "]" * (DEEPEST - 1), "a.yaml").data
    assert "deep" in _faults("a: " + "[" * DEEPEST + "]" * DEEPEST)[0]
    items = ",".join("1" * (MOST_VALUES - 2))
    assert len(parse(f"a: [{items}]", "a.yaml").data["a"]) == MOST_VALUES - 2
    assert "values" in _faults(f"a: [{items},1]")[0]


def test_the_place_of_every_key_and_item_is_kept() -> None:
    """Line and column, from 1."""
    places = parse("a:\n  b: [7, {c: 1}]\n", "a.yaml").places
    assert places == {
        ("a",): (1, 1),
        ("a", "b"): (2, 3),
        ("a", "b", "0"): (2, 7),
        ("a", "b", "1"): (2, 10),
        ("a", "b", "1", "c"): (2, 11),
    }


_TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12) | st.sampled_from(
    [
        "no",
        "1e3",
        "010",
        "0o7",
        "~",
        "",
        "<<",
        "null",
        "1_0",
        "2026-01-02",
        "1:30",
        ".inf",
        "9" * 70,
        "a: b",
        "&x",
        "- 1",
    ]
)
_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=8,
)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.dictionaries(_TEXT, _PLAIN, max_size=4))
def test_what_is_written_is_read_back(data: dict[str, Any]) -> None:
    """Types and every bit of a float; text that looks like a number stays text."""
    assert repr(parse(dump(data), "a.yaml").data) == repr(data)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_configs_of_the_package_mean_the_same_to_hydra(path: Path) -> None:
    """Hydra reads these itself, by YAML 1.1: nothing in them may be read in two ways."""
    assert read(path).data == OmegaConf.to_container(OmegaConf.load(path), resolve=False)


def _study(folder: Path, body: str | bytes) -> Path:
    file = folder / "study" / "mine.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(body if isinstance(body, bytes) else (STUDY + body).encode())
    return folder


def _refused(folder: Path, *words: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught, session(folder) as loader:
        load(loader, ["study=mine", *words])
    return caught.value.lines


def test_hydra_sees_what_the_strict_reader_saw(tmp_path: Path) -> None:
    """PyYAML would make a float of `1:30.5`, a bool of `no`, eight of `0o10` a text."""
    _study(tmp_path, "env: {world_seed: 0o10}\nvariant: no\nagent: {learning_rate: 1e-3}\nruns_dir: 1:30.5\n")
    with session(tmp_path) as loader:
        config = load(loader, ["study=mine"])
    assert (config.env.world_seed, config.variant, config.runs_dir) == (8, "no", Path("1:30.5"))
    assert config.agent.model_dump()["learning_rate"] == 0.001


# Four times as many values in each line: 500 * 4^11 in all.
_FOUR = "[{0}, {0}, {0}, {0}]"
BUSHY = f"a0: {[1] * 500}\n" + "".join(f"a{i}: {_FOUR}\n".replace("{0}", f"'${{a{i - 1}}}'") for i in range(1, 12))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("seed: 1\nseed: 2\n", "4:1: 'seed' a second time; it stands in line 3 already"),
        ("x: !!python/object/apply:os.system [id]\n", "3:4: the tag !!python/object/apply:os.system"),
        ("hydra: {searchpath: [pkg://antigravity]}\n", "3:1: hydra: the machinery below has no options here"),
        (f"variant: '{'${seed}' * 5}'\n", "at most 200 characters with 4 interpolations"),
        (b"", "1:1: it is empty"),
        (b"\xff\xfe", "1:1: a byte order mark"),
        (b"# @package a b\ntasks: 1\n", "# @package"),
        ("env: {n_envs: '4'}\n", "3:7: env.n_envs: Input should be a number, not text; write it without quotes"),
        ("agent: {learnig_rate: 1}\n", "3:9: agent.learnig_rate: unknown option; did you mean 'learning_rate'?"),
        ("a: {b: '${a}'}\n", "3:5: a.b: Interpolation to parent node"),
        ("".join(f"a{i}: '${{a{i - 1}}}${{a{i - 1}}}'\n" for i in range(1, 40)), "more than 8 values are put together"),
        pytest.param(BUSHY, "make more than 20,000 values", marks=pytest.mark.slow),
    ],
)
def test_a_file_of_the_user_is_refused_in_one_line(tmp_path: Path, body: str | bytes, said: str) -> None:
    """At its place, before Hydra; what only the composition shows, without it."""
    (line,) = _refused(_study(tmp_path, body))
    assert said in line


def test_a_folder_brings_no_primary_config(tmp_path: Path) -> None:
    """Hydra would take its search path from there, and import what it names."""
    _study(tmp_path, "")
    (tmp_path / "config.yaml").write_text("hydra: {searchpath: [pkg://a_module_of_a_stranger]}\n")
    (line,) = _refused(tmp_path)
    assert "config.yaml: what all studies begin with is built in" in line


def test_faults_of_all_files_are_told_together(tmp_path: Path) -> None:
    """A preset beside the study is read, too; what Hydra does not read is nobody's business."""
    _study(tmp_path, "seed: 010\n")
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "quick.yaml").write_text("- 1\n")
    (tmp_path / "compose.yaml").write_text("a: !include x\n")
    assert [line.rpartition("/")[2].partition(":")[0] for line in _refused(tmp_path)] == ["mine.yaml", "quick.yaml"]


def test_the_config_of_a_run_is_read_strictly(tmp_path: Path) -> None:
    """What a run wrote comes back; a stranger's runs no code and is told by line."""
    folder = RunFolder(tmp_path)
    with session() as loader:
        config = load(loader, ["study=custom", "env.id=CartPole", "variant='1e3'"])
    assert config.plain()["env"]["id"] == "CartPole-v1", "the version is pinned"
    folder.config.write_text(dump(config.plain()))
    assert from_file(folder.config) == config
    folder.config.write_text(dump(config.plain() | {"seed": -1}))
    with pytest.raises(ConfigError, match=r"config.yaml:5:1: seed: Input should be greater than or equal to 0"):
        from_file(folder.config)
    foreign = config.plain()
    foreign["env"]["id"] = "antigravity:CartPole-v1"
    folder.config.write_text(dump(foreign))
    with pytest.raises(ConfigError, match="would import antigravity; allow it with --allow-import antigravity"):
        from_file(folder.config)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        (f"seed={'1' * 5000}", f"seed={'1' * 55}...: a number of 5,000 digits; at most 64"),
        (f"a={'[' * 3000}", "nested more than 50 deep"),
        (f"variant={'${' * 3000}", "nested more than 50 deep"),
        ("variant=${a}${b}${c}${d}${e}", "more than 4 interpolations"),
    ],
)
def test_words_have_the_same_limits(tmp_path: Path, word: str, said: str) -> None:
    """An override is told as it was typed, shortened where it is endless."""
    (line,) = _refused(_study(tmp_path, "tasks: 2\n"), word)
    assert said in line
