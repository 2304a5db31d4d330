"""Freezing by part, attention, trackers, bad records, longer runs; each picture decoded once."""

import json
from dataclasses import replace

import pytest
import torch
import trainer_toys as toys
import yaml
from families import build
from PIL import Image
from safetensors.torch import load_file
from test_config_faults import own_data
from test_config_run import BASE
from trl.data_utils import prepare_multimodal_messages

from ekipl_lab import tracking
from ekipl_lab.benchmarks import image_files, load_samples
from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.images import image_size, read_image
from ekipl_lab.policies.adapters import freeze_parts, parameters_of
from ekipl_lab.policies.load import as_policy
from ekipl_lab.policies.source import encode_prompts
from ekipl_lab.training.config.check import check_run, check_trackers, run_scorer
from ekipl_lab.training.config.run_config import load_config, parse_config
from ekipl_lab.training.dataset import prompt_dataset
from ekipl_lab.training.memory.components import trained_parameters
from ekipl_lab.training.memory.estimate import workload
from ekipl_lab.training.memory.shape import measure
from ekipl_lab.training.run import train
from ekipl_lab.training.run_data import load_training_samples
from ekipl_lab.training.run_policy import load_run_policy
from ekipl_lab.types import Action, Sample

torch.set_num_threads(1)


# ------------------------------------------------------------------------------------- pictures


def counted(monkeypatch):
    """The sources that were decoded since, in order; the cache is empty at the start."""
    decoded = []

    def reading(source):
        decoded.append(source)
        return read_image(source)

    monkeypatch.setattr(image_files, "read_image", reading)
    monkeypatch.setattr(image_files, "DECODED", image_files._Decoded(2**20))
    return decoded


def own_samples(folder):
    data = own_data(folder, ["train"])
    return load_samples(data["benchmark"], task="t", split="train")


def test_a_step_decodes_each_picture_once_and_the_start_none_but_the_prompt_it_measures(
    tmp_path, monkeypatch
):
    """Eight pictures of one size; two steps of 2 prompts x G = 4, sampled and learned from."""
    decoded = counted(monkeypatch)
    samples = own_samples(tmp_path)
    assert not decoded
    trainer = toys.ekipl_trainer(
        toys.config("unused", max_steps=2), samples=samples, teachers=[toys.oracle()]
    )
    assert len(decoded) == 1  # one prompt of each combination of sizes is encoded
    decoded.clear()
    trainer.train()
    # 2 a step, and accelerate's loader reads the batch after the last one too
    assert len(decoded) + 1 >= 4 and len(decoded) <= 6 and len(set(decoded)) == len(decoded)
    decoded.clear()
    monkeypatch.setattr(image_files, "DECODED", image_files._Decoded(0))  # a decode for each row
    assert len(prompt_dataset(samples)[[0] * 4]["images"]) == 4 == len(decoded)


def test_the_cache_is_bounded_and_a_changed_file_is_read_again(tmp_path, monkeypatch):
    decoded = counted(monkeypatch)
    samples = own_samples(tmp_path)
    pictures = [sample.images for sample in samples]
    assert pictures[0][0] is pictures[0][0] and len(decoded) == 1
    image_files.DECODED.limit = 3 * 60 * 60 * 2  # two of them
    for images in pictures[:3]:
        assert images[0].size == (60, 60)
    assert len(decoded) == 3
    assert pictures[2][0] is pictures[2][0] and len(decoded) == 3
    pictures[0][0]
    assert len(decoded) == 4  # it had to go
    Image.new("RGB", (60, 62), (1, 2, 3)).save(tmp_path / "0.png")
    assert pictures[0][0].size == (60, 62) and image_files.sizes_of(samples[0]) == ((60, 62),)


def test_sizes_from_the_head_are_those_of_the_picture(tmp_path):
    photo = Image.new("RGB", (90, 40), (9, 9, 9))
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    photo.save(tmp_path / "a.jpg", exif=exif)
    assert image_size(tmp_path / "a.jpg") == read_image(tmp_path / "a.jpg").image.size == (40, 90)
    for bounds in ({}, {"side": 30}, {"max_pixels": 1000}, {"min_pixels": 10_000}):
        files = image_files.ImageFiles((tmp_path / "a.jpg",), **bounds)
        assert files.sizes() == tuple(image.size for image in files)
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"b\.png cannot be read"):
        image_size(tmp_path / "b.png")


