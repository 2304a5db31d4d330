"""The teacher in the prompt, in the trainer: what is given, what is learned, what it costs."""

import pytest
import torch
from trainer_toys import config, ekipl_trainer, never_scorer, oracle

from ekipl_lab.groups.options import Teacher
from ekipl_lab.groups.prefix import prefix_length
from ekipl_lab.types import GenerationParams, RewardBreakdown


def prefixed(folder, scorer=never_scorer, **changes):
    """A trainer whose policy fails everywhere, so that half of every group begins with a chain."""
    return ekipl_trainer(
        config(folder, max_steps=1, max_completion_length=40, **changes),
        teachers=[oracle()],
        scorer=scorer,
        selection="policy_only",
        prefix={"share": 0.5},
    )


def test_failed_prompts_go_on_from_the_teachers_chain_and_only_the_rest_is_learned(tmp_path):
    trainer = prefixed(tmp_path)
    seen = {}
    generate = trainer._generate_and_score_completions

    def watch(inputs):
        seen.update(generate(inputs))
        return seen

    trainer._generate_and_score_completions = watch
    trainer.train()
    sample = trainer.collector.samples[0]
    ((action,),) = trainer._prefixes._teachers[0].source.propose([sample], 1, GenerationParams())
    chain = trainer.collector.encoder.encode(action)
    given = prefix_length(chain.length, 0.5)
    assert given > 2
    ids, mask = seen["completion_ids"], seen["tool_mask"]
    rows = [row for row in range(len(ids)) if int(mask[row, 0]) == 0]
    assert len(rows) == len(ids) // 2
    for row in rows:
        assert tuple(ids[row, :given].tolist()) == chain.token_ids[:given]
        assert mask[row].tolist() == [0] * given + [1] * (ids.shape[1] - given)
    costs = trainer.costs
    assert costs.policy_completions == 8 + 4  # the first actions of the redone rows count too
    assert costs.teacher_actions == 2
    lengths = seen["completion_mask"].sum(-1)
    assert costs.trained_tokens == int(lengths.sum()) - 4 * given


def test_solved_prompts_are_left_as_they_are_bit_for_bit(tmp_path):
    def always(sample, action):
        length = float(len(action.completion) % 3)
        return RewardBreakdown({"accuracy": length}, {"accuracy": 1.0}, True)

    ours = prefixed(tmp_path / "a", always)
    ours.train()  # before the other is made: making one sets the seed
    grpo = ekipl_trainer(
        config(tmp_path / "b", max_steps=1, max_completion_length=40),
        scorer=always,
        selection="policy_only",
    )
    grpo.train()
    pairs = zip(ours.model.parameters(), grpo.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert ours.costs.teacher_actions == 0


def one_step_of_failures(tmp_path, **options):
    """A trainer after a step in which nothing is right, beside an oracle's beginnings."""
    trainer = ekipl_trainer(
        config(tmp_path, max_steps=1),
        teachers=[oracle()],
        scorer=never_scorer,
        selection="policy_only",
        prefix={"share": 0.5},
        **options,
    )
    trainer.train()
    return trainer


@pytest.mark.parametrize(
    "closed",
    [
        {"run_budget": {"actions": 0}},
        {"teacher_gates": {"oracle": {"*": "off"}}},
        {"schedules": {"teacher_share": [[0, 0.0]]}},
        {"schedules": {"teacher_actions": [[0, 0]]}},
    ],
)
def test_a_closed_gate_or_budget_keeps_the_teacher_out(tmp_path, closed):
    trainer = one_step_of_failures(tmp_path, **closed)
    assert trainer.costs.teacher_actions == 0
    assert trainer.costs.policy_completions == pytest.approx(8)


def test_a_teacher_that_gives_nothing_leaves_the_prompt_to_the_next(tmp_path):
    class Silent:
        id, capabilities = "silent", oracle().source.capabilities

        def propose(self, samples, num_actions, params):
            return [[] for _ in samples]

    trainer = ekipl_trainer(
        config(tmp_path, max_steps=1, max_completion_length=40),
        teachers=[Teacher(Silent()), oracle()],
        scorer=never_scorer,
        selection="policy_only",
        prefix={"share": 0.5},
    )
    trainer.train()
    assert trainer.costs.teacher_actions == 2  # the oracle's alone


def test_at_share_0_of_its_schedule_nothing_is_asked(tmp_path):
    trainer = one_step_of_failures(tmp_path, schedules={"prefix.share": [[0, 0.0]]})
    assert trainer.costs.teacher_actions == 0
    assert trainer.costs.policy_completions == pytest.approx(8)
