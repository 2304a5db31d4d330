"""Work shared by the rows of a group: TRL's tokens, values and gradients, with less of it."""

import families
import pytest
import torch
import trainer_toys as toys
from test_families import varied_samples

from ekipl_lab.policies.adapters import lora_config
from ekipl_lab.policies.shared_prompts import PromptRows, can_share
from ekipl_lab.policies.shared_vision import FAMILIES, can_share_vision, distinct_images
from ekipl_lab.training.loss.shared_forward import like_lengths
from ekipl_lab.training.trainer import EKIPLTrainer

torch.set_num_threads(1)
#: TRL's own passes and the shared ones differ by the order of sums alone.
CLOSE = {"rtol": 1e-4, "atol": 1e-6}
#: All families; most of them in `make verify`.
SOME = [
    name if name in ("qwen2_5_vl", "idefics3") else pytest.param(name, marks=pytest.mark.slow)
    for name in families.FAMILIES
]


def trainer_of(tmp_path, name="qwen2_vl", rank=None, **changes):
    """Both groups of a step in one batch, of four rows each, over images of unlike sizes."""
    args = toys.config(
        tmp_path, per_device_train_batch_size=8, gradient_accumulation_steps=1, **changes
    )
    model, processor = families.build(name)
    trainer = EKIPLTrainer(
        model, args=args, samples=varied_samples(), processing_class=processor,
        scorer=toys.even_scorer, share_work=True,
        peft_config=None if rank is None else lora_config(model, rank=rank),
    )  # fmt: skip
    if args.activation_checkpointing:  # as transformers does when training begins
        trainer.model.gradient_checkpointing_enable()
    assert trainer._shared.on and trainer._shared.prompts() is not args.activation_checkpointing
    assert ("images alone" in trainer.not_shared()) is args.activation_checkpointing
    trainer.model.train()
    return trainer


def batch_of(trainer):
    """What the loss is given for the first step."""
    return trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))


def learned(trainer, inputs, *, shared):
    """Loss, metrics and gradients, with the work shared or TRL's own passes."""
    trainer._shared.on = shared
    trainer.current_gradient_accumulation_steps = 1
    trainer._metrics["train"].clear()
    trainer.model.zero_grad(set_to_none=True)
    loss = trainer._compute_loss(trainer.model, dict(inputs))
    loss.backward()
    gradients = {
        name: None if p.grad is None else p.grad.clone()
        for name, p in trainer.model.named_parameters()
    }
    return loss.detach(), dict(trainer._metrics["train"]), gradients


def assert_equal_learning(trainer, inputs):
    inputs = dict(inputs, advantages=inputs["advantages"].to(inputs["prompt_ids"].device))
    loss, metrics, gradients = learned(trainer, inputs, shared=False)
    our_loss, our_metrics, ours = learned(trainer, inputs, shared=True)
    assert torch.allclose(our_loss, loss, **CLOSE)
    assert our_metrics.keys() == metrics.keys()
    for name, values in metrics.items():
        assert our_metrics[name] == pytest.approx(values, rel=1e-4, abs=1e-5), name
    for name, gradient in gradients.items():
        if gradient is None:
            assert ours[name] is None, name
        else:
            assert torch.allclose(ours[name], gradient, **CLOSE), name
    return gradients


@pytest.mark.parametrize("name", families.FAMILIES)
def test_gradients_are_trls(tmp_path, name):
    """One group learns, the other has no advantage; then both do."""
    trainer = trainer_of(tmp_path, name)
    inputs = batch_of(trainer)
    prompts = inputs["prompt_ids"].tolist()
    silent = torch.tensor([row == prompts[0] for row in prompts])
    assert 0 < silent.sum() < 8
    some = torch.linspace(-1.0, 1.5, 8)
    gradients = assert_equal_learning(
        trainer, inputs | {"advantages": some.masked_fill(silent, 0.0)}
    )
    assert sum(float(g.abs().sum()) for g in gradients.values() if g is not None) > 0
    assert_equal_learning(trainer, inputs | {"advantages": some})


@pytest.mark.parametrize("name", families.FAMILIES)
def test_completions_are_those_of_generate(tmp_path, name):
    trainer = trainer_of(tmp_path, name, max_completion_length=16)
    rows = next(iter(trainer.get_train_dataloader()))
    found = []
    for shared in (False, True):
        trainer._shared.on = shared
        torch.manual_seed(4)
        found.append(trainer._generate_and_score_completions(rows)["completion_ids"])
    assert torch.equal(*found)
    assert len({tuple(row) for row in found[0].tolist()}) > 4


