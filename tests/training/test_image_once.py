"""Preprocessing an image once gives the bits of preprocessing it in every row."""

import families
import pytest
import torch
import trainer_toys as toys
from test_families import varied_samples

from ekipl_lab.prompts import build_messages
from ekipl_lab.training.image_cache import preprocessed_once

torch.set_num_threads(1)


@pytest.mark.parametrize("name", families.FAMILIES)
def test_processor_outputs_are_the_same_bits(name):
    """Groups of three rows, one image or two, unlike sizes; asked twice, as TRL does."""
    _, processor = families.build(name)
    rows = [sample for sample in varied_samples()[:4] for _ in range(3)]
    texts = [
        processor.apply_chat_template(build_messages(sample), add_generation_prompt=True)
        for sample in rows
    ]
    arguments = {"text": texts, "images": [list(s.images) for s in rows], "padding": True}
    plain = processor(**arguments, return_tensors="pt")
    stock = processor.image_processor
    with preprocessed_once(processor) as once:
        for _ in range(2):
            ours = processor(**arguments, return_tensors="pt")
            assert ours.keys() == plain.keys()
            assert all(torch.equal(ours[key], plain[key]) for key in plain)
            assert all(ours[key].dtype == plain[key].dtype for key in plain)
        expected = {"idefics3": 6 + 18 + 18}.get(name, 6)  # six images in all; 18 over the rows
        assert once.computed == expected
    assert processor.image_processor is stock


def test_the_trainer_computes_each_image_once_and_learns_the_same(monkeypatch):
    """Two steps of two prompts: four images; without the module the same weights, bit for bit."""
    computed = []

    def train():
        trainer = toys.ekipl_trainer(
            toys.config("unused", max_steps=2),
            teachers=[toys.oracle()],
            scorer=toys.never_scorer,
        )
        original = type(trainer.processing_class.image_processor).__call__

        def counting(self, images, *args, **kwargs):
            computed.append(len(images))
            return original(self, images, *args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(type(trainer.processing_class.image_processor), "__call__", counting)
            trainer.train()
        return toys.weights(trainer)

    ours = train()
    assert sum(computed) == 4
    computed.clear()
    from contextlib import nullcontext

    monkeypatch.setattr("ekipl_lab.training.trainer.preprocessed_once", nullcontext)
    plain = train()
    assert sum(computed) == 2 * 2 * 8  # two steps, twice, eight rows
    assert all(torch.equal(ours[name], plain[name]) for name in plain)


def test_log_probabilities_in_chunks_are_the_plain_ones():
    """TRL's chunked log-probabilities against log-softmax of the whole logits, to 1e-5."""
    trainer = toys.ekipl_trainer(toys.config("unused", temperature=0.7))
    inputs = toys.build_tiny_policy("nano", 0)[1](
        text=["<|vision_start|><|image_pad|><|vision_end|>How many red cubes?"] * 2,
        images=[[image] for sample in toys.toy_samples(2) for image in sample.images],
        return_tensors="pt",
    )
    kept = 5
    model = trainer.model.eval()
    chunked, entropy, _ = trainer._get_per_token_logps_and_entropies(
        model, inputs["input_ids"], inputs["attention_mask"], kept, compute_entropy=True,
        pixel_values=inputs["pixel_values"], image_grid_thw=inputs["image_grid_thw"],
        num_images=[1, 1], mm_token_type_ids=inputs.get("mm_token_type_ids"),
    )  # fmt: skip
    logits = model(**inputs).logits[:, -kept - 1 : -1] / 0.7
    plain = logits.log_softmax(-1)
    chosen = plain.gather(-1, inputs["input_ids"][:, -kept:, None])[..., 0]
    assert torch.allclose(chunked, chosen, atol=1e-5)
    assert torch.allclose(entropy, -(plain.exp() * plain).sum(-1), atol=1e-5)
