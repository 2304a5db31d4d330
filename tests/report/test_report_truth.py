"""What a report must not say: a start that is none, two arms under one name, unlike as alike."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from synthetic_runs import make_run
from test_report import record, run_of
from test_report_evidence import evaluation, seeded

from ekipl_lab.records import GroupRecordWriter
from ekipl_lab.report import (
    RunData,
    answer,
    build_report,
    caveats,
    chains,
    figures,
    gather_runs,
    metrics,
    provenance,
    tables,
    training,
)
from ekipl_lab.report.arms import arms_of
from ekipl_lab.report.export import as_csv
from ekipl_lab.report.gather import sets_apart
from ekipl_lab.report.page import page_title
from ekipl_lab.tables import Table
from ekipl_lab.types import POLICY, Action, ActionGroup, EvalRecord, RewardBreakdown, Sample


def part(right: int, of: int = 60, first: int = 0, mode: str = "greedy") -> list[EvalRecord]:
    """So many items, of which the first so many are right."""
    return [record(first + i, [i < right], mode) for i in range(of)]


def folder_of(
    label: str, about: dict[str, Any] | None = None, **steps: list[EvalRecord]
) -> RunData:
    """As ``run_of``, of a folder of `ekipl eval`."""
    return replace(run_of(label, **steps), about=about or {"cost": {}})


def texts(table: Table) -> list[list[str]]:
    """Its rows without the headings."""
    return [[cell.text for cell in row] for row in table.rows if len(row) > 1]


def test_the_end_of_one_folder_is_not_the_start_of_another() -> None:
    a, b = folder_of("a", s1=part(50)), folder_of("b", s0=part(12), s1=part(30))
    for runs, ends in (([a, b], ["83.3", "50.0", "−33.3"]), ([b, a], ["50.0", "83.3", "+33.3"])):
        assert texts(tables.headline(runs)) == [["greedy accuracy", "60", "20.0", *ends]]
        for row in texts(tables.slices(runs, "family")):
            assert row[2] == "20.0"  # 6 of 30 each
        shown = {row[0]: row for row in texts(tables.quality(runs))}
        assert shown["tokens per completion"][1] == "3.0"
    assert texts(tables.quality([a]))[0][1] == "–"
    (won,) = [c for c in chains.changes([a, b]) if c.title == "test: b learned it"]
    assert len(won.ids) == 18
    assert [chain.title for chain in won.items[0].chains] == ["start", "a, end", "b, end"]


def test_a_difference_says_over_which_items_it_is_where_some_could_not_be_scored() -> None:
    """Five of six items are scored at each end, four at both: 1 of 4 before, 3 of 4 after."""
    before: list[bool | None] = [True, False, False, False, True, None]
    after: list[bool | None] = [False, True, True, True, None, False]
    start, end = ([record(i, [value]) for i, value in enumerate(part)] for part in (before, after))
    run = run_of("a", s0=start, s1=end)
    cell = next(row for row in tables.headline([run]).rows if len(row) > 1)[-1]
    assert cell.text == "+50.0"
    assert "over the 4 of 6 items scored in both" in cell.small
    (change,) = answer.changes(run, [metrics.GREEDY], by_family=False)
    assert (change.start, change.end, change.interval.value) == (0.25, 0.75, 0.5)
    shown = [cell.small for row in answer.families([run]).rows for cell in row]
    assert any("over the 2 of 3 items scored in both" in text for text in shown)
    whole = run_of("b", s0=part(12), s1=part(30))
    assert "scored in both" not in str(tables.headline([whole]).rows)


def test_a_prefix_is_not_said_to_leave_the_teachers_out() -> None:
    shares = {"share/oracle/kept": [(1, 0.0)], "share/policy/kept": [(1, 1.0)]}
    plain = replace(run_of("a", s0=part(1), s1=part(2)), history=shares)
    begun = replace(plain, config={"ekipl": {"prefix": {"share": 0.5}}})
    (said,) = caveats._untaught([plain])
    assert said.startswith("No action of a teacher was kept in a")
    (said,) = caveats._untaught([begun])
    assert "begin with a teacher's" in said and "as in GRPO" not in said


def test_a_policy_without_room_to_end_is_said() -> None:
    """Two of 100 completions on average, over the steps."""
    shares = [(1, 0.04), (2, 0.0)]
    run = replace(run_of("a", s0=part(1), s1=part(2)), history={"policy/truncated": shares})
    limited = replace(run, config={**run.config, "grpo": {"max_completion_length": 80}})
    (said,) = caveats._cut_off([limited])
    assert said.startswith("In a 2 % of the policy's completions were cut off at ")
    assert "grpo.max_completion_length 80" in said and said in caveats.warnings([limited])
    shares[0] = (1, 0.03)
    assert not list(caveats._cut_off([limited]))


def test_an_evaluation_within_training_is_not_its_start() -> None:
    """`at_start: false, every: 50`: there is no start, and nothing is measured against one."""
    run = run_of("grpo", s50=part(30), s100=part(36))
    assert not run.at("test", "start", "greedy")
    assert texts(tables.headline([run])) == [["greedy accuracy", "60", "–", "60.0", "–"]]
    assert all(row[2] == "–" for row in texts(tables.slices([run], "family")))
    assert all(row[1] == "–" for row in texts(tables.quality([run])))
    assert chains.changes([run]) == []
    assert metrics.strata([run]) == {}
    assert "warm start" not in tables.headline([run]).note


def test_metrics_without_a_start_beside_one_with() -> None:
    """pass@1 was measured at the end only."""
    both = [*part(30), *part(30, mode="sampled")]
    rows = texts(tables.headline([run_of("grpo", s0=part(12), s10=both)]))
    assert rows == [
        ["greedy accuracy", "60", "20.0", "50.0", "+30.0"],
        ["pass@1", "60", "–", "50.0", "–"],
    ]


def test_the_p_of_a_single_run_is_adjusted_over_its_sets() -> None:
    """Six won, none lost on both: p = 2 / 64 = 0.03125, times two."""
    run = run_of("grpo", s0=part(10), s10=part(16))
    two = replace(run, evaluations=dict.fromkeys(("test", "ood"), run.evaluations["test"]))
    rows = [row for row in tables.headline([two]).rows if len(row) > 1]
    assert [row[-1].small.split("; ")[1:] for row in rows] == [["p = 0.031", "Holm p = 0.062"]] * 2
    assert "Holm" not in tables.headline([run]).rows[1][-1].small  # one test needs none
    late = replace(run, evaluations={**two.evaluations, "ood": {5: part(10), 10: part(16)}})
    shown = [row[-1] for row in tables.headline([late]).rows if len(row) > 1]
    assert shown[1].text == "–" and "Holm" not in shown[0].small


def named(name: str, right: dict[int, int], **config: object) -> list[RunData]:
    """Runs of all seeds that are all called the same."""
    return [
        replace(run, info=replace(run.info, name=name, run_id=f"{config}{run.label}"[-20:]))
        for run in seeded(name, right, **config)
    ]


def test_arms_of_other_settings_have_other_labels() -> None:
    four, eight = named("ekipl_k4", {0: 4, 1: 5}, k=4), named("ekipl_k8", {0: 6, 1: 7}, k=8)
    assert [arm.label for arm in arms_of([*four, *eight])] == ["ekipl_k4", "ekipl_k8"]
    assert page_title([*four, *eight]) == "ekipl_k4 against ekipl_k8"
    both = [*named("x", {0: 4, 1: 5}, k=4), *named("x", {0: 6, 1: 7}, k=8)]
    same = [
        replace(run, info=replace(run.info, run_id=f"{i}abcdefgh")) for i, run in enumerate(both)
    ]
    assert [arm.label for arm in arms_of(same)] == ["x (0abcde)", "x (2abcde)"]
    alike = [replace(run, info=replace(run.info, run_id="a" * 32)) for run in same]
    assert [arm.label for arm in arms_of(alike)] == ["x (1)", "x (2)"]
    digits = [replace(r, info=replace(r.info, name=str(s))) for s, r in enumerate(four)]
    assert arms_of(digits)[0].label == "0"


def test_later_stages_of_one_arm_are_one_arm() -> None:
    """A stage starts from what the one before it left, in a folder with the seed in its name."""

    def stage(arm: str, seed: int, number: int) -> RunData:
        name = f"study-counting-{arm}-s{seed}.{number}"
        path = f"/work/study-counting-{arm}-s{seed}.{number - 1}/policy"
        run = replace(run_of(name), config={"name": name, "seed": seed, "policy": {"path": path}})
        return replace(run, info=replace(run.info, name=name))

    runs = [stage(arm, seed, 2) for arm in ("grpo", "sft") for seed in (0, 1, 10)]
    found = arms_of([*runs, stage("grpo", 0, 3)])
    assert [(arm.label, list(arm.runs)) for arm in found] == [
        ("study-counting-grpo.2", [0, 1, 10]),
        ("study-counting-sft.2", [0, 1, 10]),
        ("study-counting-grpo-s0.3", [0]),
    ]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, str]]:
    """Two runs and an evaluation of one, all called `counting`."""
    work = tmp_path_factory.mktemp("truth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{work}/mlflow.db")
        one = make_run("counting", gain=0.3, steps=2, items=6, work=work)
        two = make_run("counting", gain=0.5, steps=2, items=6, work=work, seed=1)
        records = gather_runs([one])[0].records("test", 2, "greedy")
        yield one, two, evaluation(work / "counting-eval" / "counting", records)


def test_a_run_and_a_folder_of_one_name_stay_two(given: tuple[str, str, str]) -> None:
    one, two, folder = given
    runs = gather_runs([one, folder])
    assert [run.label for run in runs] == [f"counting {one[:6]}", f"counting ({folder})"]
    curves = figures.metric_curves(runs, "test", metrics.GREEDY)
    assert [[point.x for point in curve] for curve in curves.values()] == [[0, 1, 2], [1]]
    labels = [run.label for run in gather_runs([one, two, folder])]
    assert labels == [f"counting {one[:6]}", f"counting {two[:6]}", f"counting ({folder})"]
    assert [run.label for run in gather_runs([folder])] == ["counting"]


def test_what_is_given_twice_is_read_once(given: tuple[str, str, str]) -> None:
    one, two, folder = given
    around = str(Path(folder) / ".." / "counting")
    runs = gather_runs([two, one[:20], folder, two, f"{folder}/", around, one])
    assert [run.info.run_id for run in runs] == [two, one, folder]
    assert len({run.label for run in runs}) == 3


def test_the_numbers_hold_what_the_chains_say(given: tuple[str, str, str]) -> None:
    (run,) = gather_runs([given[0]])
    rows = list(csv.DictReader(io.StringIO(as_csv([run]))))
    ends = {r["metric"]: float(r["value"]) for r in rows
            if (r["set"], r["step"], r["slice"]) == ("test", "2", "")}  # fmt: skip
    by_page = metrics.quality_rows(run, "test", "end")
    for name in ("chain_sound", "chain_steps_true", "right_but_unsound"):
        assert ends[f"{name}_greedy"] == by_page[name].value
    assert any(r["metric"] == "chain_sound_greedy" and "family=" in r["slice"] for r in rows)


def test_arms_without_a_start_did_not_begin_elsewhere() -> None:
    begun, late = run_of("grpo", s0=part(12), s10=part(30)), run_of("ekipl", s10=part(36))
    other = run_of("other", s0=part(13), s10=part(30))
    for runs in ([begun, late], [late, begun], [late, late, begun], [begun, late, begun]):
        assert "other policies" not in " ".join(caveats.warnings(runs))
    for runs in ([begun, late, other], [late, begun, other]):
        assert "other policies" in " ".join(caveats.warnings(runs))


def test_equal_completions_are_claimed_only_where_they_are_equal() -> None:
    def spent(label: str, *counts: float) -> RunData:
        history = {"cost/policy_completions": [(10, count) for count in counts]}
        return replace(run_of(label, s10=part(30)), history=history if counts else {})

    assert "Arms share" in provenance.costs([spent("a", 400), spent("b", 400)]).note
    note = provenance.costs([spent("a", 400), spent("b", 800)]).note
    assert "share" not in note and "different numbers" in note
    assert provenance.costs([spent("a", 400), spent("b")]).note == ""
    assert "different numbers" in " ".join(caveats.warnings([spent("a", 400), spent("b", 800)]))


def conditions(label: str, mode: str = "greedy", **changed: Any) -> RunData:
    """A folder with all that is recorded of how it was measured."""
    values = {"size": 56, "temperature": 1.0, "tokens": 64, "hash": "aa", "prompts": "p",
              "instructed": False, "samples": 8, "set": "test", "code": "c", **changed}  # fmt: skip
    about = {"job": {"instructed": values["instructed"]}}
    run = folder_of(label, about, s1=part(30, mode=mode))
    tags = {f"ekipl.data.{values['set']}": values["hash"], "ekipl.prompts": values["prompts"]}
    tags["ekipl.code.reward"] = values["code"]
    config = {
        **run.config,
        "data": {"image_size": values["size"]},
        "generation": {"temperature": values["temperature"], "max_new_tokens": values["tokens"],
                       "num_samples": values["samples"], "seed": 0},
    }  # fmt: skip
    return replace(run, config=config, info=replace(run.info, tags=tags))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"size": 112, "hash": "bb"}, "questions, images or answers; image size"),
        ({"hash": "bb"}, "questions, images or answers"),
        ({"prompts": "q"}, "prompts"),
        ({"code": "d"}, "code of the reward"),
        ({"instructed": True}, "instructed"),
        ({"tokens": 128}, "max new tokens"),
        ({"temperature": 0.1, "mode": "sampled"}, "temperature"),
    ],
)
def test_evaluations_under_other_conditions_are_told(changed: dict[str, Any], told: str) -> None:
    mode = changed.get("mode", "greedy")
    runs = [conditions("a", mode), conditions("b", **changed)]
    assert caveats.warnings(runs) == [
        f"On 'test' a, b were measured under different conditions ({told}): they cannot be "
        "compared as they stand."
    ]


@pytest.mark.parametrize(
    "changed", [{}, {"size": None}, {"temperature": 0.1}, {"samples": 32}, {"set": "elsewhere"}]
)
def test_evaluations_under_like_conditions_are_not(changed: dict[str, Any]) -> None:
    """Temperature is nothing to greedy completions, a size that gives the same pixels neither."""
    assert caveats.warnings([conditions("a"), conditions("b", **changed)]) == []


def test_conditions_are_known_of_sets_told_apart() -> None:
    apart = sets_apart(
        [conditions("a"), conditions("b", hash="bb"), folder_of("c", s1=part(3, 4, first=90))]
    )
    assert list(apart[0].evaluations) == ["test of a"]
    told = " ".join(caveats.warnings(apart))
    assert "On 'test of a' a, b were" in told and "On 'test of c'" not in told


def test_an_evaluation_beside_a_run_of_other_pixels() -> None:
    run = run_of("grpo", s10=part(30, mode="sampled"))
    config = {**run.config, "data": {"image_size": 84}}
    trained = replace(run, config={**config, "evaluation": {"ks": [1], "temperature": 0.5}})
    told = " ".join(caveats.warnings([trained, conditions("b", "sampled")]))
    assert "On 'test' grpo, b were measured under different conditions" in told
    assert "(temperature; image size)" in told and "questions" not in told
    config["data"] = {"image_size": 56, "instructed": True}
    trained = replace(run, config={**config, "evaluation": {"ks": [1], "temperature": 1.0}})
    told = " ".join(caveats.warnings([trained, conditions("b", "sampled")]))
    assert "under different conditions (instructed)" in told
    assert "On 'test'" not in " ".join(caveats.warnings([run, replace(run, label="other")]))


def test_every_set_has_the_strata_of_its_own_start() -> None:
    a = folder_of("a", s0=part(10), s1=part(20))
    other = {0: part(4, 40, first=100), 1: part(30, 40, first=100)}
    b = replace(folder_of("b"), evaluations={"test2": other})
    assert texts(tables.slices([a, b], "stratum")) == [
        ["5-50 %", "60", "16.7", "33.3", "–"],
        ["5-50 %", "40", "10.0", "–", "75.0"],
    ]
    bare = replace(b, evaluations={"test2": {1: other[1]}})  # no --against: in no stratum
    assert texts(tables.slices([a, bare], "stratum")) == [["5-50 %", "60", "16.7", "33.3", "–"]]
    headings = [r for r in tables.slices([a, bare], "stratum").rows if len(r) == 1]
    assert len(headings) == 1
    lines = csv.DictReader(io.StringIO(as_csv([a, bare])))
    assert {(r["arm"], r["slice"]) for r in lines if "stratum" in r["slice"]} == {
        ("a", "stratum=5-50 %")
    }
    assert "Accuracy by stratum" in build_report([a, b])


def test_right_is_of_the_actions_that_could_be_scored(tmp_path: Path) -> None:
    """2 right, 1 wrong, 1 not scored of the policy; nothing of the teacher could be scored."""
    sample = Sample("own/1", "counting", "train", (), "q?", "3", "number")
    values = [1.0, 1.0, 0.0, None, None]
    rewards = [
        RewardBreakdown({"accuracy": v}, {"accuracy": 1.0}, None if v is None else v > 0)
        for v in values
    ]
    actions = [Action("<answer>3</answer>", s, s) for s in (*[POLICY] * 4, "teacher")]
    group = ActionGroup(
        sample, tuple(actions), tuple(rewards), (0, 1, 2), (0.5, 0.5, -1.0), "top_g"
    )
    with GroupRecordWriter(tmp_path) as writer:
        writer.write(1, [group])
    rows = texts(training.sources([replace(run_of("a", s1=part(3)), groups=tmp_path)]))
    assert [[row[0], row[1], row[5]] for row in rows] == [
        ["policy", "4", "66.7"], ["teacher", "1", "–"]
    ]  # fmt: skip
    assert "Right: of those that could be scored" in training.sources([run_of("a")]).note


def test_an_end_that_is_not_the_end_of_training_is_said() -> None:
    """`at_end: false`: the last evaluation is of an earlier step, or of the start alone."""
    spent = {"cost/policy_completions": [(4, 32.0), (10, 80.0)]}
    early = replace(run_of("grpo", s0=part(12), s5=part(30)), history=spent)
    (said,) = (one for one in caveats.warnings([early]) if "last measured" in one)
    assert said.startswith("grpo was last measured on 'test' (greedy) at step 5 of 10")
    both = [*part(30), *part(30, mode="sampled")]
    half = replace(run_of("grpo", s0=both, s10=part(30)), history=spent)
    (said,) = (one for one in caveats.warnings([half]) if "last measured" in one)
    assert "(sampled) at step 0 of 10" in said
    whole = replace(run_of("grpo", s0=both, s10=both), history=spent)
    assert not [one for one in caveats.warnings([whole]) if "last measured" in one]


def test_a_line_says_over_how_many_items_each_of_its_values_is() -> None:
    """Of one arm 20 of 60 items could not be scored; its right share is over the other 40."""
    unknown = [replace(r, rewards=(replace(r.rewards[0], success=None),)) for r in part(0, 20, 40)]
    a, b = run_of("a", s0=part(12), s10=part(30)), run_of("b", s10=[*part(30, of=40), *unknown])
    (line,) = texts(tables.headline([a, b]))
    assert line == ["greedy accuracy", "40 to 60", "20.0", "50.0", "75.0", "+0.0"]
    assert "b: 20 of 60 answers on 'test' could not be scored" in " ".join(caveats.warnings([a, b]))
    assert "could not be scored" not in " ".join(caveats.warnings([a]))
