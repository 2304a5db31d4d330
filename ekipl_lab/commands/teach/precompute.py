"""`ekipl teach precompute`: buy all teacher actions of a run's training prompts beforehand.

Estimate first, then progress; interrupted, the same command continues, since what was bought is in
the cache. The run then asks with the same parameters and finds everything there; with
``gateway: {offline: true}`` it needs no network.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ekipl_lab.commands.options import add_config_options, add_payment_option, count
from ekipl_lab.errors import BudgetExceeded, ConfigError
from ekipl_lab.groups.options import Teacher
from ekipl_lab.tables import piped
from ekipl_lab.teachers.ensemble import gateways, members_of
from ekipl_lab.teachers.gateway.cached_source import CachedSource
from ekipl_lab.teachers.gateway.estimate import Estimate, estimate
from ekipl_lab.teachers.gateway.gateway import Gateway
from ekipl_lab.teachers.gateway.limits import NANO
from ekipl_lab.teachers.gateway.pricing import load_prices
from ekipl_lab.training.config.run_config import RunConfig, load_config
from ekipl_lab.training.run_data import load_training_samples
from ekipl_lab.training.run_teachers import build_run_teachers
from ekipl_lab.types import ActionSource, GenerationParams, Sample

BATCH = 64


def add_options(parser: ArgumentParser) -> None:
    """The config, how much is asked, and whether it may cost."""
    add_config_options(parser)
    parser.add_argument("--limit", type=count, default=None, help="samples; default: all")
    parser.add_argument("--dry-run", action="store_true", help="print the estimate and stop")
    add_payment_option(parser)


def run(args: Namespace) -> int:
    """Fill the cache of a config's teachers for its training prompts."""
    config = load_config(args.config, args.overrides)
    samples = load_training_samples(config)[: args.limit]
    params = run_params(config)
    console = piped()
    teachers = build_run_teachers(config, samples)
    wanted = [pair for each in teachers for pair in gateways(each.source, each.actions)]
    local = [
        (source, actions)
        for each in teachers
        for source, actions in members_of(each.source, each.actions)
        if isinstance(source, CachedSource)
    ]
    if not wanted and not local:
        raise ConfigError(f"Run {config.name!r} has no teacher behind a gateway; nothing to fill.")
    for gateway, actions in wanted:
        found = estimate(gateway, samples, actions, params)
        lines = possibly_billed(gateway, most=None if args.dry_run else 20)
        for line in (describe(gateway, found), *lines):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        if not args.dry_run:
            check_budget(gateway, found, args.yes)
    for source, actions in local:
        missing = len(source.missing(samples, actions, params)) * actions
        total = len(samples) * actions
        console.print(
            f"{source.id}: {total} actions, {total - missing} in the cache, {missing} to generate "
            "on this machine",
            highlight=False,
        )
    if not args.dry_run:
        for gateway, actions in wanted:
            fill(gateway, samples, actions, params, console)
        for source, actions in local:
            generate(source, samples, actions, params, console)
    for gateway, _ in wanted:
        gateway.close()
    return 0


def run_params(config: RunConfig) -> GenerationParams:
    """The parameters with which the trainer asks teachers, on the first pass over the data."""
    length = int(config.grpo_settings["max_completion_length"])
    return GenerationParams(max_new_tokens=length, seed=0)


def describe(gateway: Gateway, found: Estimate) -> str:
    """The estimate in words."""
    prices = load_prices()
    cost = f"at most {found.usd_at_most:.4f} USD"
    if found.usd_expected is not None:
        cost += f", {found.usd_expected:.4f} USD at the mean of this account's calls so far"
    source = "" if gateway.adapter.local else f" (prices of {prices.date}: {prices.source})"
    return (
        f"{gateway.id}: {found.actions} actions, {found.held} in the cache, {found.missing} to "
        f"buy; at most {found.tokens_at_most} tokens, {cost}{source}"
    )


def possibly_billed(gateway: Gateway, most: int | None = 20) -> list[str]:
    """A line for each request of the account that was sent and not answered, newest first.

    ``most`` of them, then how many more there are; None: all.
    """
    rows = gateway.ledger.unresolved()
    shown = rows if most is None else rows[-most:]
    lines = [
        f"  possibly billed: {datetime.fromtimestamp(row['sent'], UTC):%Y-%m-%d %H:%M:%S} UTC, "
        f"sample {row['sample_id']}, attempt {row['attempt']}, at most "
        f"{row['nano_usd'] / NANO:.6f} USD: "
        f"{row['error'] or 'no answer so far, or its process ended'}"
        for row in reversed(shown)
    ]
    more = len(rows) - len(lines)
    return [
        *lines,
        *([f"  possibly billed: {more} earlier ones; --dry-run lists all"] if more else []),
    ]


def check_budget(gateway: Gateway, found: Estimate, yes: bool) -> None:
    """ConfigError if money may be spent without a ceiling and nobody said yes."""
    if found.usd_at_most > 0 and gateway.spec.budget.usd is None and not yes:
        raise ConfigError(
            f"Teacher {gateway.id!r} may cost up to {found.usd_at_most:.4f} USD and has no "
            "ceiling; set `gateway: {budget: {usd: ..}}`, or say --yes."
        )


def check_costs(
    teachers: Sequence[Teacher],
    samples: Sequence[Sample],
    params: GenerationParams,
    *,
    yes: bool,
    say: Callable[[str], None],
) -> None:
    """Say what asking these teachers would cost; see `check_budget`."""
    for teacher in teachers:
        for gateway, actions in gateways(teacher.source, teacher.actions):
            found = estimate(gateway, samples, actions, params)
            say(describe(gateway, found))
            check_budget(gateway, found, yes)


def generate(
    source: CachedSource,
    samples: Sequence[Sample],
    actions: int,
    params: GenerationParams,
    console: Console,
) -> None:
    """Have a local model generate what is missing, batch by batch, each kept at once."""
    _in_batches(source, samples, lambda batch: source.propose(batch, actions, params), console)
    console.print(
        f"{source.id}: generated for {source.generated} samples, {source.hits} from the cache",
        highlight=False,
    )


def fill(
    gateway: Gateway,
    samples: Sequence[Sample],
    actions: int,
    params: GenerationParams,
    console: Console,
) -> None:
    """Buy what is missing, with progress; a used-up budget ends it with what was bought so far."""
    try:
        _in_batches(
            gateway, samples, lambda batch: gateway.propose_each(batch, actions, params), console
        )
    except BudgetExceeded as error:
        raise BudgetExceeded(
            f"{error} What was bought is in the cache; the same command continues."
        ) from None
    summary, stats = gateway.ledger.summary(), gateway.stats
    failures = ", ".join(f"{kind} {count}" for kind, count in stats.failures.items()) or "none"
    console.print(
        f"{gateway.id}: bought {stats.bought}, from the cache {stats.cache_hits}, "
        f"failures: {failures}; account {gateway.ledger.account!r} so far {summary.usd:.4f} USD "
        f"committed, {summary.unresolved} requests possibly billed "
        f"({summary.unresolved_usd:.4f} USD at most)",
        highlight=False,
        soft_wrap=True,
    )


def _in_batches(
    source: ActionSource,
    samples: Sequence[Sample],
    ask: Callable[[Sequence[Sample]], object],
    console: Console,
) -> None:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        bar = progress.add_task(source.id, total=len(samples))
        for start in range(0, len(samples), BATCH):
            batch = samples[start : start + BATCH]
            ask(batch)
            progress.advance(bar, len(batch))
