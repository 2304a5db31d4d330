"""What the trainer promises: TRL's bits where no teacher takes part, and the groups it records."""

import random
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trainer_toys as toys

from ekipl_lab.errors import ConfigError
from ekipl_lab.groups.advantages import compute_advantages
from ekipl_lab.groups.build import build_group
from ekipl_lab.groups.options import Teacher
from ekipl_lab.policies.build import build_tiny_policy
from ekipl_lab.policies.load import as_policy, load_policy
from ekipl_lab.policies.save import save_policy
from ekipl_lab.policies.source import PolicySource
from ekipl_lab.prompts import build_messages
from ekipl_lab.records import GroupRecordWriter, load_groups
from ekipl_lab.teachers.adapters.local import LocalSpec, LocalTeacher
from ekipl_lab.types import Action, Capabilities, RewardBreakdown


class Plays:
    """A teacher that always gives the same completion, and draws random numbers on the way."""

    id = "plays"
    capabilities = Capabilities()

    def __init__(self, completion, finish_reason="stop"):
        self.completion, self.finish_reason, self.asked = completion, finish_reason, []

    def propose(self, samples, num_actions, params):
        torch.rand(3), np.random.rand(3), random.random()  # noqa: NPY002
        self.asked.append((len(samples), params.seed))
        action = Action(self.completion, self.id, "plays", finish_reason=self.finish_reason)
        return [[action] * num_actions for _ in samples]


SILENT = " "
#: An odd number of characters and no space: total 0, and a tie goes to the policy.
LOSING = "<think></think><answer></answer>."


class Kept:
    """Group records in memory."""

    def __init__(self):
        self.steps = {}

    def write(self, step, groups):
        self.steps[step] = list(groups)


def same_bits(ours, theirs):
    names = ("loss", "grad_norm", "reward", "entropy", "clip_ratio/region_mean")
    assert toys.history(ours, *names) == toys.history(theirs, *names)
    assert any(norm > 0 for norm in toys.history(ours, "grad_norm")["grad_norm"])
    mine, reference = toys.weights(ours), toys.weights(theirs)
    assert mine.keys() == reference.keys()
    assert all(torch.equal(mine[name], reference[name]) for name in mine)
    initial = dict(toys.nano()[0].named_parameters())
    assert not all(torch.equal(mine[name], initial[name]) for name in mine)


@pytest.fixture(scope="module")
def of_trl(tmp_path_factory):
    """TRL's own trainer after a run with these settings; each is trained once, and only read."""

    @cache
    def trained(**changes):
        theirs = toys.grpo_trainer(toys.config(tmp_path_factory.mktemp("trl"), **changes))
        theirs.train()
        return theirs

    return trained


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({}, {}),
        ({"loss_type": "dapo", "scale_rewards": "none"}, {"scale_rewards": "none"}),
        ({"num_iterations": 2, "max_steps": 4}, {"weighting": "shaped"}),
        ({"steps_per_generation": 4, "max_steps": 4}, {"weighting": "mixture_ratio"}),
    ],
    ids=["preset", "dapo", "two iterations", "stale generations"],
)
@pytest.mark.parametrize(
    "teachers", [[], [SILENT], [LOSING]], ids=["no teacher", "silent teacher", "losing teacher"]
)
def test_without_a_kept_teacher_action_every_bit_is_trls(
    tmp_path, of_trl, changes, options, teachers
):
    theirs = of_trl(**changes)
    ours = toys.ekipl_trainer(
        toys.config(tmp_path, **changes),
        teachers=[Teacher(Plays(text)) for text in teachers],
        **options,
    )
    ours.train()
    same_bits(ours, theirs)


