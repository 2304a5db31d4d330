"""Why candidates were kept or dropped, against groups worked out by hand."""

from __future__ import annotations

import pytest

from app import why
from ekipl_lab.groups.build import build_group
from ekipl_lab.types import Action, ActionGroup, RewardBreakdown, Sample


def a_group(
    policy: list[tuple[float | None, float]],
    teachers: list[tuple[float | None, float]],
    rule: str = "top_g",
    **params: object,
) -> ActionGroup:
    """A group from (accuracy, format) pairs; G is the number of policy actions."""
    sample = Sample("mini/counting/test/s0/x/000000", "counting", "test", (), "How many?", "2", "n")
    actions = [Action("<think>a</think><answer>2</answer>", "policy", "tiny") for _ in policy]
    actions += [Action("text", f"teacher{i}", "oracle") for i in range(len(teachers))]
    rewards = [
        RewardBreakdown(
            {"accuracy": accuracy, "format": form},
            {"accuracy": 1.0, "format": 1.0},
            None if accuracy is None else accuracy >= 1.0,
        )
        for accuracy, form in [*policy, *teachers]
    ]
    return build_group(sample, actions, rewards, rule=rule, group_size=len(policy), **params)


def test_pool_order_by_reward_then_policy_then_index() -> None:
    group = a_group([(0, 1), (1, 1), (None, 1), (0, 1)], [(1, 1), (0, 0)])
    assert why.pool_order(group) == [1, 4, 0, 3, 5, 2]


def test_top_g_names_rank_cut_and_tie() -> None:
    # totals: policy 1 2 1 1, teacher 2 1 -> kept the 2s (1, 4) and the earliest 1s (0, 2)
    group = a_group([(0, 1), (1, 1), (0, 1), (0, 1)], [(1, 1), (0, 1)])
    assert group.kept == (0, 1, 2, 4)
    assert why.explain_candidate(group, 4) == "Kept: rank 2 of 6 by reward; the 4 best stay."
    assert why.explain_candidate(group, 3) == (
        "Dropped: rank 5 of 6 by reward; it ties with the last kept one at 1, where policy goes "
        "before teacher and earlier before later."
    )
    lower = a_group([(0, 0), (1, 1), (0, 1), (0, 1)], [(1, 1)])
    assert why.explain_candidate(lower, 0) == (
        "Dropped: rank 5 of 5 by reward; 0 is below the cut at 1."
    )


def test_an_unscorable_candidate_is_last_and_says_so() -> None:
    group = a_group([(None, 1), (1, 1)], [(0, 1)])
    assert why.explain_candidate(group, 0) == (
        "Dropped: rank 3 of 3 by reward; it could not be scored, so it goes last."
    )


def test_kept_failures_are_named() -> None:
    group = a_group([(1, 1), (0, 1)], [(1, 1), (1, 1)], keep_failures=1)
    assert group.kept == (0, 1)
    assert "keeps some failed policy actions" in why.explain_candidate(group, 1)
    assert "made room for a failed policy action" in why.explain_candidate(group, 2)


def test_max_variance_keeps_both_ends() -> None:
    # totals 2 1 1 0 and a teacher's 2: the two 2s, the 0 and the earlier 1 vary most
    group = a_group([(1, 1), (0, 1), (0, 1), (0, 0)], [(1, 1)], rule="max_variance")
    assert group.kept == (0, 1, 3, 4)
    assert "at the high end" in why.explain_candidate(group, 4)
    assert "at the low end" in why.explain_candidate(group, 1)
    assert why.explain_candidate(group, 2) == (
        "Dropped: rank 4 of 5 by reward; the rule keeps both ends of the ranking, and they were "
        "full without it."
    )


@pytest.mark.parametrize(
    ("rule", "index", "words"),
    [
        ("policy_only", 2, "keeps the policy's own actions and no others"),
        ("quota", 2, "Kept: rank 2 of 3 by reward; 1 teacher action entered."),
        ("quota", 0, "it stayed beside 1 teacher action"),
        ("quota", 1, "it made room for 1 teacher action by its place in sampling order"),
        ("on_failure", 0, "enough policy actions succeeded, so the policy's own group stays"),
    ],
)
def test_other_rules(rule: str, index: int, words: str) -> None:
    group = a_group([(1, 1), (0, 1)], [(1, 1)], rule=rule)
    assert words in why.explain_candidate(group, index)


def test_on_failure_says_that_too_few_succeeded() -> None:
    group = a_group([(0, 1), (0, 1)], [(1, 1)], rule="on_failure")
    assert group.kept == (0, 2)
    assert why.explain_candidate(group, 2) == (
        "Kept: rank 1 of 3 by reward; too few policy actions succeeded, so 1 teacher action "
        "entered."
    )


def test_spread_names_starvation_by_selection() -> None:
    starved = a_group([(1, 1), (0, 1)], [(1, 1)])
    assert why.explain_spread(starved) == (
        "Every kept action is right, so this group teaches nothing. The dropped ones differed: "
        "selection starved this group."
    )
    wrong = a_group([(0, 1), (0, 1)], [])
    assert why.explain_spread(wrong) == (
        "Every kept action is wrong, so this group teaches nothing."
    )
    mixed = a_group([(1, 1), (0, 0.5)], [])
    assert why.explain_spread(mixed) == "Kept rewards from 0.5 to 2."


def test_where_no_teacher_action_could_be_scored_the_policy_did_not_succeed() -> None:
    for rule in ("on_failure", "quota"):
        group = a_group([(0, 1), (0, 1)], [(None, 1)], rule=rule)
        assert group.kept == (0, 1)
        assert why.explain_candidate(group, 0).endswith(
            "; no teacher action could enter, so the policy's own group stays."
        )


def test_spread_agrees_with_the_doctor() -> None:
    # four right teacher actions against a policy that is wrong: A = 2 - mean of the policy's own
    taught = a_group([(0, 1)] * 4, [(1, 1)] * 4, baseline="policy")
    assert taught.kept == (4, 5, 6, 7) and min(taught.advantages) > 0.5
    assert why.explain_spread(taught) == (
        "Every kept action is right; it still teaches, since the baseline is not the mean of "
        "these rewards."
    )
    nothing = "Every kept action is right, so this group teaches nothing."
    # what could not be scored is no difference, and a teacher that was not kept starves nobody
    assert why.explain_spread(a_group([(1, 1), (1, 1)], [(None, 1)])) == nothing
    assert why.explain_spread(a_group([(1, 1), (1, 1)], [(0, 1)], rule="policy_only")) == nothing
    assert why.explain_spread(a_group([(None, 1), (1, 1)], [], rule="policy_only")) == (
        "Fewer than two kept actions could be scored, so this group teaches nothing."
    )
    some = a_group([(None, 1), (1, 1), (0, 1)], [], rule="policy_only")
    assert why.explain_spread(some) == (
        "Kept rewards from 1 to 2. Some kept actions could not be scored."
    )


def test_a_reward_that_judges_no_success_is_not_called_wrong() -> None:
    rewards = [RewardBreakdown({"format": 1.0}, {"format": 1.0}, None) for _ in range(2)]
    sample = Sample("mini/counting/test/s0/x/000000", "counting", "test", (), "How many?", "2", "n")
    actions = [Action("text", "policy", "tiny") for _ in range(2)]
    group = build_group(sample, actions, rewards, rule="policy_only", group_size=2)
    assert "is equal in reward, so" in why.explain_spread(group)
