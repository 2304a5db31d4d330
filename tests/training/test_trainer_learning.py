"""Learning: what GRPO never starts on is learned with a teacher, and not at learning rate 0."""

import torch
import trainer_toys as toys

STEPS = 70


def train(tmp_path, teachers, learning_rate, steps=STEPS, **options):
    """The reward is for one exact text, which the policy never writes by itself."""
    args = toys.config(
        tmp_path, max_steps=steps, learning_rate=learning_rate, lr_scheduler_type="constant",
        max_completion_length=10, per_device_train_batch_size=8, gradient_accumulation_steps=1,
    )  # fmt: skip
    trainer = toys.ekipl_trainer(args, teachers=teachers, scorer=toys.never_scorer, **options)
    trainer.train()
    return trainer


def accuracy(trainer):
    return toys.history(trainer, "policy/accuracy")["policy/accuracy"]


def test_a_teacher_starts_what_grpo_never_starts(tmp_path):
    """A failure stays in each group: top-G alone starves itself at about 0.7 here."""
    teachers = [toys.oracle(accuracy=0.8, actions=2), toys.oracle("weak", 0.0)]
    trainer = train(tmp_path, teachers, 1e-2, params={"keep_failures": 1})
    curve = accuracy(trainer)
    assert curve[0] == 0.0 and sum(curve[-5:]) / 5 >= 0.8
    kept = toys.history(trainer, "share/oracle/kept", "share/weak/kept")
    # The teacher goes as the policy catches up: equal rewards are the policy's.
    assert sum(kept["share/oracle/kept"][-5:]) < sum(kept["share/oracle/kept"][:5]) / 2
    assert set(kept["share/weak/kept"]) == {0.0}


def test_grpo_alone_never_starts(tmp_path):
    trainer = train(tmp_path, [], 1e-2, steps=20)
    assert set(accuracy(trainer)) == {0.0}
    (spread,) = toys.history(trainer, "groups/zero_spread_after").values()
    assert set(spread) == {1.0}
    initial = dict(toys.nano()[0].named_parameters())
    assert all(torch.equal(value, initial[name]) for name, value in toys.weights(trainer).items())


def test_nothing_is_learned_at_learning_rate_zero(tmp_path):
    trainer = train(tmp_path, [toys.oracle(actions=2)], 0.0, steps=20)
    assert set(accuracy(trainer)) == {0.0}
    (shares,) = toys.history(trainer, "share/oracle/kept").values()
    assert min(shares) > 0.0  # the teacher took part to the end
    initial = dict(toys.nano()[0].named_parameters())
    assert all(torch.equal(value, initial[name]) for name, value in toys.weights(trainer).items())