def test_the_same_with_a_reference_model(tmp_path):
    model, processor = toys.nano()
    folder = save_policy(model, processor, tmp_path / "start", dtype="float32")
    trainers = []
    for make in (toys.grpo_trainer, toys.ekipl_trainer):
        policy = load_policy(folder)
        args = toys.config(tmp_path / make.__name__, beta=0.1, learning_rate=1e-2)
        trainers.append(make(args, model=(policy.model, policy.processor)))
        trainers[-1].train()
    theirs, ours = trainers
    same_bits(ours, theirs)
    assert toys.history(ours, "kl") == toys.history(theirs, "kl")
    assert toys.history(ours, "kl")["kl"][-1] > 0


def test_unscorable_actions_are_not_zero_in_training_either(tmp_path):
    """A third of the policy's actions has no reward: no advantage, and no part in any mean."""

    def scorer(sample, action):
        if len(action.completion) % 3 == 0:
            return RewardBreakdown({"accuracy": None}, {"accuracy": 1.0}, None)
        return toys.even_scorer(sample, action)

    theirs = toys.grpo_trainer(toys.config(tmp_path / "trl"), scorer=scorer)
    theirs.train()
    seen = []
    ours = toys.ekipl_trainer(
        toys.config(tmp_path / "ours"), scorer=scorer,
        records=SimpleNamespace(write=lambda step, groups: seen.extend(groups)),
    )  # fmt: skip
    ours.train()
    same_bits(ours, theirs)
    mixed = 0
    for group in seen:
        totals = [reward.total for reward in group.rewards]
        for total, advantage in zip(totals, group.advantages, strict=True):
            assert advantage == 0 or total is not None
        scored = [total for total in totals if total is not None]
        mixed += len(set(scored)) > 1 and len(scored) < len(totals)
        assert sum(group.advantages) == pytest.approx(0.0, abs=1e-5)
    assert mixed > 0, "no group had both: the test shows nothing"


def test_a_teacher_that_is_kept_changes_the_weights(tmp_path):
    """The control of the tests above: they would fail if teacher actions did take part."""
    theirs = toys.grpo_trainer(toys.config(tmp_path / "trl"))
    theirs.train()
    ours = toys.ekipl_trainer(toys.config(tmp_path / "ours"), teachers=[toys.oracle()])
    ours.train()
    mine, reference = toys.weights(ours), toys.weights(theirs)
    assert not all(torch.equal(mine[name], reference[name]) for name in mine)


def test_kept_rows_carry_the_teachers_tokens_and_are_counted(tmp_path):
    seen, kept = [], Kept()
    trainer = toys.ekipl_trainer(
        toys.config(tmp_path, max_steps=1), teachers=[toys.oracle()], records=kept,
        selection="quota", params={"teacher_rows": 1},
    )  # fmt: skip
    score = trainer._generate_and_score_completions

    def watch(inputs):
        seen.append(score(inputs))
        return seen[-1]

    trainer._generate_and_score_completions = watch
    trainer.train()
    (output,), (group, other) = seen, kept.steps[1]
    tokenizer = trainer.processing_class.tokenizer
    # Quota keeps policy 0..2 and the teacher (candidate 4), which takes the row of policy 3.
    assert group.kept == other.kept == (0, 1, 2, 4)
    assert output["action_source"].tolist() == [0, 0, 0, 1] * 2
    text = tokenizer.decode(output["completion_ids"][3][output["completion_mask"][3].bool()])
    assert text == toys.reference(group.sample) + tokenizer.eos_token
    policy_tokens = sum(len(a.token_ids) for g in (group, other) for a in g.candidates[:3])
    teacher_tokens = len(tokenizer(toys.reference(group.sample))["input_ids"]) + 1
    assert output["num_items_in_batch"].item() == policy_tokens + 2 * teacher_tokens
    assert output["num_items_in_batch"].item() == output["completion_mask"].sum().item()
    assert trainer.costs.trained_tokens == output["num_items_in_batch"].item()
    assert output["advantages"].tolist() == [*group.advantages, *other.advantages]


