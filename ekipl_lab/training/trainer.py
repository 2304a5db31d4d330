"""Vision-EKIPL as a subclass of TRL's GRPOTrainer: teacher actions take rows of dropped ones.

What changes against GRPO, and nothing else:

1. After the policy's G completions per prompt, every teacher is asked for its k actions; all are
   scored, a selection rule keeps G, and each kept teacher action takes the row of a dropped policy
   action (`_generate`). Rows of a group share prompt and images, so padding, vision tensors, old
   and reference log-probs, accumulation, iterations and every loss type stay TRL's own code.
2. Rewards are those already given to the kept actions; nothing is scored twice
   (`_calculate_rewards`).
3. Advantages come from `groups.build.build_group`. Over the kept group they are TRL's own, and
   that is asserted; other baselines replace them (`_generate_and_score_completions`).
4. An image is preprocessed once per generation, not twice for each row (`image_cache`).
5. With ``share_work``, what equal rows have in common is computed once (`shared_work`).
6. Another weight than pi/pi_old on teacher tokens, and an SFT term on teacher rows, enter TRL's
   loss as advantages and a denominator of those rows (`_compute_loss`; `token_weights`).

Departures from the paper (arXiv 2506.06856), all by config: std over the kept group with ddof 1
and eps 1e-4 (TRL's); image and other special tokens are never sampled; a teacher action that the
policy could not have produced (too long, cut off, empty, not its tokens) is refused and counted.
Evaluation measures the policy alone. TRL's `reward`, `reward_std` and `rewards/*` are over the
*kept* actions; `policy/...`, `kept/...`, `teacher/<id>/...` say which they mean. Without teachers,
or where none is kept, every bit is GRPOTrainer's (tests/training/test_trainer_contract.py).
These hooks are private to TRL: its version is pinned, and beside `training.engine` no other file
touches them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Protocol

import torch
from accelerate.utils import gather_object
from trl import GRPOConfig, GRPOTrainer
from trl.data_utils import prepare_multimodal_messages

from ekipl_lab.groups.collect import GroupCollector
from ekipl_lab.groups.diagnostics import GroupCosts, batch_metrics
from ekipl_lab.groups.encoder import policy_encoder
from ekipl_lab.groups.options import EKIPLOptions, StepContext, Teacher
from ekipl_lab.groups.pool import GenerationBatch, Row, joined
from ekipl_lab.groups.weighting import get_weighting
from ekipl_lab.policies.context import check_prompts_fit
from ekipl_lab.policies.load import as_policy
from ekipl_lab.policies.source import suppressed_token_ids
from ekipl_lab.training.config.combinations import RATIO_LOSSES
from ekipl_lab.training.dataset import EpochSampler, prompt_dataset
from ekipl_lab.training.distill import Distiller
from ekipl_lab.training.generation import generation_kwargs, token_limit
from ekipl_lab.training.guards import same_error
from ekipl_lab.training.image_cache import preprocessed_once
from ekipl_lab.training.loading import CheckedLoading
from ekipl_lab.training.loss.rank_rows import RankRows, policy_rows, total_or_nan
from ekipl_lab.training.loss.source_gradients import SourceGradients
from ekipl_lab.training.loss.token_weights import TokenWeights, check_scored
from ekipl_lab.training.prefetch import Prefetcher
from ekipl_lab.training.prefix import PrefixedRows
from ekipl_lab.training.refill import Draft, Ranks, refilled
from ekipl_lab.training.shared_work import SharedWork
from ekipl_lab.types import POLICY, ActionGroup, Sample, Scorer


class GroupRecords(Protocol):
    """Takes the groups of every step, global, on the main process only."""

    def write(self, step: int, groups: Sequence[ActionGroup]) -> None:
        """Record the groups that were generated for optimiser step ``step``, counted from 1."""
        ...


def reward(**_: Any) -> list[float]:
    """Names the one reward column; the trainer hands rewards back without asking anybody."""
    raise AssertionError("rewards are given to candidates, before selection")


@dataclass(slots=True)
class _HookState:
    """What the hooks of TRL hand to each other: within a generation, and within a loss.

    ``inputs`` are TRL's rows of the generation, ``rows`` what trains in them (None in an
    evaluation), ``totals`` their rewards; ``draft`` what was generated, ``made`` with what was for
    nothing (`training.refill`); ``loss_inputs`` and ``logps`` are those of the loss that
    is being computed.
    """

    inputs: list[dict[str, Any]] = field(default_factory=list)
    rows: RankRows | None = None
    totals: list[float] = field(default_factory=list)
    draft: Draft | None = None
    made: GenerationBatch | None = None
    loss_inputs: dict[str, Any] | None = None
    logps: Any = None


class EKIPLTrainer(CheckedLoading, GRPOTrainer):
    """GRPO whose groups also hold teacher actions; without ``teachers`` it is GRPO.

    ``samples`` are the training prompts in dataset order; ``scorer(sample, action)`` gives a
    RewardBreakdown; ``records.write(step, groups)`` is called once per generation;
    ``gradient_norms_every`` n steps the gradient norm of each source is measured (0: never);
    ``share_work``: what rows have in common is computed once, which moves last bits.
    """

    _tag_names: ClassVar[list[str]] = ["trl", "grpo", "ekipl"]
    #: What is asked of paid teachers ahead of time, if anything; a run sets it.
    prefetcher: Prefetcher | None = None
    #: Paid teachers are asked while the policy generates, where no gate needs its result first.
    ask_while_generating: bool = True

    # ------------------------------------------------- what EKIPL changes in GRPO: three overrides

    def _generate(self, prompts: list[Any]) -> tuple[Any, ...]:
        """The policy's completions, then teacher actions in the rows of dropped ones."""
        state = self._hooks
        if not self.model.training:  # an evaluation measures the policy alone
            generated: tuple[Any, ...] = super()._generate(prompts)
            own = self._policy_rows(generated[1], state.inputs)
            state.totals = [total_or_nan(reward) for reward in self.collector.score(own)]
            return generated
        if state.draft is None:
            self._prefetch()
            state.draft = self._draft(state.inputs, prompts)
        _, ids, _, completions, logprobs, *_ = state.draft.generated
        rank = self.accelerator.process_index
        state.rows = RankRows(state.draft.batch, self._teacher_ids, rank=rank, count=len(ids))
        state.rows.place(ids, completions, logprobs)
        state.totals = state.rows.totals
        return state.draft.generated

    def _draft(self, inputs: list[dict[str, Any]], prompts: list[Any]) -> Draft:
        """The policy's completions for these rows, and the groups that they make with teachers'."""
        now, rank = self._context(), self.accelerator.process_index
        with contextlib.ExitStack() as asking:
            if self.ask_while_generating and self.prefetcher is None:
                indices = [row["sample_index"] for row in inputs]
                early = self.collector.early(indices, rank=rank, gather=gather_object, context=now)
                asking.enter_context(early)
            generated = super()._generate(prompts)
            ids, completions = generated[1], generated[3]
            own = self._policy_rows(ids, inputs)
            if self._prefixes is not None:
                mask = self._prefixes.redo(prompts, ids, completions, own, now)
                generated = (*generated[:2], mask, *generated[3:])
                own = self._policy_rows(ids, inputs)
            batch = self.collector.run(own, rank=rank, gather=gather_object, context=now)
        return Draft(inputs, generated, batch)

    def _refill(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows to train on once groups without spread were exchanged (`training.refill`)."""

        def draft(rows: list[dict[str, Any]]) -> Draft:
            shown = any(row["images"] for row in rows)
            prompts = [
                prepare_multimodal_messages(row["prompt"], images=row["images"])
                if shown else row["prompt"]
                for row in rows
            ]  # fmt: skip
            return self._draft(rows, prompts)

        own = self.accelerator
        ranks = Ranks(
            own.process_index, own.num_processes, gather_object,
            lambda index: dict(self.train_dataset[index]),
        )  # fmt: skip

        def more(indices: list[int]) -> Draft:
            wanted = [index for index in indices for _ in range(self.num_generations)]
            mine = ranks.share(wanted)
            rows = {index: self.train_dataset[index] for index in dict.fromkeys(mine)}
            return draft([dict(rows[index]) for index in mine])

        self._prefetch()
        step = self.state.global_step
        number = sum(of == step for of, _ in self._batches)
        done = refilled(
            draft(list(inputs)), more, self.options.refill, size=self.num_generations,
            count=len(self.collector.samples), key=(self.args.seed, step, number), ranks=ranks,
        )  # fmt: skip
        self._hooks.draft, self._hooks.made = done.draft, done.made
        self._log(done.metrics)
        return done.draft.inputs

    def _prefetch(self) -> None:
        """Tell paid teachers which generation begins."""
        if self.prefetcher is not None:
            now = self._context()
            index = self._hooks.inputs[0]["sample_index"]
            self.prefetcher.begin(index, now.draw, now.spent)

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, ids: Any) -> Any:
        """The rewards that selection has seen, as one column: nothing is scored twice."""
        device = self.accelerator.device
        totals = torch.tensor(self._hooks.totals, dtype=torch.float32, device=device)
        return self.accelerator.gather(totals.unsqueeze(1))

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """TRL's batch with the advantages of the groups, and whose action each row holds."""
        self._hooks = _HookState(inputs)
        with preprocessed_once(self.processing_class):
            if self.model.training and self.options.refill.rounds:
                inputs = self._refill(inputs)
            output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        if (rows := self._hooks.rows) is not None:
            self._use_advantages(rows, output)
            device = output["advantages"].device
            output["action_source"] = torch.tensor(rows.sources, device=device)
            if get_weighting(self.options.weighting).needs_q:
                output["teacher_logps"] = rows.teacher_logps(output["completion_ids"])
            if self._distiller is not None:
                output["distill_logps"] = self._distiller.logps(self, output)
            self._report(rows.batch, self._hooks.made or rows.batch)
        return output

    # ------------------------------------ and the loss: weights of teacher tokens, imitated rows

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Any:
        state = self._hooks
        state.loss_inputs = dict(inputs)
        try:
            loss = super()._compute_loss(model, state.loss_inputs)
            if state.logps is not None and self._gradients.due(self.state.global_step):
                source = inputs["action_source"]
                self._log(self._gradients.add(loss, state.logps, source, self.model))
            return loss
        finally:
            state.loss_inputs = state.logps = None

    def _generate_single_turn(self, prompt_ids: Any, images: Any, *args: Any, **kwargs: Any) -> Any:
        with self._shared.rollout(images):
            return super()._generate_single_turn(prompt_ids, images, *args, **kwargs)

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        """Within the loss this is the one place that sees log pi before TRL uses it."""
        inputs = self._hooks.loss_inputs
        found: Any = self._shared.log_probs(*args, rows=inputs, **kwargs)
        if found is None:
            with self._shared.images_once(args[0]):
                found = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        logps, entropies, aux_loss = found
        if inputs is not None and "action_source" in inputs:
            self._log(self._token_weights.apply(inputs, logps, entropies, self.state.global_step))
            self._hooks.logps = logps
        return logps, entropies, aux_loss

    def plain_logps(self, *args: Any, **kwargs: Any) -> Any:
        """TRL's log-probabilities of a batch under any model, outside of the loss."""
        return super()._get_per_token_logps_and_entropies(*args, **kwargs)

    # ---------------------------------------------------------------- what they stand on

    def __init__(
        self,
        model: Any,
        *,
        args: GRPOConfig,
        samples: Sequence[Sample],
        processing_class: Any,
        scorer: Scorer,
        teachers: Sequence[Teacher] = (),
        options: EKIPLOptions | None = None,
        records: GroupRecords | None = None,
        gradient_norms_every: int = 0,
        share_work: bool = False,
        **trainer_arguments: Any,
    ) -> None:
        policy = as_policy(model, processing_class)
        rank, processes = args.process_index, args.world_size
        with same_error(processes):  # each rank looks at its share of the prompts
            check_prompts_fit(
                policy, samples[rank::processes], args.max_completion_length or 0,
                token_limit(model, args),
            )  # fmt: skip
        args.generation_kwargs = generation_kwargs(args, suppressed_token_ids(policy))
        super().__init__(
            model=model,
            reward_funcs=reward,
            args=args,
            train_dataset=prompt_dataset(samples),
            processing_class=processing_class,
            **trainer_arguments,
        )
        if args.fp16:  # TRL gives quantized models adapters in bfloat16, which no scaler takes
            for parameter in self.model.parameters():
                if parameter.requires_grad:
                    parameter.data = parameter.data.float()
        self.options, self.records, self.costs = options or EKIPLOptions(), records, GroupCosts()
        self.scored = False  # whether any action of the run could be
        check_scored(self.options.weighting, teachers, policy.tokenizer_id)
        own, place = self.options.distill, (self.accelerator.device, args.temperature)
        self._distiller = Distiller(own, policy.tokenizer_id, *place) if own.on else None
        self._prefixes = PrefixedRows(self, teachers) if self.options.prefix.on else None
        self.collector = GroupCollector(
            samples, scorer, () if self._prefixes else teachers, self.options,
            policy_encoder(policy, self.options, self.max_completion_length),
            group_size=self.num_generations, max_new_tokens=self.max_completion_length,
            seed=args.seed,
        )  # fmt: skip
        self._hooks = _HookState()
        self._shared = SharedWork(self, share_work)
        #: (optimiser steps done, generation) of the step that is being made.
        self._batches: list[tuple[int, GenerationBatch]] = []
        self._policy_ids, self._opens = (policy.id, policy.tokenizer_id), policy.opens
        self._teacher_ids = [teacher.source.id for teacher in teachers]
        self._token_weights = TokenWeights(
            self.options, self._teacher_ids, self.accelerator, self._clip_range(), args.delta
        )
        self._gradients = SourceGradients(
            gradient_norms_every, (POLICY, *self._teacher_ids), self.accelerator
        )

    def not_shared(self) -> str:
        """What `share_work` does not share here, in a sentence; empty: it shares whole prompts."""
        return self._shared.lack()

    def _context(self) -> StepContext:
        """When the generation that begins happens."""
        step, epoch = self.state.global_step, int(self.state.epoch or 0)
        return StepContext(step, epoch, asdict(self.costs))

    def _policy_rows(self, token_ids: list[list[int]], inputs: list[dict[str, Any]]) -> list[Row]:
        """The policy's completions of this rank as rows of a group."""
        texts = self._tokenizer.batch_decode(
            token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        ends = {*self.eos_token_ids, self._tokenizer.pad_token_id}
        indices = [given["sample_index"] for given in inputs]
        texts = [self._opens + text for text in texts]
        return policy_rows(indices, texts, token_ids, ends, *self._policy_ids)

    def _use_advantages(self, rows: RankRows, output: dict[str, Any]) -> None:
        """The groups' advantages for this rank's rows; TRL's, where both are the same thing."""
        device = output["advantages"].device
        ours = torch.tensor(rows.advantages, device=device)
        theirs = self.options.baseline == "kept" and self.options.signs.neutral
        if theirs and self.options.scale_rewards == self.scale_rewards:
            if not torch.allclose(ours, output["advantages"], rtol=1e-5, atol=1e-5):
                raise RuntimeError("The groups' advantages are not those TRL computed.")
        else:
            output["advantages"] = ours
        if self.options.sft.on:
            reinforce, imitate = rows.shares(self.options.sft, self.loss_type)
            output["advantages"] = torch.tensor(reinforce, device=device)
            output["imitate"] = torch.tensor(imitate, device=device)

    def _clip_range(self) -> tuple[float, float] | None:
        """TRL's clip of the ratio of a token; None where its loss has none."""
        if self.loss_type not in RATIO_LOSSES or self.importance_sampling_level != "token":
            return None
        return self.epsilon_low, self.epsilon_high

    def _report(self, batch: GenerationBatch, made: GenerationBatch) -> None:
        """Metrics on every rank (they are global); records on the main process.

        ``made``: all that was generated for ``batch``, which costs what it costs.
        """
        now = self.state.global_step
        self.costs.add(made, batch)
        self.scored |= any(r.total is not None for group in batch.groups for r in group.rewards)
        self._batches = [(step, b) for step, b in self._batches if step == now] + [(now, batch)]
        metrics = batch_metrics(joined([b for _, b in self._batches]), self._teacher_ids)
        metrics |= {f"cost/{axis}": value for axis, value in asdict(self.costs).items()}
        for name, value in metrics.items():  # of the whole step: not the mean of its generations
            self._metrics["train"][name] = [value]
        if self.records is not None and self.accelerator.is_main_process:
            self.records.write(now + 1, batch.groups)

    def _log(self, metrics: dict[str, float]) -> None:
        for name, value in metrics.items():
            known = self._metrics["train"][name]
            if name.endswith("/max_weight"):  # the largest of a step's micro-batches
                known[:] = [max([*known, value])]
            else:
                known.append(value)

    # ---------------------------------------------------------- nothing of EKIPL: a run's needs

    def _get_train_sampler(self, dataset: Any = None) -> EpochSampler:
        return EpochSampler.like(super()._get_train_sampler(dataset))