def tower_calls(trainer):
    """Calls of the vision tower, and how much each was given."""
    base = trainer._shared._inner(trainer.model).base_model
    tower = next(
        getattr(base, part) for part in ("visual", "vision_tower", "vision_model")
        if hasattr(base, part)
    )  # fmt: skip
    calls = []

    def note(module, given, named):
        calls.append(len(given[0] if given else named["pixel_values"]))

    tower.register_forward_pre_hook(note, with_kwargs=True)
    return calls


@pytest.mark.parametrize("name", SOME)
def test_images_alone_are_shared_where_keys_cannot_be_kept(tmp_path, name):
    """Activation checkpointing, the tower trained: a quarter of the images, the same gradients."""
    trainer = trainer_of(tmp_path, name, activation_checkpointing=True)
    inputs = batch_of(trainer) | {"advantages": torch.linspace(-1.0, 1.5, 8)}
    calls = tower_calls(trainer)
    gradients = assert_equal_learning(trainer, inputs)
    plain, shared = calls[0], calls[-1]
    assert plain == 4 * shared and set(calls) == {plain, shared}
    tower = [g for n, g in gradients.items() if "vis" in n and g is not None]
    assert sum(float(g.abs().sum()) for g in tower) > 0


def with_adapter(tmp_path, name, **changes):
    """A trainer whose adapter is away from its start, where B is zero."""
    trainer = trainer_of(tmp_path, name, rank=2, **changes)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            if parameter.requires_grad:
                parameter += 0.02 * torch.randn_like(parameter)
    return trainer


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", SOME)
def test_with_an_adapter_gradients_are_trls(tmp_path, name, checkpointing):
    trainer = with_adapter(tmp_path, name, activation_checkpointing=checkpointing)
    inputs = batch_of(trainer)
    prompts = inputs["prompt_ids"].tolist()
    silent = torch.tensor([row == prompts[0] for row in prompts])
    some = torch.linspace(-1.0, 1.5, 8).masked_fill(silent, 0.0)
    calls = tower_calls(trainer)
    gradients = assert_equal_learning(trainer, inputs | {"advantages": some})
    learned_by = {n for n, g in gradients.items() if g is not None and g.abs().sum() > 0}
    assert len(learned_by) >= 14 and all("lora_" in n for n in learned_by)
    assert sum(calls[1:]) * 4 == calls[0]


def test_with_an_adapter_completions_and_reference_are_trls(tmp_path):
    """Sampling, and the KL term against the policy without its adapter."""
    trainer = with_adapter(tmp_path, "qwen2_5_vl", beta=0.1, max_completion_length=16)
    rows = next(iter(trainer.get_train_dataloader()))
    found, calls = [], tower_calls(trainer)
    for shared in (False, True):
        trainer._shared.on = shared
        torch.manual_seed(4)
        found.append(trainer._generate_and_score_completions(rows))
    plain, ours = found
    half = len(calls) // 2  # sampling and reference, each once
    assert half == 2 and sum(calls[:half]) == 4 * sum(calls[half:])
    assert torch.equal(ours["completion_ids"], plain["completion_ids"])
    assert torch.allclose(ours["ref_per_token_logps"], plain["ref_per_token_logps"], **CLOSE)
    inputs = batch_of(trainer) | {"advantages": torch.linspace(-1.0, 1.5, 8)}
    _, metrics, _ = learned(trainer, inputs, shared=True)
    assert metrics["kl"][0] > 1e-4
    assert_equal_learning(trainer, inputs)


def test_a_batch_without_any_advantage_has_gradients_of_zero(tmp_path):
    """An optimiser with momentum moves on such a step, too; None would stop it."""
    trainer = trainer_of(tmp_path)
    inputs = batch_of(trainer)
    gradients = assert_equal_learning(trainer, inputs | {"advantages": torch.zeros(8)})
    assert all(g is not None and not g.any() for g in gradients.values())


