"""The supervised warm start: batches, forward pass, schedule, resuming."""

from __future__ import annotations

import itertools
import json
import math
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from ekipl_lab.benchmarks import Request, iterate_samples, load_samples
from ekipl_lab.benchmarks.mini.chains import CHAIN_STYLES
from ekipl_lab.benchmarks.mini.geometry.task import label_places
from ekipl_lab.commands.cli import main
from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.policies import as_policy, build_tiny_policy, load_policy
from ekipl_lab.policies.source import encode_prompts
from ekipl_lab.training.sft.config import SFTConfig, Stage, load_sft_config, sft_config_from
from ekipl_lab.training.sft.data import (
    BatchEncoder,
    Example,
    ExampleStream,
    parse_mixture,
    parts_by_length,
)
from ekipl_lab.training.sft.labels import patch_labels, with_backdrop
from ekipl_lab.training.sft.model import PatchHead, encode_images, forward, mrope_positions
from ekipl_lab.training.sft.run import run_sft
from ekipl_lab.training.sft.state import Progress, load_state, save_state
from ekipl_lab.training.sft.warm_start import WarmStart, rate_factor
from ekipl_lab.types import Sample

torch.set_num_threads(1)
STYLES = ("short", "walk")


def config(folder: Path, **changes: object) -> SFTConfig:
    stages = [
        {
            "name": "see",
            "kind": "vision",
            "steps": 3,
            "batch_size": 4,
            "warmup": 0,
            "mixture": {"caption": 1},
        },
        {
            "name": "say",
            "steps": 4,
            "warmup": 0,
            "batch_size": 4,
            "patch_loss": 0.1,
            "mixture": {"where": 1, "match_text": 1, "count_one:walk": 1},
        },
    ]
    data = {
        "name": "test",
        "task": "counting",
        "size": "nano",
        "save_every": 2,
        "work_dir": str(folder / "work"),
        "output": str(folder / "out"),
        "stages": stages,
    }
    return sft_config_from(data | changes, "test")


def examples(count: int, task: str = "counting", *families: str) -> list[Example]:
    request = Request(task, "train", families or ("count_pair", "where"))
    stream = iterate_samples("mini", request)
    samples = [next(stream) for _ in range(count)]
    return [Example(s, f"<think> red </think><answer>{s.answer}</answer>") for s in samples]


@pytest.mark.parametrize(("task", "family"), [("counting", "where"), ("transformation", "find")])
def test_the_batched_forward_is_the_models_own(task: str, family: str) -> None:
    policy = as_policy(*build_tiny_policy("nano", 0))
    encoder = BatchEncoder(policy.processor)
    batch = encoder.encode(examples(3, task, family), {})
    output = forward(policy.model, batch, encoder.grid)
    loss, features = output.loss, output.features
    total, count = 0.0, 0
    for example in examples(3, task, family):
        inputs = dict(encode_prompts(policy, [example.sample]))
        ids = policy.processor.tokenizer(example.completion, return_tensors="pt").input_ids
        ids = torch.cat([ids, torch.tensor([[policy.processor.tokenizer.eos_token_id]])], 1)
        inputs["input_ids"] = torch.cat([inputs["input_ids"], ids], 1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        zeros = torch.zeros_like(ids)
        inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], zeros], 1)
        logits = policy.model(**inputs).logits[0, -ids.shape[1] - 1 : -1]
        total -= logits.log_softmax(-1).gather(-1, ids[0][:, None]).sum().item()
        count += ids.shape[1]
    assert loss.item() == pytest.approx(total / count, abs=1e-4)
    images = len(example.sample.images)
    assert features is not None and features.shape == (3, images, 16, 32)


def test_batched_vision_is_the_models_own() -> None:
    model, processor = build_tiny_policy("nano", 0)
    encoder = BatchEncoder(processor)
    images = [example.sample.images[0] for example in examples(2)]
    inputs = processor.image_processor(images=images, return_tensors="pt")
    expected = torch.cat(
        list(model.model.get_image_features(**inputs, return_dict=True).pooler_output)
    )
    ours = torch.stack([torch.from_numpy(encoder.patches(image)) for image in images])
    assert torch.allclose(inputs["pixel_values"], ours.flatten(0, 1), atol=1e-6)
    features = encode_images(model.model.visual, ours, encoder.grid)
    assert torch.allclose(features.flatten(0, 1), expected, atol=1e-5)


