"""`ekipl sft --data`: a tiny policy for own data, measured, resumable, and trained further."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from own_data import DESCRIPTION, write_tiles
from PIL import Image

from ekipl_lab import tracking
from ekipl_lab.benchmarks import load_samples
from ekipl_lab.commands.cli import main
from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.policies import as_policy, build_tiny_policy, load_policy
from ekipl_lab.policies.source import encode_prompts
from ekipl_lab.policies.tokenizer import build_tokenizer, pieces_of
from ekipl_lab.rewards import get_scorer
from ekipl_lab.training.config.run_config import parse_config
from ekipl_lab.training.sft.blind import blind_accuracy
from ekipl_lab.training.sft.data import Example
from ekipl_lab.training.sft.own import (
    OwnData,
    OwnSFT,
    OwnStart,
    examples_of,
    own_pieces,
    picture_side,
    stages_of,
)
from ekipl_lab.training.sft.own_card import NO_VALIDATION, card, little_left, next_config
from ekipl_lab.training.sft.own_run import load_split, planned_steps
from ekipl_lab.training.sft.pictures import (
    PictureEncoder,
    PictureStream,
    packed_loss,
    words_of,
)
from ekipl_lab.types import Sample

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiles(tmp_path_factory.mktemp("tiles") / "data")


def own(tiles: Path, folder: Path, **changes: object) -> OwnSFT:
    settings = {
        "data": OwnData(benchmark=str(tiles), task="floor"),
        "output": folder / "policy",
        "size": "nano",
        "init": "none",
        "steps": 4,
        "questions": 8,
        "save_every": 2,
    }
    return OwnSFT(**(settings | changes))


def examples(tiles: Path, chains: bool = True) -> list[Example]:
    return examples_of(load_samples(str(tiles), task="floor", split="train"), chains)


def question(images: tuple[object, ...], text: str = "Name the paint.", **more: object) -> Sample:
    given = {"id": "q", "task": "floor", "split": "train", "answer": "lime", "answer_type": "text"}
    return Sample(images=images, question=text, metadata={"bare_prompt": True}, **(given | more))


def loss_of_the_model(policy: object, example: Example) -> tuple[float, int]:
    """Summed cross-entropy of a completion by the model's own forward pass, and its tokens."""
    inputs = dict(encode_prompts(policy, [example.sample]))
    tokenizer = policy.processor.tokenizer
    ids = torch.tensor([[*tokenizer(example.completion).input_ids, tokenizer.eos_token_id]])
    inputs["input_ids"] = torch.cat([inputs["input_ids"], ids], 1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], 0 * ids], 1)
    logits = policy.model(**inputs).logits[0, -ids.shape[1] - 1 : -1]
    return -logits.log_softmax(-1).gather(-1, ids[0][:, None]).sum().item(), ids.shape[1]


@pytest.mark.parametrize("sizes", [[(64, 64)], [(96, 48), (40, 80)]])
def test_questions_in_one_row_are_what_the_model_makes_of_each_alone(
    sizes: list[tuple[int, int]],
) -> None:
    pictures = [
        tuple(Image.new("RGB", size, (40 * row, 200, 90)) for size in sizes) for row in range(2)
    ]
    asked = [
        [Example(question(images, text, id=f"{row}-{text}"), f"<answer>{said}</answer>")]
        for row, images in enumerate(pictures)
        for text, said in (("Name the paint.", "lime"), ("Which, of all these, is it now?", "7"))
    ]
    flat = [example for group in asked for example in group]
    policy = as_policy(*build_tiny_policy("nano", 0, image_size=70, own=own_pieces(flat * 2)))
    encoder = PictureEncoder(policy.processor)
    rows = [
        replace(encoder.gather(flat[at : at + 1])[0], examples=tuple(flat[at : at + 2]))
        for at in (0, 2)
    ]
    batch = encoder.encode(rows, random.Random(0))
    total, count = map(
        sum, zip(*(loss_of_the_model(policy, example) for example in flat), strict=True)
    )
    assert packed_loss(policy.model, batch).item() == pytest.approx(total / count, abs=1e-4)
    assert int((batch.weights > 0).sum()) == count


@pytest.mark.parametrize("size", [(64, 64), (96, 48), (300, 200), (20, 31)])
def test_pixels_are_those_of_the_processor(size: tuple[int, int]) -> None:
    _, processor = build_tiny_policy("nano", 0, image_size=70)
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    theirs = processor.image_processor(images=[image], return_tensors="pt")
    encoder = PictureEncoder(processor)
    ours = torch.from_numpy(encoder.patches(image, random.Random(0)))
    assert torch.allclose(theirs["pixel_values"], ours, atol=1e-5)
    assert theirs["image_grid_thw"][0, 1:].tolist() == list(encoder.grid(size))


