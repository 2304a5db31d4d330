"""The frozen benchmark and warm starts: what is shipped is what was frozen, and changes show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from ekipl_lab.benchmarks.mini import MINI_TASKS, freeze
from ekipl_lab.benchmarks.mini.task import MINI_VERSION, Draw, Drawn
from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.files import SUMS, check_sums, read_sums

ENTRY = freeze.Version(f"{MINI_VERSION}.9", "2026-01-01", "a test", {"t": "aa"}, {"p": "bb"})


def test_what_is_shipped_is_what_was_frozen() -> None:
    frozen = freeze.read()[-1]
    assert freeze.differences(frozen, freeze.measure(frozen.version, "", "")) == []


def test_a_change_of_one_word_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    mini = MINI_TASKS["counting"]

    def reworded(rng: Random, wanted: Draw) -> Drawn:
        drawn = mini.draw(rng, wanted)
        return replace(drawn, question=drawn.question.replace("How many", "What number of"))

    before = freeze.benchmark_digest("counting")
    assert before == freeze.benchmark_digest("counting")
    monkeypatch.setitem(MINI_TASKS, "counting", replace(mini, draw=reworded))
    assert freeze.benchmark_digest("counting") != before


def test_a_policys_files_count_and_its_card_does_not(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    first = freeze.folder_digest(tmp_path)
    (tmp_path / "README.md").write_text("a card")
    assert freeze.folder_digest(tmp_path) == first
    (tmp_path / "model.safetensors").write_bytes(b"weightz")
    assert freeze.folder_digest(tmp_path) != first


def test_differences_are_named() -> None:
    now = replace(ENTRY, benchmark={"t": "ab"}, policies={"q": "bb"})
    assert freeze.differences(ENTRY, now) == [
        f"benchmark mini/t changed since version {ENTRY.version}.",
        f"policy/p is gone since version {ENTRY.version}.",
        f"policy/q is new since version {ENTRY.version}.",
    ]


def test_versions_are_kept_and_need_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "frozen.json"
    freeze.write(ENTRY, path)
    later = replace(ENTRY, version=f"{MINI_VERSION}.10", reason="another")
    freeze.write(later, path)
    assert freeze.read(path) == [ENTRY, later]
    with pytest.raises(ConfigError, match="frozen already"):
        freeze.write(later, path)
    with pytest.raises(ConfigError, match="needs a reason"):
        freeze.write(replace(later, version=f"{MINI_VERSION}.11", reason=" "), path)
    with pytest.raises(ConfigError, match="does not begin with the benchmark's own"):
        freeze.write(replace(later, version="77"), path)
    path.write_text("[{}]")
    with pytest.raises(DataError, match="cannot be read"):
        freeze.read(path)


def test_every_shipped_policy_is_sealed() -> None:
    """By `files.write_sums`, as `save_policy` does; a damaged one is refused where it is loaded."""
    for folder in sorted(freeze.POLICIES.iterdir()):
        names = {path.name for path in folder.iterdir()} - {"README.md", SUMS}
        assert read_sums(folder).keys() == names
        check_sums(folder)