@pytest.mark.parametrize("baseline", ["kept", "policy"])
@pytest.mark.parametrize("rule", ["top_g", "max_variance", "on_failure"])
def test_recorded_groups_are_what_build_group_gives(tmp_path, rule, baseline):
    trainer = toys.ekipl_trainer(
        toys.config(tmp_path / "run"),
        teachers=[toys.oracle(accuracy=0.5), toys.oracle("other", actions=2)],
        records=GroupRecordWriter(tmp_path / "records"),
        selection=rule,
        baseline=baseline,
    )
    trainer.train()
    samples = {sample.id: sample for sample in toys.toy_samples()}
    for step in (1, 2, 3):
        groups = load_groups(tmp_path / "records", step)
        assert len(groups) == 2
        for recorded in groups:
            again = build_group(
                samples[recorded.sample_id], recorded.candidates, recorded.rewards,
                rule=rule, group_size=4, baseline=baseline,
            )  # fmt: skip
            assert recorded.differences(again) == []
            assert len(recorded.candidates) == 4 + 1 + 2


def test_another_baseline_reaches_the_loss(tmp_path):
    kept = Kept()
    trainer = toys.ekipl_trainer(
        toys.config(tmp_path, max_steps=1), teachers=[toys.oracle(actions=4)],
        records=kept, baseline="policy", scale_rewards="none",
    )  # fmt: skip
    trainer.train()
    for group in kept.steps[1]:
        totals = [reward.total for reward in group.rewards]
        mean = sum(totals[:4]) / 4
        assert group.advantages == pytest.approx([totals[i] - mean for i in group.kept])
    buffered = torch.cat([batch["advantages"] for batch in trainer._buffered_inputs])
    ours = [a for group in kept.steps[1] for a in group.advantages]
    assert sorted(buffered.tolist()) == pytest.approx(sorted(ours))
    # And it is not what the kept group alone would have given.
    first = kept.steps[1][0]
    own = compute_advantages(
        [r.total for r in first.rewards], list(first.kept), [True] * 4 + [False] * 4
    )
    assert own != pytest.approx(list(first.advantages))


def own_logps(sample, action):
    """Log-probabilities of an action's tokens under the nano policy, by a plain forward pass."""
    model, processor = toys.nano()
    prompt = processor.apply_chat_template(build_messages(sample), add_generation_prompt=True)
    inputs = processor(text=[prompt], images=list(sample.images), return_tensors="pt")
    ids, start = torch.tensor([action.token_ids]), inputs["input_ids"].shape[1]
    for name, added in {"input_ids": ids, "attention_mask": ids * 0 + 1,
                        "mm_token_type_ids": ids * 0}.items():  # fmt: skip
        inputs[name] = torch.cat([inputs[name], added], 1)
    with torch.no_grad():
        logp = model(**inputs).logits[0, start - 1 : -1].log_softmax(-1)
    return logp.gather(-1, ids[0][:, None])[:, 0]


def test_shaped_weight_is_luffys_on_teacher_tokens_alone(tmp_path):
    """The weight logged is the mean of p / (p + 0.1) over the teacher's tokens at the start."""
    kept = Kept()
    trainer = toys.ekipl_trainer(
        toys.config(tmp_path, max_steps=1, gradient_accumulation_steps=1,
                    per_device_train_batch_size=8),
        teachers=[toys.oracle()], records=kept, selection="quota", weighting="shaped",
    )  # fmt: skip
    trainer.train()
    tokenizer = trainer.processing_class.tokenizer
    weights = []
    for group in kept.steps[1]:
        ids = tokenizer(toys.reference(group.sample))["input_ids"] + [tokenizer.eos_token_id]
        pi = own_logps(group.sample, Action("", "", "", token_ids=tuple(ids))).exp()
        weights.append(pi / (pi + 0.1))
    expected = torch.cat(weights).mean().item()
    (logged,) = toys.history(trainer, "tokens/oracle/mean_weight").values()
    assert logged == [pytest.approx(expected, rel=1e-4)]