def test_words_of_the_data_become_tokens_and_every_text_comes_back() -> None:
    texts = ["How grim is it?", "How grim, then!", "<answer>seen</answer>", "once"]
    pieces = pieces_of(texts)
    assert set(pieces) == {"How", "Ġgrim"}
    tokenizer = build_tokenizer(pieces)
    assert len(tokenizer("How grim?").input_ids) == 3  # the sign is a byte
    for text in ("How grim, once? Ünseen 12", "<think> grim</think><answer>4</answer>"):
        assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert len(tokenizer("<think>").input_ids) == 1


def test_only_what_is_learned_gives_words(tiles: Path) -> None:
    assert {"Ġpaint", "scarlet", "yes", "Ġlook"} <= set(own_pieces(examples(tiles)))
    paints = [example for example in examples(tiles) if example.sample.family == "paint"]
    assert "yes" not in own_pieces(paints)


@pytest.mark.parametrize(
    ("size", "side"), [((64, 64), 70), ((48, 100), 70), ((20, 20), 56), ((900, 600), 112)]
)
def test_the_rule_of_sizes(size: tuple[int, int], side: int) -> None:
    assert picture_side([question((Image.new("RGB", size),))] * 3) == side


def test_chains_are_learned_where_there_are_any(tiles: Path) -> None:
    said = [example.completion for example in examples(tiles)[:2]]
    assert said == [
        "<think> look</think><answer>scarlet</answer>",
        "<think>It is 96.</think><answer>yes</answer>",
    ]
    only = [example.completion for example in examples(tiles, chains=False)[:2]]
    assert only[1] == "<think> look</think><answer>yes</answer>"


def test_every_pass_shows_every_picture_once_with_at_most_so_many_questions(tiles: Path) -> None:
    encoder = PictureEncoder(build_tiny_policy("nano", 0, image_size=70)[1])
    shown = [one for one in encoder.gather(examples(tiles)) if one.grids == ((5, 5),)]
    assert [len(one.examples) for one in shown] == [2] * 9
    stream = PictureStream(shown, seed=1, most=1)
    rows = [row for step in range(6) for row in stream.batch(step, 3)]
    passes = [{row.examples[0].sample.images.sources for row in rows[i : i + 9]} for i in (0, 9)]
    assert [len(one) for one in passes] == [9, 9]
    assert {len(row.examples) for row in rows} == {1}
    again = PictureStream(shown, seed=1, most=1)
    assert again.batch(4, 3) == rows[12:15]


def test_a_picture_within_the_text_is_refused_by_name() -> None:
    image = Image.new("RGB", (64, 64))
    assert words_of(Example(question((image,), "<image>What?"), "")) == "What?"
    with pytest.raises(DataError, match="'q' names a picture within its text"):
        words_of(Example(question((image,), "What is in <image>?"), ""))


def test_blind_solvers_by_hand() -> None:
    train = [question((), answer=said, id=str(i)) for i, said in enumerate("aaab")]
    train += [question((), "Where?", answer="z", id=f"w{i}") for i in range(5)]
    asked = [question(()), question((), "Where?", answer="z"), question((), answer="a")]
    found = blind_accuracy(train, asked, get_scorer("ekipl/auto"))
    # "Name the paint." is asked four times only, so its form is the family: z leads with 5 of 9.
    assert found["most_common"] == [0.0, 1.0, 0.0]
    assert found["prior"] == [0.0, 1.0, pytest.approx(3 / 9)]


def test_without_a_validation_split_pictures_are_held_out(tmp_path: Path) -> None:
    text = DESCRIPTION.replace(", validation: validation.csv", "")
    tiles = write_tiles(tmp_path / "data", 40, text)
    split = load_split(own(tiles, tmp_path))
    seen, kept = (
        {sample.images.sources for sample in part} for part in (split.train, split.validation)
    )
    assert split.held_out and seen and kept and not seen & kept
    assert len(split.train) + len(split.validation) == 80
    elsewhere = load_split(own(write_tiles(tmp_path / "moved", 40, text), tmp_path))
    assert [s.id for s in elsewhere.validation] == [s.id for s in split.validation]
    written = next_config(own(tiles, tmp_path), 9, False, 80)
    assert yaml.safe_load(written)["evaluation"]["sets"][0]["split"] == "train"
    assert NO_VALIDATION in written and NO_VALIDATION not in next_config(
        own(tiles, tmp_path), 9, True, 80
    )


def test_the_run_that_follows_asks_more_prompts_a_step_of_more_questions(tmp_path: Path) -> None:
    tiles = write_tiles(tmp_path / "data", 4)
    grpo = {}
    for questions in (999, 1000):
        written = next_config(own(tiles, tmp_path), 9, True, questions)
        config = parse_config(yaml.safe_load(written))
        grpo[questions] = config.grpo["per_device_train_batch_size"] // 8
        assert config.data.limit == questions
    assert grpo == {999: 8, 1000: 64}


