"""Group records: what goes in comes out, at any moment, whatever happened to the process."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.records import (
    SCHEMA,
    GroupRecordWriter,
    list_steps,
    load_groups,
    read_groups,
    sum_by_source,
)
from ekipl_lab.records.shards import list_shards
from ekipl_lab.types import Action, ActionGroup, RewardBreakdown, Sample, Usage

WEIGHTS = {"accuracy": 1.0, "format": 0.5}


def make_sample(name: str = "mini/counting/train/s0/000001") -> Sample:
    return Sample(
        id=name,
        task="counting",
        split="train",
        images=(),
        question="How many red cubes are there?",
        answer="3",
        answer_type="number",
        family="count_two",
        difficulty=4,
    )


def make_reward(accuracy: float | None, form: float = 1.0) -> RewardBreakdown:
    success = None if accuracy is None else accuracy >= 1.0
    return RewardBreakdown({"accuracy": accuracy, "format": form}, WEIGHTS, success, "3", "equal")


def make_group(name: str = "mini/counting/train/s0/000001") -> ActionGroup:
    """Two policy actions, one teacher action; the first policy action is dropped."""
    policy = Action(
        completion="<think>3 red</think><answer>3</answer>",
        source="policy",
        model_id="tiny",
        token_ids=(5, 6, 7),
        logprobs=(-0.5, -0.25, -0.125),
        tokenizer_id="abc",
        usage=Usage(prompt_tokens=30, completion_tokens=3, latency=0.5),
    )
    cut_off = Action("<think>3 <b>&", "policy", "tiny", finish_reason="length")
    teacher = Action("<think>é ∑</think><answer>3</answer>", "oracle", "oracle-0.9")
    return ActionGroup(
        sample=make_sample(name),
        candidates=(cut_off, policy, teacher),
        rewards=(make_reward(None, 0.0), make_reward(0.0), make_reward(1.0)),
        kept=(1, 2),
        advantages=(-1.0, 1.0),
        rule="top_g",
    )


def test_a_group_comes_back_field_by_field(tmp_path: Path) -> None:
    group = make_group()
    with GroupRecordWriter(tmp_path) as writer:
        writer.write(3, [group])
    (recorded,) = load_groups(tmp_path, 3)
    assert recorded.with_sample(group.sample) == group
    assert recorded.differences(group) == []
    assert (recorded.step, recorded.group, recorded.family, recorded.difficulty) == (
        3,
        0,
        "count_two",
        4,
    )


def test_rows_say_what_was_kept_and_what_could_not_be_scored(tmp_path: Path) -> None:
    with GroupRecordWriter(tmp_path) as writer:
        writer.write(0, [make_group()])
    table = read_groups(tmp_path)
    assert table.schema.equals(SCHEMA)
    rows = table.to_pylist()
    assert [row["kept"] for row in rows] == [False, True, True]
    assert [row["advantage"] for row in rows] == [None, -1.0, 1.0]
    assert [row["total"] for row in rows] == [None, 0.5, 1.5]
    assert [row["success"] for row in rows] == [None, False, True]
    assert dict(rows[0]["components"]) == {"accuracy": None, "format": 0.0}
    assert dict(rows[0]["weights"]) == WEIGHTS
    assert [row["num_tokens"] for row in rows] == [None, 3, None]


def test_a_changed_group_or_sample_is_noticed(tmp_path: Path) -> None:
    group = make_group()
    with GroupRecordWriter(tmp_path) as writer:
        writer.write(0, [group])
    (recorded,) = load_groups(tmp_path, 0)
    other = ActionGroup(group.sample, group.candidates, group.rewards, (0, 2), (-1.0, 1.0), "quota")
    assert recorded.differences(other) == ["kept", "rule"]
    with pytest.raises(DataError, match="000002"):
        recorded.with_sample(make_sample("mini/counting/train/s0/000002"))


def test_queries_by_step_sample_source_and_page(tmp_path: Path) -> None:
    with GroupRecordWriter(tmp_path, compact_every=4) as writer:
        for step in range(10):
            writer.write(step, [make_group(f"s{step}/{i}") for i in range(3)])
    assert list_steps(tmp_path) == list(range(10))
    assert read_groups(tmp_path, steps=4).num_rows == 9
    assert read_groups(tmp_path, steps=range(2, 5), source="oracle").num_rows == 9
    assert read_groups(tmp_path, steps=[0, 9, 77]).num_rows == 18
    one = read_groups(tmp_path, sample_id="s7/1", columns=["step", "group", "candidate"])
    assert one.to_pylist() == [{"step": 7, "group": 1, "candidate": i} for i in range(3)]
    page = read_groups(tmp_path, columns=["step", "group", "candidate"], offset=10, limit=2)
    assert page.to_pylist() == [
        {"step": 1, "group": 0, "candidate": 1},
        {"step": 1, "group": 0, "candidate": 2},
    ]
    assert [g.sample_id for g in load_groups(tmp_path, 8, offset=1, limit=1)] == ["s8/1"]
    assert read_groups(tmp_path, steps=[]).num_rows == 0
    with pytest.raises(DataError, match="no column 'reward'"):
        read_groups(tmp_path, columns=["reward"])
    with pytest.raises(DataError, match="step 77"):
        load_groups(tmp_path, 77)


def test_steps_are_listed_from_footers_and_without_them(tmp_path: Path) -> None:
    """Steps with gaps, in small, merged and cut shards, and in one that does not name its steps."""
    with GroupRecordWriter(tmp_path, compact_every=3) as writer:
        for step in (2, 5, 9, 10):
            writer.write(step, [make_group()])
        assert list_steps(tmp_path) == [2, 5, 9, 10]
        writer.discard_after(7)
        assert list_steps(tmp_path) == [2, 5]
    (path,) = tmp_path.glob("*.parquet")
    assert pq.read_metadata(path).metadata[b"ekipl.steps"] == b"2,5"
    table = read_groups(tmp_path).replace_schema_metadata(SCHEMA.metadata)
    pq.write_table(table, path)
    assert b"ekipl.steps" not in pq.read_metadata(path).metadata
    assert list_steps(tmp_path) == [2, 5]


def test_sums_per_source(tmp_path: Path) -> None:
    with GroupRecordWriter(tmp_path) as writer:
        writer.write(5, [make_group(), make_group()])
    assert sum_by_source(tmp_path) == [
        {
            "step": 5,
            "source": "oracle",
            "candidates": 2,
            "kept": 2,
            "successes": 2,
            "mean_total": 1.5,
            "abs_advantage": 2.0,
        },
        {
            "step": 5,
            "source": "policy",
            "candidates": 4,
            "kept": 2,
            "successes": 0,
            "mean_total": 0.5,
            "abs_advantage": 2.0,
        },
    ]


def test_several_writes_of_one_step_number_their_groups_on(tmp_path: Path) -> None:
    with GroupRecordWriter(tmp_path) as writer:
        writer.write(0, [make_group("a")])
        writer.write(0, [make_group("b")])
    with GroupRecordWriter(tmp_path) as writer:
        writer.write(0, [make_group("c")])
    assert [(g.group, g.sample_id) for g in load_groups(tmp_path, 0)] == [
        (0, "a"),
        (1, "b"),
        (2, "c"),
    ]


def test_resume_replaces_the_records_after_the_checkpoint(tmp_path: Path) -> None:
    with GroupRecordWriter(tmp_path, compact_every=4) as writer:
        for step in range(10):
            writer.write(step, [make_group(f"old/{step}")])
    with GroupRecordWriter(tmp_path, compact_every=4) as writer:
        with pytest.raises(DataError, match=r"discard_after\(5\)"):
            writer.write(6, [make_group()])
        writer.discard_after(5)
        assert list_steps(tmp_path) == [0, 1, 2, 3, 4, 5]
        for step in range(6, 8):
            writer.write(step, [make_group(f"new/{step}")])
    samples = read_groups(tmp_path, columns=["sample_id"]).to_pydict()["sample_id"][::3]
    assert samples == [f"old/{i}" for i in range(6)] + ["new/6", "new/7"]
    with GroupRecordWriter(tmp_path, compact_every=2) as writer:
        writer.write(8, [make_group()])
        writer.write(9, [make_group()])
        writer.discard_after(7)
        assert list_steps(tmp_path) == list(range(8))
        writer.discard_after(-1)
    assert list_steps(tmp_path) == []


def test_what_a_crash_leaves_behind_is_not_read_twice(tmp_path: Path) -> None:
    """Killed between writing a merged part and deleting the small ones, or while cutting one."""
    singles = tmp_path / "singles"
    with GroupRecordWriter(singles) as writer:
        for step in range(4):
            writer.write(step, [make_group()])
        left = {path.name: path.read_bytes() for path in singles.glob("*.parquet")}
    assert len(left) == 4
    (singles / "steps-00000009-00000009-part-000009-000009.parquet.1.tmp").write_bytes(b"PAR1")
    for name, content in left.items():
        (singles / name).write_bytes(content)
    assert read_groups(singles).num_rows == 12
    (merged,) = list_shards(singles)[0]
    whole = merged.path.read_bytes()
    with GroupRecordWriter(singles) as writer:
        assert len(list(singles.iterdir())) == 1
        writer.discard_after(1)
    merged.path.write_bytes(whole)
    assert list_steps(singles) == [0, 1]


def test_records_are_readable_while_another_process_writes(tmp_path: Path) -> None:
    """A reader sees whole steps only, in order, none twice, through every merge."""
    code = (
        "import sys; sys.path[:0] = ['tests/kit', 'tests/records']\n"
        "from test_records import make_group, GroupRecordWriter\n"
        f"with GroupRecordWriter({str(tmp_path)!r}, compact_every=8) as writer:\n"
        "    for step in range(120): writer.write(step, [make_group(), make_group()])\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    seen: set[int] = set()
    while process.poll() is None:
        steps = read_groups(tmp_path, columns=["step"]).to_pydict()["step"]
        assert steps == [step for step in range(len(steps) // 6) for _ in range(6)]
        seen.add(len(steps))
    assert process.returncode == 0
    assert len(seen) > 3
    assert list_steps(tmp_path) == list(range(120))


def test_a_broken_file_and_a_foreign_version_are_named(tmp_path: Path) -> None:
    with GroupRecordWriter(tmp_path) as writer:
        writer.write(0, [make_group()])
    (path,) = tmp_path.glob("*.parquet")
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({"ekipl.group_records": "0"}), path)
    with pytest.raises(DataError, match="schema version 0"):
        load_groups(tmp_path, 0)
    path.write_bytes(b"PAR1 half a file")
    with pytest.raises(DataError, match=path.name):
        load_groups(tmp_path, 0)


def test_an_unsound_group_is_refused(tmp_path: Path) -> None:
    good = make_group()
    with GroupRecordWriter(tmp_path) as writer:
        with pytest.raises(DataError, match="3 candidates, 2 rewards"):
            writer.write(
                0, [ActionGroup(good.sample, good.candidates, good.rewards[:2], (1,), (0.0,), "")]
            )
        for kept in ((2, 1), (1, 1), (1, 3)):
            with pytest.raises(DataError, match="rising indices"):
                writer.write(
                    0, [ActionGroup(good.sample, good.candidates, good.rewards, kept, (0.0, 0.0))]
                )


def test_importing_records_does_not_import_torch() -> None:
    code = (
        "import sys, ekipl_lab.records; print([m for m in ('torch', 'mlflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_group_that_holds_a_secret_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EKIPL_TEST_TOKEN", "sk-test/5f1c+0ffee")
    group = make_group()
    policy, own, teacher = group.candidates
    for said in ("sk-test/5f1c+0ffee", "sk-test\\/5f1c\\u002B0ffee"):
        leaky = replace(teacher, completion=f"<think>my key is {said}</think>")
        with (
            GroupRecordWriter(tmp_path) as writer,
            pytest.raises(ConfigError, match="EKIPL_TEST_TOKEN stands in the group records of"),
        ):
            writer.write(3, [group, replace(group, candidates=(policy, own, leaky))])
    assert not list(tmp_path.iterdir())
