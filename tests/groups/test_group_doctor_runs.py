"""The group doctor on real training runs: each has one fault, and the advice fixes that run.

A run is two steps of the trainer with a nano policy; the doctor reads its group records and its
logged metrics. The fixed run differs from the faulty one in what the advice names.
"""

import copy
from dataclasses import replace

import pytest
import trainer_toys as toys
import yaml

from ekipl_lab.groups.doctor import examine
from ekipl_lab.parsing import parse_completion
from ekipl_lab.records import GroupRecordWriter, list_steps, load_groups
from ekipl_lab.types import RewardBreakdown

BOXED = r"\boxed{2}"


@pytest.fixture
def diagnose(tmp_path):
    """Train two steps, four groups, and examine them; each call is one run."""
    count = iter(range(9))

    def run(scorer, *, teachers=(), samples=None, model=None, options=None, **arguments):
        folder = tmp_path / str(next(count))
        args = toys.config(folder, max_steps=2, **arguments)
        with GroupRecordWriter(folder / "groups") as writer:
            trainer = toys.ekipl_trainer(
                args, teachers=teachers, scorer=scorer, samples=samples,
                model=copy.deepcopy(model) if model else None, records=writer, **(options or {}),
            )  # fmt: skip
            trainer.train()
        steps = list_steps(folder / "groups")
        groups = [group for step in steps for group in load_groups(folder / "groups", step)]
        assert len(groups) == 4
        return examine(groups, trainer.state.log_history)

    return run


@pytest.fixture(scope="module")
def writer_of_twos(tmp_path_factory):
    """A policy that mostly writes <think> red cube</think><answer>2</answer> and stops."""
    args = toys.config(
        tmp_path_factory.mktemp("twos"), max_steps=60, learning_rate=1e-2,
        lr_scheduler_type="constant", max_completion_length=10,
        per_device_train_batch_size=8, gradient_accumulation_steps=1,
    )  # fmt: skip
    policy = toys.nano()
    toys.ekipl_trainer(
        args, teachers=[toys.oracle(actions=2)], scorer=toys.never_scorer, model=policy,
        params={"keep_failures": 1},
    ).train()  # fmt: skip
    return policy


def earned(right, form=0.0, answer="?", weights=None):
    accuracy = None if right is None else float(right)
    return RewardBreakdown(
        {"accuracy": accuracy, "format": float(form)},
        weights or {"accuracy": 1.0, "format": 0.0},
        right,
        answer,
    )


def even(action):
    return len(action.completion) % 2 == 0


def settings(examination, cause):
    """The overrides advised for a cause, as values."""
    (finding,) = [f for f in examination.findings if f.cause == cause]
    pairs = (setting.split("=", 1) for setting in finding.settings)
    return {key: yaml.safe_load(value) for key, value in pairs}


def count(examination, cause):
    return sum(f.count for f in examination.findings if f.cause == cause)


# ------------------------------------------------------------------------ the policy's own faults


def test_all_right_is_fixed_by_harder_prompts(diagnose):
    def scorer(sample, action):
        return earned(sample.family == "easy" or even(action))

    easy, hard = ([replace(s, family=f) for s in toys.toy_samples()] for f in ("easy", "hard"))
    faulty = diagnose(scorer, samples=easy)
    assert count(faulty, "all_right") == faulty.zero_advantage == 4
    assert "data.families" in settings(faulty, "all_right")
    assert diagnose(scorer, samples=hard).zero_advantage < 4


def test_truncated_is_fixed_by_room(diagnose):
    """A right answer takes six tokens; four fit."""

    def scorer(sample, action):
        return earned(len(action.token_ids) >= 6 and even(action))

    faulty = diagnose(scorer, max_completion_length=4)
    assert count(faulty, "truncated") == 4
    room = settings(faulty, "truncated")["grpo.max_completion_length"]
    assert room == 8
    assert diagnose(scorer, max_completion_length=room).zero_advantage < 4


def test_unparseable_is_fixed_by_a_teacher_that_shows_the_form(diagnose, writer_of_twos):
    def scorer(sample, action):
        read = BOXED in action.completion
        return earned(read, answer="2" if read else None)

    faulty = diagnose(scorer, model=writer_of_twos, max_completion_length=24, temperature=0.3)
    assert count(faulty, "unparseable") >= 3
    advised = settings(faulty, "unparseable")
    boxed = toys.oracle(advised["teachers"][0]["id"], writer=lambda *a, **k: BOXED)
    fixed = diagnose(
        scorer, model=writer_of_twos, max_completion_length=24, temperature=0.3,
        teachers=[boxed], options={"selection": advised["ekipl.selection"]},
    )  # fmt: skip
    assert fixed.zero_advantage == 0