def test_the_trainer_reads_the_prompt_that_an_evaluation_reads(tmp_path):
    """Pictures where the text names them, in the order of the text; bits and tokens the same."""
    sample = toys.toy_samples(2)[0]
    other = toys.toy_samples(2)[1].images[0]
    named = replace(
        sample, images=(sample.images[0], other), question="Is <image> more than <image>?"
    )
    trainer = toys.ekipl_trainer(toys.config(tmp_path), samples=[named, *toys.toy_samples(3)])
    row = trainer.train_dataset[0]
    prompt = prepare_multimodal_messages(row["prompt"], images=row["images"])
    (ids,), (images,), fields = trainer._tokenize_prompts([prompt])
    theirs = encode_prompts(as_policy(trainer.model, trainer.processing_class), [named])
    assert list(ids) == theirs["input_ids"][0].tolist() and images == list(named.images)
    assert torch.equal(torch.as_tensor(fields["pixel_values"]), theirs["pixel_values"])
    shown = [token == trainer.model.config.image_token_id for token in ids]
    assert sum(a and not b for a, b in zip(shown, [False, *shown], strict=False)) == 2  # apart


# ----------------------------------------------------------------------------- policy settings


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl", "llava", "idefics3", "gemma3"])
def test_parts_cover_the_model_once(name):
    model, _ = build(name)
    parts = {p: parameters_of(model, p) for p in ("vision", "projector", "language")}
    ids = [id(p) for part in parts.values() for p in part]
    assert all(parts.values()) and len(ids) == len(set(ids))
    assert set(ids) == {id(p) for p in model.parameters()}
    freeze_parts(model, ("vision", "language"))
    trained = [p for p in model.parameters() if p.requires_grad]
    assert {id(p) for p in trained} == {id(p) for p in parts["projector"]}
    assert measure(model).projector_parameters == sum(p.numel() for p in trained)


def test_frozen_parts_in_a_run_and_in_the_plan(tmp_path):
    config = parse_config(BASE | {"policy": {"build": "nano", "freeze": ["language"]}})
    policy = load_run_policy(config, tmp_path)
    trained = sum(p.numel() for p in policy.model.parameters() if p.requires_grad)
    shape = measure(policy.model)
    assert trained == shape.vision_parameters == trained_parameters(shape, workload(config))
    both = parse_config(BASE | {"policy": {"build": "nano", "freeze_vision": True}})
    assert both.policy.frozen == ("vision", "projector")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"policy": {"build": "nano", "freeze": ["vision", "projector", "language"]}},
            "nothing is",
        ),
        ({"policy": {"build": "nano", "freeze": ["language"], "adapter": {}}}, "adapter trains"),
        ({"policy": {"build": "nano", "freeze": ["tower"]}}, r"policy\.freeze\.0 must be"),
        ({"policy": {"build": "nano", "attn_implementation": "fast"}}, "attn_implementation must"),
        ({"grpo": {"model_init_kwargs": {}}}, r"policy\.dtype, policy\.attn_implementation"),
        ({"grpo": {"report_to": "wandb"}}, r"use tracking\.report_to"),
    ],
)
def test_what_is_refused_and_what_to_use(settings, message):
    with pytest.raises(ConfigError, match=message):
        parse_config(BASE | settings)


def test_attention_is_the_one_that_was_asked_for(tmp_path):
    for chosen in ("eager", "sdpa"):
        config = parse_config(BASE | {"policy": {"build": "nano", "attn_implementation": chosen}})
        assert load_run_policy(config, tmp_path).model.config._attn_implementation == chosen
    config = parse_config(
        BASE | {"policy": {"build": "nano", "attn_implementation": "flash_attention_2"}}
    )
    with pytest.raises(ConfigError, match="flash_attention_2' cannot be used here"):
        load_run_policy(config, tmp_path)


