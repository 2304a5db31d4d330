"""A warm start in progress: the model, its optimisers and stages, and the state to resume from.

Departures from a plain SFT loop: the vision tower is first trained alone with a per-patch head
(dense supervision), and two-dimensional weights are trained by Muon (docs/experiments.md has what
was tried).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ekipl_lab.benchmarks.mini.chains import CHAIN_STYLES
from ekipl_lab.errors import ConfigError
from ekipl_lab.policies.build import build_tiny_policy
from ekipl_lab.policies.load import load_policy
from ekipl_lab.training.sft.config import SFTConfig, Stage
from ekipl_lab.training.sft.data import (
    BatchEncoder,
    Example,
    ExampleStream,
    ShuffledExamples,
    parse_mixture,
    parts_by_length,
)
from ekipl_lab.training.sft.labels import patch_classes
from ekipl_lab.training.sft.model import Batch, PatchHead, encode_images, forward
from ekipl_lab.training.sft.state import (
    Progress,
    load_state,
    optimizer_tensors,
    restore_optimizer,
    save_state,
)


def fingerprint(config: SFTConfig, stages: int | None = None) -> str:
    """16 hex digits of all that changes the result of the configuration or its first ``stages``."""
    data = config.model_dump(mode="json", exclude={"output", "work_dir", "save_every", "threads"})
    data["stages"] = data["stages"][:stages]
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


def fingerprints(config: SFTConfig) -> list[str]:
    """Of the recipe up to each stage: stages that come later do not change what is done."""
    return [fingerprint(config, number + 1) for number in range(len(config.stages))]


def rate_factor(step: int, stage: Stage) -> float:
    """Linear warm-up, then linear decay to ``stage.final`` at the last step."""
    warm = min(1.0, (step + 1) / max(1, stage.warmup))
    return warm * max(stage.final, 1.0 - (1.0 - stage.final) * step / max(1, stage.steps - 1))


class WarmStart:
    """A warm start in progress: model, patch head, and the optimisers of the current stage."""

    def __init__(self, config: SFTConfig, examples: Sequence[Example] = ()) -> None:
        """``examples`` are learned instead of the stages' mixtures."""
        self.config, self.examples = config, examples
        self.model, self.processor = self._begin()
        self.parts = {"model": self.model, **self._heads()}
        self.stage_number, self.step, self.seconds = 0, 0, 0.0
        self.fingerprints = fingerprints(config)
        self._check_token_weights()
        self.model.train()
        self._open_stage()
        self._resume()

    def _begin(self) -> tuple[Any, Any]:
        """The policy before the first step, and its processor."""
        config = self.config
        if config.init is not None:
            policy = load_policy(config.init)
            return policy.model, policy.processor
        return build_tiny_policy(
            config.size, config.seed, image_size=config.image_size, patch_size=config.patch_size
        )

    def _heads(self) -> dict[str, torch.nn.Module]:
        """What is trained beside the policy, and thrown away."""
        self.encoder = BatchEncoder(self.processor)
        width = self.model.config.text_config.hidden_size
        places = self.encoder.grid[0] * self.encoder.grid[1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            self.patch_head = PatchHead(width, places, patch_classes(self.config.task))
        return {"patch": self.patch_head}

    @property
    def stage(self) -> Stage:
        """The current stage."""
        return self.config.stages[self.stage_number]

    def _open_stage(self) -> None:
        config, stage = self.config, self.stage
        seed = config.seed * 1000 + self.stage_number
        self._open_stream(seed)
        part = self.model.model.visual if stage.kind == "vision" else self.model
        embeddings = self.model.get_input_embeddings().weight
        self.model.model.visual.requires_grad_(not stage.freeze_vision)
        trained = [p for p in part.parameters() if p.requires_grad]
        matrices = [p for p in trained if p.ndim == 2 and p is not embeddings]
        chosen = {id(p) for p in matrices}
        rest = [p for p in trained if id(p) not in chosen]
        heads = [head for name, head in self.parts.items() if name != "model"]
        rest += [p for head in heads for p in head.parameters()]
        self.parameters = matrices + rest
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(
                matrices,
                lr=stage.matrix_lr,
                weight_decay=config.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            ),
            torch.optim.AdamW(
                rest, lr=stage.rest_lr, weight_decay=config.weight_decay, betas=(0.9, 0.98)
            ),
        ]
        tokens = self.processor.tokenizer
        self.token_weights = {
            token: weight
            for word, weight in stage.token_weights.items()
            for form in (word, " " + word)
            for token in tokens(form).input_ids
        }

    def _check_token_weights(self) -> None:
        tokens = self.processor.tokenizer
        for word in {word for stage in self.config.stages for word in stage.token_weights}:
            if all(len(tokens(form).input_ids) != 1 for form in (word, " " + word)):
                raise ConfigError(
                    f"token_weights names {word!r}, which is no token of the policy; take it out."
                )

    def _open_stream(self, seed: int) -> None:
        config = self.config
        self.stream: ExampleStream | ShuffledExamples
        if self.examples:
            self.stream = ShuffledExamples(self.examples, seed)
            return
        drills = parse_mixture(self.stage.mixture, config.task, CHAIN_STYLES)
        self.stream = ExampleStream(config.task, drills, seed, config.image_size, config.backdrops)

    def train_step(self) -> dict[str, float]:
        """One optimiser step; the losses and, where the patches are labelled, what is seen."""
        stage, numbers = self.stage, self._backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        factor = rate_factor(self.step, stage)
        for optimizer, rate in zip(self.optimizers, (stage.matrix_lr, stage.rest_lr), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.model.zero_grad(set_to_none=True)
        self.step += 1
        return numbers

    def _backward(self) -> dict[str, float]:
        """The gradients of the next step, and its losses."""
        stage = self.stage
        examples = self.stream.batch(self.step, stage.batch_size)
        batches = [
            self.encoder.encode(part, self.token_weights)
            for part in parts_by_length(examples, stage.length_parts)
        ]
        tokens = [batch.target_weights.sum().item() for batch in batches]
        numbers = dict[str, float]()
        for batch, count in zip(batches, tokens, strict=True):
            share = count / sum(tokens)
            loss, seen = self._losses(batch)
            torch.autograd.backward(loss * share)
            for name, value in seen.items():
                numbers[name] = numbers.get(name, 0.0) + share * value
        return numbers

    def _losses(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        stage, numbers = self.stage, dict[str, float]()
        if stage.kind == "vision":
            assert batch.patches is not None
            loss, weight = torch.zeros(()), 1.0
            features: Tensor | None = encode_images(
                self.model.model.visual, batch.patches.flatten(0, 1), self.encoder.grid
            )
        else:
            output = forward(self.model, batch, self.encoder.grid, stage.focus)
            loss, features = output.loss, output.features
            weight = 0.0 if stage.freeze_vision else stage.patch_loss
            numbers["text_loss"] = loss.item()
        if features is not None and batch.patch_labels is not None and weight > 0:
            patch_loss, shares = self.patch_head.loss(features, batch.patch_labels)
            loss = loss + weight * patch_loss
            numbers |= {"patch_loss": patch_loss.item(), "patch_right": shares.min().item()}
        return loss, numbers

    @torch.no_grad()
    def loss_on(self, examples: Sequence[Example]) -> float:
        """Weighted mean loss of all completion tokens of ``examples``; gradients stay out."""
        total, weight = 0.0, 0.0
        for start in range(0, len(examples), self.stage.batch_size):
            batch = self.encoder.encode(examples[start : start + self.stage.batch_size], {})
            share = batch.target_weights.sum().item()
            total += share * forward(self.model, batch, self.encoder.grid).loss.item()
            weight += share
        return total / weight

    def next_stage(self) -> bool:
        """Move to the next stage; False after the last."""
        if self.stage_number + 1 == len(self.config.stages):
            return False
        self.stage_number, self.step = self.stage_number + 1, 0
        self._open_stage()
        return True

    def save(self) -> None:
        """Write the resumable state."""
        tensors = {
            f"{part}/{name}": value
            for part, module in self.parts.items()
            for name, value in module.state_dict().items()
            if name != _TIED
        }
        for number, optimizer in enumerate(self.optimizers):
            tensors |= optimizer_tensors(optimizer, f"optimizer{number}")
        recipe = self.fingerprints[self.stage_number]
        progress = Progress(self.stage_number, self.step, self.seconds, recipe)
        save_state(self.config.work_dir, tensors, progress)

    def _resume(self) -> None:
        found = load_state(self.config.work_dir, self.fingerprints)
        if found is None:
            return
        tensors, progress = found
        self.stage_number, self.step = progress.stage, progress.step
        self.seconds = progress.seconds
        for part, module in self.parts.items():
            head = f"{part}/"
            own = {k.removeprefix(head): v for k, v in tensors.items() if k.startswith(head)}
            module.load_state_dict(own, strict=part != "model")
        self._open_stage()
        for number, optimizer in enumerate(self.optimizers):
            restore_optimizer(optimizer, tensors, f"optimizer{number}")


_TIED = "lm_head.weight"
