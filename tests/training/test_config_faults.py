"""Settings that make no sense and files that are no YAML are refused before anything is made."""

import re

import pytest
import yaml
from test_config_run import BASE
from trl import import_utils

from ekipl_lab.commands import cli
from ekipl_lab.errors import ConfigError
from ekipl_lab.training.config.check import check_run
from ekipl_lab.training.config.late import check_engine
from ekipl_lab.training.config.plan import plan_run
from ekipl_lab.training.config.run_config import load_config, parse_config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"evaluation": {"ks": [0]}}, r"evaluation\.ks\.0 must be 1 or more"),
        ({"evaluation": {"ks": [1, -4]}}, r"evaluation\.ks\.1 must be 1 or more"),
        ({"evaluation": {"ks": [1, 64]}}, "pass@64 needs as many samples"),
        ({"evaluation": {"temperature": float("nan")}}, "temperature must be a finite number"),
        ({"evaluation": {"temperature": float("inf")}}, "temperature must be a finite number"),
        ({"reward": {"weights": {"a": float("nan")}}}, "must be a finite number"),
        ({"ekipl": {"sft": {"mu": float("nan")}}}, "must be a finite number"),
        ({"ekipl": {"run_budget": {"usd": float("inf")}}}, "must be a finite number"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"seed": 2**32}, "seed must be less than"),
        ({"data": {"seed": -3}}, r"data\.seed must be 0 or more"),
        ({"evaluation": {"sets": [{"seed": 2**40}]}}, r"sets\.0\.seed must be less than"),
        ({"data": {"limit": 10**30}}, r"data\.limit must be 1e\+07 or less"),
        ({"tracking": {"experiment": "x" * 300}}, "experiment must have 200 or fewer"),
        ({"tracking": {"experiment": " "}}, "experiment must fit"),
        ({"name": "x" * 201}, "name must have 200 or fewer"),
        ({"grpo": {"learning_rate": float("nan")}}, "learning_rate is nan: it must be a finite"),
        ({"grpo": {"learning_rate": -1e-6}}, "learning_rate is -1e-06: it must be 0 or more"),
        ({"grpo": {"temperature": 0}}, "temperature is 0: it must be more than 0"),
        (
            {"grpo": {"per_device_train_batch_size": 0}},
            "batch_size is 0: it must be more than 0",
        ),
        ({"grpo": {"gradient_accumulation_steps": 0}}, "is 0: it must be more than 0"),
        ({"grpo": {"max_completion_length": -5}}, "is -5: it must be more than 0"),
        ({"grpo": {"max_steps": 0}}, "max_steps is 0: it must be 1 or more, or -1"),
        ({"grpo": {"max_steps": 10**400}}, "it must be a finite number below"),
        ({"grpo": {"num_train_epochs": float("inf")}}, "it must be a finite number below"),
        ({"grpo": {"beta": -0.1}}, "beta is -0.1: it must be 0 or more"),
    ],
)
def test_values_that_make_no_sense(changes, message):
    with pytest.raises(ConfigError, match=message):
        parse_config(BASE | changes)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("ignore_data_skip", True, "goes on with the prompts that come next"),
        ("label_smoothing_factor", 0.1, "has no labels"),
        ("per_device_eval_batch_size", 4, "use evaluation"),
        ("num_generations_eval", 4, "use evaluation.num_samples"),
        ("metric_for_best_model", "reward", "is marked in MLflow"),
        ("hub_model_id", "a/b", "nothing is uploaded"),
    ],
)
def test_settings_of_trl_that_nothing_here_reads_are_refused(key, value, words):
    with pytest.raises(ConfigError, match=words):
        parse_config(BASE | {"grpo": {key: value}})


def test_a_run_without_end_is_not_planned():
    config = parse_config(BASE | {"grpo": {"max_steps": 2**31 - 1}})
    with pytest.raises(ConfigError, match="are the most; make grpo"):
        plan_run(config)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name: café".encode("latin-1"), r"is not text in UTF-8 \(byte 9 is not\)"),
        ("name: a".encode("utf-16"), "is not text in UTF-8"),
        (b"\x00\x01\x02binary", "is not valid YAML"),
        (b"\x89PNG\r\n", "is not text in UTF-8"),
        (b"seed: 1\npolicy: {build: nano}\nseed: 2\n", "line 3: the key 'seed' occurs twice"),
        (b"policy:\n  build: nano\n  build: demo\n", "line 3: the key 'build' occurs twice"),
        (b"policy:\n\tbuild: nano\n", "line 2: found character a tab"),
        (b"[" * 20_000, "is not valid YAML"),
        (b"seed: " + b"9" * 5000, "is not valid YAML"),
        (b"", "must hold settings"),
        (b"1: 2\npolicy: {build: nano}\n", "1: Keys should be strings"),
    ],
)
def test_files_that_are_no_yaml(tmp_path, content, message):
    path = tmp_path / "unit.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load_config(path)


def test_utf8_with_a_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "unit.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + yaml.safe_dump(BASE).encode())
    assert load_config(path).name == "unit"


def own_data(folder, splits):
    from PIL import Image

    rows = ["id,image,q,a"] + [f"{i},{i}.png,How many?,{i}" for i in range(8)]
    for i in range(8):
        Image.new("RGB", (60, 60), (i * 20, 9, 9)).save(folder / f"{i}.png")
    (folder / "rows.csv").write_text("\n".join(rows), encoding="utf-8")
    columns = {"id": "id", "image": "image", "question": "q", "answer": "a"}
    description = {"name": "own", "task": "t", "answer_type": "number", "images": "."}
    description |= {"splits": dict.fromkeys(splits, "rows.csv"), "columns": columns}
    (folder / "data.yaml").write_text(yaml.safe_dump(description), encoding="utf-8")
    return {"benchmark": str(folder / "data.yaml"), "task": "t", "limit": 8}


