"""LoRA: what it changes, its reference, saving, resuming, merging; clear refusals."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import trainer_toys as toys
import yaml
from paths import ROOT
from peft import PeftModel, get_peft_model
from PIL import Image
from safetensors.torch import load_file, save_file

from ekipl_lab import tracking
from ekipl_lab.commands import cli
from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.policies import as_policy, load, load_policy, merge_adapter, save_policy
from ekipl_lab.policies.adapters import (
    freeze_vision,
    language_linears,
    lora_config,
    vision_parameters,
)
from ekipl_lab.policies.source import encode_prompts
from ekipl_lab.training.config.check import check_run
from ekipl_lab.training.config.combinations import check_combinations
from ekipl_lab.training.config.run_config import load_config, parse_config
from ekipl_lab.training.run import train

torch.set_num_threads(1)

SETTINGS = {
    "policy": {"build": "nano", "adapter": {"rank": 4, "alpha": 8, "dropout": 0.1}},
    "data": {"limit": 12},
    "teachers": [{"type": "oracle", "id": "careful", "accuracy": 0.7, "style": "short"}],
    "grpo": {
        "num_generations": 4, "per_device_train_batch_size": 8, "max_completion_length": 32,
        "learning_rate": 1.0e-2, "max_steps": 4, "beta": 0.05, "activation_checkpointing": True,
    },
    "evaluation": {"every": 0, "sets": [{"limit": 2}], "num_samples": 2, "ks": [1, 2]},
    "tracking": {"checkpoint_every": 2, "experiment": "unit"},
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """An uninterrupted run, and one that was stopped after its second step and continued."""
    folder = tmp_path_factory.mktemp("adapters")
    patch = pytest.MonkeyPatch()
    patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    (folder / "unit.yaml").write_text(yaml.safe_dump(SETTINGS), encoding="utf-8")
    whole = train(load_config(folder / "unit.yaml", ["name=whole"]))
    parted = load_config(folder / "unit.yaml", ["name=parted"])
    seen = [0]

    def watch(event):
        seen[0] = event.get("step", 0) if event.get("phase") == "training" else seen[0]

    stopped = train(parted, on_event=watch, stop=lambda: seen[0] >= 1)
    assert stopped.status == "stopped" and stopped.step == 2
    yield whole, train(parted)
    patch.undo()


def logits(policy, samples=None):
    with torch.no_grad():
        return policy.model(**encode_prompts(policy, samples or toys.toy_samples(2))).logits


def test_only_the_language_model_is_adapted():
    model, _ = toys.nano()
    names = language_linears(model)
    assert len(names) == 2 * 7 and all(".language_model.layers." in name for name in names)
    adapted = PeftModel(model, lora_config(model, rank=2, targets=("q_proj", "down_proj")))
    trained = {name for name, p in adapted.named_parameters() if p.requires_grad}
    assert len(trained) == 2 * 2 * 2  # two layers, two targets, A and B
    assert all("language_model" in name and "lora_" in name for name in trained)


def test_freezing_the_vision_tower():
    model, _ = toys.nano()
    frozen = freeze_vision(model)
    names = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert frozen == sum(p.numel() for _, p in vision_parameters(model)) > 0
    assert names and all(name.startswith("model.visual.") for name in names)
    trainer = toys.ekipl_trainer(
        toys.config("unused", max_steps=2), teachers=[toys.oracle()], model=(model, toys.nano()[1])
    )
    before = toys.weights(trainer)
    trainer.train()
    after = toys.weights(trainer)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and not any(name.startswith("model.visual.") for name in changed)


def test_the_run_trains_the_adapter_alone_and_saves_it(runs):
    whole, _ = runs
    assert sorted(p.name for p in whole.policy.glob("*.safetensors")) == [
        "adapter_model.safetensors"
    ]
    note = json.loads((whole.policy / "ekipl_base.json").read_text())
    assert note["base"] == str((whole.folder / "start").resolve())
    start, end = load_policy(whole.folder / "start"), load_policy(whole.policy)
    same = {
        name: torch.equal(tensor, end.model.state_dict()[name])
        for name, tensor in start.model.state_dict().items()
    }
    changed = sorted(name for name, equal in same.items() if not equal)
    assert len(changed) == 14 and all("language_model.layers" in name for name in changed)
    assert not torch.allclose(logits(start), logits(end), atol=1e-4)
    params = tracking.find_run(whole.run_id).params
    assert params["trained"] == "lora r=4"
    assert [c.step for c in tracking.list_checkpoints(whole.run_id)] == [0, 4]


def test_resumed_to_the_bit(runs):
    whole, parted = runs
    ours, reference = (load_file(r.policy / "adapter_model.safetensors") for r in (parted, whole))
    assert ours.keys() == reference.keys() and len(ours) == 28
    assert all(torch.equal(ours[name], reference[name]) for name in ours)
    assert parted.metrics == whole.metrics
    histories = [tracking.metric_history(run.run_id) for run in (parted, whole)]
    ours, reference = (
        {k: v for k, v in h.items() if not k.startswith("seconds/")} for h in histories
    )
    assert ours == reference and len(reference["kl"]) == 4


def test_the_reference_is_the_policy_without_its_adapter(runs):
    """KL is 0 before the first update and positive after: B starts at 0, then moves."""
    whole, _ = runs
    kl = [value for _, value in tracking.metric_history(whole.run_id)["kl"]]
    assert kl[0] == pytest.approx(0.0, abs=1e-7) and min(kl[1:]) > 1e-6


def test_merged_checkpoint_gives_the_same_logits_in_a_fresh_process(runs, tmp_path, capsys):
    whole, _ = runs
    assert cli.main(["merge", str(whole.policy), "--out", str(tmp_path / "merged")]) == 0
    assert "Merged policy saved" in capsys.readouterr().out
    assert not (tmp_path / "merged" / "adapter_config.json").exists()
    base = load_policy(whole.folder / "start")
    applied = PeftModel.from_pretrained(base.model, whole.policy).eval()  # not merged
    sample = toys.toy_samples(1)
    inputs = encode_prompts(as_policy(base.model, base.processor), sample)
    with torch.no_grad():
        expected = applied(**inputs).logits[0, -1]
    code = (
        "import sys, ekipl_lab.policies\n"
        "from safetensors.torch import load_file, save_file\n"
        "from transformers import AutoModelForImageTextToText\n"
        "model = AutoModelForImageTextToText.from_pretrained(sys.argv[1])\n"
        "logits = model(**load_file(sys.argv[2])).logits[0, -1].detach()\n"
        "save_file({'logits': logits.contiguous()}, sys.argv[3])\n"
    )
    asked, told = tmp_path / "inputs.safetensors", tmp_path / "logits.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in inputs.items()}, asked)
    command = [sys.executable, "-c", code, str(tmp_path / "merged"), str(asked), str(told)]
    subprocess.run(command, check=True)
    assert torch.allclose(load_file(told)["logits"], expected, atol=1e-5)


@pytest.fixture
def small_adapter(tmp_path):
    """An adapter and its base, and what both folders hold."""
    base = load_policy(save_policy(*toys.build_tiny_policy("nano", 0), tmp_path / "base"))
    torch.manual_seed(0)
    adapted = get_peft_model(base.model, lora_config(base.model, rank=4, alpha=8))
    save_policy(adapted, base.processor, tmp_path / "adapter")
    return {
        path: path.read_bytes()
        for name in ("base", "adapter")
        for path in (tmp_path / name).iterdir()
    }


def test_merging_overwrites_neither_what_it_merges_nor_a_file(small_adapter, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    for place, said in (
        ("base", "is the base itself and would be overwritten"),
        ("adapter", "is the adapter itself and would be overwritten"),
        ("notes.txt", "cannot be a folder"),
        ("/proc/merged", "cannot be written"),
    ):
        assert cli.main(["merge", str(tmp_path / "adapter"), "--out", str(tmp_path / place)]) == 2
        assert said in capsys.readouterr().err
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert all(path.read_bytes() == content for path, content in small_adapter.items())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["adapter", "base", "notes.txt"]


def test_whole_weights_saved_over_an_adapter_are_no_adapter(small_adapter, tmp_path):
    """Left beside them, its settings would make a reader load its base, and not what was saved."""
    other = as_policy(*toys.build_tiny_policy("nano", 7))
    (tmp_path / "adapter" / "README.md").write_text("card")
    (tmp_path / "adapter" / "model.safetensors.index.json").write_text("{}")
    folder = save_policy(other.model, other.processor, tmp_path / "adapter", dtype="float32")
    found = load_policy(folder).model.state_dict()
    assert all(torch.equal(found[name], own) for name, own in other.model.state_dict().items())
    assert (folder / "README.md").read_text() == "card"
    assert not list(folder.glob("*adapter*")) and not list(folder.glob("*index*"))


def test_merged_into_a_base_in_bfloat16_the_logits_are_near_as_the_docs_say(tmp_path):
    """To about 5e-3: weights in bfloat16 are rounded when they are saved (docs/gpu.md)."""
    folder = save_policy(*toys.build_tiny_policy("nano", 0), tmp_path / "base", dtype="bfloat16")
    base = load_policy(folder)
    inputs = encode_prompts(base, toys.toy_samples(2))
    torch.manual_seed(0)
    adapted = get_peft_model(base.model, lora_config(base.model, rank=4, alpha=8))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    save_policy(adapted, base.processor, tmp_path / "adapter")
    with torch.no_grad():
        expected = adapted.eval()(**inputs).logits
        merged = load_policy(merge_adapter(tmp_path / "adapter", tmp_path / "merged"))
        off = (merged.model(**inputs).logits - expected).abs().max().item()
    assert load_file(tmp_path / "merged" / "model.safetensors").popitem()[1].dtype == torch.bfloat16
    assert 1e-5 < off < 5e-3
    assert "1e-5 with a base in float32, to about 5e-3 with one in bfloat16" in " ".join(
        (ROOT / "docs/gpu.md").read_text(encoding="utf-8").split()
    )


def test_adapters_and_bases_that_do_not_fit_are_refused(runs, tmp_path):
    whole, _ = runs
    other = save_policy(*toys.build_tiny_policy("nano", 9), tmp_path / "other", dtype="float32")
    with pytest.raises(ConfigError, match="trained on other weights"):
        load_policy(whole.policy, base=other)
    with pytest.raises(ConfigError, match="is not an adapter, so it has no base"):
        load_policy(other, base=other)
    with pytest.raises(ConfigError, match="is not an adapter folder"):
        merge_adapter(other, tmp_path / "merged")
    gone = tmp_path / "gone"
    gone.mkdir()
    for file in whole.policy.iterdir():
        (gone / file.name).write_bytes(file.read_bytes())
    note = json.loads((gone / "ekipl_base.json").read_text()) | {"base": str(tmp_path / "nowhere")}
    (gone / "ekipl_base.json").write_text(json.dumps(note))
    with pytest.raises(ConfigError, match="is gone; give its folder"):
        load_policy(gone)
    assert load_policy(gone, base=whole.folder / "start").id == "gone"
    (gone / "adapter_model.safetensors").unlink()
    with pytest.raises(ConfigError, match="has no adapter_model"):
        load_policy(gone, base=whole.folder / "start")


def test_an_adapter_is_no_start(runs):
    whole, _ = runs
    settings = SETTINGS | {"name": "again", "policy": {"path": str(whole.policy)}}
    with pytest.raises(ConfigError, match="merge it first"):
        train(parse_config(settings))


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"build": "nano", "quantize": "4bit"}, "give policy.adapter"),
        ({"build": "nano", "quantize": "8bit"}, "policy.quantize"),
        ({"build": "nano", "adapter": {"rnk": 4}}, "did you mean 'rank'"),
        ({"build": "nano", "adapter": {"rank": 0}}, "policy.adapter.rank"),
    ],
)
def test_wrong_policy_settings(policy, message):
    with pytest.raises(ConfigError, match=message):
        parse_config({"name": "x", "policy": policy})


def test_quantising_without_a_gpu_and_unknown_targets_are_refused(tmp_path, monkeypatch):
    folder = save_policy(*toys.nano(), tmp_path / "nano")
    with pytest.raises(ConfigError, match="needs a CUDA GPU"):
        load_policy(folder, quantize="4bit")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(ConfigError, match="needs bitsandbytes; install the gpu extra"):
        load_policy(folder, quantize="4bit")


def test_what_4_bits_add_to_a_checkpoint_is_not_missed_and_a_missing_weight_is(
    tmp_path, monkeypatch
):
    """The report of loading as transformers makes it for weights in 4 bits (docs/gpu.md)."""
    model, processor = toys.nano()
    folder = save_policy(model, processor, tmp_path / "start")
    stem = "model.language_model.layers.0.mlp.up_proj.weight"
    report = {"missing_keys": set(), "mismatched_keys": set(), "error_msgs": []}
    report["unexpected_keys"] = {
        f"{stem}.{part}"
        for part in ("absmax", "quant_map", "nested_absmax", "quant_state.bitsandbytes__nf4")
    }
    monkeypatch.setattr(load, "quantization_config", lambda dtype: None)
    monkeypatch.setattr(
        load.AutoModelForImageTextToText, "from_pretrained", lambda *_, **__: (model, report)
    )
    assert load_policy(folder, quantize="4bit").model is model
    report["missing_keys"].add(stem)
    with pytest.raises(ConfigError, match=r"lacks 1 of its model's weights .*up_proj"):
        load_policy(folder, quantize="4bit")
    with pytest.raises(ConfigError, match="it has down_proj, gate_proj"):
        lora_config(toys.nano()[0], targets=("q_prj",))


@pytest.mark.parametrize(
    ("version", "adapter", "lack"),
    [("1", None, "FSDP version 1"), ("2", {"rank": 2}, "an adapter on sharded weights")],
)
def test_measuring_some_sharded_models_is_refused(monkeypatch, version, adapter, lack):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", version)
    settings = {"name": "x", "policy": {"build": "nano", "adapter": adapter}}
    said = rf"With {lack} .*evaluation.at_start=false .* `ekipl eval` afterwards"
    with pytest.raises(ConfigError, match=said):
        check_run(parse_config(settings), "unused")


def test_measuring_whole_weights_sharded_by_fsdp2_is_not_refused(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    config = parse_config({"name": "x", "policy": {"build": "nano"}})
    check_combinations(config, config.grpo_settings)


def gradients(checkpointing, samples):
    """Gradient of every adapter weight after one step's loss, and that loss."""
    model, processor = toys.nano()
    trainer = toys.EKIPLTrainer(
        model,
        args=toys.config(
            "unused", max_steps=1, activation_checkpointing=checkpointing, learning_rate=0.0
        ),
        samples=samples,
        processing_class=processor,
        scorer=toys.even_scorer,
        teachers=[toys.oracle()],
        peft_config=lora_config(model, rank=4),
    )
    kept = {}
    for name, parameter in trainer.model.named_parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(
                lambda p, name=name: kept.__setitem__(name, p.grad.clone())
            )
    trainer.train()
    return kept, toys.history(trainer, "loss")["loss"]


def test_gradient_checkpointing_changes_no_gradient_with_several_images():
    samples = [
        replace(s, images=(*s.images, Image.new("RGB", (56, 56), (9 * i, 200, 99))))
        for i, s in enumerate(toys.toy_samples())
    ]
    plain, loss = gradients(False, samples)
    checkpointed, loss_checkpointed = gradients(True, samples)
    assert plain.keys() == checkpointed.keys() and len(plain) == 28
    assert any(g.abs().max() > 0 for g in plain.values())
    assert all(torch.equal(plain[name], checkpointed[name]) for name in plain)
    assert loss == loss_checkpointed


def test_what_stands_beside_a_policy_may_change_after_it_is_saved_again(tmp_path):
    for content in ("first", "second", "third"):
        folder = save_policy(*toys.build_tiny_policy("nano", 0), tmp_path / "policy")
        (folder / "reached.json").write_text(content)
        load_policy(folder)
    (folder / "config.json").write_text("{}")
    with pytest.raises(DataError, match="is damaged or was changed"):
        load_policy(folder)
