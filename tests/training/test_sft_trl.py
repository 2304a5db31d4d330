"""Supervised stages by TRL's SFTTrainer: the tokens that are learned, its loss, stop and go on."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import families
import pytest
import torch
import trainer_toys as toys
import yaml
from paths import ROOT
from safetensors.torch import load_file

from ekipl_lab import tracking
from ekipl_lab.benchmarks import load_samples
from ekipl_lab.benchmarks.mini import MINI_TASKS
from ekipl_lab.benchmarks.mini.chains import check_chain, data_chain
from ekipl_lab.commands.cli import main
from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.groups.encoder import policy_encoder
from ekipl_lab.groups.options import EKIPLOptions
from ekipl_lab.policies import as_policy, load_policy, save_policy
from ekipl_lab.policies.source import encode_prompts
from ekipl_lab.prompts import instructed
from ekipl_lab.rewards import get_scorer
from ekipl_lab.training.config.action_sft import ActionSFT
from ekipl_lab.training.config.run_config import parse_config
from ekipl_lab.training.run import train
from ekipl_lab.training.sft.actions import Taught, answer_alone, taught_examples
from ekipl_lab.training.sft.config import Stage
from ekipl_lab.training.sft.data import BatchEncoder, Example
from ekipl_lab.training.sft.lowest import Lowest
from ekipl_lab.training.sft.model import forward
from ekipl_lab.training.sft.own_loop import own_loop
from ekipl_lab.training.sft.stage import supervise
from ekipl_lab.training.sft.trainer import (
    IGNORED,
    Collator,
    SupervisedTrainer,
    example_dataset,
    trl_arguments,
)
from ekipl_lab.types import Action

torch.set_num_threads(1)
TEXTS = ("<answer>1</answer>", "<think> two red things</think><answer>2</answer>")


def config(path, **changes):
    base = {
        "name": "lesson",
        "policy": {"path": str(path)},
        "data": {"task": "counting", "families": ["compare"], "limit": 8},
        "grpo": {"num_generations": 2, "per_device_train_batch_size": 2,
                 "max_completion_length": 60},
        "evaluation": {"sets": [], "every": 0},
        "tracking": {"checkpoint_every": 1, "experiment": "unit"},
    }  # fmt: skip
    return parse_config(base | changes)


def mini_examples(count, weights=(1.0,)):
    samples = load_samples(
        "mini", task="counting", families=["compare"], split="train", limit=count
    )
    return [
        Example(sample, TEXTS[i % 2], weights[i % len(weights)]) for i, sample in enumerate(samples)
    ]


def collator(policy):
    return Collator(policy, policy_encoder(policy, EKIPLOptions(), 60))


def trainer_of(policy, folder, examples, settings, **changes):
    run = config("unused", **changes)
    args = trl_arguments(run, settings, folder)
    stage = Stage(name="x", steps=args.max_steps, warmup=0, mixture={"x": 1.0})
    return SupervisedTrainer(
        policy.model,
        args=args,
        train_dataset=example_dataset(examples, 1, settings.batch_size, 0),
        data_collator=collator(policy),
        processing_class=policy.processor,
        schedule=stage,
    )


def gradients(model):
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("weights", [(1.0,), (0.25, 2.0, 1.0)])
def test_loss_and_gradients_are_those_of_the_own_loop(weights, tmp_path):
    """One batch of the tiny policy: at once, and by TRL's whole step in two micro-batches."""
    examples = mini_examples(4, weights)
    own = as_policy(*toys.nano())
    encoder = BatchEncoder(own.processor)
    loss = forward(own.model, encoder.encode(examples, {}), encoder.grid).loss
    torch.autograd.backward(loss)
    expected = gradients(own.model)

    theirs = as_policy(*toys.nano())
    trainer = trainer_of(theirs, tmp_path, examples, ActionSFT(batch_size=4, trainer="trl"))
    assert trainer.args.gradient_accumulation_steps == 2
    halves = [
        trainer.data_collator([{"example": e} for e in p]) for p in (examples[:2], examples[2:])
    ]
    total = trainer._get_num_items_in_batch(halves, torch.device("cpu"))
    losses = [
        trainer.training_step(trainer.model, half, num_items_in_batch=total) for half in halves
    ]
    assert sum(losses).item() == pytest.approx(loss.item(), abs=1e-5)
    found = gradients(theirs.model)
    assert found.keys() == expected.keys() and len(found) > 20
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, rtol=1e-4, atol=1e-5), name
    assert max(g.abs().max() for g in expected.values()) > 1e-2
    assert trainer.loss_on(examples) == pytest.approx(loss.item(), abs=1e-5)


