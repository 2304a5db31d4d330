"""The plan against hand counts: prompts as they are, host, disk, money, time; a step of it run."""

import math
from dataclasses import replace

import families
import pytest
import torch
import trainer_toys as toys
from safetensors.torch import load_file
from test_config_run import BASE
from test_memory import SHAPE, WORK

from ekipl_lab.commands import cli
from ekipl_lab.commands.train import print_plan
from ekipl_lab.errors import ConfigError
from ekipl_lab.policies import as_policy, build_tiny_policy
from ekipl_lab.policies.context import encoded_length
from ekipl_lab.policies.save import save_policy
from ekipl_lab.prompts import prompt_text
from ekipl_lab.training.config.check import check_run, precision
from ekipl_lab.training.config.run_config import load_config, parse_config
from ekipl_lab.training.memory.components import GIB, predict
from ekipl_lab.training.memory.estimate import available_bytes, with_prompts, workload
from ekipl_lab.training.memory.machine import checkpoint_bytes, disk_bytes, host_bytes
from ekipl_lab.training.memory.prompts import looked_at, prompt_sizes
from ekipl_lab.training.memory.shape import measure, shape_of
from ekipl_lab.training.probe import probe
from ekipl_lab.training.run import train

torch.set_num_threads(1)


# -------------------------------------------------------------------------------------- prompts


def test_prompts_through_the_processor_are_those_that_are_encoded():
    model, processor = build_tiny_policy("nano", 0)
    samples = toys.toy_samples(8)
    samples[3] = replace(samples[3], question="Which colour is it, number 3, and why is it so?")
    samples[5] = replace(samples[5], images=samples[5].images * 2)
    shape, policy = measure(model), as_policy(model, processor)
    found = prompt_sizes(samples, shape, processor)
    lengths = [encoded_length(policy, sample) for sample in samples]
    assert found.by_processor and found.looked_at == 8 and found.images == 2
    assert found.mean == pytest.approx(sum(lengths) / 8)
    assert found.image_tokens == shape.image(56)[0]
    assert found.text_tokens + found.image_tokens == lengths[3]
    work = with_prompts(WORK, shape, found)
    assert (work.text_tokens, work.images) == (found.text_tokens, 2)
    assert shape.image(work.side)[0] == found.image_tokens


def test_prompts_without_a_processor_are_counted_from_bytes_and_pixels():
    """Cells of 28 pixels: 56 x 84 are 2 x 3."""
    sample = toys.toy_samples(1)[0]
    wide = replace(sample, images=(sample.images[0].resize((56, 84)), *sample.images))
    found = prompt_sizes([wide], SHAPE, None)
    assert (found.images, found.image_tokens, found.by_processor) == (2, 6, False)
    assert found.text_tokens == math.ceil(len(prompt_text(wide).encode()) / 3)
    work = with_prompts(WORK, SHAPE, found)
    assert work.side == 3 * 28 and SHAPE.image(work.side)[0] == 9  # not fewer than there are
    assert predict(SHAPE, work).total > predict(SHAPE, WORK).total


def test_the_widest_and_the_longest_are_among_those_looked_at():
    samples = toys.toy_samples(200)
    samples[111] = replace(samples[111], images=(samples[0].images[0].resize((90, 90)),))
    samples[77] = replace(samples[77], question="Which colour? " * 20)
    ids = [sample.id for sample in looked_at(samples)]
    assert "toy/111" in ids and "toy/77" in ids and len(ids) <= 48


# ------------------------------------------------------------------------------- host and disk


def test_host_and_disk_by_hand():
    """2,000 weights of 4 bytes; AdamW's two states for those that are trained."""
    assert checkpoint_bytes(SHAPE, WORK) == 8000 + 2 * 4 * 2000
    assert checkpoint_bytes(SHAPE, replace(WORK, freeze=("vision",))) == 8000 + 2 * 4 * 1800
    lora = replace(WORK, rank=2, targets=("q_proj",))  # 2 x (8 + 8) weights
    assert checkpoint_bytes(SHAPE, lora) == 3 * 4 * 32
    assert disk_bytes(SHAPE, WORK, keep=2, evaluations=3) == {
        "2 checkpoints, 1 in work": 3 * 24000,
        "4 policies": 4 * 8000,
    }
    cpu = host_bytes(SHAPE, WORK, 1)
    assert cpu == {
        "libraries": int(0.6 * GIB), "pictures": 2**28, "copy of what is saved": 8000,
    }  # fmt: skip
    eight = host_bytes(SHAPE, replace(WORK, gpu=True), 8)
    assert eight["weights, or what is saved"] == 8 * 8000 and eight["libraries"] == 24 * GIB


def test_a_checkpoint_of_the_7b_model_takes_94_gigabytes():
    config = load_config("configs/qwen2_5_vl_7b_8gpus.yaml")
    shape, work = shape_of(config.policy.path), workload(config)
    by_hand = 8_292_166_656 * 4 + (8_292_166_656 - shape.vision_parameters) * 8
    assert checkpoint_bytes(shape, work) == by_hand and round(by_hand / 1e9) == 94
    # eight processes read all weights at once, unless they are loaded in parts
    assert host_bytes(shape, work, 8)["weights, or what is saved"] == 8 * 8_292_166_656 * 4


def test_a_machine_that_is_too_small_is_refused(capsys):
    path = "configs/qwen2_5_vl_7b_8gpus.yaml"
    assert cli.main(["train", "--dry-run", "--config", path, "hardware.host_memory_gib=64"]) == 2
    assert "has 64 GiB of memory (hardware.host_memory_gib)" in capsys.readouterr().err


# -------------------------------------------------------------------------------------- targets


