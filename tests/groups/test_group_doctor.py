"""The group doctor on hand-made groups: every cause, the order of causes, words and settings."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from paths import ROOT

from ekipl_lab.errors import ConfigError
from ekipl_lab.groups.build import build_group
from ekipl_lab.groups.doctor import CAUSES, TEACHER_CAUSES, cause_of, examine, examine_recorded
from ekipl_lab.groups.doctor.advice import advise
from ekipl_lab.groups.pool import NO_REPLY
from ekipl_lab.records import GroupRecordWriter, load_groups
from ekipl_lab.report.training import examined
from ekipl_lab.teachers.encoding import REFUSALS
from ekipl_lab.training.doctor_checks import _examine
from ekipl_lab.types import Action, RewardBreakdown, Sample

SAMPLE = Sample("s", "counting", "train", (), "How many?", "2", "number")
WEIGHTS = {"accuracy": 1.0, "format": 0.5}


def act(accuracy, form=1.0, source="policy", cut=False, read=True):
    """One action and what it earned; ``accuracy`` None: could not be scored."""
    components = {"accuracy": accuracy, "format": form}
    success = None if accuracy is None else accuracy >= 1
    reward = RewardBreakdown(components, WEIGHTS, success, "2" if read else None)
    reason = "length" if cut else "stop"
    return Action("text", source, source, token_ids=(1,) * 20, finish_reason=reason), reward


def group(*pairs, rule="top_g", size=4, **options):
    actions, rewards = zip(*pairs, strict=True)
    return build_group(SAMPLE, actions, rewards, rule=rule, group_size=size, **options)


RIGHT, WRONG = act(1.0), act(0.0)
MUTE = act(0.0, 0.0)
TEACHER = act(1.0, source="t")

#: name -> a group with that fault
MADE = {
    "unscorable": lambda: group(*[act(None)] * 3, RIGHT),
    "starved": lambda: group(RIGHT, RIGHT, WRONG, WRONG, TEACHER, TEACHER),
    "all_right": lambda: group(*[RIGHT] * 4),
    "truncated": lambda: group(act(0.0, 0.0, cut=True), act(0.0, 0.0, cut=True), MUTE, MUTE),
    "unparseable": lambda: group(*[act(0.0, 0.0, read=False)] * 3, MUTE),
    "format_only": lambda: group(*[WRONG] * 4),
    "all_wrong": lambda: group(*[MUTE] * 4),
    "equal": lambda: group(*[act(0.5)] * 2, *[act(1.0, 0.0)] * 2),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_every_cause_has_its_group(cause):
    assert cause_of(MADE[cause]()) == cause
    (finding,) = [f for f in examine([MADE[cause]()]).findings if not f.source]
    assert (finding.cause, finding.count, finding.share) == (cause, 1, 1.0)
    assert CAUSES[cause] in finding.words and finding.advice.endswith(".")


def test_what_could_not_be_scored_is_neither_right_nor_wrong():
    assert cause_of(group(RIGHT, RIGHT, RIGHT, act(None))) == "all_right"
    # two wrong answers that were read, two that nobody judged
    assert cause_of(group(MUTE, MUTE, act(None), act(None))) == "all_wrong"


def test_a_group_that_teaches_has_no_cause():
    for made in (
        group(RIGHT, WRONG, WRONG, WRONG),
        group(*[MUTE] * 4, TEACHER),
        # All kept are right, but against the policy's mean they still teach: 1.5 - 1.25 or so.
        group(RIGHT, RIGHT, RIGHT, WRONG, TEACHER, baseline="policy"),
    ):
        assert cause_of(made) is None
    assert examine([made]).text() == "0 of 1 groups (0%) taught nothing."


def test_rounding_of_equal_rewards_is_no_signal():
    """float32's mean of eleven 0.1 is not 0.1; the advantages are 7e-5, and mean nothing."""
    tenth = RewardBreakdown({"accuracy": 0.1}, {"accuracy": 1.0}, False, "2")
    made = group(*[(RIGHT[0], tenth)] * 11, size=11)
    assert max(abs(a) for a in made.advantages) > 0
    assert cause_of(made) == "format_only"


def test_teachers_alone_can_starve_a_group():
    """Policy all wrong, as many right teacher actions as places: nothing is left to compare."""
    assert cause_of(group(*[MUTE] * 4, *[TEACHER] * 4)) == "starved"
    assert cause_of(group(*[MUTE] * 4, *[TEACHER] * 4, keep_failures=1)) is None


def test_selection_without_teachers_never_starves():
    """Right policy, wrong teacher, rule without it: nothing was taken away."""
    wrong = act(0.0, source="t")
    assert cause_of(group(*[RIGHT] * 4, wrong, rule="on_failure")) == "all_right"


def test_the_commonest_cause_comes_first_and_shares_are_of_all_groups():
    window = [MADE["all_right"](), MADE["starved"](), MADE["starved"](), group(RIGHT, *[WRONG] * 3)]
    examination = examine(window)
    assert (examination.groups, examination.zero_advantage) == (4, 3)
    assert [(f.cause, f.share) for f in examination.findings] == [
        ("starved", 0.5),
        ("all_right", 0.25),
    ]
    text = examination.text().splitlines()
    assert text[0] == "3 of 4 groups (75%) taught nothing."
    assert text[1].startswith("- 2 of 4 groups (50%): the candidates differed, but selection kept")
    assert "ekipl.params={keep_failures: 1}" in text[1]