@pytest.mark.parametrize("name", families.FAMILIES)
def test_labels_stand_on_the_completion_alone_token_by_token(name):
    policy = as_policy(*families.build(name), name)
    samples = toys.toy_samples(2)
    samples[1] = dataclasses.replace(samples[1], question=samples[1].question * 3)
    pairs = list(zip(samples, TEXTS, strict=True))
    batch = collator(policy)([{"example": Example(*pair)} for pair in pairs])
    tokenizer = policy.processor.tokenizer
    assert bool((batch["labels"] == IGNORED).any(1).all())
    for row, (sample, text) in enumerate(pairs):
        prompt = encode_prompts(policy, [sample])["input_ids"][0].tolist()
        learned = [*tokenizer(text, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
        length = int(batch["attention_mask"][row].sum())
        assert batch["input_ids"][row, :length].tolist() == prompt + learned
        padding = batch["labels"].shape[1] - length
        told = [IGNORED] * len(prompt) + learned + [IGNORED] * padding
        assert batch["labels"][row].tolist() == told
    assert batch["pixel_values"].numel() > 0


@pytest.mark.parametrize("name", families.FAMILIES)
def test_images_reach_the_model_and_padding_changes_nothing(name, tmp_path):
    policy = as_policy(*families.build(name), name)
    first, second = toys.toy_samples(2)
    long = dataclasses.replace(second, question=second.question * 4)
    pair = [Example(first, TEXTS[0]), Example(long, TEXTS[1])]
    trainer = trainer_of(policy, tmp_path, pair, ActionSFT(batch_size=2))
    alone = [trainer.loss_on([example]) for example in pair]
    tokens = [len(trainer.data_collator.completion_ids(example)) for example in pair]
    mean = (alone[0] * tokens[0] + alone[1] * tokens[1]) / sum(tokens)
    assert trainer.loss_on(pair) == pytest.approx(mean, abs=1e-5)
    other = Example(dataclasses.replace(first, images=second.images), TEXTS[0])
    assert trainer.loss_on([other]) != pytest.approx(alone[0], abs=1e-6)


def test_a_special_token_in_a_completion_is_refused():
    policy = as_policy(*toys.nano())
    with pytest.raises(DataError, match=r"toy/0.*cannot be learned"):
        collator(policy)([{"example": Example(toys.toy_samples(1)[0], "")}])


@pytest.mark.parametrize("task", MINI_TASKS)
def test_the_scorer_reads_an_answer_alone_in_every_family(task):
    scorer = get_scorer("ekipl/auto")
    for family in MINI_TASKS[task].families:
        (sample,) = load_samples("mini", task=task, families=[family], split="train", limit=1)
        assert scorer(sample, Action(answer_alone(sample), "data", "x")).success is True, family


@pytest.mark.parametrize("task", MINI_TASKS)
def test_chains_of_the_built_in_benchmark_are_right_and_the_same_each_time(task):
    for sample in load_samples("mini", task=task, split="train", limit=12):
        chain = data_chain(sample)
        report = check_chain(sample, chain)
        assert not report.false_steps and report.answer_correct and chain == data_chain(sample)


def test_what_is_taught(tmp_path):
    """Answers of all samples; chains where there are some; what is wrong or too long is counted."""
    policy = as_policy(*toys.nano())
    samples = toys.toy_samples(4)
    samples[0] = dataclasses.replace(samples[0], cot="It is 0.")
    samples[1] = dataclasses.replace(samples[1], cot="<think>x</think><answer>7</answer>")
    samples[2] = dataclasses.replace(samples[2], cot="and " * 80)
    answers = taught_examples(config("x"), ActionSFT(learn="answers"), samples, policy)
    assert [e.completion for e in answers.examples] == [f"<answer>{i}</answer>" for i in range(4)]
    assert (answers.teacher_actions, answers.refused) == (0, {})
    chains = taught_examples(config("x"), ActionSFT(learn="chains"), samples, policy)
    assert [e.completion for e in chains.examples] == ["<think>It is 0.</think><answer>0</answer>"]
    assert chains.refused == {"not_right": 1, "too_long": 1, "no_chain": 1}
    assert chains.teacher_actions == 3 and chains.teacher_tokens > 80
    with pytest.raises(ConfigError, match=r"none of the chains.*no_chain 1"):
        taught_examples(config("x"), ActionSFT(learn="chains"), samples[3:], policy)
    with pytest.raises(ConfigError, match="needs teachers"):
        taught_examples(config("x"), ActionSFT(), samples, policy)
    own = load_samples("mini", task="counting", families=["compare"], split="train", limit=3)
    long = load_policy(ROOT / "assets" / "policies" / "counting_study")
    raw = config("x").model_dump(mode="json", exclude_unset=True)
    raw["grpo"] |= {"max_completion_length": 80}
    found = taught_examples(parse_config(raw), ActionSFT(learn="chains"), own, long)
    assert [e.completion for e in found.examples] == [data_chain(sample) for sample in own]


def test_prompts_are_held_out_whole():
    samples = toys.toy_samples(5)
    examples = [Example(sample, text) for sample in samples for text in TEXTS]
    taught = Taught(examples, list(range(10)), 10, 0)
    learned, held = taught.split(0.4)
    assert len(held) == 4 and len({e.sample.id for e in held}) == 2
    assert {e.sample.id for e in held}.isdisjoint(e.sample.id for e in learned.examples)
    assert [examples[n] for n in learned.tokens] == learned.examples
    assert taught.split(0.0) == (taught, [])
    with pytest.raises(ConfigError, match="leaves none to learn"):
        taught.split(0.9999)


def test_the_lowest_loss_by_hand(tmp_path):
    lowest = Lowest(tmp_path, every=2, patience=2)
    for step, loss in ((0, 3.0), (2, 1.0), (4, 2.0)):
        assert lowest.due(step, 9) and not lowest.stop
        lowest.add(step, loss, lambda folder: folder.mkdir())
        lowest.keep()
    assert not lowest.due(4, 9) and not lowest.due(5, 9) and lowest.due(9, 9)
    again = Lowest(tmp_path, every=2, patience=2)
    again.begin(4)
    again.add(6, 1.0, lambda folder: pytest.fail("equal is not lower"))
    assert again.stop and again.step == 2
    assert [path.name for path in tmp_path.glob("step-*")] == ["step-000002"]
    again.begin(0)
    with pytest.raises(DataError, match="is gone; give --fresh"):
        _ = again.policy


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        yield folder


def saved(name, folder):
    """A family at width 32 as a checkpoint folder."""
    torch.manual_seed(0)
    return save_policy(*families.build(name), folder / name, dtype="float32")


@pytest.mark.parametrize("name", [pytest.param("qwen2_vl", marks=pytest.mark.slow), "qwen2_5_vl"])
def test_two_steps_with_lora_stopped_and_continued_to_the_bit(name, store):
    start = saved(name, store)
    changes = {"policy": {"path": str(start), "adapter": {"rank": 4, "alpha": 8, "dropout": 0.1}}}
    given = ActionSFT(
        learn="answers", batch_size=4, epochs=1.5, learning_rate=2e-2, warmup=0, trainer="trl",
        validation=0.25, validate_every=1,
    )  # fmt: skip
    whole = supervise(config(start, name=f"whole-{name}", **changes), given)
    assert (whole.status, whole.steps, whole.chains) == ("finished", 3, 12)
    history = tracking.metric_history(whole.run_id)
    losses = [value for _, value in history["loss"]]
    assert losses[-1] < losses[0] and len(losses) == 3
    assert len(history["validation_loss"]) == 4

    parted, seen = config(start, name=f"parted-{name}", **changes), []
    stopped = supervise(parted, given, on_event=seen.append, stop=lambda: _step(seen) >= 1)
    assert (stopped.status, stopped.steps) == ("stopped", 1) and not stopped.policy.exists()
    done = supervise(parted, given)
    assert done.run_id == stopped.run_id and done.costs == whole.costs
    for part in ("adapter/adapter_model.safetensors", "policy/model.safetensors"):
        ours, theirs = load_file(done.folder / part), load_file(whole.folder / part)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert tracking.metric_history(done.run_id)["loss"] == history["loss"]
    assert not list(whole.folder.rglob("*.bin"))

    samples = toys.toy_samples(2)
    merged, applied = load_policy(whole.policy), load_policy(whole.folder / "adapter")
    with torch.no_grad():
        ours, theirs, before = (
            policy.model(**encode_prompts(policy, samples)).logits
            for policy in (merged, applied, load_policy(start))
        )
    assert torch.allclose(ours, theirs, atol=1e-5) and not torch.allclose(ours, before, atol=1e-3)
    assert supervise(parted, given).steps == 3  # done: nothing is trained again
    with pytest.raises(ConfigError, match=r"another config \(sft.epochs"):
        supervise(parted, given.model_copy(update={"epochs": 2.0}))


def _step(events):
    return max([e["step"] for e in events if e["event"] == "progress"], default=0)


@pytest.mark.parametrize("trainer", ["own", "trl"])
def test_training_ends_at_the_lowest_loss_and_keeps_that_policy(trainer, store):
    """At rate 0 nothing gets lower: two measurements later it ends, with the policy of step 0."""
    start = saved("qwen2_vl", store)
    still = {"own": {"matrix_lr": 0.0, "rest_lr": 0.0}, "trl": {"learning_rate": 0.0}}[trainer]
    given = {"learn": "answers", "trainer": trainer, "batch_size": 2, "epochs": 4.0, "warmup": 0}
    looks = {"validation": 0.25, "validate_every": 2, "patience": 2}
    same = supervise(config(start, name=f"same-{trainer}"), ActionSFT(**given, **looks, **still))
    assert same.steps == 4
    before = load_policy(start).model.state_dict()
    for key, tensor in load_policy(same.policy).model.state_dict().items():
        assert torch.allclose(tensor, before[key], atol=1e-3), key  # the own loop saves in half
    rates = {"learning_rate": 1e-2} if trainer == "trl" else {}
    better = supervise(
        config(start, name=f"better-{trainer}"), ActionSFT(**given, **looks, **rates)
    )
    losses = json.loads((better.folder / "lowest" / "losses.json").read_text())["losses"]
    assert losses[0][0] == 0 and min(losses, key=lambda pair: pair[1])[0] > 0
    assert better.steps == losses[-1][0]


def test_a_train_config_does_for_sft_and_grpo_goes_on_from_it(store, capsys):
    """The command, whole weights with a frozen tower, then a step of GRPO from what it left."""
    start = saved("qwen2_5_vl", store)
    raw = config(start, name="c").model_dump(mode="json", exclude_unset=True)
    raw["policy"] |= {"freeze_vision": True}
    raw["sft"] = {"learn": "chains", "batch_size": 4, "learning_rate": 1e-2}
    path = store / "c.yaml"
    path.write_text(yaml.safe_dump(raw))
    assert main(["sft", "--config", str(path), "sft.lern=answers"]) == 2
    assert "did you mean 'learn'" in capsys.readouterr().err
    assert main(["sft", "--config", str(path), "--minutes", "3"]) == 2
    assert "--minutes is not for a run's config" in capsys.readouterr().err
    assert main(["sft", "--config", str(path), "sft.learn=answers"]) == 0
    assert "finished after 2 steps" in capsys.readouterr().out
    left = store / "work" / "c" / "policy"
    before, after = (load_policy(folder).model.state_dict() for folder in (start, left))
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed and not any("visual" in key for key in changed)
    grpo = {**raw["grpo"], "max_steps": 1, "max_completion_length": 8}
    again = config(left, name="g", grpo=grpo, evaluation={"sets": [], "every": 0, "at_end": False})
    assert train(again).status == "finished"


def test_solve_rate_weights_reach_the_loss(store):
    start = saved("qwen2_vl", store)
    oracle = {"type": "oracle", "id": "o", "style": "short"}
    run = config(start, name="rasft", teachers=[oracle], grpo={
        "num_generations": 2, "per_device_train_batch_size": 2, "max_completion_length": 60,
        "max_steps": 2,
    })  # fmt: skip
    given = ActionSFT(
        trainer="trl", batch_size=2, weighting="solve_rate", rollouts=2, learning_rate=1e-2
    )
    done = supervise(run, given)
    assert done.costs["policy_completions"] > 0 and done.status == "finished"
    kept = json.loads((done.folder / "taught.json").read_text())["examples"]
    assert {weight for _, _, weight in kept} == {1.0}  # a random policy solves nothing


def test_which_loop_learns():
    tiny = as_policy(*toys.nano())
    examples = mini_examples(2)
    assert own_loop(config("x"), ActionSFT(), tiny, examples)
    assert not own_loop(config("x"), ActionSFT(trainer="trl"), tiny, examples)
    other = as_policy(*families.build("qwen2_5_vl"))
    assert not own_loop(config("x"), ActionSFT(), other, examples)
    with pytest.raises(ConfigError, match="not one of the tiny ones"):
        own_loop(config("x"), ActionSFT(trainer="own"), other, examples)
    told = [dataclasses.replace(e, sample=instructed(e.sample)) for e in examples]
    assert not own_loop(config("x"), ActionSFT(), tiny, told)


@pytest.mark.slow
def test_two_processes_learn_what_one_does(store):
    start = saved("qwen2_5_vl", store)
    raw = config(start).model_dump(mode="json", exclude_unset=True)
    del raw["name"]
    raw["sft"] = {"learn": "answers", "batch_size": 4, "learning_rate": 1e-2, "validation": 0.25}
    path = store / "two.yaml"
    path.write_text(yaml.safe_dump(raw))
    words = ["-m", "ekipl_lab", "sft", "--config", str(path)]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    for name, begin in (("one", []), ("two", launch)):
        subprocess.run([sys.executable, *begin, *words, f"name={name}"], check=True)
    left = [store / "work" / name for name in ("one", "two")]
    one, two = (load_file(folder / "policy" / "model.safetensors") for folder in left)
    assert all(torch.allclose(one[key], two[key], atol=1e-5) for key in one)
    told = [json.loads((folder / "lowest" / "losses.json").read_text()) for folder in left]
    losses = [note["losses"] for note in told]
    assert [x for _, x in losses[0]] == pytest.approx([x for _, x in losses[1]], abs=1e-5)
