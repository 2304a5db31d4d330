"""What the trainer's tests share: toy samples, a reward any policy varies in, a nano policy."""

import os
import random

from PIL import Image
from trl import GRPOConfig, GRPOTrainer

from ekipl_lab.groups.options import EKIPLOptions, Teacher
from ekipl_lab.policies.build import build_tiny_policy
from ekipl_lab.policies.load import as_policy
from ekipl_lab.policies.source import suppressed_token_ids
from ekipl_lab.teachers.adapters.oracle import OracleTeacher
from ekipl_lab.training.dataset import prompt_dataset
from ekipl_lab.training.trainer import EKIPLTrainer
from ekipl_lab.types import Action, RewardBreakdown, Sample


def toy_samples(count=8):
    """Flat images of different colours; the answer is the colour's number."""
    return [
        Sample(
            id=f"toy/{i}",
            task="toy",
            split="train",
            images=(Image.new("RGB", (56, 56), (30 * i % 256, 255 - 20 * i % 256, 40)),),
            question=f"Which colour is it, number {i}?",
            answer=str(i % 10),
            answer_type="number",
        )
        for i in range(count)
    ]


def even_scorer(sample, action):
    """1 for an even number of characters: a random policy is right about half of the time."""
    right = len(action.completion) % 2 == 0
    components = {"accuracy": float(right), "format": float(" " in action.completion)}
    return RewardBreakdown(components, {"accuracy": 1.0, "format": 0.25}, right)


def easy_scorer(easy):
    """Everything is right on the easy samples; on the others about half."""

    def score(sample, action):
        if int(sample.id.split("/")[1]) in easy:
            return RewardBreakdown({"accuracy": 1.0}, {"accuracy": 1.0}, True)
        return even_scorer(sample, action)

    return score


def never_scorer(sample, action):
    """1 for the reference text alone, which no untrained policy writes."""
    right = action.completion == reference(sample)
    return RewardBreakdown({"accuracy": float(right)}, {"accuracy": 1.0}, right)


def reference(sample):
    return "<think> red cube</think><answer>2</answer>"


def reference_writer(sample: Sample, *, style: str, fault: str, rng: random.Random) -> str:
    """The chain writer of the toys; a faulty chain has an odd number of characters."""
    return reference(sample) if fault == "none" else "<think>?</think><answer></answer>"


def oracle(name="oracle", accuracy=1.0, writer=reference_writer, actions=1):
    return Teacher(OracleTeacher(name, writer, accuracy=accuracy, style="plain"), actions)


def config(folder, **changes):
    """Two prompts of four completions per step, three steps, one update per generation."""
    settings = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "num_generations": 4,
        "max_completion_length": 12,
        "learning_rate": 1e-3,
        "max_steps": 3,
        "loss_type": "grpo",
        "beta": 0.0,
        "seed": 3,
        "use_cpu": os.environ.get("EKIPL_TOYS_ON") != "cuda",  # scripts/gpu_check.py: contract
        "bf16": False,
        "activation_checkpointing": False,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    return GRPOConfig(**(settings | changes))


def nano():
    return build_tiny_policy("nano", 0)


def ekipl_trainer(args, *, teachers=(), scorer=even_scorer, samples=None, model=None, **options):
    records = options.pop("records", None)
    norms = options.pop("gradient_norms_every", 0)
    share_work = options.pop("share_work", False)
    callbacks = options.pop("callbacks", None)
    policy, processor = model or nano()
    samples = toy_samples() if samples is None else samples
    return EKIPLTrainer(
        policy,
        args=args,
        samples=samples,
        processing_class=processor,
        scorer=scorer,
        teachers=teachers,
        options=EKIPLOptions(**options),
        records=records,
        gradient_norms_every=norms,
        share_work=share_work,
        callbacks=callbacks,
    )


def grpo_trainer(args, *, scorer=even_scorer, samples=None, model=None):
    """TRL's own trainer over the same prompts, rewards and generation settings."""
    samples = samples or toy_samples()
    model, processor = model or nano()
    args.generation_kwargs = {"suppress_tokens": suppressed_token_ids(as_policy(model, processor))}

    def reward(prompts, completions, sample_index, **_):
        texts = [completion[0]["content"] for completion in completions]
        actions = [Action(text, "policy", "nano") for text in texts]
        return [
            scorer(samples[index], action).total
            for index, action in zip(sample_index, actions, strict=True)
        ]

    return GRPOTrainer(
        model,
        reward_funcs=reward,
        args=args,
        train_dataset=prompt_dataset(samples),
        processing_class=processor,
    )


def history(trainer, *names):
    """The logged values of each name, step by step."""
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    return {name: [entry.get(name) for entry in steps] for name in names}


def weights(trainer):
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
