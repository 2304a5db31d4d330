"""`ekipl train --recipe`: the stages of a study's arm, outside of a study."""

import pytest
import yaml
from study_kit import write_study

from ekipl_lab.commands.cli import main
from ekipl_lab.errors import ConfigError
from ekipl_lab.studies.config import load_study
from ekipl_lab.studies.plan import check_cells, plan_study
from ekipl_lab.studies.recipe import plan_recipe, run_recipe
from ekipl_lab.studies.run import run_cell


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
