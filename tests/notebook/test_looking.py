"""Runs, studies and real models looked at from a cell."""

from __future__ import annotations

import re
from pathlib import Path
from statistics import fmean

import pytest

import ekipl_lab as ek
from ekipl_lab.errors import ConfigError, TeacherError
from ekipl_lab.notebook.study import StudyView
from ekipl_lab.studies.config import load_study
from ekipl_lab.training.memory.components import GIB

NANO = [
    "policy={build: nano}", "tracking.checkpoint_every=1", "data.limit=8", "grpo.max_steps=2",
    "grpo.per_device_train_batch_size=8", "grpo.max_completion_length=64", "evaluation={sets: []}",
    "grpo.num_generations=4",
]  # fmt: skip
QWEN, T4 = "configs/qwen2_5_vl_3b_16gb.yaml", "configs/qwen2_vl_2b_t4_16gb.yaml"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return tmp_path


def test_a_run_is_looked_at_and_compared_with_another(store: Path) -> None:
    config = ek.load_config("configs/demo_ekipl.yaml", [*NANO, "name=one"])
    table = ek.settings(config)["value"]
    assert table["selection"] == "top_g" and table["policy completions"] == "16"
    one = ek.train(config).run_id
    other = ek.train(
        ek.load_config("configs/demo_ekipl.yaml", [*NANO, "name=other", "seed=1"])
    ).run_id
    assert ek.steps(one) == [1, 2]
    found = ek.sources(one)
    assert list(found.index) == ["careful", "policy", "sloppy"]
    assert found["candidates"].to_dict() == {"careful": 4, "policy": 16, "sloppy": 4}
    assert found["kept"].sum() == 16 and found["share of kept"].sum() == pytest.approx(1, abs=0.01)
    last = ek.sources(one, steps=2)
    assert last["candidates"].sum() == 12
    causes = ek.examine(one)
    assert causes.loc[0, "cause"] == "taught nothing" and causes.loc[0, "of"] == 4
    own = causes[causes["cause"].isin(["starved", "all_wrong", "format_only", "unparseable"])]
    assert own["groups"].sum() <= causes.loc[0, "groups"]
    assert {"reward", "share_kept"} <= ek.figures(one).keys()
    equal = ek.compare_histories(one, one)
    assert equal["differ"].sum() == 0 and equal.loc["policy", "equal points"] > 0
    assert ek.compare_histories(one, other)["differ"].sum() > 0


def test_a_study_without_records_has_no_answer() -> None:
    view = ek.study("configs/studies/counting_screen.yaml")
    bare = StudyView(view.study, view.cells, ())
    assert "has a record yet: there is no answer" in bare._repr_markdown_()
    assert bare.final.empty and bare.differences.empty
    arms = bare.arms["stages"]
    assert arms["zero_shot"] == "none: as it is" and "signs veto True" in arms["paper_veto"]
    assert arms["paper"] != arms["grpo"] and "num_generations 10" in arms["grpo_more"]
    table = ek.list_studies()
    assert table.loc["small", "cells"] == 2
    study = load_study(Path("configs/studies/small.yaml"))
    assert set(study.arms) == {"grpo", "paper"}


def test_what_is_shown_of_a_study_is_of_one_set_or_names_it() -> None:
    view = ek.study("configs/studies/counting_confirm.yaml")
    assert view.places == [("counting", "test"), ("counting", "test_ood")]
    final = view.final
    assert final.index.names == ["task", "set", "arm"] and final.index.is_unique
    for place in view.places:
        means = {
            arm: fmean(
                one.raw["final"][place[1]]["all"]["pass_at_8"]
                for one in view.records
                if one.arm == arm
            )
            for arm in ("grpo", "paper")
        }
        drawn = {trace.name: trace.y[0] for trace in view.figure("pass_at_8", place).data}
        for arm, mean in means.items():
            assert drawn[arm] == pytest.approx(mean)
            assert final.loc[(*place, arm), "pass@8"].startswith(f"{100 * mean:.1f} [")
    assert view.figure("pass_at_8") == view.figure("pass_at_8", ("counting", "test"))
    with pytest.raises(ConfigError, match="has no record"):
        StudyView(view.study, view.cells, ()).figure()