def test_liger_needs_a_gpu_and_its_package():
    with pytest.raises(ConfigError, match="liger-kernel"):
        check_run(parse_config(BASE | {"grpo": {"use_liger_kernel": True}}), "unused")


def test_trackers_beside_mlflow(monkeypatch):
    assert check_trackers(()) == ["none"]
    with pytest.raises(ConfigError, match=r"Unknown tracking\.report_to 'mlflow'"):
        check_trackers(["mlflow"])
    with pytest.raises(ConfigError, match="did you mean 'wandb'"):
        check_trackers(["wanb"])
    import transformers.integrations.integration_utils as integrations

    with monkeypatch.context() as patch:
        patch.setattr(integrations, "get_available_reporting_integrations", lambda: [])
        with pytest.raises(ConfigError, match="'wandb' is not installed"):
            check_trackers(["wandb"])
    monkeypatch.setattr(integrations, "get_available_reporting_integrations", lambda: ["wandb"])
    config = parse_config(BASE | {"tracking": {"report_to": ["wandb"]}})
    assert check_run(config, "unused").args.report_to == ["wandb"]


# ------------------------------------------------------------------------- rewards and records


SAMPLE = Sample("s", "t", "train", (), "?", "3", "number")


def action(tokens, answer="3"):
    ids = None if tokens is None else (7,) * tokens
    return Action(f"<think>a</think><answer>{answer}</answer>", "policy", "m", token_ids=ids)


def test_a_run_adds_components_and_success_stays(tmp_path):
    own = tmp_path / "own.py"
    own.write_text("def short(completion, sample):\n    return float(len(completion) < 40)\n")
    reward = {
        "overlong": {"buffer": 4, "weight": 2.0},
        "extra": {"short": {"scorer": f"python:{own}:short", "weight": 0.5}},
    }
    grpo = {"grpo": BASE.get("grpo", {}) | {"max_completion_length": 16}}
    scorer = run_scorer(parse_config(BASE | {"reward": reward} | grpo))
    got = scorer(SAMPLE, action(14))
    assert got.components == {"accuracy": 1.0, "format": 1.0, "short": 1.0, "overlong": -0.5}
    assert got.total == 1.0 + 1.0 + 0.5 * 1.0 + 2.0 * -0.5 and got.success is True
    assert scorer(SAMPLE, action(1, answer="4")).success is False
    assert scorer(SAMPLE, action(None)).total is None  # not scored is not zero


def broken_data(folder):
    """Eight records: one without a picture, one cut off, one answer that is no number, two ids."""
    data = own_data(folder, ["train", "test"])
    (folder / "1.png").unlink()
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:60])
    rows = (folder / "rows.csv").read_text().splitlines()
    rows[4], rows[5] = "3,3.png,How many?,red", "0,4.png,How many?,4"
    (folder / "rows.csv").write_text("\n".join(rows))
    return data


def test_bad_records_are_left_out_counted_and_named(tmp_path):
    data = broken_data(tmp_path)
    with pytest.raises(DataError, match="record 1"):
        load_training_samples(parse_config(BASE | {"data": data}))
    config = parse_config(BASE | {"data": data | {"on_bad_record": "skip", "limit": 4}})
    said = []
    samples = load_training_samples(config, said.append)
    assert sorted(sample.id for sample in samples) == [f"own/t/train/{i}" for i in (0, 5, 6, 7)]
    assert len(said) == 4
    assert sum("record 1" in text and "1.png" in text for text in said) == 1
    assert sum("own/t/train/2" in text and "2.png" in text for text in said) == 1
    assert sum("own/t/train/3" in text and "'red'" in text for text in said) == 1
    assert sum("the id occurs twice" in text for text in said) == 1
    with pytest.warns(UserWarning, match=r"1\.png"):  # whoever does not listen hears it too
        load_training_samples(config)