@pytest.mark.parametrize(
    ("mixed", "right", "said"),
    [(0.19, 0.9, "fewer --minutes"), (0.19, 0.1, "more --minutes"), (0.2, 0.9, ""), (None, 0, "")],
)
def test_little_for_grpo_to_learn_from_is_said(mixed: float, right: float, said: str) -> None:
    words = little_left({"mixed_training": mixed, "right_training": right})
    assert said in words and bool(words) is bool(said)


def test_a_resumed_run_ends_where_an_unbroken_one_ends(tiles: Path, tmp_path: Path) -> None:
    ends = []
    for name in ("whole", "broken"):
        settings, known = own(tiles, tmp_path / name), examples(tiles)
        run = OwnStart(stages_of(settings, known, 4), known)
        for step in range(4):
            if name == "broken" and step == 3:
                run = OwnStart(stages_of(settings, known, 4), known)  # killed after step 3
                assert run.step == 2
                run.train_step()
            run.train_step()
            if run.step == 2:
                run.save()
        ends.append(run.model.state_dict())
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])


def test_shipped_weights_are_taken_but_for_new_words(tiles: Path, tmp_path: Path) -> None:
    init = "assets/policies/counting"
    known = examples(tiles)
    run = OwnStart(stages_of(own(tiles, tmp_path, size="demo", init=init), known, 1), known)
    old = load_policy(init)
    name = "model.visual.blocks.0.attn.qkv.weight"
    assert torch.equal(run.model.state_dict()[name], old.model.state_dict()[name])
    tables = [one.get_input_embeddings().weight for one in (run.model, old.model)]
    ids = [one.tokenizer.get_vocab() for one in (run.processor, old.processor)]
    assert torch.equal(tables[0][ids[0]["<think>"]], tables[1][ids[1]["<think>"]])
    with pytest.raises(ConfigError, match="another shape"):
        OwnStart(stages_of(own(tiles, tmp_path / "n", init=init), known, 1), known)


def test_minutes_become_steps_once(tiles: Path, tmp_path: Path) -> None:
    settings = own(tiles, tmp_path, steps=None, minutes=0.5)
    steps = planned_steps(settings, examples(tiles))
    assert steps > 1 and planned_steps(settings, examples(tiles)) == steps
    with pytest.raises(ConfigError, match=r"state of 0\.5 minutes, not of 1\.0"):
        planned_steps(settings.model_copy(update={"minutes": 1.0}), [])


def test_the_command_saves_a_measured_policy_and_train_goes_on(
    tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "mine.yaml"
    out = tmp_path / "mine"
    config.write_text(
        f"{{name: mine, data: {{benchmark: {tiles}}}, output: {out}, size: nano, init: none, "
        "questions: 8, validation: 24}"
    )
    assert main(["sft", "--config", str(config), "--steps", "4"]) == 0
    printed = capsys.readouterr().out
    assert "other pictures" in printed and f"Policy saved in {out}" in printed
    reached = json.loads((out / "reached.json").read_text())
    rows = {row["family"]: row for row in reached["rows"]}
    assert list(rows) == ["all", "paint", "wide"]
    assert rows["paint"]["most_common"] == pytest.approx(1 / 3, abs=1e-3)
    assert rows["all"]["items"] == 24 and reached["steps"] == 4
    page = (out / "README.md").read_text()
    assert "license: cc0-1.0" in page and f"| all | {rows['all']['greedy']} |" in page
    assert card(own(tiles, tmp_path), reached).count("| paint |") == 1

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    overrides = ["grpo.max_steps=2", "grpo.num_generations=2", "data.limit=8"]
    overrides += ["grpo.per_device_train_batch_size=4", "evaluation.sets=[]"]
    assert main(["train", "--config", str(out / "grpo.yaml"), *overrides]) == 0
    (run,) = tracking.list_runs()
    assert (run.name, run.status) == ("mine_grpo", "FINISHED")


def test_wrong_use_is_one_sentence(
    tiles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["sft", "--data", str(tiles)]
    for arguments, words in (
        (["sft"], "Give either --config"),
        (asked, "--out policies/mine"),
        ([*asked, "--out", str(tmp_path / "p"), "--task", "flor"], "did you mean 'floor'"),
        (["sft", "--data", "mini", "--out", str(tmp_path / "p")], "recipes of its own"),
        ([*asked, "--out", str(tmp_path / "p"), "--minutes", "0"], "minutes must be greater"),
        (
            [*asked, "--out", str(tmp_path / "p"), "--init", "assets/polices"],
            "did you mean",
        ),
    ):
        assert main(arguments) == 2
        said = capsys.readouterr().err
        assert words in said and said.count("\n") == 1
