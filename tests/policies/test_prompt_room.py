"""Prompts are never truncated, least of all through an image: what does not fit is refused."""

import pytest
import torch
import trainer_toys as toys
from PIL import Image

from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.policies.context import check_prompts_fit, context_length, encoded_length
from ekipl_lab.policies.load import as_policy
from ekipl_lab.policies.source import PolicySource, encode_prompts
from ekipl_lab.training.config.run_config import parse_config
from ekipl_lab.types import GenerationParams, Sample

#: An image of 56 pixels is 4 x 4 tokens; the nano policy has 1,024 positions.
PER_IMAGE, CONTEXT = 16, 1024
MODEL, PROCESSOR = toys.nano()
POLICY = as_policy(MODEL, PROCESSOR)


def sample(name="s", images=1, words=0, side=56):
    shown = tuple(Image.new("RGB", (side, side), (9 * i % 256, 60, 90)) for i in range(images))
    question = "How many red cubes are left?" + " red" * words
    return Sample(name, "toy", "train", shown, question, "2", "number")


def image_tokens(ids):
    return int((ids == MODEL.config.image_token_id).sum())


def test_lengths_count_images():
    one = encoded_length(POLICY, sample())
    assert context_length(MODEL) == CONTEXT
    # each further image: its tokens, one that opens and one that closes it; several are numbered
    assert encoded_length(POLICY, sample(images=3)) == one + 2 * (PER_IMAGE + 2) + 3
    assert encoded_length(POLICY, sample(words=40)) == one + 40


def test_one_token_too_many_is_refused_and_named():
    fits = sample("fits", images=20, words=300)
    room = CONTEXT - encoded_length(POLICY, fits)
    assert 0 < room < 400
    check_prompts_fit(POLICY, [fits], room, CONTEXT)
    longer = sample("toy/17", images=20, words=301)
    message = (
        rf"The prompt of sample 'toy/17' has {CONTEXT - room + 1} tokens with its 20 image\(s\); "
        rf"{room} more for the completion exceed the policy's context of 1024. Prompts are never"
    )
    with pytest.raises(DataError, match=message):
        check_prompts_fit(POLICY, [fits, longer], room, CONTEXT)
    check_prompts_fit(
        POLICY, [longer], room, None
    )  # a model that does not say is not second-guessed


def test_images_of_another_size_are_counted_by_their_own(monkeypatch):
    """Each combination of sizes is encoded once; what is clearly short costs nothing more."""
    import ekipl_lab.policies.context as room

    seen = []

    def counted(policy, one):
        seen.append(one.id)
        return encoded_length(policy, one)

    monkeypatch.setattr(room, "encoded_length", counted)
    small = [sample(f"small/{i}") for i in range(5)]
    check_prompts_fit(POLICY, small, 64, CONTEXT)
    assert seen == ["small/0"]
    # sixty images of that size are another combination
    with pytest.raises(DataError, match="'many'"):
        check_prompts_fit(POLICY, [*small, sample("many", images=60)], 64, CONTEXT)


def test_the_trainer_refuses_before_it_samples(tmp_path):
    samples = [*toys.toy_samples(7), sample("toy/long", images=60)]
    with pytest.raises(DataError, match=r"'toy/long' has \d+ tokens with its 60 image"):
        toys.ekipl_trainer(toys.config(tmp_path), samples=samples)


def test_measuring_refuses_too():
    source = PolicySource(POLICY)
    with pytest.raises(DataError, match=r"'long'.*never cut"):
        source.propose([sample(), sample("long", images=60)], 1, GenerationParams(max_new_tokens=8))


def test_long_prompts_with_several_images_arrive_whole(tmp_path):
    """Longer than 512 tokens, the limit at which earlier TRLs cut, and unlike in length."""
    samples = [sample("a", images=3, words=500), sample("b", images=2, words=350)]
    trainer = toys.ekipl_trainer(
        toys.config(tmp_path, max_steps=1), samples=samples, teachers=[toys.oracle()],
        selection="quota",
    )  # fmt: skip
    batches = []
    original = trainer._generate_and_score_completions

    def kept(inputs):
        output = original(inputs)
        batches.append((inputs, output))
        return output

    trainer._generate_and_score_completions = kept
    trainer.train()
    ((inputs, output),) = batches
    assert sorted({row["sample_index"] for row in inputs}) == [0, 1]
    for row, given in enumerate(inputs):
        own = samples[given["sample_index"]]
        whole = encode_prompts(POLICY, [own])["input_ids"][0]
        arrived = output["prompt_ids"][row][output["prompt_mask"][row].bool()]
        assert torch.equal(arrived, whole) and len(whole) > 400
        assert image_tokens(arrived) == PER_IMAGE * len(own.images)
    assert max(int(mask.sum()) for mask in output["prompt_mask"]) > 512


def test_there_is_no_setting_that_cuts_prompts():
    with pytest.raises(ConfigError, match="Unknown key in grpo 'max_prompt_length'"):
        parse_config({"name": "x", "policy": {"build": "nano"}, "grpo": {"max_prompt_length": 64}})
