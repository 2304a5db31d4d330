"""The tiny policy: tokenizer, processor, saving, loading, sampling."""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import Qwen2Config, Qwen2ForCausalLM

from ekipl_lab.errors import ConfigError
from ekipl_lab.files import SUMS
from ekipl_lab.policies import (
    PolicySource,
    as_policy,
    build_tiny_policy,
    load_policy,
    save_policy,
    suppressed_token_ids,
)
from ekipl_lab.policies.adapters import weights_fingerprint
from ekipl_lab.policies.generation import choose_tokens, filtered_log_probs, uniform_table
from ekipl_lab.policies.source import encode_prompts
from ekipl_lab.policies.tokenizer import SPECIAL, build_tokenizer
from ekipl_lab.types import GenerationParams, Sample

torch.set_num_threads(1)


def sample(index: int, question: str = "How many red cubes are there?") -> Sample:
    noise = np.random.default_rng(index).integers(0, 255, (56, 56, 3), dtype=np.uint8)
    return Sample(
        id=f"test/{index}",
        task="counting",
        split="test",
        images=(Image.fromarray(noise),),
        question=question,
        answer="1",
        answer_type="integer",
    )


@pytest.fixture(scope="module")
def nano():
    return as_policy(*build_tiny_policy("nano", 0))


@pytest.mark.parametrize(
    "text",
    [
        "<think> p5 red cube </think><answer>12</answer>",
        "héllo wörld 漢字 🎈\n\n  x\t",
        "  lead and trail  ",
        "change_color(3, red)\r\n",
        "p1 p10 p17 p160 up5 p5x p 5 p05",
        "<|im_end|> stays text when decoded",
        "",
    ],
)
def test_any_text_round_trips(text: str) -> None:
    tokenizer = build_tokenizer()
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_words_digits_and_tags_are_single_tokens() -> None:
    tokenizer = build_tokenizer()
    text = "<think> p5 red cube</think><answer>12</answer>"
    assert tokenizer.convert_ids_to_tokens(tokenizer(text).input_ids) == [
        "<think>", "Ġp5", "Ġred", "Ġcube", "</think>", "<answer>", "1", "2", "</answer>",
    ]  # fmt: skip
    for tag in ("<think>", "</think>", "<answer>", "</answer>"):
        assert tokenizer.convert_tokens_to_ids(tag) not in tokenizer.all_special_ids
    assert {tokenizer.convert_tokens_to_ids(token) for token in SPECIAL} == set(
        tokenizer.all_special_ids
    )