@pytest.mark.parametrize("images", [0, 1, 2])
def test_positions_are_the_models_own(images: int) -> None:
    policy = as_policy(*build_tiny_policy("nano", 0))
    pictures = tuple(example.sample.images[0] for example in examples(2))[:images]
    sample = Sample("t", "counting", "test", pictures, "How many red things?", "1", "number")
    inputs = encode_prompts(policy, [sample])
    ours = mrope_positions(images, (4, 4), inputs["input_ids"].shape[1])
    if images == 0:
        assert ours.tolist() == [list(range(inputs["input_ids"].shape[1]))] * 3
        return
    expected, _ = policy.model.model.get_rope_index(
        inputs["input_ids"],
        image_grid_thw=inputs["image_grid_thw"],
        mm_token_type_ids=inputs["mm_token_type_ids"],
    )
    assert torch.equal(ours, expected[:, 0])


def test_several_pictures_are_numbered_and_one_is_not() -> None:
    policy = as_policy(*build_tiny_policy("nano", 0))
    one, two = (
        policy.processor.tokenizer.decode(encode_prompts(policy, [example.sample])["input_ids"][0])
        for example in (examples(1)[0], examples(1, "transformation", "find")[0])
    )
    picture = "<|vision_start|>" + "<|image_pad|>" * 16 + "<|vision_end|>"
    assert one.startswith(f"<|user|>{picture}How many")
    assert two.startswith(f"<|user|>1{picture}2{picture}Where is")


def test_focus_weighs_tokens_by_what_is_not_foretold() -> None:
    policy = as_policy(*build_tiny_policy("nano", 0))
    encoder = BatchEncoder(policy.processor)
    batch = encoder.encode(examples(1), {})
    losses = []
    for at in range(batch.target_weights.shape[1]):
        if batch.target_weights[0, at] > 0:
            alone = torch.zeros_like(batch.target_weights)
            alone[0, at] = 1.0
            only = replace(batch, target_weights=alone)
            losses.append(forward(policy.model, only, encoder.grid).loss.item())
    weights = [(1 - math.exp(-loss)) ** 2 for loss in losses]
    expected = sum(w * loss for w, loss in zip(weights, losses, strict=True)) / sum(weights)
    got = forward(policy.model, batch, encoder.grid, 2.0).loss.item()
    assert got == pytest.approx(expected, rel=1e-4)
    assert got > forward(policy.model, batch, encoder.grid).loss.item()


def test_parts_of_like_length_give_the_same_gradient(tmp_path: Path) -> None:
    lengths = [
        [len(e.completion.split()) + len(e.sample.question.split()) for e in part]
        for part in parts_by_length(examples(5), 2)
    ]
    assert [len(part) for part in lengths] == [2, 3]
    assert max(lengths[0]) <= min(lengths[1])
    stages = config(tmp_path).model_dump()["stages"][1:]
    ends = []
    for parts in (1, 3):
        stages[0] |= {"length_parts": parts, "matrix_lr": 1.0, "patch_loss": 0.0}
        run = WarmStart(config(tmp_path / str(parts), stages=stages))
        idle = torch.optim.SGD([torch.zeros(1, requires_grad=True)])
        run.optimizers = [torch.optim.SGD(run.parameters), idle]
        start = [p.detach().clone() for p in run.parameters]
        run.train_step()
        moved = [(new - old).flatten() for new, old in zip(run.parameters, start, strict=True)]
        ends.append(torch.cat(moved).detach())
    assert torch.allclose(*ends, atol=1e-6) and ends[0].abs().max() > 1e-3


def test_rows_are_the_prompt_then_the_completion_then_eos() -> None:
    policy = as_policy(*build_tiny_policy("nano", 0))
    example = examples(1)[0]
    tokenizer = policy.processor.tokenizer
    red = tokenizer(" red").input_ids[0]
    batch = BatchEncoder(policy.processor).encode([example], {red: 3.0})
    prompt = encode_prompts(policy, [example.sample])["input_ids"][0].tolist()
    row = batch.input_ids[0].tolist()
    assert row[: len(prompt)] == prompt
    completion = tokenizer(example.completion).input_ids
    assert row[len(prompt) :] == [*completion, tokenizer.eos_token_id]
    weights = batch.target_weights[0].tolist()
    assert weights[: len(prompt)] == [0.0] * len(prompt)
    assert weights[len(prompt) : len(prompt) + 3] == [1.0, 3.0, 1.0]


def test_an_image_of_another_size_is_refused() -> None:
    sample = next(iterate_samples("mini", Request("counting", "train", ["where"], image_size=112)))
    encoder = BatchEncoder(build_tiny_policy("nano", 0)[1])
    with pytest.raises(ConfigError, match="112 x 112 pixels but the policy takes 56 x 56"):
        encoder.patches(sample.images[0])


