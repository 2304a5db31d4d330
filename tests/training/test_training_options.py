"""Schedules, gates, budget and SFT shares by hand; and which settings are refused together."""

import json

import pytest
import trainer_toys as toys
import yaml

from ekipl_lab.errors import ConfigError
from ekipl_lab.groups.build import build_group
from ekipl_lab.groups.gates import TeacherGates, gate_of, needs_policy_result
from ekipl_lab.groups.options import EKIPLOptions, SFTMixing
from ekipl_lab.groups.pool import GenerationBatch, Pool
from ekipl_lab.groups.schedules import check_schedules, rounded, scheduled, value_at
from ekipl_lab.training.config.check import check_run
from ekipl_lab.training.config.run_config import parse_config
from ekipl_lab.training.loss.mixing import shares
from ekipl_lab.types import Action, RewardBreakdown, Sample

# ------------------------------------------------------------------------------------ schedules

QUOTA, SHAPED = {"selection": "quota"}, {"weighting": "shaped"}


def test_a_broken_line_by_hand():
    points = [(10, 0.0), (20, 1.0), (40, 0.5)]
    steps = [0, 10, 15, 20, 30, 40, 99]
    assert [value_at(points, s) for s in steps] == [0.0, 0.0, 0.5, 1.0, 0.75, 0.5, 0.5]
    jump = [(0, 2.0), (5, 2.0), (5, 0.0)]
    assert [value_at(jump, s) for s in (0, 4.9, 5, 6)] == [2.0, 2.0, 0.0, 0.0]
    assert scheduled({"sft.mu": points}, "sft.mu", 30, 9.0) == 0.75
    assert scheduled({}, "sft.mu", 30, 9.0) == 9.0
    assert [rounded(v) for v in (0.49, 0.5, 1.5, 2.4)] == [0, 1, 2, 2]


@pytest.mark.parametrize(
    ("schedules", "message"),
    [
        ({"teacher_shar": [(0, 1)]}, "Unknown schedule 'teacher_shar'; did you mean 'teacher_sh"),
        ({"teacher_share": [(0, 1.5)]}, "teacher_share: 1.5 is not between 0 and 1"),
        ({"sft.mu": [(5, 0.1), (4, 0.2)]}, r"sft.mu: steps must rise from 0 or more: \[5, 4\]"),
        ({"teacher_weight": []}, "teacher_weight has no points"),
    ],
)
def test_schedules_that_are_refused(schedules, message):
    with pytest.raises(ConfigError, match=message):
        check_schedules(schedules)


def test_parameters_of_the_rule_follow_their_schedule():
    options = EKIPLOptions(
        selection="quota", params={"teacher_rows": 4, "choose": "first"},
        schedules={"params.teacher_rows": [(0, 3), (10, 0)]},
    )  # fmt: skip
    rows = [options.params_at(step)["teacher_rows"] for step in (0, 1, 2, 5, 10, 50)]
    assert rows == [3, 3, 2, 2, 0, 0] and options.params_at(5)["choose"] == "first"


# ---------------------------------------------------------------------------------------- gates


def sample(task="counting", family="remove", name="s"):
    return Sample(name, task, "train", (), "?", "1", "number", family=family)


def test_the_most_specific_gate_counts():
    gate = gate_of(
        {
            "gpt": {"counting": "off", "counting/remove": "if_unsolved"},
            "*": {"*": "always", "geometry": "off"},
        }
    )
    assert gate("gpt", sample()) == "if_unsolved"
    assert gate("gpt", sample(family="pair")) == "off"
    assert gate("gpt", sample("geometry", "x")) == "off"  # from the entries of "*"
    assert gate("other", sample("spatial", "x")) == "always"
    assert gate_of({})("any", sample()) == "always"
    assert needs_policy_result({"gpt": {"*": "if_unsolved"}}) and not needs_policy_result(
        {"a": {"*": "off"}}
    )


def closed(keeper, *, successes=0, step=0, draw=0, spent=None, where=None):
    return keeper.closed(
        "gpt", where or sample(), successes=successes, step=step, draw=draw, spent=spent or {}
    )


def test_reasons_not_to_ask():
    gates = gate_of({"gpt": {"counting": "if_unsolved", "geometry": "off"}})
    keeper = TeacherGates(gates, budget={"usd": 2.0}, min_successes=2)
    assert closed(keeper, successes=1) is None and closed(keeper, successes=2) == "solved"
    assert closed(keeper, where=sample("geometry")) == "usefulness"
    assert closed(keeper, spent={"teacher_usd": 1.99}) is None
    assert closed(keeper, spent={"teacher_usd": 2.0}) == "budget"
    assert closed(keeper, where=sample("spatial"), successes=9) is None