def test_same_seed_same_weights_and_the_random_state_stays() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, _ = build_tiny_policy("nano", 5)
    assert torch.equal(before, torch.get_rng_state())
    second, _ = build_tiny_policy("nano", 5)
    other, _ = build_tiny_policy("nano", 6)
    weights = [next(iter(m.state_dict().values())) for m in (first, second, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_unknown_size_and_undivided_image_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'nano'"):
        build_tiny_policy("nanoo", 0)
    with pytest.raises(ConfigError, match="not a multiple of patch_size 14"):
        build_tiny_policy("nano", 0, image_size=60)


def test_saved_policy_loads_in_a_fresh_process_and_answers_alike(nano, tmp_path: Path) -> None:
    folder = save_policy(nano.model, nano.processor, tmp_path / "nano", dtype="float32")
    code = (
        "import sys, ekipl_lab.policies\n"
        "from transformers import AutoProcessor, AutoModelForImageTextToText\n"
        "from PIL import Image\n"
        "processor = AutoProcessor.from_pretrained(sys.argv[1])\n"
        "model = AutoModelForImageTextToText.from_pretrained(sys.argv[1])\n"
        "x = processor(text=['<|vision_start|><|image_pad|><|vision_end|>How'],"
        " images=[Image.new('RGB', (56, 56), 'red')], return_tensors='pt')\n"
        "print(type(processor).__name__, float(model(**x).logits[0, -1, 7]))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
    )
    name, value = run.stdout.split()
    inputs = nano.processor(
        text=["<|vision_start|><|image_pad|><|vision_end|>How"],
        images=[Image.new("RGB", (56, 56), "red")],
        return_tensors="pt",
    )
    assert name == "ImageOnlyQwen2VLProcessor"
    assert float(value) == pytest.approx(nano.model(**inputs).logits[0, -1, 7].item(), abs=1e-5)


def test_save_is_half_precision_keeps_other_files_and_leaves_no_litter(nano, tmp_path) -> None:
    folder = save_policy(nano.model, nano.processor, tmp_path / "p")
    (folder / "README.md").write_text("card")
    save_policy(nano.model, nano.processor, folder)
    assert (folder / "README.md").read_text() == "card"
    assert [child.name for child in tmp_path.iterdir()] == ["p"]
    size = (folder / "model.safetensors").stat().st_size
    parameters = sum(p.numel() for p in nano.model.parameters())
    assert 2 * parameters < size < 2 * parameters + 20_000
    assert load_policy(folder).model.dtype == torch.float32
    assert nano.model.dtype == torch.float32


def test_missing_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_policy(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"no config\.json"):
        load_policy(tmp_path / "empty")


def test_text_only_model_is_refused(tmp_path: Path) -> None:
    config = Qwen2Config(
        vocab_size=64, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(tmp_path)
    build_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="text-only model"):
        load_policy(tmp_path)


def test_model_without_an_image_processor_is_refused(nano, tmp_path: Path) -> None:
    nano.model.save_pretrained(tmp_path)
    nano.processor.tokenizer.save_pretrained(tmp_path)
    config = tmp_path / "tokenizer_config.json"
    config.write_text(config.read_text().replace("ImageOnlyQwen2VLProcessor", "Unknown"))
    with pytest.raises(ConfigError, match=r"image processor|processor of"):
        load_policy(tmp_path)


def test_blind_model_is_refused(tmp_path: Path) -> None:
    model, processor = build_tiny_policy("nano", 0)
    with torch.no_grad():
        model.model.visual.merger.mlp[2].weight.zero_()
    save_policy(model, processor, tmp_path / "blind")
    with pytest.raises(ConfigError, match="is blind"):
        load_policy(tmp_path / "blind")


def without(weights, name):
    return {key: value for key, value in weights.items() if key != name}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (without, "lacks 1 of its model's weights"),
        (lambda weights, name: weights | {name: weights[name][:-1].clone()}, "another shape"),
        (lambda weights, _: {f"x.{key}": value for key, value in weights.items()}, "lacks"),
        (lambda weights, name: weights | {name: weights[name] * float("nan")}, "not numbers"),
    ],
)
def test_a_checkpoint_that_no_seal_keeps_is_loaded_whole_or_not(
    nano, tmp_path: Path, change, says: str
) -> None:
    """transformers fills what is missing at random, and goes on."""
    save_policy(nano.model, nano.processor, tmp_path)
    (tmp_path / SUMS).unlink()
    weights = load_file(tmp_path / "model.safetensors")
    name = next(key for key in weights if "mlp.down_proj" in key)
    metadata = {"format": "pt"}
    save_file(change(weights, name), tmp_path / "model.safetensors", metadata=metadata)
    with pytest.raises(ConfigError, match=says):
        load_policy(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0{}\0\0    ", b"\xff" * 64])
def test_weights_whose_header_is_damaged_are_refused(nano, tmp_path: Path, content: bytes) -> None:
    save_policy(nano.model, nano.processor, tmp_path)
    (tmp_path / SUMS).unlink()
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ConfigError, match="no usable weights"):
        load_policy(tmp_path)
    with pytest.raises(ConfigError, match="its header cannot be read"):
        weights_fingerprint(tmp_path)


def test_greedy_equals_the_models_own_generate(nano) -> None:
    samples = [sample(0), sample(1, "Is it red?"), sample(2, "How many large blue balls?")]
    ours = PolicySource(nano).propose(samples, 1, GenerationParams(0.0, max_new_tokens=12))
    inputs = encode_prompts(nano, samples)
    reference = nano.model.generate(
        **inputs,
        do_sample=False,
        max_new_tokens=12,
        suppress_tokens=suppressed_token_ids(nano),
    )[:, inputs["input_ids"].shape[1] :]
    for actions, row in zip(ours, reference.tolist(), strict=True):
        ids = list(actions[0].token_ids)
        assert ids == row[: len(ids)]
        assert len(ids) >= 1


def test_text_only_prompts_after_images_equal_text_only_prompts_alone(nano) -> None:
    texts = [replace(sample(i, question), images=()) for i, question in enumerate(("Is it?", "No"))]
    params = GenerationParams(0.0, max_new_tokens=8)
    source = PolicySource(nano)
    source.propose([sample(0)], 1, params)
    after = [actions[0] for actions in source.propose(texts, 1, params)]
    for text, action in zip(texts, after, strict=True):
        inputs = encode_prompts(nano, [text])
        ids = torch.tensor([action.token_ids])
        logits = nano.model(
            input_ids=torch.cat([inputs["input_ids"], ids], 1), position_ids=None
        ).logits[0, -ids.shape[1] - 1 : -1]
        logits[:, suppressed_token_ids(nano)] = -torch.inf
        expected = logits.log_softmax(-1).gather(-1, ids[0][:, None])[:, 0]
        assert list(action.logprobs) == pytest.approx(expected.tolist(), abs=1e-4)