def test_patch_head_by_hand() -> None:
    head = PatchHead(hidden=1, places=2, classes=(2,))
    with torch.no_grad():
        head.linear.weight.zero_()
        head.linear.bias.zero_()
    labels = torch.tensor([[[-1], [1]]])
    loss, right = head.loss(torch.ones(1, 2, 1), labels)
    assert loss.item() == pytest.approx(3 * 0.6931472)
    assert right.tolist() == [0.5, 0.5, 0.0]
    # No score is above 0, so that nothing is seen anywhere: right for the empty patch alone.
    assert head.right(torch.ones(1, 2, 1), labels).tolist() == [True, False]
    with torch.no_grad():
        head.linear.bias[2] = 1.0  # presence
    assert head.right(torch.ones(1, 2, 1), labels).tolist() == [False, False]
    assert head.right(torch.ones(1, 2, 1), torch.tensor([[[0], [1]]])).tolist() == [True, False]


def test_geometry_patches_are_labelled_with_what_is_written_there() -> None:
    (sample,) = load_samples("mini", task="geometry", split="train", limit=1, families=["read"])
    labels = patch_labels([sample], (4, 4))
    assert labels.shape == (1, 1, 16, 3)
    characters = "0123456789x "
    written = {"".join(characters[c] for c in row).strip() for row in labels[0, 0] if row[0] >= 0}
    assert written == set(sample.answer.split())
    for text, x, y in label_places(sample.metadata):
        patch = labels[0, 0, int(y * 4) * 4 + int(x * 4)]
        assert "".join(characters[c] for c in patch).strip() == text


def test_patches_that_are_no_cells_are_refused() -> None:
    with pytest.raises(ConfigError, match="16 cells, but the policy has 8 x 8 patches"):
        patch_labels([examples(1)[0].sample], (8, 8))


def test_a_backdrop_changes_the_background_and_nothing_else() -> None:
    sample = examples(1)[0].sample
    other = with_backdrop(sample, 56, random.Random(0))
    assert other.metadata == sample.metadata and other.question == sample.question
    old, new = (np.asarray(one.images[0], dtype=int) for one in (sample, other))
    full = {divmod(thing["cell"] - 1, 4) for thing in sample.metadata["scene"]["things"]}
    for row, column in itertools.product(range(4), repeat=2):
        if all(abs(row - r) > 1 or abs(column - c) > 1 for r, c in full):
            cell = (slice(row * 14, row * 14 + 14), slice(column * 14, column * 14 + 14))
            assert (old[cell] != new[cell]).mean() > 0.9
    assert (old == new).all(-1).any(), "the things themselves are drawn as before"


def test_frozen_vision_stays_as_it_is(tmp_path: Path) -> None:
    stage = {
        "name": "say",
        "steps": 2,
        "batch_size": 2,
        "warmup": 0,
        "freeze_vision": True,
        "mixture": {"where": 1},
    }
    run = WarmStart(config(tmp_path, stages=[stage]))
    before = {k: v.clone() for k, v in run.model.state_dict().items()}
    run.train_step()
    after = run.model.state_dict()
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    assert changed and not any("visual" in name for name in changed)


def test_rate_by_hand() -> None:
    stage = Stage(name="s", steps=101, warmup=2, final=0.2, mixture={"where": 1})
    assert [rate_factor(step, stage) for step in (0, 1, 50, 100)] == pytest.approx(
        [0.5, 0.992, 0.6, 0.2]
    )


def test_mixtures() -> None:
    drills = parse_mixture({"where": 1, "count_one:walk": 3}, "counting", STYLES)
    assert [(d.family, d.style, d.share) for d in drills] == [
        ("where", "short", 0.25),
        ("count_one", "walk", 0.75),
    ]
    with pytest.raises(ConfigError, match="did you mean 'count_one'"):
        parse_mixture({"count_on": 1}, "counting", STYLES)
    with pytest.raises(ConfigError, match="Unknown chain style 'wlk'"):
        parse_mixture({"where:wlk": 1}, "counting", STYLES)
    with pytest.raises(ConfigError, match="mixture is empty"):
        parse_mixture({}, "counting", STYLES)


def test_stream_reads_the_train_split_only_and_repeats_itself() -> None:
    drills = parse_mixture({"where": 1, "match_text": 1}, "counting", STYLES)
    stream = ExampleStream("counting", drills, seed=3, image_size=56)
    steps = [stream.batch(step, 4) for step in range(8)]
    assert {e.sample.split for batch in steps for e in batch} == {"train"}
    assert {len({len(e.sample.images) for e in batch}) for batch in steps} == {1}
    assert {len(batch[0].sample.images) for batch in steps} == {0, 1}
    again = ExampleStream("counting", drills, seed=3, image_size=56).batch(5, 4)
    assert [e.completion for e in again] == [e.completion for e in steps[5]]