@pytest.mark.parametrize(
    ("splits", "more", "message"),
    [
        (["train"], {}, "Unknown split of benchmark 'own' 'test'"),
        (["train", "test"], {"teachers": [{"type": "oracle", "id": "a"}]}, "chain"),
        (["train", "test"], {"teachers": [{"type": "replay", "id": "a", "path": "none.jsonl"}]},
         "none.jsonl"),
        (["train", "test"], {"reward": {"scorer": "ekipl/aut"}}, "did you mean 'ekipl/auto'"),
        (["train", "test"], {"reward": {"scorer": "ekipl/calls"}}, "not a sequence of calls"),
        (["train", "test"], {"reward": {"scorer": "ekipl/letter"}}, "own/t/.*one of the letters"),
        (["train", "test"], {"reward": {"scorer": "reason_rft/train"}}, "has no form for 't'"),
        (["train", "test"], {"reward": {"scorer": "reason_rft/train/transformation"}},
         "gives 0 to every ground truth"),
        (["train", "test"], {"reward": {"extra": {"e": {"scorer": "ekipl/calls", "weight": 1}}}},
         "not a sequence of calls"),
        (["train", "test"], {"data": {"task": "u"}}, "Unknown task"),
        (["train", "test"], {"data": {"benchmark": "nowhere.yaml"}}, "nowhere.yaml"),
        (["train", "test"], {"grpo": {"num_generations": 2, "per_device_train_batch_size": 32}},
         "There are 8 training samples"),
    ],
)  # fmt: skip
def test_a_dry_run_refuses_what_the_run_refuses(
    tmp_path, monkeypatch, capsys, splits, more, message
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/store/mlflow.db")
    data = own_data(tmp_path, splits) | more.pop("data", {})
    path = tmp_path / "unit.yaml"
    path.write_text(yaml.safe_dump(BASE | {"data": data} | more), encoding="utf-8")
    said = []
    for dry in (["--dry-run"], []):
        assert cli.main(["train", "--config", str(path), *dry]) == 2
        said.append(capsys.readouterr().err.splitlines()[-1])
    assert said[0] == said[1] and re.search(message, said[0])
    assert not list(tmp_path.glob("store/*/unit")) and not list(tmp_path.glob("store/mlflow.db"))


@pytest.mark.parametrize(
    ("grpo", "message"),
    [
        ({"optim_args": "abc"}, "optim_args 'abc' is not read by adamw_torch_fused"),
        ({"optim_args": "width=3"}, "optim_args 'width=3' changes nothing of adamw_torch_fused"),
        ({"lr_scheduler_kwargs": {"x": 1}}, "Unknown key of grpo.lr_scheduler_kwargs 'x'"),
        (
            {"warmup_steps": 1},
            "warmup_steps 1.* changes nothing of grpo.lr_scheduler_type constant",
        ),
        ({"generation_kwargs": {"min_q": 1}}, "did you mean 'min_p'"),
        ({"generation_kwargs": {"num_beams": 3}}, "num_beams: GRPO samples every completion by"),
        ({"generation_kwargs": {"temperature": 2}}, "temperature: grpo.temperature is what the l"),
        ({"cache_implementation": "abc"}, "Invalid `cache_implementation`"),
        ({"activation_checkpointing_kwargs": {"a": 1}}, "Unknown key of grpo.activation_checkp"),
        ({"dataloader_num_workers": 10**6}, "it must be at most 64"),
    ],
)
def test_what_libraries_read_late_is_tried_before(tmp_path, grpo, message):
    with pytest.raises(ConfigError, match=message):
        check_run(parse_config(BASE | {"grpo": grpo}), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_libraries_take_is_taken(tmp_path):
    grpo = {
        "lr_scheduler_type": "polynomial",
        "warmup_steps": 0.5,
        "lr_scheduler_kwargs": {"power": 2.0},
        "generation_kwargs": {"min_p": 0.1},
        "activation_checkpointing_kwargs": {"use_reentrant": False},
        "optim": "adafactor",
    }
    checked = check_run(parse_config(BASE | {"grpo": grpo}), tmp_path)
    assert checked.args.lr_scheduler_kwargs == {"power": 2.0}


def test_without_vllm_the_run_is_refused_in_a_sentence(tmp_path, monkeypatch):
    checked = check_run(parse_config(BASE | {"grpo": {"use_vllm": True}}), tmp_path)
    monkeypatch.setattr(import_utils, "is_vllm_available", lambda *args, **kwargs: False)
    with pytest.raises(ConfigError, match="needs vLLM, which is not installed here"):
        check_engine(checked.args)


def test_the_library_of_an_optimiser_is_missed_before_the_run_begins(tmp_path, monkeypatch):
    """A plan with it may be made on another machine."""
    monkeypatch.setattr("transformers.trainer_optimizer.is_lomo_available", lambda: False)
    checked = check_run(parse_config(BASE | {"grpo": {"optim": "lomo"}}), tmp_path)
    with pytest.raises(ConfigError, match=r"grpo\.optim lomo cannot be used here: .*lomo_optim"):
        check_engine(checked.args)
