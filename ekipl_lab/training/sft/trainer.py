"""Supervised steps of any policy by TRL's SFTTrainer, on the tokens that the policy would sample.

A row is the prompt as the policy reads it in training and evaluation, then the completion as
`ActionEncoder` gives it, with its end of sequence; labels stand on the completion alone. TRL's own
collator renders a completion by the chat template, whose signs after the end (a line break with
Qwen's) would be learned too, and reads special tokens in a teacher's text as such. The loss, the
gradients and the checkpoints are TRL's; rows may have weights.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import SequentialSampler
from trl import SFTConfig, SFTTrainer
from trl.trainer.utils import flush_left

from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.policies.load import Policy
from ekipl_lab.policies.source import encode_prompts
from ekipl_lab.teachers.encoding import ActionEncoder
from ekipl_lab.training.config.action_sft import ActionSFT
from ekipl_lab.training.config.check import check_trackers, precision
from ekipl_lab.training.config.run_config import RunConfig
from ekipl_lab.training.config.sizes import world_size
from ekipl_lab.training.loading import CheckedLoading
from ekipl_lab.training.sft.config import Stage
from ekipl_lab.training.sft.data import Example, shuffled
from ekipl_lab.training.sft.warm_start import rate_factor
from ekipl_lab.types import Action

#: Settings of ``grpo`` that hold for supervised steps too: of the optimiser and of the machine.
SHARED = (
    "optim", "optim_args", "weight_decay", "max_grad_norm", "adam_beta1", "adam_beta2",
    "adam_epsilon", "activation_checkpointing", "activation_checkpointing_kwargs",
    "dataloader_pin_memory", "ddp_timeout", "full_determinism", "tf32", "torch_empty_cache_steps",
)  # fmt: skip
#: A label that is not learned.
IGNORED = -100


def trl_arguments(config: RunConfig, settings: ActionSFT, folder: Path) -> SFTConfig:
    """TRL's arguments; ConfigError where the rows of a step cannot be shared out."""
    on_gpu, processes = torch.cuda.is_available(), world_size()
    if settings.batch_size % processes:
        raise ConfigError(
            f"sft.batch_size {settings.batch_size} is not a multiple of the {processes} processes."
        )
    each, given = settings.batch_size // processes, config.grpo_settings
    most = int(given["per_device_train_batch_size"])
    at_once = max(n for n in range(1, min(each, most) + 1) if each % n == 0)
    try:
        return SFTConfig(
            output_dir=str(folder / "checkpoints"),
            seed=config.seed,
            max_steps=1,  # known once the examples are
            per_device_train_batch_size=at_once,
            gradient_accumulation_steps=each // at_once,
            learning_rate=settings.learning_rate,
            max_length=None,
            use_cpu=not on_gpu,
            remove_unused_columns=False,
            report_to=check_trackers(config.tracking.report_to),
            logging_steps=1,
            save_strategy="no",
            disable_tqdm=True,
            **precision(config, on_gpu),
            **{key: given[key] for key in SHARED if key in given},
        )
    except Exception as error:  # accelerate reads files and packages that a setting names
        raise ConfigError(f"grpo: {(str(error) or repr(error)).splitlines()[0]}") from error


class Collator:
    """Examples to TRL's batch: padded on the right, labels on completions, weights of rows."""

    def __init__(self, policy: Policy, encoder: ActionEncoder) -> None:
        self._policy, self._encoder = policy, encoder

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """A batch of rows of `example_dataset`."""
        examples: list[Example] = [row["example"] for row in rows]
        prompts = encode_prompts(self._policy, [example.sample for example in examples])
        batch = dict(prompts.to("cpu"))  # the loader pins what it gives
        ids = [torch.tensor(self.completion_ids(example)) for example in examples]
        pad = functools.partial(torch.nn.utils.rnn.pad_sequence, batch_first=True)
        learned = pad([torch.ones_like(row) for row in ids])
        added = pad(ids, padding_value=self._policy.processor.tokenizer.pad_token_id)
        columns = {
            "input_ids": added,
            "labels": torch.where(learned == 1, added, IGNORED),
            **{name: torch.zeros_like(added) for name in _TYPES & batch.keys()},
        }
        batch["labels"] = torch.full_like(batch["input_ids"], IGNORED)
        mask = torch.cat([batch["attention_mask"], learned], 1)
        whole = [torch.cat([batch[name], new], 1) for name, new in columns.items()]
        batch["attention_mask"], *flushed = flush_left(mask, *whole)
        batch |= dict(zip(columns, flushed, strict=True))
        batch["labels"] = batch["labels"].masked_fill(batch["attention_mask"] == 0, IGNORED)
        batch["weights"] = torch.tensor([example.weight for example in examples])
        return batch

    def completion_ids(self, example: Example) -> tuple[int, ...]:
        """The tokens to learn, end of sequence included; DataError where there are none."""
        encoding = self._encoder.encode(Action(example.completion, "data", "data"))
        if encoding.refused is not None:
            raise DataError(
                f"The completion for sample {example.sample.id!r} cannot be learned "
                f"({encoding.refused})."
            )
        return encoding.token_ids