def test_gpus_by_name():
    config = parse_config(BASE | {"hardware": "t4"})
    assert config.hardware.target == "t4" and available_bytes(config) == int(14.5 * GIB)
    assert workload(config).gpu and workload(config).compute == "float16"
    assert parse_config(BASE | {"hardware": 4090}).hardware.memory_gib == 23.5
    own = parse_config(BASE | {"hardware": {"target": "h100", "gpu_memory_gib": 40}})
    assert own.hardware.memory_gib == 40 and workload(own).compute == "bfloat16"
    with pytest.raises(ConfigError, match=r"Unknown hardware\.target 'h10'"):
        parse_config(BASE | {"hardware": "h10"})


def test_a_card_without_bfloat16(monkeypatch):
    policy = {"build": "nano", "dtype": "bfloat16", "adapter": {}}
    with pytest.raises(ConfigError, match="A t4 has no bfloat16; set policy"):
        check_run(parse_config(BASE | {"hardware": "t4", "policy": policy}), "unused")
    with pytest.raises(ConfigError, match="A t4 has no bfloat16"):
        check_run(parse_config(BASE | {"hardware": "t4", "grpo": {"bf16": True}}), "unused")
    half = {"policy": {"build": "nano", "dtype": "float16"}, "grpo": {"fp16": True}}
    with pytest.raises(ConfigError, match=r"fp16 scales the gradients of float32 weights"):
        check_run(parse_config(BASE | half), "unused")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)  # a GPU like a T4
    assert precision(parse_config(BASE), True) == {"bf16": False, "fp16": True}
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    assert precision(parse_config(BASE), True) == {"bf16": True, "fp16": False}
    fp16 = parse_config(BASE | {"grpo": {"fp16": True}})
    assert precision(fp16, True) == {"bf16": False, "fp16": True}
    assert precision(parse_config(BASE), False) == {"bf16": False, "fp16": False}


def test_the_t4_config_trains_two_steps_at_width_32(tmp_path, monkeypatch):
    """float16 weights, adapters in float32; what a CPU lacks (4 bits, a scaler) is taken out."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    model, processor = families.build("qwen2_5_vl")
    save_policy(model, processor, tmp_path / "small", dtype="float16")
    config = load_config(
        "configs/qwen2_vl_2b_t4_16gb.yaml",
        [
            f"policy.path={tmp_path / 'small'}", "policy.quantize=none", "grpo.fp16=false",
            "data={benchmark: mini, limit: 8}", "teachers=[]", "grpo.max_steps=2",
            "grpo.num_generations=2", "grpo.gradient_accumulation_steps=2",
            "grpo.max_completion_length=8", "grpo.learning_rate=1e-3",
            "evaluation={sets: [], at_start: false, every: 0, at_end: false}",
        ],
    )  # fmt: skip
    result = train(config)
    assert result.status == "finished" and result.step == 2
    adapters = load_file(result.policy / "adapter_model.safetensors")
    assert {weight.dtype for weight in adapters.values()} == {torch.float32}
    assert all(torch.isfinite(weight).all() for weight in adapters.values())
    assert list(result.folder.glob("checkpoints/checkpoint-*"))


# ----------------------------------------------------------------------------- costs, and a step


def test_tokens_calls_money_and_time_by_hand(capsys, monkeypatch):
    """5 steps of 2 prompts x 4: 40 completions of 16 tokens, 10 calls for each of 2 actions."""
    monkeypatch.setenv("UNIT_KEY", "unit-key-of-the-test")
    teacher = {
        "type": "openai", "id": "gpt", "model": "unit", "api_key_env": "UNIT_KEY", "actions": 2,
        "gateway": {"price": {"input": 1.0, "output": 10.0, "image_tokens": 100}},
    }  # fmt: skip
    config = parse_config(
        BASE
        | {
            "data": {"limit": 8},
            "teachers": [teacher],
            "grpo": {
                "num_generations": 4, "per_device_train_batch_size": 8, "max_steps": 5,
                "max_completion_length": 16,
            },
            "evaluation": {"at_start": False, "every": 0, "at_end": False},
            "hardware": {"tokens_per_second": 2},
        }
    )  # fmt: skip
    print_plan(config)
    text = capsys.readouterr().out
    from ekipl_lab.training.run_data import load_training_samples

    samples = load_training_samples(config)
    most = max(len(prompt_text(s).encode()) for s in samples) + 100 + 64
    usd = 20 * (most * 1.0 + 16 * 10.0) / 1e6
    assert "at most 640 of completions" in text
    assert f"20 calls at most, {20 * (most + 16):,} tokens and {usd:,.2f} USD at most" in text
    assert f"time                    {640 / 2 / 3600:,.1f} hours at most" in text
    processor = build_tiny_policy("nano", 0)[1]
    found = prompt_sizes(samples, measure(build_tiny_policy("nano", 0)[0]), processor)
    assert found.line() in text and f"{10 * found.mean:,.0f} of prompts" in text


def test_a_probe_runs_the_longest_prompts_at_full_length(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    config = parse_config(
        BASE
        | {
            "data": {"limit": 8},
            "teachers": [{"type": "oracle", "id": "a"}],
            "grpo": {
                "num_generations": 4, "per_device_train_batch_size": 8,
                "max_completion_length": 16,
            },
        }
    )  # fmt: skip
    found = probe(config)
    assert found.tokens == 8 * 16 and found.seconds > 0 and not found.gpu
    assert found.peak_bytes > 100 * 2**20 and "one step of the worst case" in found.line()
    assert not list(tmp_path.iterdir())  # nothing is kept
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="measures one process"):
        probe(config)