def test_the_teachers_share_is_drawn_once_for_all_ranks():
    half = TeacherGates(gate_of({}), {"teacher_share": [(0, 0.5), (10, 0.0)]}, seed=3)
    samples = [sample(name=f"s{i}") for i in range(400)]
    first = [closed(half, where=one) for one in samples]
    assert first == [closed(half, where=one) for one in samples]
    assert 160 <= first.count("schedule") <= 240 and set(first) == {None, "schedule"}
    # Fewer and fewer of the same prompts; other ones in the next pass over the data.
    later = [closed(half, where=one, step=5) for one in samples]
    assert all(b == "schedule" for a, b in zip(first, later, strict=True) if a == "schedule")
    assert first != [closed(half, where=one, draw=1) for one in samples]
    assert {closed(half, where=one, step=10) for one in samples} == {"schedule"}
    assert half.actions(4, 0) == 4
    fewer = TeacherGates(gate_of({}), {"teacher_actions": [(0, 4), (4, 0)]})
    assert [fewer.actions(2, step) for step in (0, 2, 3, 4)] == [2, 2, 1, 0]


# ------------------------------------------------------------------------------------ SFT shares


def reward(right):
    return RewardBreakdown({"accuracy": float(right)}, {"accuracy": 1.0}, right)


def group_of(*successes, teachers, rows=1):
    """A group of two policy actions and teacher actions, `quota` with ``rows``; 4 + i tokens."""
    everything = [*successes, *teachers]
    sources = ["policy"] * 2 + ["t"] * len(teachers)
    actions = [Action("x", source, "m") for source in sources]
    group = build_group(
        sample(), actions, [reward(r) for r in everything], rule="quota", group_size=2,
        baseline="policy", scale_rewards="none", teacher_rows=rows, choose="first",
    )  # fmt: skip
    ids = tuple((1,) * (4 + i) for i in range(len(everything)))
    return group, Pool(0, group.candidates, group.rewards, ids)


def batch_of(*pairs):
    return GenerationBatch(tuple(g for g, _ in pairs), tuple(p for _, p in pairs), {})


def test_chord_gives_teacher_rows_to_imitation():
    # Kept are candidates 0 and 2 of both groups; the second group's teacher is wrong.
    done = batch_of(
        group_of(True, False, teachers=[True]), group_of(False, False, teachers=[False])
    )
    first, second = shares(done, SFTMixing(type="chord_mu"), "grpo")
    assert {i: s.imitate for i, s in first.items()} == {0: 0.0, 2: 4 / 1}  # 4 rows, 1 imitated
    assert {i: s.advantage for i, s in first.items()} == {0: 0.5, 2: 0.0}
    assert [s.imitate for s in second.values()] == [0.0, 0.0]
    # By tokens: 4 + 6 and 4 + 6, of which 6 are imitated.
    by_token, _ = shares(done, SFTMixing(type="chord_phi"), "dapo")
    assert by_token[2].imitate == pytest.approx(20 / 6)
    both = shares(done, SFTMixing(type="chord_mu", success_only=False), "grpo")
    assert [group[2].imitate for group in both] == [2.0, 2.0]
    kept = shares(done, SFTMixing(type="chord_mu", reinforce=True), "grpo")[0]
    assert kept[2].advantage == pytest.approx(0.5) and kept[2].imitate == 4.0


def test_on_failure_imitates_where_the_whole_group_failed():
    done = batch_of(
        group_of(True, False, teachers=[True]),
        group_of(False, False, teachers=[True, True], rows=1),
    )
    solved, missed = shares(done, SFTMixing(type="failed_groups", mu=1.0), "grpo")
    assert [(s.advantage, s.imitate) for s in solved.values()] == [(0.5, 0.0), (0.5, 0.0)]
    # One of its two rows: a mean over the imitated rows of this prompt.
    assert [(s.advantage, s.imitate) for s in missed.values()] == [(0.0, 0.0), (0.0, 2.0)]
    strict = shares(done, SFTMixing(type="failed_groups", min_successes=2), "grpo")
    assert [group[2].imitate for group in strict] == [2.0, 2.0]
    # Nothing right to imitate: the prompt stays with GRPO.
    (left,) = shares(
        batch_of(group_of(False, False, teachers=[False])), SFTMixing(type="failed_groups"), "grpo"
    )
    assert [s.imitate for s in left.values()] == [0.0, 0.0]


