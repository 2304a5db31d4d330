"""`ekipl train --recipe`: the stages of a study's arm, outside of a study."""

from pathlib import Path

import pytest
import yaml
from own_data import write_tiles
from study_kit import write_study

from ekipl_lab.commands.cli import main
from ekipl_lab.commands.doctor_config import check_stages
from ekipl_lab.errors import ConfigError
from ekipl_lab.evaluation import read_records
from ekipl_lab.studies.config import load_study
from ekipl_lab.studies.plan import check_cells, plan_study
from ekipl_lab.studies.recipe import plan_recipe, run_recipe
from ekipl_lab.studies.run import run_cell
from ekipl_lab.tracking import find_run, list_artifacts, run_artifact
from ekipl_lab.training.config.run_config import load_config
from ekipl_lab.training.config.sizes import batch_sizes, planned_processes
from ekipl_lab.training.run import train
from ekipl_lab.training.sft import looks
from ekipl_lab.training.sft.stage import supervise

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def test_a_recipe_leaves_the_weights_of_the_studys_cell(study, tmp_path, capsys):
    cell = plan_study(load_study(study))[0]
    run_cell(cell, ["x"], lambda event: None)
    base = tmp_path / "base.yaml"
    taught = {"batch_size": 2, "success_only": False, "warmup": 0}
    base.write_text(yaml.safe_dump(yaml.safe_load(base.read_text()) | {"sft": taught}))
    train = ["train", "--recipe", "sft_then_paper", "--config", str(base), "seed=0"]

    assert main([*train, "--dry-run"]) == 0
    assert "Stage base-sft_then_paper.1: supervised steps" in capsys.readouterr().out
    stopped = []

    def stop(name, event):
        if name.endswith(".2") and event.get("step") == 1 and not stopped:
            stopped.append(name)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_recipe(plan_recipe("sft_then_paper", base, ["seed=0"]), stop)
    assert stopped and main(train) == 0  # the same command continues
    work = tmp_path / "work"
    for number in (1, 2):
        ours, theirs = (work / f"{name}.{number}" / "policy" / "model.safetensors"
                        for name in ("base-sft_then_paper", cell.name))  # fmt: skip
        assert ours.read_bytes() == theirs.read_bytes()
    assert "base-sft_then_paper.2: policy in" in capsys.readouterr().out


def test_a_recipe_that_cannot_be_is_refused(study, tmp_path):
    base = tmp_path / "base.yaml"
    for name, says in (("papper", "did you mean 'paper'"), ("zero_shot", "trains nothing"),
                       ("distill", "needs `set: {ekipl.distill.path")):  # fmt: skip
        with pytest.raises(ConfigError, match=says):
            plan_recipe(name, base)
    (only,) = plan_recipe("grpo", base)
    assert only.config.name == "base-grpo" and not only.config.teachers
    with pytest.raises(ConfigError, match="must be a file"):
        plan_recipe("grpo", tmp_path / "none.yaml")


