"""Records, contrasts and the words of a page, from figures made by hand."""

import json

import pytest
import yaml
from own_data import write_tiles
from study_kit import write_study

from ekipl_lab.commands.cli import main
from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.studies.config import Study, is_study, load_study
from ekipl_lab.studies.contrasts import contrasts
from ekipl_lab.studies.equal_cost import at_equal_cost, curve_of, equal_cost_table, reaches
from ekipl_lab.studies.inputs import check_alike, inputs_of
from ekipl_lab.studies.page import all_contrasts, answer, write_page
from ekipl_lab.studies.page_figures import curves_of
from ekipl_lab.studies.plan import plan_study
from ekipl_lab.studies.record import (
    CellRecord,
    pack,
    read_record,
    read_records_of,
    settings_hash,
    unpack,
    write_record,
)
from ekipl_lab.studies.registered import registered_contrasts
from ekipl_lab.studies.sources import in_bins, read_sources, teacher_share
from ekipl_lab.types import POLICY, Action, EvalRecord, RewardBreakdown

ACTION = Action("<b>x</b>", POLICY, "m")


def records(greedy, right, family=lambda i: "one", of=4):
    """A greedy (1, 0, None) and a sampled record of each item, so many of ``of`` right."""
    found = []
    for mode in ("greedy", "sampled"):
        for i, (first, count) in enumerate(zip(greedy, right, strict=True)):
            some = [first] if mode == "greedy" else [1] * count + [0] * (of - count)
            rewards = [RewardBreakdown({}, {}, None if s is None else bool(s)) for s in some]
            found.append(
                EvalRecord(f"mini/t/{i:03d}", "t", "validation", family(i), 1, "m", mode,
                           (ACTION,) * len(some), tuple(rewards))
            )  # fmt: skip
    return found


def cell(arm, seed, found, **cost):
    costs = dict.fromkeys(
        ("policy_completions", "policy_tokens", "trained_tokens", "teacher_actions",
         "teacher_tokens", "wall_seconds", "cpu_seconds", "evaluation_seconds"), 1.0)  # fmt: skip
    raw = {
        "study": "s", "cell": f"s-t-{arm}-s{seed}", "arm": arm, "task": "t", "seed": seed,
        "settings": "x", "cost": costs | cost, "code": {"revision": "abc", "changed": False},
        "final": {"validation": {"all": _means(found)}}, "items": {"validation": pack(found)},
        "curve": [], "parts": {},
    }  # fmt: skip
    return CellRecord(raw, {"validation": found})


def _means(found):
    greedy = [r.rewards[0].success for r in found if r.mode == "greedy"]
    return {
        "accuracy_greedy": sum(map(bool, greedy)) / len(greedy),
        "pass_at_1": 0.5,
        "length_greedy": 9.0,
    }


def study(tmp_path, **changes):
    given = {
        "name": "s", "base": "b.yaml", "seeds": [0, 1, 2], "tasks": {"t": {}},
        "arms": {"grpo": {}, "paper": {}}, "baseline": "grpo", "records": tmp_path,
        "final": {"num_samples": 4, "ks": [1, 4]}, "primary": ["accuracy_greedy"],
    }  # fmt: skip
    return Study.model_validate(given | changes)


def test_items_come_back_from_a_record_as_they_were(tmp_path):
    found = records([1, 0, None], [4, 0, 2])
    write_record(tmp_path / "c.json", cell("grpo", 0, found).raw)
    back = read_record(tmp_path / "c.json").records["validation"]
    assert [(r.sample_id, r.mode, [x.success for x in r.rewards]) for r in back] == [
        (r.sample_id, r.mode, [x.success for x in r.rewards]) for r in found
    ]
    assert unpack(pack(found[:1] + found[3:4]), "m")[0].sample_id == "mini/t/000"  # one item
    (tmp_path / "c.json").write_text('{"cell": "x"}')
    with pytest.raises(DataError, match="no record of a cell"):
        read_record(tmp_path / "c.json")


