"""Run configs: what is read, what is refused and in which words, and what a config comes to."""

from pathlib import Path

import pytest
import yaml

from ekipl_lab.errors import ConfigError
from ekipl_lab.training.config.check import check_run
from ekipl_lab.training.config.grpo_config import PRESET, grpo_fields
from ekipl_lab.training.config.plan import check_comparable, describe_plan, plan_run
from ekipl_lab.training.config.run_config import load_config, parse_config

CONFIGS = [p for p in sorted(Path("configs").glob("*.yaml")) if not p.stem.startswith("sft")]
BASE = {"name": "unit", "policy": {"build": "nano"}}
TEACHERS = [{"type": "oracle", "id": "a"}, {"type": "random", "id": "b", "actions": 2}]


def write(folder, settings, name="unit.yaml"):
    path = folder / name
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def test_a_file_overrides_and_the_preset(tmp_path):
    path = write(tmp_path, {"policy": {"build": "nano"}, "teachers": TEACHERS}, "arm.yaml")
    config = load_config(
        path, ["grpo.beta=1e-2", "teachers.0.accuracy=0.5", "data.families=[count]", "seed=7"]
    )
    assert (config.name, config.seed, config.data.families) == ("arm", 7, ("count",))
    assert config.teachers[0].accuracy == 0.5 and config.teachers[1].actions == 2
    assert config.grpo == {"beta": 0.01}
    assert config.grpo_settings == PRESET | {"beta": 0.01}
    assert set(PRESET) <= set(grpo_fields())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sed": 1}, "Unknown config key 'sed'; did you mean 'seed'?"),
        ({"data": {"tsk": "x"}}, "Unknown key in data 'tsk'; did you mean 'task'?"),
        ({"data": {"limit": 0}}, "data.limit must be 1 or more"),
        ({"grpo": {"bta": 1}}, "Unknown key in grpo 'bta'.*did you mean 'beta'?"),
        ({"grpo": {"beta": "abc"}}, "grpo.beta is 'abc': "),
        ({"grpo": {"output_dir": "x"}}, "grpo.output_dir is not set there; use name"),
        ({"grpo": {"scale_rewards": "group"}}, "use ekipl.scale_rewards"),
        ({"teachers": [{"type": "orcle", "id": "a"}]}, "'orcle'; did you mean 'oracle'?"),
        ({"teachers": [{"type": "random", "id": "a", "k": 1}]}, "of type 'random': 'k'"),
        ({"teachers": [{"type": "random", "id": "a"}] * 2}, "Two teachers have the same id"),
        ({"ekipl": {"selection": "topg"}}, "Unknown selection rule 'topg'"),
        ({"ekipl": {"params": {"n": 1}}}, "Unknown parameter of selection rule 'top_g' 'n'"),
        ({"ekipl": {"weighting": "shape"}}, "Unknown weighting 'shape'"),
        ({"ekipl": {"baseline": "all"}}, "Unknown baseline 'all'"),
        ({"ekipl": {"scale_rewards": "batch"}}, "'batch' is not offered"),
        ({"policy": {}}, "Give either policy.path"),
        ({"policy": {"build": "nano", "path": "x"}}, "Give either policy.path"),
        ({"evaluation": {"sets": [{"splt": "x"}]}}, "'splt'; did you mean 'split'?"),
        ({"evaluation": {"sets": [{}, {}]}}, "Two evaluation sets have the same name"),
        ({"name": "a/b"}, "name must fit the pattern"),
    ],
)
def test_wrong_settings_are_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        parse_config(BASE | changes)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "must have the form key=value"),
        ("seed.a=1", "'seed' holds one value"),
        ("teachers.5.id=x", "'5' must be a number from 0 to 1"),
        ("seed=[", "is not valid YAML"),
    ],
)
def test_wrong_overrides_are_named(tmp_path, override, message):
    path = write(tmp_path, BASE | {"teachers": TEACHERS, "seed": 1})
    with pytest.raises(ConfigError, match=message):
        load_config(path, [override])


def test_wrong_files_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml does not exist"):
        load_config(tmp_path / "nowhere.yaml")
    (tmp_path / "broken.yaml").write_text("a: [", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"broken\.yaml is not valid YAML"):
        load_config(tmp_path / "broken.yaml")
    (tmp_path / "list.yaml").write_text("- 1", encoding="utf-8")
    with pytest.raises(ConfigError, match="must hold settings"):
        load_config(tmp_path / "list.yaml")


def test_plan_by_hand():
    config = parse_config(
        BASE
        | {
            "data": {"limit": 100},
            "teachers": TEACHERS,
            "grpo": {"num_generations": 4, "per_device_train_batch_size": 16, "max_steps": 30},
            "evaluation": {"every": 10, "num_samples": 8, "sets": [{"limit": 5}]},
        }
    )
    plan = plan_run(config)
    # 16 completions a step are 4 prompts; 30 steps.
    assert (plan.steps, plan.sizes.cycle, plan.sizes.prompts) == (30, 1, 4)
    assert plan.policy_completions == 30 * 16
    assert plan.teacher_actions == {"a": 120, "b": 240}
    # At 0 and 30 greedy and 8 samples, at 10 and 20 greedy alone; 5 items.
    assert plan.evaluations == {0: True, 10: False, 20: False, 30: True}
    assert plan.evaluation_completions == 5 * (9 + 1 + 1 + 9)
    text = describe_plan(config)
    assert "policy completions      480" in text and "a 120, b 240" in text


