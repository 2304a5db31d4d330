"""Predicted memory: counted by hand, against published sizes, against what the backward keeps."""

from dataclasses import replace
from pathlib import Path

import families
import pytest
import torch
import trainer_toys as toys
from peft import get_peft_model

from ekipl_lab.commands import cli
from ekipl_lab.errors import ConfigError
from ekipl_lab.policies import as_policy, build_tiny_policy
from ekipl_lab.policies.adapters import lora_config
from ekipl_lab.policies.source import encode_prompts
from ekipl_lab.training.config.run_config import load_config
from ekipl_lab.training.memory import components as memory
from ekipl_lab.training.memory.components import GIB, Workload, predict, settings_that_fit
from ekipl_lab.training.memory.estimate import describe_memory, run_shape, workload
from ekipl_lab.training.memory.shape import ModelShape, Tower, measure, shape_of

torch.set_num_threads(1)

#: One layer of 8, two heads of 4 (one for keys), MLP of 16; vocabulary 100; 200 vision weights.
SHAPE = ModelShape(
    parameters=2000,
    vision_parameters=200,
    head_parameters=800,
    tied=True,
    vocabulary=100,
    language=Tower(layers=3, hidden=8, mlp=16, heads=2, kv_heads=1, head_dim=4),
    vision=Tower(layers=2, hidden=6, mlp=12, heads=2, kv_heads=2, head_dim=3),
    language_linears=(("q_proj", 8, 8), ("down_proj", 16, 8)),
    patch=14,
    patch_values=588,
    merge=2,
    tokens_per_image=None,
    patches_per_image=None,
)
WORK = Workload(
    rows=2, generated=4, sampled=4, text_tokens=6, images=1, side=56, completion=10, gpu=False
)


def test_every_part_by_hand():
    done = predict(SHAPE, WORK)
    # 56 px: 2 x 2 cells of 28 px, so 4 tokens of 16 patches; prompt 6 + 4, sequence 20
    assert SHAPE.image(56) == (4, 16)
    assert done.always == {
        "weights": 8000,
        "adapters": 0,
        "optimizer": 16000,
        "reference": 0,
        "images": 4 * 1 * 16 * 588 * 4,
        "vllm": 0,
    }
    # per token: 4 x (2*8 + 3*8 + 4*4 + 4*16) + 8 x (2*8) + 4 x 2 heads = 616
    assert memory.layer_bytes(SHAPE.language, 4) == 4 * 120 + 8 * 16 + 8 == 616
    # vision: 4 x (2*6 + 3*6 + 4*6 + 4*12) + 8 x 12 + 8 = 512, two layers, 2 rows of 16 patches
    assert done.backward["activations"] == 3 * 616 * 40 + 2 * 512 * 32
    assert done.backward["gradients"] == 8000
    # 40 positions: tile of 40 x 100 floats and three copies, hidden gradients, head gradients
    assert done.backward["log-probabilities"] == 4 * 40 * 100 * 4 + 40 * 8 * 4 + 800 * 4
    assert done.generation == {
        "kv cache": 4 * 20 * 3 * 2 * 1 * 4 * 4,
        "prefill": 4 * 10 * (3 * 16 + 4 * 8) * 4,
        "sampling": 3 * 4 * 100 * 4,
        "vllm": 0,
    }
    assert done.allowance == 0
    assert done.total == sum(done.always.values()) + max(
        sum(done.backward.values()), sum(done.generation.values())
    )


def test_what_each_setting_changes():
    plain = predict(SHAPE, WORK)
    checkpointed = predict(SHAPE, replace(WORK, checkpointing=True)).backward
    # one residual of 8 floats per layer and one whole layer; the same in the vision tower
    assert checkpointed["activations"] == (3 * 4 * 8 + 616) * 40 + (2 * 4 * 6 + 512) * 32
    frozen = predict(SHAPE, replace(WORK, freeze_vision=True))
    assert frozen.backward["activations"] == 3 * 616 * 40
    assert frozen.backward["gradients"] == 4 * 1800 and frozen.always["optimizer"] == 8 * 1800
    lora = predict(SHAPE, replace(WORK, rank=2, targets=("q_proj",)))
    assert lora.always["adapters"] == 4 * 2 * (8 + 8) == lora.backward["gradients"]
    assert lora.backward["log-probabilities"] == plain.backward["log-probabilities"] - 3200
    reference = predict(SHAPE, replace(WORK, reference=True)).always["reference"]
    assert reference == 8000
    quantized = predict(SHAPE, replace(WORK, rank=2, quantized=True, dtype="bfloat16"))
    # 192 weights of linear layers at 4.127 bits, 1808 at two bytes
    assert quantized.always["weights"] == int(192 * 4.126953125 / 8) + 1808 * 2
    assert quantized.always["adapters"] == 2 * 2 * (16 + 24)
    mixed = predict(SHAPE, replace(WORK, compute="bfloat16")).backward
    assert mixed["autocast copies"] == 4000 and plain.backward["autocast copies"] == 0
    sharded = predict(SHAPE, replace(WORK, shards=4))
    assert sharded.always["weights"] == 2000 and sharded.backward["gradients"] == 2000
    assert sharded.backward["gathered layers"] == (2 * 64 + 800) * 4  # 192 weights, 3 layers
    asleep = predict(SHAPE, replace(WORK, engine="vllm asleep", engine_bytes=7, sampled=0))
    assert asleep.generation["vllm"] == 7 and asleep.always["vllm"] == 0
    awake = predict(SHAPE, replace(WORK, engine="vllm", engine_bytes=7))
    assert awake.generation["vllm"] == 0 and awake.always["vllm"] == 7
    eight_bit = predict(SHAPE, replace(WORK, optimizer="paged_adamw_8bit"))
    assert eight_bit.always["optimizer"] == 4000
    on_gpu = predict(SHAPE, replace(WORK, gpu=True))
    assert on_gpu.allowance > 0.8 * GIB
    assert on_gpu.backward["log-probabilities"] == 20 * 100 * 4 + 20 * 8 * 4 + 3200