#: Which tokens are of images, where a model asks for it: none of a completion are.
_TYPES = {"mm_token_type_ids", "token_type_ids"}


def example_dataset(examples: Sequence[Example], steps: int, size: int, seed: int) -> Dataset:
    """The rows of all steps in their order; ``size`` a step, each pass shuffled by ``seed``."""
    order = [i for step in range(steps) for i in shuffled(len(examples), seed, step, size)]
    return Dataset.from_dict({"index": order}).with_transform(_Rows(examples))


class _Rows:
    """The transform of `example_dataset`; its identity (for caches of datasets) is the ids."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = examples

    def __call__(self, rows: dict[str, list[int]]) -> dict[str, list[Any]]:
        chosen = [self._examples[index] for index in rows["index"]]
        return {"example": chosen, "images": [example.sample.images for example in chosen]}

    def __reduce__(self) -> tuple[Any, ...]:
        return (tuple, ([example.sample.id for example in self._examples],))


class SupervisedTrainer(CheckedLoading, SFTTrainer):  # type: ignore[misc]
    """TRL's SFTTrainer over given rows in a given order, with weights of rows.

    The loss of a step is the mean over its completion tokens, each weighted as its row. The rate is
    that of `run.rate_factor`.
    """

    loss_is_scaled_for_ga = True
    lr_scheduler: Any

    def __init__(self, *given: Any, schedule: Stage, **named: Any) -> None:
        self._schedule = schedule
        super().__init__(*given, **named)
        if self.args.fp16:  # TRL gives quantized models adapters in bfloat16, which no scaler takes
            for parameter in self.model.parameters():
                if parameter.requires_grad:
                    parameter.data = parameter.data.float()

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """TRL's loss; with weights, the same sum with each row's weight before it."""
        inputs = dict(inputs)
        weights = inputs.pop("weights")
        if bool((weights == 1).all()) or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        outputs = model(**inputs, use_cache=False, fused_lm_head=True)
        total = num_items_in_batch
        if total is None:
            total = (outputs.label_mask.sum(-1) * weights).sum()
        shared = self.args.average_tokens_across_devices and num_items_in_batch is not None
        factor = self.accelerator.num_processes if shared else 1
        return -(outputs.log_probs * weights[:, None]).sum() / total * factor

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: Any) -> Any:
        """The weight of all completion tokens of the step, over all processes."""
        weight = sum((_tokens(batch) * batch["weights"].cpu()).sum() for batch in batch_samples)
        total = torch.as_tensor(weight, device=device)
        return self.accelerator.gather(total).sum() if self.args.world_size > 1 else total

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> LambdaLR:
        """Linear warm-up, then linear decay, as the own loop of the tiny policies has them."""
        rate = functools.partial(rate_factor, stage=self._schedule)
        self.lr_scheduler = self.lr_scheduler or LambdaLR(optimizer or self.optimizer, rate)
        scheduler: LambdaLR = self.lr_scheduler
        return scheduler

    def _get_train_sampler(self, dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(dataset if dataset is not None else self.train_dataset)

    @torch.no_grad()
    def loss_on(self, examples: Sequence[Example]) -> float:
        """Weighted mean loss of all completion tokens of ``examples``; every rank computes all."""
        was, size = self.model.training, self.args.per_device_train_batch_size
        self.model.eval()
        loss, weight = 0.0, 0.0
        for start in range(0, len(examples), size):
            rows = [{"example": example} for example in examples[start : start + size]]
            batch = self._prepare_inputs(self.data_collator(rows))
            share = (_tokens(batch) * batch["weights"].cpu()).sum().item()
            with self.compute_loss_context_manager():
                loss += share * self.compute_loss(self.model_wrapped, batch).item()
            weight += share
        self._metrics["eval"].clear()
        self.model.train(was)
        return loss / weight


def _tokens(batch: dict[str, Any]) -> Tensor:
    """Completion tokens of each row, on the CPU."""
    counts: Tensor = batch["labels"][:, 1:].ne(IGNORED).sum(-1).cpu()
    return counts