def test_an_arm_may_train_on_other_data_and_is_measured_as_its_task_is(tmp_path):
    """A study may compare data; curves of other items would not compare, and are refused."""
    own = {"preset": "grpo", "set": {"data.limit": 6, "data.start": 2, "evaluation.every": 2}}
    whole, small = plan_study(
        load_study(write_study(tmp_path, arms={"less": own, "grpo": {}}, baseline="grpo"))
    )
    assert small.steps[0].config.data.limit == 6 and whole.steps[0].config.data.limit == 8
    assert small.base.evaluation == whole.base.evaluation and small.settings != whole.settings
    check_cells([small, whole])
    for key, value in {"evaluation.ks": [1], "data.image_size": 84, "data.families": None}.items():
        arms = {"other": {"preset": "grpo", "set": {key: value}}}
        study = load_study(write_study(tmp_path, arms=arms, baseline="other"))
        with pytest.raises(ConfigError, match=f"'other' of tiny differs in {key}"):
            plan_study(study)
    arms = {"grpo": {"set": {"data.split": "tset"}}}
    cells = plan_study(load_study(write_study(tmp_path, arms=arms, baseline="grpo")))
    with pytest.raises(ConfigError, match="Unknown split 'tset'"):
        check_cells(cells)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"arms": {"grpo": {"set": {"grpo.max_completion_length": 20}}}}, "max_completion_length"),
        ({"arms": {"grpo": {"set": {"reward.scorer": "ekipl/strict"}}}}, "differs in reward.sc"),
        ({"arms": {"grpo": {}, "a": {"preset": "sft_actions", "sft": {"epoch": 2}}}},
         "mean 'epochs'"),
        ({"arms": {"grpo": {}, "a": {"preset": "sft_actions", "sft": {"epochs": "two"}}}},
         "sft.epochs must be a number"),
        ({"arms": {"grpo": {}, "a": {"preset": "sft_actions", "set": {"grpo.learning_rate": 0.1}}}},
         "grpo.learning_rate, which changes nothing"),
        ({"arms": {"grpo": {}}, "sft": {"epochs": 2}}, "no arm of tiny has supervised steps"),
        ({"arms": {"grpo": {}, "sft_actions": {}}, "sft": {"rollouts": 4}}, "weighting is none"),
        ({"arms": {"grpo": {}}, "strata": {"open": ["cmpare"]}}, "mean 'compare'"),
        ({"arms": {"grpo": {}}, "strata": {"compare": ["count_three"]}}, "named like a family"),
        ({"arms": {"grpo": {}}, "set": {"evaluation.sets": []}}, "give evaluation.sets"),
    ],
)  # fmt: skip
def test_a_study_whose_arms_cannot_be_is_refused_before_any_runs(tmp_path, changes, says):
    study = load_study(write_study(tmp_path, **{"baseline": "grpo"} | changes))
    with pytest.raises(ConfigError, match=says):
        plan_study(study)


def test_a_registered_contrast_of_an_unknown_set_or_group_is_refused(tmp_path):
    one = {"task": "t", "arm": "paper", "against": "grpo", "set": "validation"}
    for wrong, says in (({"set": "test"}, "set of a reg"), ({"group": "rarre"}, "group of a reg")):
        file = write_study(
            tmp_path, arms={"grpo": {}, "paper": {}}, baseline="grpo", registered=[one | wrong]
        )
        with pytest.raises(ConfigError, match=says):
            plan_study(load_study(file))


def test_strata_of_own_data_are_held_to_them_before_the_first_cell_and_not_for_a_page(tmp_path):
    """Its page is drawn from records alone; strata are checked before the first cell."""
    data = write_tiles(tmp_path / "data")
    own = {"data.benchmark": str(data), "data.task": "floor", "data.families": None}
    file = write_study(tmp_path, arms={"zero_shot": {}}, set=own, strata={"open": ["pant"]})
    (cell,) = plan_study(load_study(file))
    with pytest.raises(ConfigError, match=r"family in strata 'pant'.*'paint'"):
        check_cells([cell])
    (data.parent / "validation.csv").unlink()
    assert len(plan_study(load_study(file))) == 1


def test_what_a_dry_run_would_refuse_is_refused_before_the_first_cell(tmp_path):
    for arm, says in (
        ({"preset": "sft_actions", "sft": {"learning_rate": 0.1}}, "sft.learning_rate is of TRL"),
        ({"preset": "grpo", "set": {"policy.path": "/nope"}}, "nope"),
    ):
        file = write_study(tmp_path, arms={"zero_shot": {}, "a": arm})
        cells = plan_study(load_study(file))
        with pytest.raises(ConfigError, match=says):
            check_cells(cells)


def test_strata_are_those_of_every_task_also_where_only_one_is_left(tmp_path):
    """Families of two tasks; a task whose cells are done is still known."""
    given = {
        "arms": {"zero_shot": {}},
        "tasks": {
            "t": {},
            "geo": {
                "data.task": "geometry",
                "data.families": None,
                "evaluation.sets": [{"split": "validation", "limit": 2}],
            },
        },
        "strata": {"open": ["compare", "line"]},
    }
    cells = plan_study(load_study(write_study(tmp_path, **given)))
    assert {cell.task for cell in cells} == {"t", "geo"}
    with pytest.raises(ConfigError, match="family in strata"):
        plan_study(load_study(write_study(tmp_path, **given | {"strata": {"open": ["lines"]}})))