@pytest.mark.parametrize(
    "harm",
    [
        lambda items: items["ids"].pop(),
        lambda items: items.pop("prefix"),
        lambda items: items.update(greedy="x" + items["greedy"][1:]),
        lambda items: items["right"].__setitem__(0, 9),
        lambda items: items.clear(),
    ],
)
@pytest.mark.parametrize("seal", [True, False])
def test_a_record_with_other_figures_is_refused(harm, seal, tmp_path):
    """Any figure of one that is sealed; of an earlier version what cannot be."""
    path = tmp_path / "c.json"
    write_record(path, cell("grpo", 0, records([1, 0, None], [4, 0, 2])).raw)
    content = json.loads(path.read_text())
    assert read_record(path) is not None
    if not seal:
        del content["sha256"]
    harm(content["items"]["validation"])
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"c.json is damaged"):
        read_record(path)


def test_a_copy_of_a_record_does_not_count_twice(tmp_path):
    one = cell("grpo", 0, records([1, 0], [4, 0])).raw
    write_record(tmp_path / "cells" / f"{one['cell']}.json", one)
    assert len(read_records_of(tmp_path)) == 1
    write_record(tmp_path / "cells" / f"{one['cell']} (copy).json", one)
    with pytest.raises(DataError, match="which would count twice"):
        read_records_of(tmp_path)


