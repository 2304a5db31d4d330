"""An EKIPL step against TRL's GRPO step, side by side in one process.

    python -m perf.trainer --out results/trainer_speed.json

Both trainers get the same prompts, the same rewards and a policy of which every completion runs to
its full length; the teachers' actions (recorded, so they cost nothing) are as long, so that both
train on the same number of kept tokens. Steps are interleaved: one of each, again and again, so
that what else the machine does falls on both equally. Ratios are of CPU seconds of pairs of
neighbouring steps: median with quartiles, and the ratio of the fastest steps. ``own_share`` is the
part of a step in which teachers are asked and candidates scored. Memory is the peak of a fresh
process that trains one of the two. ``--only memory`` measures that alone, in some minutes.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import threading
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from ekipl_lab.groups.options import EKIPLOptions, Teacher
from ekipl_lab.policies import as_policy, build_tiny_policy, suppressed_token_ids
from ekipl_lab.training.dataset import prompt_dataset
from ekipl_lab.training.trainer import EKIPLTrainer
from ekipl_lab.types import Action, Capabilities, RewardBreakdown, Sample
from perf.trainer.peak import memory_ratio


@dataclasses.dataclass(frozen=True)
class Size:
    """One fixed size: policy, pixels of the images, prompts a step, group, completion tokens."""

    policy: str
    pixels: int
    prompts: int
    group: int
    tokens: int
    teachers: int = 2
    actions: int = 1


SIZES = {
    "small": Size("nano", 56, 4, 8, 24),
    "large": Size("demo", 56, 4, 8, 48),
}
GROWTH = {
    "M=1": {"teachers": 1}, "M=4": {"teachers": 4}, "k=4": {"actions": 4},
    "G=4": {"group": 4}, "G=16": {"group": 16},
}  # fmt: skip


#: What is measured, in this order.
PARTS = ("speed", "growth", "memory")


class Recorded:
    """A teacher whose actions are there already: a text of exactly the wanted length."""

    def __init__(self, id: str, tokenizer: Any, tokens: int) -> None:
        self.id = id
        self.capabilities = Capabilities()
        word = tokenizer.decode([tokenizer(" red", add_special_tokens=False)["input_ids"][0]])
        self._text = word * (tokens - 1)

    def propose(self, samples: Any, num_actions: int, params: Any) -> list[list[Action]]:
        """The same text for everybody."""
        action = Action(self._text, self.id, self.id)
        return [[action] * num_actions for _ in samples]


def samples(size: Size) -> list[Sample]:
    """Flat images at four times the policy's pixels, so that resizing costs what it does."""
    side = 4 * size.pixels
    return [
        Sample(
            id=f"bench/{i}", task="bench", split="train", answer="2", answer_type="number",
            images=(Image.new("RGB", (side, side), (i * 7 % 256, 90, 200)),),
            question="How many red cubes are left of the blue sphere?",
        )
        for i in range(64)
    ]  # fmt: skip


def reward(sample: Sample, action: Action) -> RewardBreakdown:
    """Cheap, and seldom equal in a group; a teacher's action earns 1 more."""
    value = (zlib.crc32(action.completion.encode()) % 97) / 97 + (action.source != "policy")
    return RewardBreakdown({"accuracy": value}, {"accuracy": 1.0}, value > 1)


def arguments(size: Size, steps: int, policy: Any) -> GRPOConfig:
    """No completion can end before its full length: EOS is suppressed on both sides."""
    eos = policy.processor.tokenizer.eos_token_id
    return GRPOConfig(
        output_dir="unused", per_device_train_batch_size=size.prompts * size.group,
        num_generations=size.group, max_completion_length=size.tokens, max_steps=steps,
        learning_rate=1e-4, loss_type="grpo", use_cpu=True, bf16=False, seed=1,
        activation_checkpointing=False, report_to="none", save_strategy="no", disable_tqdm=True,
        logging_steps=1, lr_scheduler_type="constant",
        generation_kwargs={"suppress_tokens": [*suppressed_token_ids(policy), eos]},
    )  # fmt: skip


def build(kind: str, size: Size, steps: int) -> Any:
    """A trainer of either kind over the same prompts and policy."""
    model, processor = build_tiny_policy(size.policy, 0, image_size=size.pixels)
    policy, data = as_policy(model, processor), samples(size)
    args = arguments(size, steps, policy)
    if kind == "ekipl":
        names = [f"teacher{i}" for i in range(size.teachers)]
        trainer: Any = EKIPLTrainer(
            model, args=args, samples=data, processing_class=processor, scorer=reward,
            teachers=[Teacher(Recorded(n, processor.tokenizer, size.tokens), size.actions)
                      for n in names],
            options=EKIPLOptions(selection="top_g"),
        )  # fmt: skip
    else:

        def rewards(prompts: Any, completions: Any, sample_index: Any, **_: Any) -> list[float]:
            texts = [completion[0]["content"] for completion in completions]
            actions = [Action(text, "policy", "policy") for text in texts]
            given = zip(sample_index, actions, strict=True)
            return [float(reward(data[index], action).total or 0) for index, action in given]

        trainer = GRPOTrainer(
            model, reward_funcs=rewards, args=args, train_dataset=prompt_dataset(data),
            processing_class=processor,
        )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    return trainer