def test_a_resumed_run_ends_where_an_unbroken_one_ends(tmp_path: Path) -> None:
    whole = run_sft(config(tmp_path / "a"))
    broken = config(tmp_path / "b")
    first = WarmStart(broken)
    for _ in range(3):
        first.train_step()
    first.next_stage()
    first.train_step()
    first.train_step()
    first.save()
    first.train_step()  # lost: the process dies here
    resumed = WarmStart(broken)
    assert (resumed.stage.name, resumed.step) == ("say", 2)
    again = run_sft(broken)
    left, right = load_policy(whole).model.state_dict(), load_policy(again).model.state_dict()
    assert all(torch.equal(left[name], right[name]) for name in left)
    fresh = build_tiny_policy("nano", 0)[0].state_dict()
    assert not all(torch.allclose(left[name], fresh[name], atol=1e-3) for name in left)


def test_state_of_another_configuration_is_refused(tmp_path: Path) -> None:
    run_sft(config(tmp_path))
    with pytest.raises(DataError, match="state of another warm start"):
        WarmStart(config(tmp_path, seed=1))


def test_a_state_with_a_changed_byte_is_never_taken(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3),
               "c": torch.ones(4, dtype=torch.bfloat16)}  # fmt: skip
    save_state(tmp_path, tensors, Progress(0, 3, 1.5, "recipe"))
    path = tmp_path / "state.safetensors"
    content = path.read_bytes()
    same = 0
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 2]) + content[place + 1 :])
        try:
            found, progress = load_state(tmp_path, ["recipe"]) or ({}, None)
        except DataError:
            continue
        same += 1
        assert progress == Progress(0, 3, 1.5, "recipe")
        assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert same < 12  # the name of the digest's key


def test_a_stage_that_joins_at_the_end_goes_on_from_what_is_done(tmp_path: Path) -> None:
    whole = config(tmp_path / "a")
    begun = config(tmp_path / "b", stages=whole.stages[:1])
    run_sft(begun)
    grown = config(tmp_path / "b")
    resumed = WarmStart(grown)
    assert (resumed.stage.name, resumed.step) == ("see", 3)
    left = load_policy(run_sft(whole)).model.state_dict()
    right = load_policy(run_sft(grown)).model.state_dict()
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_a_changed_or_missing_stage_is_another_recipe(tmp_path: Path) -> None:
    see, say = config(tmp_path).stages
    run_sft(config(tmp_path))
    for stages in ([see.model_copy(update={"steps": 4}), say], [say, see], [see]):
        with pytest.raises(DataError, match="state of another warm start"):
            WarmStart(config(tmp_path, stages=stages))


def test_a_finished_run_does_not_train_again(tmp_path: Path) -> None:
    rows: list[dict[str, float | str]] = []
    run_sft(config(tmp_path), log=rows.append)
    assert [(row["stage"], row["step"]) for row in rows] == [("see", 3), ("say", 4)]
    assert "patch_loss" in rows[0] and "text_loss" in rows[1]
    run_sft(config(tmp_path), log=rows.append)
    assert len(rows) == 2
    assert json.dumps(rows)


def test_the_command_keeps_the_losses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(config(tmp_path).model_dump(mode="json")))
    assert main(["sft", "--config", str(path)]) == 0
    assert f"Policy saved in {tmp_path / 'out'}" in capsys.readouterr().out
    lines = (tmp_path / "work" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["stage"] for line in lines] == ["see", "say"]
    assert json.loads(lines[1])["text_loss"] > 0


def test_the_vision_stage_learns_to_see(tmp_path: Path) -> None:
    stage = {
        "name": "see",
        "kind": "vision",
        "steps": 60,
        "batch_size": 16,
        "rest_lr": 0.005,
        "warmup": 5,
        "mixture": {"caption": 1},
    }
    run = WarmStart(config(tmp_path, stages=[stage]))
    losses = [run.train_step()["patch_loss"] for _ in range(60)]
    assert sum(losses[-5:]) / 5 < 0.85 * losses[0]


def test_wrong_keys_get_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'seed'"):
        config(tmp_path, sed=1)
    stage = {"name": "s", "steps": 1, "mixture": {"where": 1}, "matrix_rl": 0.1}
    with pytest.raises(ConfigError, match="did you mean 'matrix_lr'"):
        config(tmp_path, stages=[stage])
    with pytest.raises(ConfigError, match=r"stages\.0\.steps"):
        config(tmp_path, stages=[stage | {"steps": 0}])
    with pytest.raises(ConfigError, match=r"none\.yaml cannot be read"):
        load_sft_config(tmp_path / "none.yaml")


@pytest.mark.parametrize("path", sorted(Path("configs").glob("sft_*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_config_loads(path: Path) -> None:
    loaded = load_sft_config(path)
    for stage in loaded.stages:
        assert parse_mixture(stage.mixture, loaded.task, CHAIN_STYLES)
