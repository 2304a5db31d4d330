"""The strata of a study policy, and the tables that name them."""

import json

import pytest
import yaml
from paths import ROOT

from ekipl_lab.benchmarks.mini.freeze import folder_digest
from perf import ground, ground_tables
from perf.strata import DOC, OUT, Cell, strata_of, stratum, table


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ((0.85, 0.4, 0.9, 0.0), "solved"),
        ((0.40, 0.3, 0.65, 0.2), "open"),
        ((0.40, 0.3, 0.64, 0.2), "between"),
        ((0.61, 0.3, 0.99, 0.0), "between"),
        ((0.02, 0.03, 0.15, 0.6), "rare"),
        ((0.02, 0.06, 0.15, 0.6), "between"),
        ((0.00, 0.00, 0.00, 1.0), "never"),
        ((0.00, 0.00, 0.01, 0.95), "never"),
    ],
)
def test_bounds_of_the_strata(figures, expected):
    greedy, sampled, pass_at_8, none = figures
    assert stratum(Cell(greedy, sampled, pass_at_8, none, 0.0, 100)) == expected


def _row(kind, **levels):
    figures = dict.fromkeys(("greedy", "sampled", "pass_at_8", "none_of_64", "sound_sampled"), 0.5)
    row = figures | {"items": 3, "stratum": kind}
    return row | {"levels": {level: _row(its) for level, its in levels.items()}}


def test_levels_count_only_where_the_family_is_mixed():
    rows = {
        "a": _row("open", **{"1": "solved", "2": "open"}),
        "b": _row("between", **{"1": "rare", "2": "between"}),
    }
    assert strata_of(rows) == {"solved": [], "open": ["a"], "rare": ["b@1"], "never": []}
    lines = table({"some": {"families": rows}}).splitlines()
    assert len(lines) == 2 + 1 + 3


def test_the_table_is_of_the_study_policies_that_are_shipped():
    known = json.loads(OUT.read_text(encoding="utf-8"))
    for folder in (ROOT / "assets" / "policies").glob("*_study"):
        assert known[folder.name]["policy"] == folder_digest(folder)
    assert table(known) in DOC.read_text(encoding="utf-8")


def test_movements_stand_by_training_seed_and_a_pilot_that_is_missing_leaves_its_place(tmp_path):
    start = {"greedy": 0.5, "sampled": 0.25, "pass_at_8": 0.75}
    end = {"greedy": 0.55, "sampled": 0.2, "pass_at_8": 0.8}
    lines = [
        {"name": "one", "seed": 0, "start": {"a": start}, "end": {"a": start}},
        {"name": "one", "seed": 0, "start": {"a": start}, "end": {"a": end}},
    ]
    pilots = "\n".join(json.dumps(line) for line in lines)
    (tmp_path / "grpo_pilots.jsonl").write_text(pilots)
    plan = {"grpo": {"one": {"policy": "p", "train": ["b"]}, "none": {"policy": "p", "train": []}}}
    *_, last = ground_tables.table("grpo", plan, tmp_path, [0, 1]).splitlines()
    assert last == "| p, one | a |  | no | 0.50, 0.25, 0.75 | -5.0 |  | +5.0 |"


def test_a_family_between_the_strata_is_shown_by_level(tmp_path):
    figures = {"greedy": 0.5, "sampled": 0.25, "pass_at_8": 0.75}
    cells = dict.fromkeys(["a", "a@1", "a@2", "b", "b@1"], figures)
    line = {"name": "one", "seed": 0, "start": cells, "end": cells}
    (tmp_path / "grpo_pilots.jsonl").write_text(json.dumps(line))
    levels = {"1": {"stratum": "open"}, "2": {"stratum": "between"}}
    families = {
        "a": {"stratum": "between", "levels": levels},
        "b": {"stratum": "open", "levels": {"1": {"stratum": "solved"}}},
    }
    (tmp_path / "strata.json").write_text(json.dumps({"p": {"families": families}}))
    plan = {"grpo": {"one": {"policy": "p", "train": ["a"]}}}
    rows = [
        row.split(" | ") for row in ground_tables.table("grpo", plan, tmp_path, [0]).split("\n")
    ]
    assert [row[1:4] for row in rows[2:]] == [
        ["a", "between", "yes"], ["a, level 1", "open", "yes"], ["a, level 2", "between", "yes"],
        ["b", "open", "no"],
    ]  # fmt: skip


def test_the_page_shows_the_pilots_of_the_plan():
    plan = yaml.safe_load(ground_tables.PLAN.read_text(encoding="utf-8"))
    shown = ground_tables.tables(plan, ground_tables.RESULTS, plan["seeds"])
    assert shown in DOC.read_text(encoding="utf-8")
    for kind in ground_tables.KINDS:
        done = ground_tables.records(ground_tables.RESULTS, kind)
        for name, pilot in plan[kind].items():
            runs = [done[name, seed] for seed in plan["seeds"]]
            assert {run["measured"]["items"] for run in runs} == {pilot["items"]}
            assert {run["policy"] for run in runs} == {f"assets/policies/{pilot['policy']}"}


@pytest.mark.parametrize("kind", ["grpo", "sft"])
def test_a_pilot_of_the_plan_is_a_call_that_the_command_takes(kind):
    plan = yaml.safe_load(ground_tables.PLAN.read_text(encoding="utf-8"))
    for name, pilot in plan[kind].items():
        args = ground.parser().parse_args(ground_tables.call_of(kind, name, pilot))
        assert args.items == pilot["items"] and args.overrides == pilot["set"]
        assert args.mixture == pilot.get("mixture") and args.train == pilot.get("train")
