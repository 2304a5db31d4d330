"""What a call costs: a dated local file of prices, and arithmetic in billionths of a dollar."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.validation import Section

PRICES_FILE = Path(__file__).with_name("prices.yaml")
#: Upper bound on the tokens of one image where neither price file nor config says better.
DEFAULT_IMAGE_TOKENS = 4096
#: Tokens that a provider's chat template may add to a prompt.
TEMPLATE_TOKENS = 64


class Price(Section):
    """US dollars per million tokens; ``image_tokens`` is an upper bound for one image."""

    input: float = Field(ge=0.0)
    output: float = Field(ge=0.0)
    cached_input: float | None = Field(default=None, ge=0.0)
    image_tokens: int = Field(default=DEFAULT_IMAGE_TOKENS, ge=0)

    def nano_usd(self, prompt: int, cached: int, completion: int) -> int:
        """Cost in billionths of a dollar, rounded up. ``cached`` tokens are among ``prompt``."""
        cheap = self.input if self.cached_input is None else self.cached_input
        per_million = (
            Decimal(str(self.input)) * (prompt - cached)
            + Decimal(str(cheap)) * cached
            + Decimal(str(self.output)) * completion
        )
        return int((per_million * 1000).to_integral_value(rounding=ROUND_CEILING))


FREE = Price(input=0.0, output=0.0)


@dataclass(frozen=True, slots=True)
class PriceList:
    """Prices by (provider, model), the day they were noted, and where they are from."""

    date: str
    source: str
    prices: Mapping[tuple[str, str], Price]

    def get(self, provider: str, model: str) -> Price | None:
        """The price of a model: its own entry, or that of the longest name it begins with.

        Providers append dates to names (``gpt-4o-2024-08-06``): an entry matches such a name only
        if what follows is a date or a number.
        """
        names = [name for owner, name in self.prices if owner == provider]
        near = [name for name in names if name == model or _dated(model, name)]
        return self.prices[(provider, max(near, key=len))] if near else None


def _dated(model: str, name: str) -> bool:
    rest = model.removeprefix(name)
    return rest != model and rest.startswith(("-", "@")) and rest[1:].replace("-", "").isdigit()


@functools.cache
def load_prices(path: Path = PRICES_FILE) -> PriceList:
    """Read a price file; DataError that names the entry if one is wrong."""
    try:
        raw: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        return PriceList(
            date=str(raw["date"]),
            source=str(raw["source"]),
            prices={
                (provider, model): Price(**entry)
                for provider, models in raw["usd_per_million_tokens"].items()
                for model, entry in models.items()
            },
        )
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(f"Price file {path} is not usable: {error}.") from error


def price_of(
    provider: str, model: str, *, stated: Price | None, local: bool, teacher: str
) -> Price:
    """``stated`` in the config, else free on this machine, else the price file.

    Raises ConfigError where none of them has it: an unknown price is not 0.
    """
    if stated is not None:
        return stated
    if local:
        return FREE
    listed = load_prices()
    found = listed.get(provider, model)
    if found is None:
        raise ConfigError(
            f"Teacher {teacher!r}: no price for {provider} model {model!r} in {PRICES_FILE.name} "
            f"({listed.date}); state one as `gateway: {{price: {{input: .., output: ..}}}}` "
            "in USD per million tokens."
        )
    return found


def tokens_at_most(text: str, images: int, price: Price) -> int:
    """An upper bound on the tokens of a prompt: a tokeniser makes at most one of each byte."""
    return len(text.encode("utf-8", "replace")) + images * price.image_tokens + TEMPLATE_TOKENS