def _own(tmp_path, name="own", **changes):
    """A config whose teachers nothing is said about; its supervised steps are few."""
    raw = yaml.safe_load((tmp_path / "base.yaml").read_text())
    raw["sft"] = {"batch_size": 2, "success_only": False, "warmup": 0, "epochs": 2}
    raw["evaluation"] |= {"at_start": True, "sampled": "ends", "num_samples": 2, "ks": [1, 2]}
    path = tmp_path / f"{name}.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in (raw | changes).items() if v is not None}))
    return path


def _evaluation(tmp_path):
    return yaml.safe_load((tmp_path / "base.yaml").read_text())["evaluation"]


def test_without_a_word_on_teachers_their_actions_are_learned_by_repeated_steps(
    study, tmp_path, capsys
):
    path = _own(tmp_path)
    assert main(["train", "--config", str(path), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "This trains by supervised steps on the teachers' actions, gone through 2 times" in said
    assert "--recipe paper" in said and "at most 4 completions, 4 of them actions" in said
    assert main(["train", "--config", str(path)]) == 0
    said = capsys.readouterr().out
    run_id = said.partition("`ekipl report ")[2].partition("`")[0]
    run = find_run(run_id)
    assert run.params["method"] == "sft actions" and run.metrics["cost/teacher_actions"] == 4
    assert run.metrics["cost/seconds"] > 0
    names = list_artifacts(run, "evaluation/validation")
    assert [name[-14:] for name in sorted(names)] == ["000000.parquet", "000004.parquet"]
    for name in names:  # greedy and sampled, before and after
        modes = {record.mode for record in read_records(run_artifact(run, name))}
        assert modes == {"greedy", "sampled"}
    assert main(["report", run_id, "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "teachers: o" in page and "teacher actions" in page and "training time" in page


@pytest.mark.parametrize(
    ("changes", "stages"),
    [
        ({"ekipl": {"selection": "on_failure"}, "sft": None}, []),
        ({"teachers": [], "sft": None}, []),
        ({"recipe": "sft_then_grpo"}, ["own.1", "own.2"]),
        ({"recipe": "paper", "sft": None}, ["own"]),
        ({}, ["own"]),
    ],
)
def test_what_the_file_says_of_teachers_or_stages_is_done(study, tmp_path, changes, stages):
    steps = plan_recipe(None, _own(tmp_path, **changes))
    assert [step.config.name for step in steps] == stages
    learned = [step.sft for step in steps if step.sft is not None]
    assert all(own.epochs == 2 for own in learned)  # the file's own, not the preset's
    if changes.get("teachers") == []:
        with pytest.raises(ConfigError, match="learns actions of teachers, and none is named"):
            plan_recipe("sft_repeated", _own(tmp_path, **changes))
        return
    flagged = plan_recipe("sft_repeated", _own(tmp_path, **changes | {"sft": None}))
    assert flagged[0].config.name == "own-sft_repeated" and flagged[0].sft.epochs == 8


@pytest.mark.parametrize(
    "sft, words",
    [
        ({"patience": 5}, "sft.patience changes nothing where sft.validation is 0"),
        ({"validate_every": 5}, "sft.validate_every changes nothing where sft.validation is 0"),
        ({"rollouts": 4}, "sft.rollouts changes nothing where sft.weighting is none"),
    ],
)
def test_settings_that_would_change_nothing_are_refused(study, tmp_path, capsys, sft, words):
    path = _own(tmp_path, sft=sft)
    with pytest.raises(ConfigError, match=words):
        plan_recipe(None, path)
    assert main(["sft", "--config", str(path)]) == 2
    assert words in capsys.readouterr().err
    needed = {"validation": 0.2, "weighting": "solve_rate"}
    (step,) = plan_recipe(None, _own(tmp_path, sft={**sft, **needed}))
    assert {key: getattr(step.sft, key) for key in sft} == sft


def test_a_policy_without_room_to_end_is_said(study, tmp_path, capsys):
    path = _own(tmp_path, sft=None, recipe="sft_then_grpo", evaluation={"sets": []})
    assert main(["train", "--config", str(path)]) == 0
    said = capsys.readouterr().out
    assert said.count("Mind: ") == 1 and "of the policy's completions were cut off" in said


def test_the_rate_of_another_loop_is_refused(study, tmp_path):
    (step,) = plan_recipe(None, _own(tmp_path, sft={"learning_rate": 1e-4}))
    with pytest.raises(ConfigError, match=r"learning_rate is of TRL's loop.*sft.matrix_lr"):
        supervise(step.config, step.sft)
    (step,) = plan_recipe(None, _own(tmp_path, sft={"matrix_lr": 0.01, "trainer": "trl"}))
    with pytest.raises(ConfigError, match=r"matrix_lr is of the tiny.*sft.learning_rate instead"):
        supervise(step.config, step.sft)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("qwen*.yaml")), ids=lambda p: p.stem)
def test_more_samples_of_its_own_fit_every_shipped_config(path):
    """As many prompts a step as the paper's rule has there, and no more rows held at once."""
    (paper,), (more,) = plan_recipe("paper", path), plan_recipe("grpo_more", path)
    processes = planned_processes(paper.config)
    before, after = (batch_sizes(step.config, processes) for step in (paper, more))
    extra = sum(spec.actions for spec in paper.config.teachers)
    assert after.group == before.group + extra and after.prompts == before.prompts
    assert (after.cycle, more.config.teachers) == (before.cycle, ())
    held = [step.config.grpo_settings["per_device_train_batch_size"] for step in (paper, more)]
    assert held[1] <= held[0]


def test_the_doctor_says_what_a_config_would_do(study, tmp_path):
    assert "supervised steps on the teachers' actions" in check_stages(_own(tmp_path))
    assert check_stages(_own(tmp_path, sft=None, ekipl={"selection": "top_g"})) == (
        "a run of the trainer"
    )
    with pytest.raises(ConfigError, match="recipe"):
        check_stages(_own(tmp_path, recipe="papr"))


@pytest.mark.parametrize("key", ["recipe", "sft"])
def test_settings_of_stages_are_refused_where_there_are_none(study, tmp_path, capsys, key):
    """One run of the trainer and a study's base would pass them over."""
    own = {"recipe": "paper", "sft": {"epochs": 2}}[key]
    config = load_config(_own(tmp_path, **{"sft": None, key: own}))
    with pytest.raises(ConfigError, match=f"own: {key} is of a recipe's stages"):
        train(config)
    other = _own(tmp_path, sft={"epochs": 2}, teachers=[])
    assert main(["train", "--config", str(other)]) == 2
    assert "sft is of a recipe's stages" in capsys.readouterr().err
    assert main(["train", "--config", str(_own(tmp_path, recipe="paper"))]) == 2
    assert "Recipe 'paper' has `sft`, and its preset no such stage" in capsys.readouterr().err
    (flagged,) = plan_recipe("paper", _own(tmp_path))  # the flag is not the file's recipe
    assert flagged.sft is None and flagged.config.name == "own-paper"
    assert main(["train", "--config", str(_own(tmp_path)), "--probe"]) == 2
    assert "say under `ekipl:`" in capsys.readouterr().err
    base = tmp_path / "base.yaml"
    base.write_text(yaml.safe_dump(yaml.safe_load(base.read_text()) | {key: own}))
    with pytest.raises(ConfigError, match=f"has `{key}:`, which a study says by its arms"):
        plan_study(load_study(study))


def test_supervised_steps_that_were_stopped_while_measured_are_measured_to_the_end(
    study, tmp_path, monkeypatch
):
    """What was trained is not trained again, and the records are those of a run in one go."""
    path = _own(tmp_path)
    whole = run_recipe(plan_recipe("sft_repeated", path, ["name=whole"]))[0]
    watch, seen = looks.Looks._watch, []

    def stop_once(self, wanted, part, done, total):
        watch(self, wanted, part, done, total)
        if len(seen) < 1 and part.endswith("sampled") and self._folder.joinpath("policy").exists():
            seen.append(part)
            raise KeyboardInterrupt

    monkeypatch.setattr(looks.Looks, "_watch", stop_once)
    steps = plan_recipe("sft_repeated", path, ["name=parted"])
    with pytest.raises(KeyboardInterrupt):
        run_recipe(steps)
    assert seen and not (tmp_path / "work" / "parted-sft_repeated" / "result.json").exists()
    parted = run_recipe(steps)[0]
    assert parted.metrics == whole.metrics and parted.costs == whole.costs
    for step in ("000000", "000004"):
        ours, theirs = (
            read_records(one.folder / "evaluation" / "validation" / f"step-{step}.parquet")
            for one in (parted, whole)
        )
        assert [r.actions for r in ours] == [r.actions for r in theirs]


def test_arms_of_a_comparison_may_be_recipes(study, tmp_path, monkeypatch, capsys):
    paper = _own(tmp_path, "paper", sft=None, ekipl={"selection": "top_g"})
    learned = _own(tmp_path, "learned")
    page = tmp_path / "page.html"
    assert main(["compare", str(paper), str(learned), "--report", str(page)]) == 0
    text = page.read_text()
    assert text.index("paper, end") < text.index("learned, end")  # in the order given, both taught
    grpo = _own(tmp_path, "grpo", sft=None, teachers=[], recipe=None)
    assert main(["compare", str(learned), str(grpo), "--report", str(page)]) == 0
    assert "learned − grpo" in page.read_text()  # an arm with a teacher is no baseline
    staged = _own(tmp_path, "staged", recipe="sft_then_grpo")
    assert main(["compare", str(paper), str(staged), "--report", str(page)]) == 2
    assert "staged is trained in 2 stages" in capsys.readouterr().err
    never = {**_evaluation(tmp_path), "at_start": False, "at_end": False}
    alone = _own(tmp_path, "alone", evaluation=never)
    assert main(["compare", str(alone), "--report", str(page)]) == 2
    assert "before and after its supervised steps only" in capsys.readouterr().err


def test_a_stage_keeps_what_the_config_says_under_ekipl(study, tmp_path):
    own = _own(tmp_path, sft=None, recipe="paper", ekipl={"scale_rewards": "none"})
    (paper,) = plan_recipe(None, own)
    assert paper.config.ekipl.scale_rewards == "none" and paper.config.ekipl.selection == "top_g"
    unread = _own(tmp_path, recipe="sft_averaged", ekipl={"selection": "on_failure"})
    with pytest.raises(ConfigError, match=r"ekipl\.selection, which changes nothing"):
        plan_recipe(None, unread)
    for preset, file, overrides, says in (
        (None, _own(tmp_path, recipe="paper", sft=None, ekipl={"selection": "on_failure"}), [],
         "sets ekipl.selection to 'top_g', and the config says 'on_failure'"),
        ("paper", own, ["ekipl.selection=on_failure"], "and the config says 'on_failure'"),
        ("w_reinforce", own, ["ekipl.signs.positive=0.5"], "sets ekipl.signs"),
        ("paper", own, ["sft.epochs=2"], "sft.epochs changes nothing"),
        ("sft_averaged", own, ["ekipl.selection=on_failure"], "which changes nothing"),
        ("sft_averaged", own, ["grpo.learning_rate=0.1"], "which changes nothing"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=says):
            plan_recipe(preset, file, overrides)
    unread = _own(tmp_path, recipe="sft_averaged", ekipl={"selection": "on_failure"})
    (flagged,) = plan_recipe("sft_averaged", unread)  # a config of the rule, tried otherwise once
    assert (flagged.sft.epochs, flagged.sft.average) == (2, 0.75)