def test_truncated_actions_get_room_from_their_own_length():
    (finding,) = examine([MADE["truncated"]()]).findings
    assert finding.settings == ("grpo.max_completion_length=40",)  # twice their 20 tokens


def test_without_a_teacher_the_advice_is_a_teacher_and_with_one_another():
    (alone,) = examine([MADE["all_wrong"]()]).findings
    assert alone.settings[0].startswith("teachers=[{type: oracle")
    (bought,) = examine([MADE["all_wrong"]()], chains=False).findings
    assert (
        bought.settings[0].startswith("teachers=[{type: openai") and bought.advice == alone.advice
    )
    helped = examine([group(*[MUTE] * 4, act(0.0, 0.0, source="t"))]).findings
    assert helped[0].settings[0] == "teachers.0.actions=4"


def test_no_oracle_is_advised_for_data_that_have_no_chain_writer(tmp_path):
    """Wherever recorded groups are examined: in training, in the report, in a notebook."""
    for place, (name, teacher) in enumerate([("mini/counting/x", "oracle"), ("own-1", "openai")]):
        made = build_group(
            replace(SAMPLE, id=name), [MUTE[0]] * 4, [MUTE[1]] * 4, rule="top_g", group_size=4
        )
        with GroupRecordWriter(tmp_path / str(place)) as writer:
            writer.write(1, [made])
        for found in (
            _examine(tmp_path / str(place), 1, 1, []),
            examined(SimpleNamespace(groups=tmp_path / str(place), history={}, memo={})),
            examine_recorded(load_groups(tmp_path / str(place), 1)),
        ):
            assert found.findings[0].settings[0].startswith(f"teachers=[{{type: {teacher}")


def test_a_teacher_that_is_never_better_is_named():
    poor, good = act(0.0, 0.0, source="poor"), act(1.0, source="good")
    window = [group(*[MUTE] * 4, poor, good), group(*[MUTE] * 4, poor, good)]
    (finding,) = examine(window).findings
    assert (finding.cause, finding.source, finding.count) == ("teacher_never_better", "poor", 2)
    assert finding.words.startswith("poor: 2 of 2 groups that the policy failed")
    # Where the policy succeeded, nobody can be better: that says nothing about a teacher.
    assert not examine([group(RIGHT, WRONG, WRONG, WRONG, poor)]).findings


def test_a_better_teacher_that_no_rule_keeps_is_named():
    findings = examine([group(*[MUTE] * 4, TEACHER, rule="policy_only")]).findings
    assert [f.cause for f in findings] == ["all_wrong", "teacher_unused"]
    assert findings[1].settings == ("ekipl.selection=on_failure",)


def test_refusals_come_from_the_metrics():
    steps = [
        {
            "teacher/a/b/actions": 8.0,
            "teacher/a/b/refused/too_long": 2.0,
            "teacher/ok/actions": 8.0,
        },
        {"teacher/a/b/actions": 8.0, "teacher/a/b/refused/empty": 2.0, "teacher/a/b/reward": 1.0},
    ]
    assert not examine([group(RIGHT, *[WRONG] * 3)], steps[:0]).findings
    (finding,) = examine([group(RIGHT, *[WRONG] * 3)], steps).findings
    assert (finding.cause, finding.source) == ("teacher_refused", "a/b")
    assert (finding.count, finding.out_of, finding.share) == (4, 16, 0.25)
    assert "too_long 2, empty 2" in finding.words
    few = [{"teacher/t/actions": 100.0, "teacher/t/refused/empty": 19.0}]
    assert not examine([group(RIGHT, *[WRONG] * 3)], few).findings
    skipped = [{"teacher/t/refused/missing": 6.0}, {"teacher/t/actions": 2.0}]
    (finding,) = examine([group(RIGHT, *[WRONG] * 3)], skipped).findings
    assert (finding.count, finding.out_of) == (6, 8)
    assert finding.settings == ("teachers.0.gateway.retries=10",)


@pytest.mark.parametrize(
    "reason", [*CAUSES, *REFUSALS, NO_REPLY, "teacher_never_better", "teacher_unused"]
)
def test_there_is_advice_for_everything(reason):
    found = advise(reason, rule="top_g", teachers=("t",), longest=0)
    assert len(found.text) > 20
    assert set(TEACHER_CAUSES) == {"teacher_refused", "teacher_never_better", "teacher_unused"}


def test_recorded_groups_are_read_the_same(tmp_path):
    window = [make() for make in MADE.values()]
    with GroupRecordWriter(tmp_path) as writer:
        writer.write(1, window)
    assert examine(load_groups(tmp_path, 1)) == examine(window)
    assert examine(window).zero_advantage == len(MADE)


def test_an_empty_window_is_refused():
    with pytest.raises(ConfigError, match="no groups"):
        examine([])


def test_the_page_names_every_cause_and_shows_real_words():
    page = (ROOT / "docs/group_doctor.md").read_text(encoding="utf-8")
    assert all(f"| `{cause}` |" in page for cause in [*CAUSES, *TEACHER_CAUSES])
    window = [MADE["all_right"](), MADE["starved"](), MADE["starved"](), group(RIGHT, *[WRONG] * 3)]
    assert examine(window).text() in page