def test_boxes_in_pixels_become_thousandths(tmp_path):
    own_data(tmp_path, ["train"])
    raw = yaml.safe_load((tmp_path / "data.yaml").read_text())
    raw |= {"answer_type": "box", "coordinates": "pixels", "iou": 0.7}
    raw["splits"] = {"train": "boxes.jsonl"}
    row = {"id": "a", "image": "0.png", "q": "Where is it?", "a": "[15, 30, 45, 60]"}
    (tmp_path / "boxes.jsonl").write_text(json.dumps(row))
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(raw))
    (sample,) = load_samples(str(tmp_path / "data.yaml"), task="t", split="train")
    assert sample.answer == "[250, 500, 750, 1000]"  # of 60 x 60
    assert sample.answer_type == "box" and sample.metadata["iou"] == 0.7


# ---------------------------------------------------------------------------------- longer runs


def run_settings(folder, **grpo):
    settings = {
        "policy": {"build": "nano"}, "data": broken_data(folder) | {
            "on_bad_record": "skip", "limit": 4, "split": "train"},
        "grpo": {
            "num_generations": 4, "per_device_train_batch_size": 8, "max_completion_length": 12,
            "learning_rate": 1.0e-3, **grpo,
        },
        "evaluation": {"at_start": False, "every": 0, "at_end": False, "sets": []},
        "tracking": {"checkpoint_every": 1},
    }  # fmt: skip
    (folder / "unit.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return folder / "unit.yaml"


def test_a_finished_run_is_made_longer_with_its_optimiser(tmp_path, monkeypatch):
    """Two steps and two more are the bits of four at once; the records left out are logged."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    path, heard = run_settings(tmp_path), []
    whole = train(load_config(path, ["name=whole", "grpo.max_steps=4"]), on_event=heard.append)
    assert any("4 bad records" in event.get("text", "") for event in heard)
    assert tracking.metric_history(whole.run_id)["data/left_out"] == [(0, 4.0)]
    short = train(load_config(path, ["name=longer", "grpo.max_steps=2"]))
    assert (short.status, short.step) == ("finished", 2)
    longer = train(load_config(path, ["name=longer", "grpo.max_steps=4"]))
    assert (longer.status, longer.step, longer.run_id) == ("finished", 4, short.run_id)
    ours, theirs = (load_file(run.policy / "model.safetensors") for run in (longer, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert tracking.find_run(longer.run_id).tags["ekipl.extended_to"] == "4"
    losses = tracking.metric_history(longer.run_id)["loss"]
    assert losses == tracking.metric_history(whole.run_id)["loss"] and len(losses) == 4
    with pytest.raises(ConfigError, match="max_steps 4 -> 3"):
        train(load_config(path, ["name=longer", "grpo.max_steps=3"]))
    with pytest.raises(ConfigError, match="seed 0 -> 1"):
        train(load_config(path, ["name=longer", "grpo.max_steps=5", "seed=1"]))


@pytest.mark.parametrize(
    ("schedule", "longer"),
    [
        ({"lr_scheduler_type": "linear"}, False),
        ({"lr_scheduler_type": "constant_with_warmup", "warmup_steps": 0.5}, False),
        ({"lr_scheduler_type": "constant_with_warmup", "warmup_steps": 1}, True),
        ({"lr_scheduler_type": "constant"}, True),
    ],
)
def test_a_schedule_that_depends_on_the_length_is_not_made_longer(tmp_path, schedule, longer):
    from ekipl_lab.training.config.longer import as_now

    path = run_settings(tmp_path, max_steps=2, **schedule)
    before = load_config(path).model_dump(mode="json")
    more = load_config(path, ["grpo.max_steps=4"])
    if longer:
        assert as_now(before, more)["grpo"]["max_steps"] == 4
        return
    with pytest.raises(ConfigError, match="the steps already done depend on"):
        as_now(before, more)


def test_the_entropy_bonus_is_that_of_trl():
    settings = {"max_steps": 1, "entropy_coef": 0.5, "beta": 0.0}

    def trained(make, **chosen):  # one after the other: a trainer sets the seed when it is made
        trainer = make(toys.config("unused", **chosen))
        trainer.train()
        return toys.weights(trainer)

    ours, theirs = (trained(make, **settings) for make in (toys.ekipl_trainer, toys.grpo_trainer))
    plain = trained(toys.ekipl_trainer, max_steps=1)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert any(not torch.equal(ours[name], plain[name]) for name in plain)