def test_cells_of_data_that_changed_in_between_are_not_compared(tmp_path, monkeypatch, capsys):
    """A question or a weight that is another one now, before anything is run and on the page."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    data = write_tiles(tmp_path / "data")
    file = write_study(tmp_path, arms={"zero_shot": None, "paper": None})
    base = yaml.safe_load((tmp_path / "base.yaml").read_text())
    base |= {"data": {"benchmark": str(data), "task": "floor", "limit": 8}}
    own = tmp_path / "own.py"
    own.write_text("def near(completion, sample):\n    return 0.5\n")
    base |= {
        "teachers": [{"type": "random", "id": "r"}],
        "reward": {"scorer": f"python:{own}:near"},
    }
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    trained, untrained = plan_study(load_study(file))
    before = inputs_of(trained)
    assert len(before) == 4 and inputs_of(untrained).items() < before.items()
    raw = cell("zero_shot", 0, records([1, 0], [4, 0])).raw
    raw |= {"study": "tiny", "cell": untrained.name, "settings": untrained.settings}
    write_record(untrained.record, raw | {"inputs": inputs_of(untrained)})
    check_alike([read_record(untrained.record)], {trained.name: before})

    table = data.parent / "validation.csv"
    text = table.read_text()
    table.write_text(text.replace("Name the paint", "Say the paint"))
    assert main(["compare", str(file)]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"Cells {untrained.name} and {trained.name} cannot be compared: set validation" in said
    assert not (tmp_path / "work").exists()
    after = raw | {"cell": trained.name, "arm": "paper", "settings": trained.settings}
    write_record(trained.record, after | {"inputs": inputs_of(trained)})
    assert main(["compare", str(file), "--draw"]) == 2
    assert "has changed between them" in " ".join(capsys.readouterr().err.split())

    table.write_text(text)
    assert inputs_of(trained) == before
    (tmp_path / "policy" / "generation_config.json").write_text("{}")
    own.write_text("def near(completion, sample):\n    return 1.0\n")
    changed = inputs_of(trained)
    names = sorted(name.partition(" of ")[0] for name in before if before[name] != changed[name])
    assert names == ["code.reward", f"policy {tmp_path / 'policy'}"]
    own.unlink()
    with pytest.raises(ConfigError, match=r"own.py, of a teacher or reward, cannot be read"):
        inputs_of(trained)


def paired(*gains):
    """Baseline right on 10 of 20 items; the arm on so many more, at each seed."""
    base = [1] * 10 + [0] * 10
    cells = []
    for seed, gain in enumerate(gains):
        mine = [1] * (10 + gain) + [0] * (10 - gain)
        cells += [
            cell("grpo", seed, records(base, [0] * 20)),
            cell("paper", seed, records(mine, [0] * 20)),
        ]
    return cells


def test_a_contrast_is_paired_by_seed_and_by_item():
    """Gains of 4, 5, 6 of 20 items: +0.25, sd 0.05; t(0.975, 2) = 4.303, so +-0.1242."""
    (one, *_) = contrasts(
        paired(4, 5, 6), "t", "validation", ["grpo", "paper"], "grpo", ["accuracy_greedy"], {}
    )
    assert (one.base, one.value, one.group, one.items) == (0.5, 0.75, "all", 20)
    assert one.over_seeds.low == pytest.approx(0.25 - 4.30265 * 0.05 / 3**0.5, abs=1e-5)
    # Items: four of +1, one of 2/3, one of 1/3, fourteen of 0.
    assert one.over_items.value == pytest.approx(0.25)
    assert one.over_items.low > 0
    assert one.found


def said(own, found):
    """The sentence of the first metric."""
    return answer(own, found, all_contrasts(own, found))[2]


def test_words_claim_no_more_than_the_intervals(tmp_path):
    good = study(tmp_path)
    assert "paper is above by 25.0 points" in said(good, paired(4, 5, 6))
    unsure = said(good, paired(9, -4, 1))
    assert "not told apart" in unsure and "above" not in unsure
    single = said(good, paired(9))
    assert "with one seed nothing can be said" in single and "above" not in single
    same = said(good, paired(2, 2, 2))  # no spread: no test
    assert "not told apart" in same


def test_a_page_is_written_from_records_alone_and_shows_no_markup(tmp_path):
    good = study(tmp_path, question="<b>is it?</b>", strata={"open": ["one"]})
    page = write_page(good, paired(4, 5, 6), 6, tmp_path).read_text()
    assert page.index("## Answer") < page.index("## Final measurement")
    assert "<b>" not in page and "6 of 6 cells" in page
    assert "| open | paper | 20 |" in page and "| one | paper | 20 |" in page


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"baseline": "grpoo"}, "did you mean 'grpo'"),
        ({"arms": {"grpo": {}, "x": {}}}, "preset of arm 'x'"),
        ({"seeds": [0, 0]}, "seeds names 0 twice"),
        ({"final": {"num_samples": 4, "ks": [8]}}, "draw as many samples"),
        ({"strata": {"a": ["f"], "b": ["f"]}}, "lies in one stratum"),
        ({"strata": {"all": ["f"]}}, "named like the whole set"),
        ({"strata": {"f": ["g"], "h": ["f"]}}, "strata.f is named like a family"),
        ({"strata": {"a": []}}, "strata.a has no families"),
        ({"primary": ["majority_vote"]}, "primary metric 'majority_vote'"),
        ({"primary": ["pass_at_3"]}, "primary metric 'pass_at_3'"),
        ({"primary": ["pass_at_1", "pass_at_1"]}, "primary names pass_at_1 twice"),
        ({"set": {"grpo": {"beta": 0.1}}}, "name each setting with its dots, as `grpo.beta"),
        ({"tasks": {"t": {"grpo": {"beta": 0.1}}}}, "tasks.t sets all of 'grpo'"),
        ({"arms": {"grpo": {"set": {"sft.epochs": 3}}}}, "arms.grpo.set sets 'sft.epochs'"),
        ({"set": {"recipe": "sft_averaged"}}, "a study says that by a `preset`"),
    ],
)
def test_a_wrong_study_is_refused(tmp_path, changes, says):
    with pytest.raises(ConfigError, match=says):
        study(tmp_path, **changes)


def test_an_arm_without_settings_is_its_preset_and_a_run_config_is_no_study(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(
        "name: s\nbase: b.yaml\nseeds: [0]\ntasks: {t: {}}\narms:\n  grpo:\nbaseline: grpo\n"
    )
    assert is_study(path) and load_study(path).arms["grpo"].set == {}
    path.write_text("name: s\nbase: b\nseeds: [0]\ntasks: {t: {}}\narms: {grpo: {sett: {}}}\n")
    with pytest.raises(ConfigError, match="did you mean 'set'"):
        load_study(path)
    path.write_text("seed: 0\n")
    assert not is_study(path)
    path.write_text(
        "name: s\nbase: b\nseeds: [0]\ntasks: {t: {}}\narm: {grpo: {}}\nbaseline: grpo\n"
    )
    assert is_study(path)
    with pytest.raises(ConfigError, match=r"key in .*'arm'.* mean 'arms'|arms is missing"):
        load_study(path)


REGISTERED = {"task": "t", "arm": "paper", "against": "grpo", "set": "validation"}


def test_registered_contrasts_are_tested_among_themselves_and_come_first(tmp_path):
    """Gains of 4, 5, 6 of 20: t = 0.25 / (0.05 / sqrt 3) = 8.66, p(2 df) = 0.01307; Holm of two."""
    wanted = [REGISTERED, REGISTERED | {"expected": "below", "metric": "pass_at_1"}]
    good = study(tmp_path, registered=wanted, primary=["accuracy_greedy", "pass_at_1"])
    first, second = registered_contrasts(good, paired(4, 5, 6))
    assert first.found.p_value == pytest.approx(0.01307, abs=1e-5)
    assert first.found.p_holm == pytest.approx(2 * 0.01307, abs=1e-5)  # the other: no spread, no p
    assert (first.verdict, second.verdict) == ("held", "not told apart")
    (opposite,) = registered_contrasts(
        study(tmp_path, registered=[REGISTERED | {"expected": "below"}]), paired(4, 5, 6)
    )
    assert opposite.verdict == "opposite"
    (single,) = registered_contrasts(study(tmp_path, registered=[REGISTERED]), paired(4))
    assert single.verdict == "open, one seed says nothing of others"
    page = write_page(good, paired(4, 5, 6), 6, tmp_path).read_text()
    assert page.index("paper above grpo") < page.index("What was looked at beside them")
    assert page.index("## Registered contrasts") < page.index("## Final measurement")


def test_a_registered_contrast_of_an_unknown_arm_is_refused(tmp_path):
    for wrong, says in (
        ([REGISTERED | {"arm": "papr"}], "arm of a registered contrast"),
        ([REGISTERED | {"arm": "grpo"}], "has 'grpo' against itself"),
        ([REGISTERED, REGISTERED], "registered names .* twice"),
    ):
        with pytest.raises(ConfigError, match=says):
            study(tmp_path, registered=wrong)


def test_a_verdict_is_open_until_all_seeds_are_there(tmp_path):
    more = study(tmp_path, registered=[REGISTERED], seeds=[0, 1, 2, 3])
    (early,) = registered_contrasts(more, paired(4, 5, 6))
    assert early.verdict == "open, so far held"
    (late,) = registered_contrasts(more, paired(4, 5, 6, 5))
    assert late.verdict == "held"


def test_shares_of_a_cell_that_was_run_again_count_no_more(tmp_path):
    """They belong to the record with which they were noted."""
    one = cell("paper", 0, records([1, 0], [0, 0]))
    kept = {"policy": [[1, 0.5]]}
    noted = {"s-t-paper-s0": {"record": settings_hash(one.raw), "kept": kept}}
    (tmp_path / "sources.json").write_text(json.dumps(noted))
    assert read_sources(tmp_path, [one]) == {"s-t-paper-s0": kept}
    again = cell("paper", 0, records([1, 1], [0, 0]))
    assert read_sources(tmp_path, [again]) == {}


def with_curve(arm, seed, *points, stage=1):
    """Points (completions, greedy accuracy); tokens ten times, teacher tokens one time as many."""
    one = cell(arm, seed, records([1, 0], [0, 0]))
    for x, y in points:
        costs = {"policy_completions": x, "policy_tokens": 10 * x, "teacher_tokens": x}
        point = {"stage": stage, "metrics": {"eval/validation/accuracy_greedy": y}}
        one.raw["curve"].append(costs | point)
    return one


def test_arms_are_compared_at_the_lower_of_their_last_costs(tmp_path):
    """At 100 completions the arm, with points at 50 and 150, stands halfway: 0.4."""
    cells = [
        with_curve("grpo", 0, (50, 0.2), (100, 0.3)),
        with_curve("paper", 0, (50, 0.3), (150, 0.5)),
        with_curve("grpo", 1, (100, 0.3)),
        with_curve("paper", 1, (100, 0.2)),
    ]
    rows = at_equal_cost(study(tmp_path), cells, "t", "eval/validation/accuracy_greedy",
                         {0: 0.1, 1: 0.1})  # fmt: skip
    assert [one.axis for one in rows] == ["policy_completions", "tokens"]  # the others: no points
    one, tokens = rows
    assert (one.cost, one.seeds) == (100, (0, 1)) and tokens.cost == 1100
    assert (one.value, one.base) == (pytest.approx(0.3), pytest.approx(0.3))
    assert one.interval.high == pytest.approx(12.7062 * 0.1, abs=1e-4)  # t(0.975, 1), sd 0.1414
    assert one.reached == (50.0,)  # seed 1 never gets to 0.3


def test_supervised_steps_are_compared_where_they_cost_less(tmp_path):
    """Right on 1 of 2 at 30 trained tokens, where the baseline stands half-way from 0.2 to 0.4."""
    arms = {"paper": {}, "sft_actions": {}, "sft_averaged": {}, "zero_shot": {}}
    own = study(tmp_path, arms=arms, baseline="paper")
    base = with_curve("paper", 0, (20, 0.2), (40, 0.4))
    for point in base.raw["curve"]:
        point["trained_tokens"] = point["policy_completions"]
    cells = [
        base,
        cell("sft_actions", 0, records([1, 0], [0, 0]), trained_tokens=30.0, policy_completions=0),
        cell("sft_averaged", 0, records([1, 1], [0, 0]), trained_tokens=50.0),
        cell("zero_shot", 0, records([0, 0], [0, 0]), trained_tokens=0.0),
    ]
    rows = at_equal_cost(own, cells, "t", "eval/validation/accuracy_greedy", {0: 0.1})
    (one,) = [row for row in rows if row.axis == "trained_tokens"]  # the second costs more
    assert (one.arm, one.cost, one.value, one.base) == ("sft_actions", 30, 0.5, pytest.approx(0.3))
    assert one.reached == (30.0,)


def test_wall_seconds_of_older_records_are_in_proportion_to_their_cpu_seconds(tmp_path):
    """30 wall seconds over 20 of CPU in all, so that the point at 10 of CPU stands at 15."""
    old, new = with_curve("paper", 0, (50, 0.3)), with_curve("grpo", 0, (50, 0.2))
    old.raw["cost"] |= {"wall_seconds": 30.0, "cpu_seconds": 20.0}
    old.raw["curve"][0]["cpu_seconds"] = 10.0
    new.raw["curve"][0] |= {"cpu_seconds": 10.0, "wall_seconds": 12.0}
    metric = "eval/validation/accuracy_greedy"
    assert curve_of(old, "wall_seconds", metric, None) == [(15.0, 0.3)]
    assert curve_of(new, "wall_seconds", metric, None) == [(12.0, 0.2)]


def test_where_a_curve_reaches_a_level():
    curve = [(0.0, 0.1), (10.0, 0.3), (20.0, 0.2)]
    assert reaches(curve, 0.2) == pytest.approx(5.0)
    assert reaches(curve, 0.05) == 0.0 and reaches(curve, 0.4) is None


def test_a_curve_begins_where_supervised_steps_left_it_else_at_the_start(tmp_path):
    """zero_shot is right on 1 of 2; the arm after its supervised steps stands at 0.7.

    Supervised steps alone, right on 2 of 2, are one point without a start.
    """
    arms = {"grpo": {}, "sft_then_grpo": {}, "sft_actions": {}, "zero_shot": {}}
    cells = [
        cell("sft_actions", 0, records([1, 1], [0, 0]), policy_completions=20.0),
        cell("zero_shot", 0, records([1, 0], [0, 0])),
        with_curve("sft_then_grpo", 0, (0, 0.7), (50, 0.8), stage=2),
        with_curve("grpo", 0, (50, 0.6)),
    ]
    found = curves_of(study(tmp_path, arms=arms), cells, "t", "eval/validation/accuracy_greedy")
    assert [(p.x, p.y) for p in found["sft_then_grpo"]] == [(0, 0.7), (50, 0.8)]
    assert [(p.x, p.y) for p in found["grpo"]] == [(0, 0.5), (50, 0.6)]
    assert [(p.x, p.y) for p in found["sft_actions"]] == [(20, 1.0)]
    assert found.keys() == {"grpo", "sft_then_grpo", "sft_actions"}
    unmeasured = [
        with_curve("sft_then_grpo", 0, (50, 0.8), stage=2),
        *cells[:2],
        cell("sft_actions", 1, records([1, 0], [0, 0]), policy_completions=40.0),
    ]
    found = curves_of(
        study(tmp_path, arms=arms), unmeasured, "t", "eval/validation/accuracy_greedy"
    )
    assert [(p.x, p.y) for p in found["sft_then_grpo"]] == [(50, 0.8)]  # not from zero_shot's 0.5
    assert [(p.x, p.y, p.low) for p in found["sft_actions"]] == [(30, 0.75, 0.5)]  # one mark


def test_what_went_unmeasured_before_a_second_stage_is_not_drawn(tmp_path):
    """The arm is first measured at 50, above where the baseline ends: it was there by then."""
    cells = [
        with_curve("grpo", 0, (50, 0.2), (100, 0.3)),
        with_curve("paper", 0, (50, 0.6), (100, 0.7), stage=2),
        with_curve("grpo", 1, (50, 0.2), (100, 0.05)),  # ends below its start: nothing to reach
        with_curve("paper", 1, (50, 0.6), (100, 0.7), stage=2),
    ]
    metric = "eval/validation/accuracy_greedy"
    assert curve_of(cells[1], "policy_completions", metric, 0.1) == [(50, 0.6), (100, 0.7)]
    one = at_equal_cost(study(tmp_path), cells, "t", metric, {0: 0.1, 1: 0.1})[0]
    assert (one.reached, one.gains, one.by) == ((50.0,), 1, True)
    table = equal_cost_table("x", "accuracy_greedy", [one])
    assert table.rows[0][-1].text == "1 of 1, by 50"


def test_shares_of_sources_are_means_over_parts_of_the_steps_and_over_seeds():
    """By hand: 5 points in 2 bins are 2 and 3; seeds 0.2 and 0.4 of teachers have the mean 0.3."""
    points = [(1, 0.0), (2, 0.5), (3, 1.0), (4, 1.0), (5, 0.25)]
    assert in_bins(points, 2) == [[2, 0.25], [5, 0.75]]
    assert in_bins(points[:1], 3) == [[1, 0.0]]
    cells = [{"policy": [[10, 0.8], [20, 1.0]], "t": [[10, 0.2], [20, 0.0]]},
             {"policy": [[10, 0.6]], "t": [[10, 0.4]]}]  # fmt: skip
    (only,) = teacher_share(cells)  # step 20 is of one seed alone
    assert (only.x, only.y, only.low, only.high) == pytest.approx((10, 0.3, 0.2, 0.4))
