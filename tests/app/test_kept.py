"""What was read is kept until its files change, shared by all who ask, and no more than so much."""

from __future__ import annotations

import itertools
import os
import threading
import time
from pathlib import Path

import pytest

from app import kept, recorded_groups
from ekipl_lab.groups.build import build_group
from ekipl_lab.records import GroupRecordWriter
from ekipl_lab.types import Action, ActionGroup, RewardBreakdown, Sample


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_ANSWERS", type(kept._ANSWERS)())


def written(path: Path, text: str, ago: float) -> None:
    """Write a file as if some seconds ago."""
    path.write_text(text, encoding="utf-8")
    at = time.time_ns() - int(ago * 1e9)
    os.utime(path, ns=(at, at))


def read(path: Path) -> str:
    return kept.remembered(
        ("text",), lambda: path.read_text("utf-8"), stamp=lambda: kept.stamp_of([path])
    )


def test_an_answer_stands_until_its_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, asked = tmp_path / "a", []
    monkeypatch.setattr(kept, "FRESH", -1.0)  # no answer is too young to look at the stamp

    def ask() -> str:
        asked.append(file.read_text("utf-8"))
        return asked[-1]

    def look() -> str:
        return kept.remembered(("a",), ask, stamp=lambda: kept.stamp_of([file]))

    written(file, "one", ago=60)
    assert [look(), look(), look()] == ["one"] * 3 and asked == ["one"]
    written(file, "two", ago=30)  # of the same size
    assert [look(), look()] == ["two"] * 2 and asked == ["one", "two"]
    written(file, "three", ago=30)  # at the same time
    assert look() == "three"


def test_a_file_that_was_just_written_is_not_trusted_to_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a"
    monkeypatch.setattr(kept, "FRESH", -1.0)
    written(file, "one", ago=0)
    same = file.stat()
    assert read(file) == "one"
    file.write_text("two", encoding="utf-8")
    os.utime(file, ns=(same.st_atime_ns, same.st_mtime_ns))  # within one tick of the clock
    assert read(file) == "two"


def test_without_a_stamp_an_answer_ages(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = itertools.count()
    assert {kept.remembered(("n",), lambda: next(numbers)) for _ in range(3)} == {0}
    assert {kept.remembered(("f",), lambda: next(numbers), forever=True)} == {1}
    monkeypatch.setattr(kept, "FRESH", -1.0)
    assert [kept.remembered(("n",), lambda: next(numbers)) for _ in range(2)] == [2, 3]
    assert kept.remembered(("f",), lambda: next(numbers), forever=True) == 1


def test_a_failure_is_not_kept() -> None:
    def fail() -> int:
        raise ValueError("not now")

    with pytest.raises(ValueError, match="not now"):
        kept.remembered(("x",), fail)
    assert kept.remembered(("x",), lambda: 7) == 7


def test_stores_are_apart_and_the_oldest_answers_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "KEPT", 3)
    for store in ("a", "b"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:////nowhere/{store}.db")
        assert kept.remembered(("k",), lambda store=store: store) == store
    for number in range(3):
        kept.remembered((number,), lambda number=number: number)
    assert len(kept._ANSWERS) == 3
    assert kept.remembered(("k",), lambda: "asked anew") == "asked anew"


def test_of_many_who_ask_at_once_one_does() -> None:
    asked, started = [], threading.Barrier(8)

    def ask() -> int:
        asked.append(threading.get_ident())
        return len(asked)

    def look() -> None:
        started.wait()
        assert kept.remembered(("k",), ask) == 1

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asked) == 1


def a_group(family: str) -> ActionGroup:
    sample = Sample("own/1", "own", "train", (), "How many?", "3", "number", family)
    actions = [Action(f"<answer>{n}</answer>", "policy", "tiny") for n in (3, 4)]
    rewards = [RewardBreakdown({"accuracy": r}, {"accuracy": 1.0}, r == 1, "", "") for r in (1, 0)]
    return build_group(sample, actions, rewards, rule="top_g", group_size=2)


def test_a_run_that_goes_on_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_groups, "_records_folder", lambda run: tmp_path)
    monkeypatch.setattr(kept, "FRESH", -1.0)
    with GroupRecordWriter(tmp_path, compact_every=3) as writer:
        for step in range(1, 6):  # across a merge of small files
            writer.write(step, [a_group("old")] * step)
            assert recorded_groups.list_steps("r") == list(range(1, step + 1))
            assert recorded_groups.count_groups("r", step) == len(
                recorded_groups.list_marks("r")
            ) - sum(range(step))
        assert recorded_groups.list_groups("r", search="<answer>4", family="new") == ()
        writer.write(6, [a_group("new")])
        assert recorded_groups.list_families("r") == ["new", "old"]
        assert recorded_groups.list_groups("r", search="<answer>4", family="new") == ((6, 0),)
        writer.discard_after(4)
        assert (
            recorded_groups.list_steps("r") == [1, 2, 3, 4]
            and recorded_groups.count_groups("r", 6) == 0
        )