@pytest.mark.parametrize(
    "changes", [{"beta": 0.1}, {"loss_type": "dapo"}, {"num_iterations": 2}], ids=str
)
def test_other_losses(tmp_path, changes):
    """With a reference's KL term every row has a gradient."""
    if "beta" in changes:
        from ekipl_lab.policies.load import load_policy
        from ekipl_lab.policies.save import save_policy

        folder = save_policy(*toys.nano(), tmp_path / "start", dtype="float32")
        policy = load_policy(folder)
        args = toys.config(
            tmp_path, per_device_train_batch_size=8, gradient_accumulation_steps=1, **changes
        )
        trainer = toys.ekipl_trainer(args, model=(policy.model, policy.processor), share_work=True)
    else:
        trainer = trainer_of(tmp_path, **changes)
    inputs = batch_of(trainer)
    with torch.no_grad():  # away from the point where ratio and KL are trivial
        for parameter in trainer.model.parameters():
            parameter += 1e-3 * torch.randn_like(parameter)
    silent = torch.arange(8) % 2 == 0
    advantages = torch.linspace(-1.0, 1.5, 8).masked_fill(silent, 0.0)
    assert_equal_learning(trainer, inputs | {"advantages": advantages})


def test_a_silent_group_runs_without_a_graph(tmp_path):
    """The work that is left out: prompts read once, no graph where nothing is learned."""
    trainer = trainer_of(tmp_path)
    inputs = batch_of(trainer)
    prompts = inputs["prompt_ids"].tolist()
    silent = torch.tensor([row == prompts[0] for row in prompts])
    read = []
    trainer.model.model.visual.register_forward_hook(
        lambda module, given, output: read.append((len(given[0]), torch.is_grad_enabled()))
    )
    inputs |= {"advantages": torch.ones(8).masked_fill(silent, 0.0)}
    learned(trainer, inputs, shared=True)
    learned(trainer, inputs, shared=False)
    patches, images = inputs["image_grid_thw"].prod(-1).sum().item(), len(read)
    assert images == 3 and read[2][0] == patches
    assert sorted(read[:2]) == sorted([(read[0][0], True), (read[1][0], False)])
    assert 4 * (read[0][0] + read[1][0]) == patches


def test_prompts_with_equal_words_and_other_pixels_are_not_equal():
    ids, mask = torch.tensor([[1, 2]] * 4), torch.ones(4, 2, dtype=torch.long)
    pixels = torch.zeros(4, 3, 2, 2)
    pixels[2, 0, 0, 0] = 1e-7
    rows = PromptRows(ids, mask, [1, 1, 1, 1], {"pixel_values": pixels})
    assert rows.first == [0, 0, 2, 0]
    assert rows.places([3, 2, 1]) == ([0, 2], [0, 1, 0])


def test_images_are_equal_by_pixels_and_sizes():
    pixels, grid = torch.zeros(12, 3), torch.tensor([[1, 2, 2], [1, 1, 4], [1, 2, 2]])
    assert distinct_images(pixels, {"image_grid_thw": grid}) == ([0, 1], [0, 1, 0])
    pixels[11, 2] = 1e-7
    assert distinct_images(pixels, {"image_grid_thw": grid}) == ([0, 1, 2], [0, 1, 2])
    assert distinct_images(torch.zeros(3, 3, 4, 4), {}) == ([0], [0, 0, 0])


def test_where_it_does_not_hold_trls_passes_are_taken(tmp_path):
    model, _ = toys.nano()
    assert can_share(model)
    model.model.language_model.layers[0].mlp = torch.nn.Sequential(
        model.model.language_model.layers[0].mlp, torch.nn.Dropout(0.1)
    )
    assert not can_share(model)
    assert can_share_vision(model)
    model.model.visual.blocks[0].mlp = torch.nn.Sequential(
        model.model.visual.blocks[0].mlp, torch.nn.Dropout(0.1)
    )
    assert not can_share_vision(model)
    assert {families.build(name)[0].config.model_type for name in families.FAMILIES} == FAMILIES


def test_rows_of_like_lengths_go_together():
    lengths = [9, 1, 8, 1, 9, 1]
    assert like_lengths(range(6), lengths, 6) == [[0, 4, 2], [1, 3, 5]]
    assert like_lengths(range(6), [5] * 6, 6) == [[0, 1, 2, 3, 4, 5]]
    assert like_lengths(range(6), [5] * 6, 4) == [[0, 1, 2], [3, 4, 5]]