class Clock(TrainerCallback):  # type: ignore[misc]
    """CPU and wall seconds of each step; between two steps the other trainer has its turn."""

    def __init__(self, baton: Baton, mine: int) -> None:
        self.baton, self.mine = baton, mine
        self.cpu: list[float] = []
        self.wall: list[float] = []
        self._begun = (0.0, 0.0)

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Wait for one's turn, then look at the clocks."""
        self.baton.wait_for(self.mine)
        self._begun = (time.process_time(), time.perf_counter())

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """How long the step took; the turn goes on."""
        self.cpu.append(time.process_time() - self._begun[0])
        self.wall.append(time.perf_counter() - self._begun[1])
        self.baton.pass_on(self.mine)


class Baton:
    """Whose turn it is among ``count`` threads; one that has ended is passed over."""

    def __init__(self, count: int) -> None:
        self._turn, self._count = 0, count
        self._ended: set[int] = set()
        self._changed = threading.Condition()

    def wait_for(self, mine: int) -> None:
        """Return once it is ``mine``."""
        with self._changed:
            self._changed.wait_for(lambda: self._turn == mine)

    def pass_on(self, mine: int, *, ended: bool = False) -> None:
        """The next one that still runs has its turn."""
        with self._changed:
            if ended:
                self._ended.add(mine)
            left = [i % self._count for i in range(mine + 1, mine + 1 + self._count)]
            self._turn = next((i for i in left if i not in self._ended), mine)
            self._changed.notify_all()


def side_by_side(jobs: Sequence[tuple[str, Size]], steps: int) -> list[tuple[Any, Clock]]:
    """All jobs at once, step about; the trainer and the clock of each."""
    baton = Baton(len(jobs))
    runs = [(build(kind, size, steps), Clock(baton, i)) for i, (kind, size) in enumerate(jobs)]
    failures: list[BaseException] = []

    def work(index: int) -> None:
        trainer, clock = runs[index]
        trainer.add_callback(clock)
        baton.wait_for(index)
        try:
            trainer.train()
        except BaseException as error:
            failures.append(error)
        finally:
            baton.pass_on(index, ended=True)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(runs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return runs


def compare(size: Size, steps: int) -> dict[str, Any]:
    """Ratios EKIPL / GRPO of neighbouring steps; the first two warm up and are left out."""
    (ours, mine), (theirs, others) = side_by_side([("ekipl", size), ("grpo", size)], steps)
    logged = [entry for entry in ours.state.log_history if "loss" in entry][2:]
    pairs = list(zip(mine.cpu[2:], others.cpu[2:], strict=True))
    ratios = [a / b for a, b in pairs]
    low, middle, high = statistics.quantiles(ratios, n=4)
    own = [e.get("seconds/rewards", 0.0) + e.get("seconds/teachers", 0.0) for e in logged]
    tokens = [run.state.log_history[-2]["num_tokens"] for run in (ours, theirs)]
    return {
        "steps": len(pairs),
        "cpu_seconds_ekipl": statistics.median(a for a, _ in pairs),
        "cpu_seconds_grpo": statistics.median(b for _, b in pairs),
        "ratio_median": middle,
        "ratio_quartiles": [low, high],
        "ratio_of_fastest": min(a for a, _ in pairs) / min(b for _, b in pairs),
        "own_share_median": statistics.median(
            o / w for o, w in zip(own, mine.wall[2:], strict=True)
        ),
        "tokens_seen_ekipl_grpo": tokens,
        "kept_teacher_share": statistics.mean(1 - e["share/policy/kept"] for e in logged),
    }


def growth(steps: int) -> dict[str, float]:
    """CPU seconds of an EKIPL step at other M, k and G, relative to the small size (medians)."""
    base = SIZES["small"]
    sizes = {"base": base} | {k: dataclasses.replace(base, **v) for k, v in GROWTH.items()}
    runs = side_by_side([("ekipl", size) for size in sizes.values()], steps)
    medians = {
        name: statistics.median(clock.cpu[2:]) for name, (_, clock) in zip(sizes, runs, strict=True)
    }
    return {name: value / medians["base"] for name, value in medians.items()}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/trainer_speed.json"))
    parser.add_argument("--steps", type=int, default=14)
    parser.add_argument("--quick", action="store_true", help="the small size, a few steps")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS, help="the rest is kept")
    args = parser.parse_args()
    torch.set_num_threads(1)
    steps = 5 if args.quick else args.steps
    sizes = {"small": SIZES["small"]} if args.quick else SIZES
    results: dict[str, Any] = {}
    if args.out.is_file() and set(args.only) < set(PARTS):
        results = json.loads(args.out.read_text(encoding="utf-8"))
    results["sizes"] = {n: dataclasses.asdict(s) for n, s in SIZES.items()}
    for part in PARTS:
        if part not in args.only or (part == "growth" and args.quick):
            continue
        load = os.getloadavg()[0]
        if part == "growth":
            results[part] = growth(max(5, steps // 2))
        else:
            measured = {
                name: compare(size, steps) if part == "speed" else memory_ratio(name, 2, 1)
                for name, size in sizes.items()
            }
            results[part] = results.get(part, {}) | measured
        write(args.out, results, part, load)
    print(json.dumps(results, indent=1))


def write(path: Path, results: dict[str, Any], part: str, load: float) -> None:
    """What is measured so far, with the state of the machine for each part."""
    machine = {
        "cores": os.cpu_count(), "threads": 1, "torch": torch.__version__,
        "load_before_and_after": [load, os.getloadavg()[0]],
    }  # fmt: skip
    results["machine"] = results.get("machine", {}) | {part: machine}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