@pytest.mark.parametrize(
    ("name", "parameters", "billions"),
    [
        ("Qwen/Qwen2-VL-2B-Instruct", 2_208_985_600, 2.21),
        ("Qwen/Qwen2-VL-7B-Instruct", 8_291_375_616, 8.29),
        ("Qwen/Qwen2.5-VL-3B-Instruct", 3_754_622_976, 3.75),
        ("Qwen/Qwen2.5-VL-7B-Instruct", 8_292_166_656, 8.29),
    ],
)
def test_known_architectures_have_the_published_number_of_parameters(name, parameters, billions):
    """Published: the count of the weights files, as the models' pages show it."""
    shape = shape_of(name)
    assert shape.parameters == parameters and round(parameters / 1e9, 2) == billions
    assert shape.tied is ("2B" in name or "3B" in name)


def kept_for_backward(model, inputs):
    """Bytes of distinct storages that the forward of the language and vision layers saves."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    sizes, alive = {}, []

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            sizes[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        alive.append(base.model(**inputs).last_hidden_state)
    return sum(sizes.values())


@pytest.mark.parametrize("name", ["demo", *(n for n in families.FAMILIES if n != "idefics3")])
def test_predicted_activations_are_those_kept(name):
    """Within a quarter of what autograd saves (idefics3 cuts images into tiles: left out)."""
    model, processor = build_tiny_policy("demo", 0) if name == "demo" else families.build(name)
    inputs = dict(encode_prompts(as_policy(model, processor), toys.toy_samples(8)))
    shape, (rows, length) = measure(model), inputs["input_ids"].shape
    tokens, patches = shape.image(56)
    work = replace(WORK, rows=rows, text_tokens=length - tokens, completion=0)
    predicted = memory.activation_bytes(shape, work, rows * length, patches)
    assert predicted == pytest.approx(kept_for_backward(model.train(), inputs), rel=0.25)
    adapted = get_peft_model(model, lora_config(model, rank=4)).train()
    work = replace(work, rank=4)
    predicted = memory.activation_bytes(shape, work, rows * length, patches)
    assert 0.85 <= predicted / kept_for_backward(adapted, inputs) <= 1.4


def test_settings_that_fit_are_offered_in_order():
    work = replace(WORK, rows=8, images=0, completion=400, text_tokens=100, gpu=True)
    needs = predict(SHAPE, work).total
    assert settings_that_fit(SHAPE, work, needs) == {"grpo.activation_checkpointing": "true"}
    less = predict(SHAPE, replace(work, checkpointing=True, rows=2)).total
    assert settings_that_fit(SHAPE, work, less) == {
        "grpo.activation_checkpointing": "true",
        "grpo.per_device_train_batch_size": "2",
        "grpo.gradient_accumulation_steps": "4 x as many",
    }
    assert settings_that_fit(SHAPE, work, 1000) == {}


READY = sorted(Path("configs").glob("qwen*.yaml"))


@pytest.mark.parametrize("path", READY, ids=lambda path: path.stem)
def test_ready_configs_pass_a_dry_run(path, capsys, monkeypatch):
    monkeypatch.delenv("EKIPL_REASON_RFT", raising=False)
    monkeypatch.setattr("ekipl_lab.training.setup.published_at_hand", lambda: False)
    assert cli.main(["train", "--dry-run", "--config", str(path)]) == 0
    text = capsys.readouterr().out
    assert "most at once" in text and "available" in text


def test_ready_configs_are_those_that_were_asked_for():
    sizes = {path.stem: load_config(path) for path in READY}
    assert sorted(sizes) == [
        "qwen2_5_vl_3b_16gb", "qwen2_5_vl_7b_24gb", "qwen2_5_vl_7b_8gpus", "qwen2_vl_2b_16gb",
        "qwen2_vl_2b_t4_16gb",
    ]  # fmt: skip
    for name, config in sizes.items():
        if "gb" in name:
            assert config.policy.quantize == "4bit" and config.policy.adapter is not None
            assert config.hardware.gpu_memory_gib < float(name.split("_")[-1].removesuffix("gb"))
        else:
            work = workload(config)
            assert work.shards == 8 and work.rank is None and work.engine == "vllm"


def test_a_run_too_large_is_refused_with_settings_that_fit(capsys):
    path = "configs/qwen2_5_vl_3b_16gb.yaml"
    wide = ["policy.quantize=none", "policy.adapter=null", "policy.dtype=float32"]
    config = load_config(path, wide)
    with pytest.raises(ConfigError, match=r"needs about \d+\.\d GiB .* it would fit with") as error:
        describe_memory(config)
    sentence = str(error.value).splitlines()[0]
    offered = [part for part in sentence.split() if "=" in part]
    offered = [part.rstrip(".") for part in offered if "accumulation" not in part]
    assert "policy.adapter.rank=16" in offered
    assert "most at once" in describe_memory(load_config(path, [*wide, *offered]))
    assert cli.main(["train", "--dry-run", "--config", path, *wide]) == 2
    assert "it would fit with" in capsys.readouterr().err
    tiny = load_config(path, ["hardware.gpu_memory_gib=2"])
    with pytest.raises(ConfigError, match="no setting of one process is enough"):
        describe_memory(tiny)


def test_a_model_that_is_not_here_is_named():
    config = load_config("configs/qwen2_vl_2b_16gb.yaml", ["policy.path=some/model"])
    with pytest.raises(ConfigError, match="no configuration of 'some/model' here"):
        run_shape(config)