def test_a_small_study_runs_in_a_cell(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ekipl_lab.policies.build import build_tiny_policy
    from ekipl_lab.policies.save import save_policy

    policy = save_policy(*build_tiny_policy("nano", 0), store / "nano")
    changes = [
        f"policy.path={policy}", "data.limit=8", "grpo.per_device_train_batch_size=8",
        "grpo.max_steps=1", "grpo.max_completion_length=8", "tracking.checkpoint_every=1",
        "evaluation.sets=[{split: validation, limit: 4, families: [compare]}]",
    ]  # fmt: skip
    view = ek.run_study("configs/studies/small.yaml", overrides=changes)
    assert len(view.records) == 2 and (store / "studies" / "small" / "cells").is_dir()
    assert "2 of 2 cells have a record" in view._repr_markdown_()
    assert list(view.final.index) == ["grpo", "paper"]
    assert view.costs.loc["paper", "teacher actions"] == "2"
    assert [trace.name for trace in view.figure("pass_at_8").data] == ["grpo", "paper"]
    screen = ek.study("configs/studies/counting_screen.yaml")
    left, whole, done = screen.time_left(like=view), len(screen.cells), len(screen.records)
    assert left.startswith(f"{whole - done} of {whole} cells are to run.")
    capsys.readouterr()
    again = ek.run_study("configs/studies/small.yaml", overrides=changes)  # nothing is left
    assert again.records[0].raw == view.records[0].raw


def test_memory_is_that_of_the_dry_run_part_by_part() -> None:
    config = ek.load_config(QWEN)
    need = ek.memory(config)
    assert sum(need.parts.values()) * GIB == pytest.approx(need.prediction.total, rel=1e-9)
    table = ek.memory_table({"3B": need})
    assert table.loc["there is", "3B"] == 15.5
    assert table.loc["most at once", "3B"] == round(need.prediction.total / GIB, 2)
    figure = ek.plot_memory({"3B": need})
    assert figure.data[-1].name == "there is" and list(figure.data[-1].x) == [15.5]
    assert sum(trace.x[0] for trace in figure.data[:-1]) == pytest.approx(
        need.prediction.total / GIB, abs=0.05 * len(need.parts)
    )


def test_a_plan_is_shown_or_refused_in_a_sentence() -> None:
    data = [
        "data={benchmark: mini, task: counting, instructed: true, image_size: 448, limit: 8}",
        "data.limit=32", "teachers=[{type: oracle, id: chains}]",
        "evaluation.sets=[{split: validation, limit: 8}]",
    ]  # fmt: skip
    text = ek.dry_run(ek.load_config(T4, data))
    assert text.startswith("steps ") and re.search(r"most at once +5\.\d+ GiB", text)
    assert ek.refusal(ek.load_config(QWEN, data)) == ""
    assert ek.refusal(ek.load_config(QWEN, ["hardware=t4"])).startswith("A t4 has no bfloat16")
    whole = ["policy.quantize=none", "policy.adapter=null", "grpo.beta=0.0"]
    assert "needs about 32." in ek.refusal(ek.load_config(QWEN, [*data, *whole]))


def test_the_small_real_model_sees_its_picture(tmp_path: Path) -> None:
    folder = ek.save_small_qwen(tmp_path / "small")
    policy = ek.load_policy(folder)
    samples = ek.load_samples("mini", task="counting", split="train", limit=2)
    params = ek.GenerationParams(seed=0, max_new_tokens=4)
    (one,), (two,) = policy.propose(samples, 1, params)
    assert one.token_ids and two.token_ids
    assert (tmp_path / "small" / "model.safetensors").is_file()


def test_the_api_on_this_machine_is_asked_once_for_each_answer(tmp_path: Path) -> None:
    samples = ek.load_samples("mini", task="counting", families=["compare"], limit=3, split="train")
    oracle = ek.build_teacher({"type": "oracle", "accuracy": 1.0}, samples)
    server = ek.LoopbackTeacher(samples[:2], oracle).start()
    gateway = {"cache": str(tmp_path / "t.sqlite3"), "price": {"input": 1.0, "output": 10.0},
               "retries": 0, "reask": 0}  # fmt: skip
    spec = {"type": "openai", "model": "unit", "base_url": server.url, "gateway": gateway}
    teacher = ek.build_teacher(spec, samples)
    params = ek.GenerationParams(seed=0, max_new_tokens=64)
    try:
        first = teacher.propose(samples[:2], 1, params)
        again = teacher.propose(samples[:2], 1, params)
        assert [ek.score(s, a[0]).success for s, a in zip(samples, first, strict=False)] == [1, 1]
        assert first[0][0].completion == again[0][0].completion and len(server.requests) == 2
        spent = ek.spending(teacher)
        assert (spent["calls"], spent["cache_hits"]) == (2, 2)
        expected = spent["prompt_tokens"] * 1e-6 + spent["completion_tokens"] * 1e-5
        assert spent["cost_usd"] == pytest.approx(expected, abs=1e-6)
        with pytest.raises(TeacherError):  # a picture that the server does not know
            teacher.propose(samples[2:], 1, params)
        with pytest.raises(ConfigError, match="has no gateway"):
            ek.spending(oracle)
    finally:
        server.close()
