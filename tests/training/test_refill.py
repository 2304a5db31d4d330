"""Dynamic sampling: which groups are exchanged, how often, at what cost; off, and resumed."""

import pytest
import torch
import trainer_toys as toys
import yaml
from own_data import write_tiles
from safetensors.torch import load_file
from test_config_run import BASE

from ekipl_lab import tracking
from ekipl_lab.errors import ConfigError, TeacherError
from ekipl_lab.groups.gates import TeacherGates, gate_of, needs_policy_result
from ekipl_lab.training.config.check import check_run
from ekipl_lab.training.config.run_config import load_config, parse_config
from ekipl_lab.training.dataset import prompt_order
from ekipl_lab.training.refill import other_prompts
from ekipl_lab.training.run import train
from ekipl_lab.training.run_data import load_training_samples
from ekipl_lab.training.setup import check_setup
from ekipl_lab.types import Sample

torch.set_num_threads(1)


class Kept:
    def __init__(self):
        self.steps = []

    def write(self, step, groups):
        self.steps.append(list(groups))


def trained(scorer, **options):
    records = Kept()
    trainer = toys.ekipl_trainer(
        toys.config("unused", max_steps=2), scorer=scorer, records=records, **options
    )
    trainer.train()
    return trainer, records.steps


def test_prompts_follow_from_the_key_alone():
    drawn = other_prompts(3, {0, 1}, 8, (5, 2, 0, 1))
    assert drawn == other_prompts(3, {1, 0}, 8, (5, 2, 0, 1)) and not {0, 1} & set(drawn)
    assert len(set(drawn)) == 3
    assert any(other_prompts(3, {0, 1}, 8, (5, 2, 0, r)) != drawn for r in range(2, 6))
    assert other_prompts(3, set(range(7)), 8, (0,)) == [7]
    assert other_prompts(1, set(range(8)), 8, (0,)) == []


def test_groups_without_spread_are_exchanged_and_counted():
    """Six of eight prompts teach nothing; two rounds a generation, two prompts each."""
    easy = range(6)
    off, before = trained(toys.easy_scorer(easy))
    on, after = trained(toys.easy_scorer(easy), refill={"rounds": 8})
    spread = [sum(len({r.total for r in g.rewards}) > 1 for g in step) for step in after]
    assert sum(spread) > sum(len({r.total for r in g.rewards}) > 1 for s in before for g in s)
    assert [len(step) for step in after] == [2, 2]
    logs = [log for log in on.state.log_history if "refill/rounds" in log]
    assert len(logs) == 2 and all(log["refill/rounds"] <= 8 for log in logs)
    assert sum(log["refill/replaced"] for log in logs) == sum(
        log.get("refill/all_right", 0) for log in logs
    )
    replaced = sum(log["refill/replaced"] for log in logs)
    assert replaced >= 1
    # what was generated for nothing is paid: at least a group of four for each exchanged one
    assert on.costs.policy_completions >= off.costs.policy_completions + 4 * replaced
    assert off.costs.policy_completions == 16
    # ... and not trained on: of what was recorded, the kept actions alone are
    assert on.costs.trained_tokens == sum(
        len(group.candidates[i].token_ids) for step in after for group in step for i in group.kept
    )
    assert on.costs.trained_tokens < on.costs.policy_tokens
    assert any(not torch.equal(a, b) for a, b in zip(
        toys.weights(on).values(), toys.weights(off).values(), strict=True))  # fmt: skip
    assert not any("refill" in name for log in off.state.log_history for name in log)


def test_means_over_the_generations_of_a_step_count_those_without_an_exchange():
    trainer = toys.ekipl_trainer(
        toys.config("unused", max_steps=3, gradient_accumulation_steps=4, steps_per_generation=2),
        scorer=toys.easy_scorer(range(6)),
        refill={"rounds": 8},
    )
    trainer.train()
    logs = [log for log in trainer.state.log_history if "refill/rounds" in log]
    assert any(log["refill/replaced"] % 1 == 0.5 for log in logs)  # two generations a step
    assert all(log["refill/replaced"] == log["refill/all_right"] for log in logs)


def test_a_group_that_stays_is_that_of_trl_and_rounds_are_bounded():
    """Nothing has spread anywhere: two rounds are made, and the first groups stay."""
    never, kept = trained(toys.easy_scorer(range(8)), refill={"rounds": 2, "causes": ["all_right"]})
    plain, same = trained(toys.easy_scorer(range(8)))
    logs = [log for log in never.state.log_history if "refill/rounds" in log]
    assert [log["refill/rounds"] for log in logs] == [2.0, 2.0]
    assert [log["refill/left"] for log in logs] == [2.0, 2.0]
    assert never.costs.policy_completions == 3 * plain.costs.policy_completions
    assert [g.sample.id for g in kept[0]] == [g.sample.id for g in same[0]]
    assert [g.candidates for g in kept[0]] == [g.candidates for g in same[0]]
    other, _ = trained(toys.easy_scorer(range(8)), refill={"rounds": 2, "causes": ["all_wrong"]})
    assert all(torch.equal(a, b) for a, b in zip(
        toys.weights(other).values(), toys.weights(plain).values(), strict=True))  # fmt: skip


