"""Paid teachers are asked about the prompts of coming generations while this one is trained on.

    schedule = PromptSchedule(args, len(samples), steps)
    trainer.prefetcher = Prefetcher(trainer.collector, schedule, generations=2)

The order of prompts is known: the sampler is deterministic. When a generation begins, the gateways
of all teachers learn which prompts this rank owns in it and in the next ``generations``; they
fetch them into the cache in that order, also while the policy still generates. What the trainer
does is the same as without: it asks, and finds the answers bought. Nothing beyond the last step of
the run is fetched, and nothing that a gate is known to keep closed. A resumed run finds its place
by the prompts it is given.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

from ekipl_lab.errors import ConfigError
from ekipl_lab.groups.collect import GroupCollector
from ekipl_lab.groups.options import Teacher
from ekipl_lab.teachers.ensemble import gateways
from ekipl_lab.teachers.gateway.prefetch import Batch, Prefetch
from ekipl_lab.training.dataset import prompt_order
from ekipl_lab.types import GenerationParams, Sample

#: One generation: the pass over the data, and its number in it.
Place = tuple[int, int]


class PromptSchedule:
    """Which prompts the generations of a run have, on this rank. ``args`` are TRL's arguments;
    ``steps`` optimiser steps end the run."""

    def __init__(self, args: Any, count: int, steps: int) -> None:
        self._count, self._steps = count, steps
        self._seed, self._shuffle = args.seed, args.shuffle_dataset
        self._group = args.num_generations
        self._per_generation: int = args.generation_batch_size // args.num_generations
        self._updates: int = args.steps_per_generation * args.num_iterations
        self._accumulate: int = args.gradient_accumulation_steps
        rows = args.generation_batch_size // args.world_size
        first, end = args.process_index * rows, (args.process_index + 1) * rows
        #: Groups whose first row is on this rank: the ones that it asks teachers about.
        self._owned = [
            group for group in range(self._per_generation) if first <= group * self._group < end
        ]
        self._orders: dict[int, list[list[int]]] = {}

    def find(self, epoch: int, index: int) -> Place | None:
        """The generation of ``epoch`` that has the sample ``index``; None if there is none."""
        for number, prompts in enumerate(self._order(epoch)):
            if index in prompts:
                return epoch, number
        return None

    def prompts(self, place: Place) -> list[int]:
        """The sample indices of a generation that this rank asks teachers about."""
        epoch, number = place
        chosen = self._order(epoch)[number]
        return [chosen[group] for group in self._owned]

    def following(self, place: Place) -> Iterator[Place]:
        """``place`` and those after it, to the end of the run."""
        epoch, number = place
        while self._generations(epoch):
            for later in range(number, self._generations(epoch)):
                yield epoch, later
            epoch, number = epoch + 1, 0

    def step(self, place: Place) -> int:
        """Optimiser steps done when that generation begins."""
        epoch, number = place
        return epoch * self._steps_per_epoch() + number * self._updates // self._accumulate

    def _steps_per_epoch(self) -> int:
        whole = self._count // self._per_generation
        return math.ceil(whole * self._updates / self._accumulate)

    def _generations(self, epoch: int) -> int:
        """How many generations of that pass the run comes to."""
        whole: int = self._count // self._per_generation
        left: int = max(0, self._steps - epoch * self._steps_per_epoch())
        return min(whole, math.ceil(left * self._accumulate / self._updates))

    def _order(self, epoch: int) -> list[list[int]]:
        if epoch not in self._orders:
            self._orders = {e: o for e, o in self._orders.items() if e == epoch - 1}
            self._orders[epoch] = prompt_order(
                self._count, self._per_generation,
                epoch=epoch, seed=self._seed, shuffle=self._shuffle,
            )  # fmt: skip
        return self._orders[epoch]


class Prefetcher:
    """Tells the gateways of a collector's teachers what comes next; see the module's docstring.

    ``generations``: how many beyond the one that begins. Raises ConfigError if no teacher is
    behind a gateway.
    """

    def __init__(
        self, collector: GroupCollector, schedule: PromptSchedule, *, generations: int
    ) -> None:
        self._collector, self._schedule, self._generations = collector, schedule, generations
        self._fetchers = {
            id(gateway): Prefetch(gateway)
            for teacher in collector.teachers
            for gateway, _ in gateways(teacher.source, teacher.actions)
        }
        if not self._fetchers:
            raise ConfigError(
                "prefetch.generations is set, and no teacher is behind a gateway; leave it at 0."
            )
        self._now: Place = (0, 0)
        self._coming: dict[int, dict[Hashable, Batch]] = {}
        collector.after_asking = self._end

    def begin(self, index: int, draw: int, spent: Mapping[str, float]) -> None:
        """A generation begins in pass ``draw``; ``index`` is the sample of one of its rows.

        ``spent`` so far, as gates count it.
        """
        place = self._schedule.find(draw, index)
        if place is None:
            raise AssertionError(f"sample {index} is in no generation of pass {draw}")
        self._now, self._coming = place, {}
        coming = list(itertools.islice(self._schedule.following(place), self._generations + 1))
        for teacher in self._collector.teachers:
            asked = {place: self._asked(teacher, place, spent) for place in coming}
            batches: dict[int, dict[Hashable, Batch]] = {}
            for place, (samples, count) in asked.items():
                limit = self._collector.max_new_tokens
                params = GenerationParams(max_new_tokens=limit, seed=place[0])
                for gateway, each in gateways(teacher.source, count) if samples else ():
                    batches.setdefault(id(gateway), {})[place] = samples, each, params
            for gateway, _ in gateways(teacher.source, teacher.actions):
                self._coming[id(gateway)] = batches.get(id(gateway), {})
        self._expect()

    def _end(self) -> None:
        """The teachers were asked about this generation: what it left over is waste."""
        for batches in self._coming.values():
            batches.pop(self._now, None)
        self._expect()

    def _expect(self) -> None:
        for name, batches in self._coming.items():
            self._fetchers[name].expect(batches)

    def close(self) -> None:
        """Send nothing more; requests in flight are waited for."""
        for fetcher in self._fetchers.values():
            fetcher.close()

    def _asked(
        self, teacher: Teacher, place: Place, spent: Mapping[str, float]
    ) -> tuple[list[Sample], int]:
        """The samples of a generation that a teacher may be asked about, and for how many actions.

        As `GroupCollector` decides it, where the policy solves nothing.
        """
        gates, step = self._collector.gates, self._schedule.step(place)
        samples = [self._collector.samples[index] for index in self._schedule.prompts(place)]
        count = gates.actions(teacher.actions, step)
        asked = [
            sample
            for sample in samples
            if not gates.closed(
                teacher.source.id, sample, successes=0, step=step, draw=place[0], spent=spent
            )
        ]
        return (asked if count else []), count