def local_teacher(seed):
    """Another nano policy with the same tokenizer; it likes to stop, and scores what it samples."""
    model, processor = build_tiny_policy("nano", seed)
    stop = processor.tokenizer.eos_token_id
    model.lm_head.register_forward_hook(
        lambda module, inputs, logits: logits + 6.0 * (torch.arange(logits.shape[-1]) == stop)
    )
    source = PolicySource(as_policy(model, processor, "other"), id="other")
    spec = LocalSpec(id="other", path="in memory", temperature=1.0, seed=1)
    return Teacher(LocalTeacher(source, spec), 2)


@pytest.mark.parametrize("weighting", ["proposal_ratio", "decoupled", "proposal_ratio_sequence"])
def test_weights_over_the_teachers_own_probabilities(tmp_path, weighting):
    """The weight logged is worked out again from the records and a forward pass of our own."""
    kept = Kept()
    trainer = toys.ekipl_trainer(
        toys.config(tmp_path, max_steps=1, gradient_accumulation_steps=1,
                    per_device_train_batch_size=8, max_completion_length=200),
        teachers=[local_teacher(5)], records=kept, selection="quota", weighting=weighting,
    )  # fmt: skip
    trainer.train()
    (logged,) = toys.history(trainer, "tokens/other/mean_weight").values()
    weights = []
    for group in kept.steps[1]:
        for index in group.kept:
            action = group.candidates[index]
            if action.source == "other":
                pi, q = own_logps(group.sample, action), torch.tensor(action.logprobs)
                assert len(pi) == len(q)
                weights.append(
                    torch.exp((pi - q).sum()).clamp(max=2).expand(len(q))
                    if weighting == "proposal_ratio_sequence"
                    else torch.exp(pi - q).clamp(
                        max=2.0 if weighting == "decoupled" else float("inf")
                    )
                )
    assert len(weights) > 1, "no teacher action was kept: the test shows nothing"
    assert logged == [pytest.approx(torch.cat(weights).mean().item(), rel=1e-3)]


def test_evaluation_measures_the_policy_alone(tmp_path):
    from ekipl_lab.training.dataset import prompt_dataset

    teacher = Plays(LOSING)
    model, processor = toys.nano()
    trainer = toys.EKIPLTrainer(
        model, args=toys.config(tmp_path, per_device_eval_batch_size=4),
        samples=toys.toy_samples(), processing_class=processor, scorer=toys.even_scorer,
        teachers=[Teacher(teacher)], eval_dataset=prompt_dataset(toys.toy_samples(2)),
    )  # fmt: skip
    metrics = trainer.evaluate()
    assert teacher.asked == [] and 0.0 <= metrics["eval_reward"] <= 1.25


def test_special_tokens_are_never_sampled(tmp_path):
    """A policy that wants nothing but vision tokens; without the list it would write them."""
    samples = {}
    for name in ("ours", "unguarded"):
        model, processor = toys.nano()
        wanted = processor.tokenizer.convert_tokens_to_ids(["<|vision_start|>", "<|user|>"])
        model.lm_head.register_forward_hook(
            lambda module, inputs, logits, wanted=wanted: logits.index_fill(
                -1, torch.tensor(wanted), 50.0
            )
        )
        kept = Kept()
        trainer = toys.ekipl_trainer(
            toys.config(tmp_path / name, max_steps=1), model=(model, processor), records=kept
        )
        if name == "unguarded":
            trainer.generation_config.suppress_tokens = None
        trainer.train()
        groups = kept.steps[1]
        samples[name] = {t for g in groups for a in g.candidates for t in a.token_ids}
    special = set(processor.tokenizer.all_special_ids) - {processor.tokenizer.eos_token_id}
    assert not samples["ours"] & special
    assert samples["unguarded"] <= special


