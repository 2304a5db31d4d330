"""Every listed family goes through the trainer and our generation, on images of any size."""

from dataclasses import replace

import families
import pytest
import torch
import trainer_toys as toys
from PIL import Image

from ekipl_lab.policies import PolicySource, as_policy, require_sight
from ekipl_lab.policies.adapters import language_linears, lora_config
from ekipl_lab.policies.source import encode_prompts, suppressed_token_ids
from ekipl_lab.types import GenerationParams

torch.set_num_threads(1)


def varied_samples():
    """One image or two, of unlike sizes; the first four prompts differ in both."""
    sizes = [(56, 56), (112, 56), (70, 90), (56, 112)]
    return [
        replace(
            sample,
            images=tuple(
                Image.new("RGB", sizes[(i + j) % 4], (40 * i % 256, 90 * j, 200 - 20 * i))
                for j in range(1 + i % 2)
            ),
        )
        for i, sample in enumerate(toys.toy_samples())
    ]


@pytest.mark.parametrize("name", families.FAMILIES)
def test_two_steps_with_teachers_several_images_and_unlike_sizes(name, tmp_path):
    """Two optimiser steps of two micro-batches each; the second update is off-policy (ratio)."""
    model, processor = families.build(name)
    require_sight(model, processor, name)
    trainer = toys.ekipl_trainer(
        toys.config(
            tmp_path, max_steps=2, num_iterations=2, shuffle_dataset=False, learning_rate=1e-2
        ),
        teachers=[toys.oracle()],
        scorer=toys.never_scorer,
        samples=varied_samples(),
        model=(model, processor),
    )
    before = toys.weights(trainer)
    trainer.train()
    steps = toys.history(trainer, "loss", "grad_norm", "share/oracle/kept")
    assert all(torch.isfinite(torch.tensor(steps["grad_norm"])))
    assert steps["share/oracle/kept"][0] > 0
    after = toys.weights(trainer)
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert any("vision" in key or "visual" in key for key in changed)
    assert any("language_model" in key or "text_model" in key for key in changed)


@pytest.mark.parametrize("name", families.FAMILIES)
def test_one_step_with_an_adapter_leaves_the_vision_tower(name, tmp_path):
    model, processor = families.build(name)
    assert len(language_linears(model)) == 14
    trainer = toys.EKIPLTrainer(
        model,
        args=toys.config(tmp_path, max_steps=1, beta=0.1, activation_checkpointing=True),
        samples=varied_samples(),
        processing_class=processor,
        scorer=toys.never_scorer,
        teachers=[toys.oracle()],
        peft_config=lora_config(model, rank=2),
    )
    before = toys.weights(trainer)
    trainer.train()
    after = toys.weights(trainer)
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert len(changed) >= 14 and all("lora_" in key for key in changed)
    assert not any("vision" in key or "visual" in key for key in changed)


@pytest.mark.parametrize("name", families.FAMILIES)
def test_our_generation_is_that_of_transformers(name):
    """Greedy completions of a padded batch, by our loop and by ``generate``."""
    model, processor = families.build(name)
    policy, samples = as_policy(model, processor, name), varied_samples()[:4]
    params = GenerationParams(max_new_tokens=6, temperature=0.0)
    ours = PolicySource(policy).propose(samples, 1, params)
    inputs = encode_prompts(policy, samples)
    theirs = model.generate(
        **inputs, do_sample=False, max_new_tokens=6, suppress_tokens=suppressed_token_ids(policy)
    )[:, inputs["input_ids"].shape[1] :]
    for (action,), row in zip(ours, theirs.tolist(), strict=True):
        assert list(action.token_ids) == row[: len(action.token_ids)]


def alone(policy, sample, token_ids):
    """Log-probabilities of a completion by one plain forward of its row: no cache, no padding."""
    inputs, ids = dict(encode_prompts(policy, [sample])), torch.tensor([token_ids])
    start, count = inputs["input_ids"].shape[1], ids.shape[1]
    inputs["input_ids"] = torch.cat([inputs["input_ids"], ids], 1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    for name in {"mm_token_type_ids", "token_type_ids"} & inputs.keys():
        inputs[name] = torch.cat([inputs[name], torch.zeros_like(ids)], 1)
    with torch.no_grad():
        logits = policy.model(**inputs, use_cache=False).logits[0, start - 1 : start - 1 + count]
    logits[:, suppressed_token_ids(policy)] = -torch.inf
    return logits.log_softmax(-1).gather(1, ids[0][:, None])[:, 0]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("name", families.FAMILIES)
def test_a_row_does_not_depend_on_the_padding_that_a_longer_prompt_gives_it(name, temperature):
    """The long prompt is beyond Gemma3's window of 64 tokens, and pads the others to it."""
    policy = as_policy(*families.build(name), name)
    short, two, long = varied_samples()[:3]
    batch = [
        replace(short, question="Colour?"),
        replace(two, question="Is there anything else in the picture that you can name?"),
        replace(long, question="Which colour is it, and which shape has the thing? " * 12),
    ]
    lengths = encode_prompts(policy, batch)["attention_mask"].sum(-1)
    assert lengths[2] > 64 + lengths[0]
    params = GenerationParams(max_new_tokens=8, temperature=temperature, seed=5)
    for sample, actions in zip(batch, PolicySource(policy).propose(batch, 2, params), strict=True):
        for action in actions:
            assert action.logprobs == pytest.approx(
                alone(policy, sample, action.token_ids).tolist(), abs=1e-5
            )