@pytest.mark.parametrize(("cause", "weight"), [("format_only", 0.5), ("all_wrong", 0.0)])
def test_wrong_answers_are_fixed_by_a_teacher_on_failure(diagnose, writer_of_twos, cause, weight):
    """The policy says 2 whatever it sees; the truth is 3."""

    def scorer(sample, action):
        answer = parse_completion(action.completion).answer
        weights = {"accuracy": 1.0, "format": weight}
        return earned(answer == "3", answer is not None, answer or "?", weights)

    faulty = diagnose(scorer, model=writer_of_twos, temperature=0.3)
    assert count(faulty, cause) >= 3
    advised = settings(faulty, cause)
    three = "<think> red cube</think><answer>3</answer>"
    teacher = toys.oracle(advised["teachers"][0]["id"], writer=lambda *a, **k: three)
    fixed = diagnose(
        scorer, model=writer_of_twos, temperature=0.3,
        teachers=[teacher], options={"selection": advised["ekipl.selection"]},
    )  # fmt: skip
    assert fixed.zero_advantage == 0


def test_starved_is_fixed_by_a_failure_that_stays(diagnose):
    """Four right teacher actions for four places."""
    teachers = [toys.oracle(actions=4)]
    faulty = diagnose(toys.never_scorer, teachers=teachers)
    assert count(faulty, "starved") == faulty.zero_advantage == 4
    params = settings(faulty, "starved")["ekipl.params"]
    assert (
        diagnose(toys.never_scorer, teachers=teachers, options={"params": params}).zero_advantage
        == 0
    )


def test_unscorable_is_fixed_by_a_scorer_that_can(diagnose):
    faulty = diagnose(lambda sample, action: earned(None))
    assert count(faulty, "unscorable") == faulty.zero_advantage == 4
    assert "reward.scorer" in settings(faulty, "unscorable")
    assert diagnose(lambda sample, action: earned(even(action))).zero_advantage < 4


def test_equal_is_fixed_by_other_weights(diagnose):
    """A right answer never has the form, a wrong one always: with equal weights a tie."""

    def scorer(weights):
        return lambda sample, action: earned(even(action), not even(action), weights=weights)

    faulty = diagnose(scorer({"accuracy": 1.0, "format": 1.0}))
    assert count(faulty, "equal") == 4 - count(faulty, "all_right") - count(faulty, "format_only")
    assert count(faulty, "equal") >= 2 and faulty.zero_advantage == 4
    advised = settings(faulty, "equal")["reward.weights"]
    assert diagnose(scorer(advised)).zero_advantage < 4


# ----------------------------------------------------------------------------- teachers' faults


def test_refused_is_fixed_by_room(diagnose):
    teachers = [toys.oracle(writer=lambda *a, **k: "<think> red cube" * 4)]
    faulty = diagnose(toys.even_scorer, teachers=teachers)
    (finding,) = [f for f in faulty.findings if f.cause == "teacher_refused"]
    assert (finding.source, finding.share) == ("oracle", 1.0) and "too_long 4" in finding.words
    assert finding.settings == ("grpo.max_completion_length=<twice as many>",)
    fixed = diagnose(toys.even_scorer, teachers=teachers, max_completion_length=24)
    assert count(fixed, "teacher_refused") == 0


def test_never_better_is_fixed_by_a_better_teacher(diagnose):
    faulty = diagnose(toys.never_scorer, teachers=[toys.oracle(accuracy=0.0)])
    assert count(faulty, "teacher_never_better") == 4
    fixed = diagnose(toys.never_scorer, teachers=[toys.oracle(accuracy=1.0)])
    assert not fixed.findings


def test_unused_is_fixed_by_another_rule(diagnose):
    teachers = [toys.oracle()]
    faulty = diagnose(toys.never_scorer, teachers=teachers, options={"selection": "policy_only"})
    assert count(faulty, "teacher_unused") == 4
    rule = settings(faulty, "teacher_unused")["ekipl.selection"]
    fixed = diagnose(toys.never_scorer, teachers=teachers, options={"selection": rule})
    assert fixed.zero_advantage == 0 and not fixed.findings