# ----------------------------------------------------------------------------------- refusals

BASE = {
    "name": "unit", "policy": {"build": "nano"},
    "teachers": [{"type": "oracle", "id": "a"}],
}  # fmt: skip
CHORD = {"type": "chord_mu"}
ON = {"type": "failed_groups"}


def made(ekipl, grpo=None, teachers=BASE["teachers"]):
    config = parse_config({**BASE, "ekipl": ekipl, "grpo": grpo or {}, "teachers": teachers})
    return check_run(config, "unused").args


@pytest.mark.parametrize(
    ("ekipl", "grpo", "teachers", "message"),
    [
        ({"sft": CHORD}, {}, 1, "so their rewards must not lift its baseline"),
        ({"sft": CHORD, "baseline": "policy", "weighting": "shaped"}, {}, 1, "would never act"),
        ({"sft": ON, "selection": "policy_only"}, {}, 1, "policy_only keeps none"),
        ({"sft": {"type": "failed_groups", "mu": 0}}, {}, 1, "with mu 0 imitates nothing"),
        ({"sft": ON}, {"loss_type": "cispo"}, 1, "needs a loss with a clipped ratio"),
        ({"sft": ON}, {"top_entropy_quantile": 0.2}, 1, "grpo.top_entropy_quantile"),
        ({"sft": ON}, {"mask_truncated_completions": True}, 1, "grpo.mask_truncated_completions"),
        ({"sft": ON}, {"importance_sampling_level": "sequence"}, 1, "adds a term per token"),
        ({"sft": {**ON, "reinforce": True}}, {"delta": 2.0}, 1, "grpo.delta"),
        ({"sft": ON}, {}, 0, "ekipl.sft is about teachers, and this run has none"),
        ({"teacher_gates": {"*": {"*": "off"}}}, {}, 0, "ekipl.teacher_gates is about teachers"),
        ({"run_budget": {"usd": 1}}, {}, 0, "ekipl.run_budget is about teachers"),
        ({"schedules": {"teacher_share": [[0, 1]]}}, {}, 0, "schedules.teacher_share is about"),
        ({"schedules": {"sft.mu": [[0, 1]]}}, {}, 1, "weighs no SFT term"),
        ({"schedules": {"teacher_weight": [[0, 1]]}}, {"loss_type": "vespo"}, 1, "teacher_weight"),
        (
            {"teacher_gates": {"b": {"*": "off"}}},
            {},
            1,
            r"names teacher 'b'; the teachers are \['a'\]",
        ),
        ({"teacher_gates": {"a": {"*": "of"}}}, {}, 1, "did you mean 'off'"),
        (
            {"teacher_gates": {"a": {"counting": True}}},
            {},
            1,
            r"gates\.a\.counting is true .* if_unsolved, if_no_spread, off",
        ),
        (
            {"teacher_gates": {"a": {"*": 0}}},
            {},
            1,
            r"ekipl\.teacher_gates\.a\.\* must be text, not a whole number",
        ),
        ({"run_budget": {"usb": 1}}, {}, 1, "did you mean 'usd'"),
        ({"run_budget": {"usd": -1}}, {}, 1, "cannot be below 0"),
        ({"schedules": {"params.teacher_rows": [[0, 1]]}}, {}, 1, "parameter of selection rule"),
        (
            QUOTA | {"params": {"choose": "wrost"}},
            {},
            1,
            "must be 'best' or 'first'; it is 'wrost'",
        ),
        (QUOTA | {"params": {"teacher_rows": 99}}, {}, 1, "teacher_rows is 99; .* group size"),
        (QUOTA | {"params": {"teacher_rows": True}}, {}, 1, "must be a whole number"),
        (QUOTA | {"schedules": {"params.teacher_rows": [[0, 1], [5, -9]]}}, {}, 1, "it is -9"),
        (QUOTA | {"schedules": {"params.teacher_rows": [[0, 1], [5, 99]]}}, {}, 1, "rows is 99"),
        ({"params": {"keep_failures": "yes"}}, {}, 1, "'keep_failures' .* whole number, not text"),
        (SHAPED | {"weighting_params": {"gamma": 0}}, {}, 1, "must be greater than 0; it is 0"),
        (SHAPED | {"weighting_params": {"gamma": "a"}}, {}, 1, "'gamma' .* number, not text"),
        (SHAPED | {"schedules": {"weighting_params.gamma": [[0, 1], [9, -1]]}}, {}, 1, "is -1.0"),
        ({"teacher_gates": {"a": {"countng": "off"}}}, {}, 1, "no gate for .* only for countng"),
        ({"teacher_gates": {"*": {"where/x": "off"}}}, {}, 1, "no gate for .* only for where"),
        ({"teacher_gates": {"a": {"counting/compar": "off"}}}, {}, 1, "did you mean 'compare'"),
        ({"schedules": {"weighting_params.gamma": [[0, 1]]}}, {}, 1, "parameter of weighting"),
        ({"sft": {"type": "chord"}}, {}, 1, "did you mean 'chord_mu'"),
        ({"sft": {"type": "chord_mu", "mu": 2}}, {}, 1, "must lie between 0 and 1"),
        ({"teacher_gates": "nowhere.json"}, {}, 1, "nowhere.json does not exist"),
        ({"sft": {"mu": 0.5}}, {}, 1, r"ekipl\.sft\.mu changes nothing here; set ekipl\.sft\.type"),
        ({"sft": {"reinforce": True}}, {}, 1, r"ekipl\.sft\.reinforce changes nothing here"),
        (
            {"sft": {**CHORD, "min_successes": 2}, "baseline": "policy"},
            {},
            1,
            "read by failed_groups alone, and the type is chord_mu",
        ),
        (
            {"prefix": {"rows": 0.25}},
            {},
            1,
            "prefix.rows changes nothing here; set",
        ),
        (
            {"refill": {"causes": ["equal"]}},
            {},
            1,
            "refill.causes changes nothing here; set",
        ),
        ({"refill": {"rounds": 1, "causes": []}}, {}, 1, "causes is empty; name one"),
        ({"teacher_gate_successes": 3}, {}, 1, "ekipl.teacher_gates has none; add one"),
        (
            {"selection": "policy_only", "weighting": "shaped"},
            {},
            1,
            "weighting 'shaped' is about kept teacher rows, and policy_only keeps none",
        ),
        (
            {"selection": "policy_only", "schedules": {"teacher_weight": [[0, 1], [9, 0]]}},
            {},
            1,
            "schedules.teacher_weight is about kept teacher rows",
        ),
        (
            {"selection": "policy_only", "signs": {"veto": True}},
            {},
            1,
            "signs.veto is about kept teacher rows",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(ekipl, grpo, teachers, message):
    with pytest.raises(ConfigError, match=message):
        made(ekipl, grpo, BASE["teachers"][:teachers])


def test_a_prefix_does_not_ask_an_ensemble_of_several():
    """It asks each teacher for one action, however many that gives without a prefix."""
    prefix = {"selection": "policy_only", "prefix": {"share": 0.5}}
    assert made(prefix, {}, [{"type": "oracle", "id": "b", "actions": 2}])
    panel = {"type": "ensemble", "id": "b", "each": 1, "members": [
        {"type": "oracle", "id": "c"}, {"type": "oracle", "id": "d"}]}  # fmt: skip
    with pytest.raises(ConfigError, match="the ensemble 'b' gives 2; name its members"):
        made(prefix, {}, [panel])


@pytest.mark.parametrize(
    "ekipl",
    [
        {"sft": CHORD, "baseline": "policy", "selection": "quota"},
        {"sft": {**CHORD, "reinforce": True}, "weighting": "shaped"},
        {"sft": ON, "weighting": "mixture_ratio", "schedules": {"sft.mu": [[0, 1], [9, 0]]}},
        {"weighting": "shaped", "schedules": {"weighting_params.gamma": [[0, 0.1], [50, 1]]}},
        {"selection": "quota", "schedules": {"params.teacher_rows": [[0, 2], [50, 0]]}},
    ],
)
@pytest.mark.parametrize("loss", ["grpo", "bnpo", "dr_grpo", "dapo"])
def test_what_makes_sense_is_taken(ekipl, loss):
    assert made(ekipl, {"loss_type": loss}).loss_type == loss


SERVED = {"type": "openai", "id": "b", "model": "m", "base_url": "http://127.0.0.1:9/v1"}
LOCAL = {"type": "local", "id": "b", "path": "assets/policies/counting", "temperature": 1.0}
PANEL = {"type": "ensemble", "id": "b"}


@pytest.mark.parametrize(
    ("teacher", "gives"),
    [
        ({"type": "oracle", "id": "b"}, False),
        ({"type": "random", "id": "b"}, False),
        (SERVED, False),
        ({**SERVED, "logprobs": True, "tokenizer_id": "x"}, True),
        (LOCAL, True),
        ({**LOCAL, "type": "policy"}, True),
        ({**PANEL, "members": [{**LOCAL, "id": "c"}]}, True),
        ({**PANEL, "members": [{**LOCAL, "id": "c"}, {"type": "random", "id": "d"}]}, False),
    ],
)
def test_a_teacher_that_cannot_give_q_is_refused_before_it_is_loaded(teacher, gives):
    teachers = [LOCAL | {"id": "a"}, teacher]
    assert made({}, {}, teachers)  # no other weighting asks for q
    if gives:
        assert made({"weighting": "proposal_ratio"}, {}, teachers)
        return
    with pytest.raises(ConfigError, match="own token probabilities, and teacher 'b' gives none"):
        made({"weighting": "proposal_ratio"}, {}, teachers)


def test_off_may_be_written_in_yaml_as_it_is():
    """YAML reads the bare word as false."""
    gates = yaml.safe_load("{a: {counting: off, geometry: if_unsolved}, '*': {'*': always}}")
    assert gates["a"]["counting"] is False
    config = parse_config({**BASE, "ekipl": {"teacher_gates": gates}})
    assert config.ekipl.teacher_gates == {
        "a": {"counting": "off", "geometry": "if_unsolved"},
        "*": {"*": "always"},
    }


def test_gates_come_from_the_reports_file_into_the_config(tmp_path):
    path = tmp_path / "gates.json"
    path.write_text(json.dumps({"a": {"counting": "off"}}), encoding="utf-8")
    config = parse_config({**BASE, "ekipl": {"teacher_gates": str(path)}})
    assert config.ekipl.teacher_gates == {"a": {"counting": "off"}}
    assert config.model_dump(mode="json")["ekipl"]["teacher_gates"] == {"a": {"counting": "off"}}
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(ConfigError, match="must hold teacher -> "):
        parse_config({**BASE, "ekipl": {"teacher_gates": str(path)}})


# ------------------------------------------------------------------------------- in real training


class Asked:
    """An oracle that notes whom it was asked about, and when."""

    id = "asked"

    def __init__(self):
        self.source, self.calls = toys.oracle().source, []
        self.capabilities = self.source.capabilities

    def propose(self, samples, num_actions, params):
        self.calls.append((len(samples), num_actions))
        return [
            [Action(a.completion, self.id, a.model_id) for a in actions]
            for actions in self.source.propose(samples, num_actions, params)
        ]


def trained(tmp_path, **options):
    from ekipl_lab.groups.options import Teacher

    source = Asked()
    trainer = toys.ekipl_trainer(
        toys.config(tmp_path, max_steps=4), teachers=[Teacher(source, 2)], **options
    )
    trainer.train()
    return source.calls, trainer


def test_a_run_asks_less_and_less(tmp_path):
    calls, trainer = trained(
        tmp_path, schedules={"teacher_actions": [(0, 2), (2, 0)]}, scorer=toys.never_scorer
    )
    assert calls == [(2, 2), (2, 1)]
    logged = toys.history(trainer, "teacher/asked/not_asked/schedule")
    assert next(iter(logged.values())) == [None, None, 2.0, 2.0]
    assert trainer.costs.teacher_actions == 6


def test_a_run_stops_paying_at_its_budget(tmp_path):
    calls, trainer = trained(tmp_path, run_budget={"actions": 6}, scorer=toys.never_scorer)
    assert calls == [(2, 2), (2, 2)]  # 8 actions: closed at the first generation at or above 6
    logged = toys.history(trainer, "teacher/asked/not_asked/budget")
    assert next(iter(logged.values())) == [None, None, 2.0, 2.0]


def test_a_gate_on_failure_asks_only_where_the_policy_failed(tmp_path):
    gates = {"asked": {"*": "if_unsolved"}}
    calls, trainer = trained(
        tmp_path, teacher_gates=gates
    )  # right by chance about half of the time
    solved = toys.history(trainer, "teacher/asked/not_asked/solved").popitem()[1]
    assert sum(count or 0 for count in solved) + sum(n for n, _ in calls) == 8
    assert sum(count or 0 for count in solved) >= 5
    calls, _ = trained(tmp_path, teacher_gates=lambda teacher, sample: "off")
    assert calls == []