def test_plan_with_accumulation_iterations_and_epochs():
    grpo = {"num_generations": 2, "per_device_train_batch_size": 4, "num_train_epochs": 2,
            "gradient_accumulation_steps": 2, "num_iterations": 3}  # fmt: skip
    tracking = {"checkpoint_every": 3}
    config = parse_config(
        BASE | {"data": {"limit": 10}, "grpo": grpo, "tracking": tracking,
                "evaluation": {"every": 6}}
    )  # fmt: skip
    # A generation of 4 x 2 = 8 completions (4 prompts) is trained on 3 times: 3 updates. An epoch
    # has 10 // 4 = 2 generations, so 6 updates; two epochs 12.
    plan = plan_run(config)
    assert (plan.sizes.cycle, plan.steps, plan.generations, plan.policy_completions) == (
        3,
        12,
        4,
        32,
    )


def test_part_of_an_epoch_is_counted_as_the_trainer_counts_it():
    grpo = {"num_generations": 4, "per_device_train_batch_size": 4, "num_train_epochs": 1.5}
    config = parse_config(
        BASE | {"data": {"limit": 3}, "grpo": grpo, "tracking": {"checkpoint_every": 1}}
    )
    plan = plan_run(config)  # 3 generations an epoch, 4.5 rounded up
    assert (plan.steps, plan.generations, plan.policy_completions) == (5, 5, 20)


@pytest.mark.parametrize(
    ("grpo", "more", "message"),
    [
        ({"num_generations": 4, "per_device_train_batch_size": 4, "steps_per_generation": 1,
          "gradient_accumulation_steps": 2}, {"data": {"limit": 3}},
         "An epoch has 3 generations, and an optimiser step takes 2: .* a multiple of 2"),
        ({"num_generations": 1}, {}, "num_generations is 1; a group needs at least 2"),
        ({"per_device_train_batch_size": 12}, {}, "12 completions .* 8 does not divide"),
        ({"generation_batch_size": 12}, {}, "generation_batch_size 12 is not a multiple of the 8"),
        ({"per_device_train_batch_size": 64}, {"data": {"limit": 7}}, "one generation needs 8"),
        ({"num_iterations": 2, "gradient_accumulation_steps": 3, "steps_per_generation": 1}, {},
         "must divide one the other"),
        ({"num_iterations": 4}, {}, "checkpoint_every is 50, and a generation lasts 4 steps"),
        ({"loss_type": "cispo"}, {"ekipl": {"weighting": "shaped"}}, "needs a loss with a clipped"),
        ({"importance_sampling_level": "sequence"}, {"ekipl": {"weighting": "shaped"}},
         "cannot be combined with grpo.importance_sampling_level"),
        ({}, {"ekipl": {"weighting": "decoupled"},
              "teachers": [{"type": "policy", "id": "a", "path": "x", "temperature": 0}]},
         "'decoupled' divides by the probabilities that teacher 'a' sampled with"),
        ({"loss_type": "grpoo"}, {}, "Unknown grpo.loss_type 'grpoo'; did you mean 'grpo'"),
    ],
)  # fmt: skip
def test_sizes_and_options_that_do_not_fit_are_refused(tmp_path, grpo, more, message):
    config = parse_config(BASE | {"grpo": grpo} | more)
    with pytest.raises(ConfigError, match=message):
        plan_run(config, sizes=check_run(config, tmp_path).sizes)


def test_comparable_arms_share_all_but_the_method(tmp_path):
    first = write(tmp_path, BASE | {"name": "one"}, "one.yaml")
    second = write(tmp_path, BASE | {"name": "two", "teachers": TEACHERS}, "two.yaml")
    check_comparable([("one", first, []), ("two", second, [])])
    with pytest.raises(ConfigError, match="two and one cannot be compared: seed is 3 in one and 0"):
        check_comparable([("one", first, []), ("two", second, ["seed=3"])])
    with pytest.raises(ConfigError, match="the number of policy completions is"):
        check_comparable([("one", first, ["grpo.max_steps=5"]), ("two", second, [])])
    both = [("one", first, ["name=x"]), ("two", second, ["name=x"])]
    with pytest.raises(ConfigError, match="two and one are both called 'x' and would be one run"):
        check_comparable(both)


@pytest.mark.parametrize("path", CONFIGS, ids=[path.stem for path in CONFIGS])
def test_every_shipped_run_config_is_sound(path):
    describe_plan(load_config(path))


FAMILY = "Unknown family of task 'transformation' 'count_pair'"


@pytest.mark.parametrize(
    ("data", "sets", "message"),
    [
        ({"task": "transformation", "families": ["count_pair"]}, [], FAMILY),
        ({"task": "countin"}, [], "did you mean 'counting'"),
        ({"split": "tst"}, [], "did you mean 'test'"),
        ({"image_size": 3}, [], "image_size is 3"),
        ({}, [{"split": "tst"}], "did you mean 'test'"),
        ({}, [{"task": "transformation", "families": ["count_pair"]}], FAMILY),
    ],
)
def test_a_plan_names_data_that_do_not_exist(data, sets, message):
    config = parse_config(BASE | {"data": data, "evaluation": {"sets": sets}})
    with pytest.raises(ConfigError, match=message):
        describe_plan(config)


def test_a_plan_takes_the_families_of_another_task_as_training_does():
    """An evaluation set of another task has the families of that task, not those of training."""
    data = {"task": "counting", "families": ["count_pair"]}
    sets = [{}, {"name": "other", "task": "transformation"}]
    assert "steps" in describe_plan(
        parse_config(BASE | {"data": data, "evaluation": {"sets": sets}})
    )