def test_teachers_are_asked_first_where_there_is_no_spread():
    gates = TeacherGates(gate_of({"a": {"*": "if_no_spread"}}))
    one = Sample("s", "t", "train", (), "?", "1", "number")
    ask = {"successes": 0, "step": 0, "draw": 0, "spent": {}}
    assert gates.closed("a", one, spread=False, **ask) is None
    assert gates.closed("a", one, spread=True, **ask) == "spread"
    assert needs_policy_result({"a": {"*": "if_no_spread"}})
    trainer, _ = trained(
        toys.never_scorer, teachers=[toys.oracle()], refill={"rounds": 3},
        teacher_gates={"*": {"*": "if_no_spread"}},
    )  # fmt: skip
    log = next(log for log in trainer.state.log_history if "refill/rounds" in log)
    assert log["refill/rounds"] == 0.0 and log["share/oracle/kept"] > 0  # nobody had to go


def test_what_is_refused():
    refill = {"ekipl": {"refill": {"rounds": 1}}}
    check_run(parse_config(BASE | refill | {"hardware": {"gpus": 2}}), "unused")
    with pytest.raises(ConfigError, match="did you mean 'all_right'"):
        parse_config(BASE | {"ekipl": {"refill": {"causes": ["all_rigt"]}}})


def test_chains_that_lack_a_prompt_which_may_be_asked_about_are_refused_before(tmp_path):
    """One step asks about two prompts; a refill may take any other of the data in their place."""
    data = write_tiles(tmp_path / "tiles")  # what has the family paint has no chain
    settings = {
        "name": "unit", "policy": {"build": "nano"},
        "data": {"benchmark": str(data), "task": "floor", "limit": 24},
        "grpo": {"num_generations": 4, "max_steps": 1},
        "teachers": [{"type": "replay", "id": "chains", "cot": True}],
        "evaluation": {"at_start": False, "every": 0, "at_end": False, "sets": []},
    }  # fmt: skip

    def check(**ekipl):
        check_setup(parse_config(settings | {"ekipl": ekipl}))

    off = {"chains": {"floor/paint": "off"}}
    check(teacher_gates=off)
    check(teacher_gates=off, refill={"rounds": 1})
    for gates in ({}, {"chains": {"floor/wide": "off"}}):
        with pytest.raises(TeacherError, match="paint has no reasoning chain"):
            check(teacher_gates=gates, refill={"rounds": 1})
    samples = load_training_samples(parse_config(settings), print)
    first = {samples[index].id for index in prompt_order(24, 2, epoch=0, seed=0)[0]}
    path = tmp_path / "tiles" / "train.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    given = [
        line + "So." if f"tiles/floor/train/{line.partition(',')[0]}" in first else line
        for line in lines
    ]
    assert given != lines
    path.write_text("\n".join(given) + "\n", encoding="utf-8")
    check()
    with pytest.raises(TeacherError, match="paint has no reasoning chain"):
        check(refill={"rounds": 1})


def test_stopped_and_continued_to_the_bit(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    own_reward = "def fourth(completion, sample):\n    return float(len(completion) % 4 == 0)\n"
    (tmp_path / "own.py").write_text(own_reward, encoding="utf-8")
    settings = {
        "policy": {"build": "nano"}, "data": {"limit": 12},
        "reward": {"scorer": f"python:{tmp_path / 'own.py'}:fourth"},
        "ekipl": {"refill": {"rounds": 2}},
        "grpo": {
            "num_generations": 4, "per_device_train_batch_size": 8, "max_completion_length": 16,
            "learning_rate": 1.0e-3, "max_steps": 3,
        },
        "evaluation": {"at_start": False, "every": 0, "at_end": False, "sets": []},
        "tracking": {"checkpoint_every": 1},
    }  # fmt: skip
    (tmp_path / "unit.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    whole = train(load_config(tmp_path / "unit.yaml", ["name=whole"]))
    own = load_config(tmp_path / "unit.yaml", ["name=stopped"])
    first = train(own, stop=lambda: True)
    assert first.status == "stopped" and first.step == 1
    result = train(own)
    start, ours, theirs = (
        load_file(folder / "model.safetensors")
        for folder in (whole.folder / "start", result.policy, whole.policy)
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert any(not torch.equal(start[name], theirs[name]) for name in theirs)
    mine, reference = (tracking.metric_history(run.run_id) for run in (result, whole))
    assert sum(value for _, value in reference["refill/replaced"][1:]) >= 1  # after the stop too
    assert all(mine[name] == reference[name] for name in reference if name.startswith("refill/"))
    assert mine["cost/policy_completions"] == reference["cost/policy_completions"]