def test_log_probs_are_those_of_a_full_forward(nano) -> None:
    params = GenerationParams(0.7, max_new_tokens=6, seed=1)
    item = sample(4)
    action = PolicySource(nano).propose([item], 3, params)[0][2]
    inputs = dict(encode_prompts(nano, [item]))
    ids = torch.tensor([action.token_ids])
    inputs["input_ids"] = torch.cat([inputs["input_ids"], ids], 1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], torch.zeros_like(ids)], 1)
    logits = nano.model(**inputs).logits[0, -ids.shape[1] - 1 : -1]
    logits[:, suppressed_token_ids(nano)] = -torch.inf
    expected = (logits / 0.7).log_softmax(-1).gather(-1, ids[0][:, None])[:, 0]
    assert list(action.logprobs) == pytest.approx(expected.tolist(), abs=1e-4)


def test_sampling_never_gives_special_tokens(nano) -> None:
    actions = PolicySource(nano).propose([sample(0)], 64, GenerationParams(3.0, seed=0))[0]
    banned = set(suppressed_token_ids(nano))
    assert nano.processor.image_token_id in banned
    assert not banned & {token for action in actions for token in action.token_ids}
    ends = nano.processor.tokenizer.eos_token_id
    for action in actions:
        assert (action.token_ids[-1] == ends) == (action.finish_reason == "stop")
        assert len(action.logprobs) == len(action.token_ids)


def test_draws_depend_on_seed_and_sample_only(nano) -> None:
    params = GenerationParams(1.0, max_new_tokens=5, seed=7)
    source = PolicySource(nano)
    alone = [a.token_ids for a in source.propose([sample(1)], 4, params)[0]]
    together = source.propose([sample(0, "Is it?"), sample(1), sample(2)], 4, params)[1]
    small = PolicySource(nano, max_rows=4).propose([sample(0), sample(1)], 4, params)[1]
    assert [a.token_ids for a in together] == alone == [a.token_ids for a in small]
    assert len(set(alone)) > 1
    other = source.propose([sample(1)], 4, GenerationParams(1.0, max_new_tokens=5, seed=8))[0]
    assert [a.token_ids for a in other] != alone


def test_sampling_leaves_every_random_state_alone(nano) -> None:
    torch.manual_seed(0), np.random.seed(0), random.seed(0)  # noqa: NPY002
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    PolicySource(nano).propose([sample(0)], 2, GenerationParams(max_new_tokens=3))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    assert random.getstate() == states[2]


def test_filters_by_hand() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.2]]))
    kept = filtered_log_probs(logits, GenerationParams(top_k=2)).exp()
    assert kept[0].tolist() == pytest.approx([0.625, 0.375, 0.0])
    kept = filtered_log_probs(logits, GenerationParams(top_p=0.4)).exp()
    assert kept[0].tolist() == pytest.approx([1.0, 0.0, 0.0])
    cold = filtered_log_probs(logits, GenerationParams(temperature=0.5)).exp()
    assert cold[0].tolist() == pytest.approx([0.25 / 0.38, 0.09 / 0.38, 0.04 / 0.38])


def test_inverse_transform_by_hand() -> None:
    log_probs = torch.log(torch.tensor([[0.5, 0.0, 0.5]] * 4))
    uniforms = torch.tensor([0.0, 0.49, 0.5, 0.999], dtype=torch.float64)
    assert choose_tokens(log_probs, uniforms, greedy=False).tolist() == [0, 0, 2, 2]
    table = uniform_table(0, "a", 2, 3)
    assert table.shape == (2, 3)
    assert torch.equal(table, uniform_table(0, "a", 2, 3))
    assert not torch.equal(table, uniform_table(0, "b", 2, 3))


def test_a_real_config_keeps_the_stock_processor() -> None:
    from transformers import Qwen2VLConfig
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    assert PROCESSOR_MAPPING[Qwen2VLConfig].__name__ == "Qwen2VLProcessor"


def test_two_images_make_two_runs_of_image_tokens(nano) -> None:
    one, two = sample(0), sample(1)
    both = Sample(
        **{name: getattr(one, name) for name in ("id", "task", "split", "question", "answer")},
        answer_type="calls",
        images=one.images + two.images,
    )
    inputs = encode_prompts(nano, [both, one])
    counts = (inputs["input_ids"] == nano.processor.image_token_id).sum(-1)
    assert counts.tolist() == [32, 16]
    assert inputs["attention_mask"][1, 0] == 0
