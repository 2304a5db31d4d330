"""One rank of tests/training/test_trainer_two_processes.py; writes what it saw as JSON.

torchrun --nproc_per_node 2 tests/kit/two_process_worker.py FOLDER
"""

import hashlib
import json
import os
import sys
from pathlib import Path

import torch
import trainer_toys as toys

from ekipl_lab.errors import TeacherError
from ekipl_lab.groups.options import Teacher
from ekipl_lab.policies.adapters import lora_config
from ekipl_lab.training.guards import leave_processes
from ekipl_lab.types import Action, Capabilities


class FailsOnRankOne:
    id = "fails"
    capabilities = Capabilities()

    def propose(self, samples, num_actions, params):
        if os.environ["RANK"] == "1":
            raise TeacherError("the line is dead")
        return [[Action("x", self.id, "x")] * num_actions for _ in samples]


class Asked:
    """An oracle that notes which samples it was asked about on this rank."""

    def __init__(self):
        self.source = toys.oracle().source
        self.id, self.capabilities, self.samples = "asked", Capabilities(), []

    def propose(self, samples, num_actions, params):
        self.samples += [sample.id for sample in samples]
        return [
            [Action(a.completion, self.id, a.model_id) for a in actions]
            for actions in self.source.propose(samples, num_actions, params)
        ]


class Groups(list):
    def write(self, step, groups):
        self.append(groups)


def digest(trainer):
    hashed = hashlib.sha256()
    for _, values in sorted(toys.weights(trainer).items()):
        hashed.update(values.numpy().tobytes())
    return hashed.hexdigest()


def arguments(folder):
    """Six rows on each of two ranks, groups of four: the second group straddles them."""
    return toys.config(
        folder, per_device_train_batch_size=6, gradient_accumulation_steps=1, max_steps=3
    )


def watched(trainer):
    """Advantages of every generation of this rank, in the order of its rows."""
    seen, score = [], trainer._generate_and_score_completions

    def watch(inputs):
        output = score(inputs)
        seen.append(
            {
                "advantages": output["advantages"].tolist(),
                "samples": [row["sample_index"] for row in inputs],
                "sources": output.get("action_source", torch.zeros(6)).tolist(),
                "items": output["num_items_in_batch"].item(),
                "tokens": output["completion_mask"].sum().item(),
            }
        )
        return output

    trainer._generate_and_score_completions = watch
    return seen


def refilled(folder):
    """Of every row after an exchange: are prompt, pixels and completion those of its group?"""
    groups = Groups()
    trainer = toys.ekipl_trainer(
        arguments(folder),
        scorer=toys.easy_scorer(range(5)),
        records=groups,
        refill={"rounds": 2},
        share_work=True,
    )
    fits, score, processor = [], trainer._generate_and_score_completions, trainer.processing_class

    def watch(inputs):
        output = score(inputs)
        texts = processor.batch_decode(output["prompt_ids"])
        pixels = output["pixel_values"].chunk(len(texts))
        for i, (group, pool, chosen) in enumerate(trainer._hooks.rows.rows):
            ids = output["completion_ids"][i][output["completion_mask"][i].bool()].tolist()
            own = processor.image_processor(list(group.sample.images), return_tensors="pt")
            fits.append(
                group.sample.question in texts[i]
                and ids == list(pool.token_ids[chosen])
                and torch.equal(pixels[i], own["pixel_values"])
            )
        return output

    trainer._generate_and_score_completions = watch
    trainer.train()
    return {
        "fits": fits,
        "digest": digest(trainer),
        "spread": [sum(len({r.total for r in g.rewards}) > 1 for g in step) for step in groups],
        "replaced": toys.history(trainer, "refill/replaced")["refill/replaced"],
        "completions": trainer.costs.policy_completions,
    }


def shared(folder, rank):
    """Gradients of one loss under DDP, TRL's way and with shared work: how far apart, how large."""
    model, processor = toys.nano()
    trainer = toys.EKIPLTrainer(
        model, args=arguments(folder), samples=toys.toy_samples(), processing_class=processor,
        scorer=toys.even_scorer, share_work=True,
        peft_config=None if rank is None else lora_config(model, rank=rank),
    )  # fmt: skip
    inputs = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    inputs["advantages"] = torch.linspace(-1, 2, 6) * (int(os.environ["RANK"]) + 1)
    inputs["advantages"][:2] = 0.0  # a group of this rank that teaches nothing
    trainer.current_gradient_accumulation_steps = 1
    wrapped = trainer.accelerator.prepare_model(trainer.model.train())
    assert wrapped is not trainer.model and trainer._shared.prompts()
    found = []
    for on in (False, True):
        trainer._shared.on = on
        wrapped.zero_grad(set_to_none=True)
        trainer.accelerator.backward(trainer._compute_loss(wrapped, dict(inputs)))
        grads = {n: p.grad.clone() for n, p in wrapped.named_parameters() if p.requires_grad}
        found.append(grads)
    plain, ours = found
    hashed = hashlib.sha256(b"".join(ours[n].numpy().tobytes() for n in sorted(ours)))
    return {
        "close": all(torch.allclose(ours[n], plain[n], rtol=1e-4, atol=1e-6) for n in plain),
        "largest": max(float(g.abs().max()) for g in plain.values()),
        "of_all_ranks": hashed.hexdigest(),
    }


def gloo_threads():
    """Names of gloo's threads in this process (Linux; nothing elsewhere)."""
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    return [name for name in names if "gloo" in name]


def main(folder):
    result = {}
    theirs = toys.grpo_trainer(arguments(folder / "trl"))
    theirs.train()
    ours = toys.ekipl_trainer(arguments(folder / "grpo"))
    ours.train()
    result["world_size"] = ours.accelerator.num_processes
    result["grpo"] = [digest(theirs), digest(ours)]

    asked, groups = Asked(), Groups()
    trainer = toys.ekipl_trainer(
        arguments(folder / "ekipl"), teachers=[Teacher(asked)], records=groups
    )
    result["seen"] = watched(trainer)
    trainer.train()
    result["ekipl"], result["asked"] = digest(trainer), asked.samples
    result["recorded"] = [[list(group.kept) for group in step] for step in groups]
    result["shares"] = toys.history(trainer, "share/asked/kept", "policy/reward")

    result["refill"] = refilled(folder / "refill")
    result["shared"] = [shared(folder / "shared", rank) for rank in (None, 2)]
    failing = toys.ekipl_trainer(arguments(folder / "fails"), teachers=[Teacher(FailsOnRankOne())])
    try:
        failing.train()
    except TeacherError as error:
        result["error"] = str(error)
    (folder / f"rank-{os.environ['RANK']}.json").write_text(json.dumps(result), encoding="utf-8")
    torch.distributed.barrier()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
    leave_processes()
    assert not gloo_threads(), "threads of gloo outlive the run: its exit may abort"