def test_a_teachers_image_placeholder_stays_text(tmp_path):
    kept = Kept()
    text = "<|image_pad|><|im_end|>"
    trainer = toys.ekipl_trainer(
        toys.config(tmp_path, max_completion_length=40), records=kept,
        teachers=[Teacher(Plays(text))], selection="quota",
    )  # fmt: skip
    trainer.train()
    assert trainer.state.global_step == 3
    assert kept.steps[3][0].candidates[4].completion == text
    assert kept.steps[3][0].kept == (0, 1, 2, 4)


def test_refused_actions_are_counted_by_reason(tmp_path):
    teachers = [Teacher(Plays("x" * 99), 2), Teacher(toys.oracle().source)]
    trainer = toys.ekipl_trainer(toys.config(tmp_path, max_steps=1), teachers=teachers)
    trainer.train()
    logged = trainer.state.log_history[0]
    assert logged["teacher/plays/refused/too_long"] == 4.0
    assert logged["teacher/plays/actions"] == 4.0 and logged["teacher/oracle/actions"] == 2.0
    assert "teacher/plays/reward" not in logged and logged["share/plays/candidates"] == 0.0
    assert logged["cost/teacher_actions"] == 6.0


class Mute:
    """A teacher that answers every second time it is asked, and else gives empty text."""

    id, capabilities = "mute", Capabilities()

    def __init__(self):
        self.asked = 0

    def propose(self, samples, num_actions, params):
        self.asked += 1
        text = "" if self.asked % 2 else "<think>a</think><answer>2</answer>"
        return [[Action(text, self.id, "toy")] * num_actions for _ in samples]


def test_a_step_of_two_generations_is_logged_as_one(tmp_path):
    """Sums are sums over both, costs are those at the step's end, and no share is of one half."""
    changes = {"steps_per_generation": 1, "gradient_accumulation_steps": 2, "max_steps": 2}
    written = []

    class Kept:
        def write(self, step, groups):
            written.extend((step, group) for group in groups)

    trainer = toys.ekipl_trainer(
        toys.config(tmp_path, **changes), teachers=[Teacher(Mute(), 1)], selection="quota",
        records=Kept(),
    )  # fmt: skip
    trainer.train()
    for step, logged in enumerate(trainer.state.log_history[:2], start=1):
        groups = [group for at, group in written if at == step]
        own = [
            abs(advantage)
            for group in groups
            for advantage, index in zip(group.advantages, group.kept, strict=True)
            if group.candidates[index].source == "policy"
        ]
        assert logged["advantage/policy/abs_sum"] == pytest.approx(sum(own))
        prompts = len(groups)
        assert logged["teacher/mute/refused/empty"] == logged["teacher/mute/actions"] / 2
        assert logged["teacher/mute/actions"] == prompts
        assert logged["cost/teacher_actions"] == step * prompts
        assert logged["cost/policy_completions"] == step * 4 * prompts
    assert (
        trainer.costs.policy_completions == trainer.state.log_history[1]["cost/policy_completions"]
    )


def test_the_largest_weight_of_a_step_is_that_of_all_its_micro_batches(tmp_path):
    trainer = toys.ekipl_trainer(toys.config(tmp_path))
    for value in (6.8, 2.1):
        trainer._log({"tokens/policy/max_weight": value, "tokens/policy/mean_weight": value})
    logged = trainer._metrics["train"]
    assert logged["tokens/policy/max_weight"] == [6.8]
    assert logged["tokens/policy/mean_weight"] == [6.8, 2.1]


def test_wrong_use_is_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match=r"Teacher ids must differ"):
        toys.ekipl_trainer(toys.config(tmp_path), teachers=[toys.oracle(), toys.oracle()])
    with pytest.raises(ConfigError, match=r"and teacher 'oracle' gives none; choose policy_ratio"):
        toys.ekipl_trainer(
            toys.config(tmp_path), teachers=[toys.oracle()], weighting="proposal_ratio"
        )
    with pytest.raises(ConfigError, match=r"training data are empty"):
        toys.ekipl_trainer(toys.config(tmp_path), samples=())
