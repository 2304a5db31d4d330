"""The page over a run with a paid teacher: what it cost is shown, and looking spends nothing."""

from pathlib import Path
from typing import Any

import pytest
import torch
from fault_server import FaultServer

from app import html, live, runs, views
from app.group import describe_group
from app.state import to_query
from app.views import recorded
from ekipl_lab import benchmarks
from ekipl_lab.errors import ConfigError
from ekipl_lab.training.config.run_config import parse_config
from ekipl_lab.training.run import train

ITEM = "mini/counting/validation/s0/count_pair/000000"


def run(folder: Path, server: FaultServer, name: str, **gateway: Any) -> str:
    """One step of two prompts with two paid actions each: 100 tokens read, 20 written."""
    price = {"input": 2.5, "output": 10.0}
    block = {"cache": str(folder / "store.sqlite3"), "price": price, **gateway}
    teacher = {"type": "openai", "id": "api", "model": "m", "base_url": server.url + "/v1"}
    grpo = {"num_generations": 4, "per_device_train_batch_size": 8, "max_steps": 1}
    config = {
        "name": name,
        "policy": {"build": "nano"},
        "teachers": [teacher | {"actions": 2, "gateway": block}],
        "data": {"limit": 8},
        "grpo": grpo | {"max_completion_length": 40},
        "evaluation": {"sets": [{"limit": 2}], "every": 0, "at_start": False, "sampled": "never"},
    }
    return train(parse_config(config)).run_id


def test_the_price_is_shown_and_a_click_spends_only_within_a_ceiling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    with FaultServer() as server:
        paid = run(tmp_path, server, "paid")
        again = run(tmp_path, server, "again")
        assert server.tally.received == 4
        limited = run(tmp_path, server, "limited", budget={"usd": 0.1}, account="limited")
        # An answer: 100 x 2.5 + 20 x 10 millionths of a dollar; the run bought four.
        assert runs.paid_by(paid, 1) == pytest.approx(0.0018)
        assert runs.paid_by(paid, 0) == runs.paid_by(again, 1) == 0.0
        pages = {id: list(views.show(query(id)))[-1] for id in (paid, again)}
        for page in pages.values():
            assert "0 of 2 right, 2 kept, 0.0009 USD</span>" in page
            taught = page.partition('class="side teachers')[2]  # both of one text: one card
            assert taught.count("20 tokens · m-served · 0.00045 USD") == 1
            assert taught.count("× 2</span>") == 1
        assert "So far the run had paid its teachers 0.0018 USD." in pages[paid]
        assert "from the cache" not in pages[paid] and "had paid" not in pages[again]
        assert pages[again].count("0.00045 USD · from the cache") == 1

        item = benchmarks.load_sample(ITEM)
        with pytest.raises(ConfigError, match="'api' costs money, has no ceiling"):
            live.live_group(paid, "start", item, 0)
        assert server.tally.received == 4
        shown = describe_group(live.live_group(limited, "start", item, 0).group)
        assert (shown.sources[-1].price, server.tally.received) == (pytest.approx(0.0009), 6)
        group = live.live_group(paid, "start", item, 0).group  # bought by now: free to look at
        assert all(c.is_cached for c in describe_group(group).candidates if not c.is_policy)
        assert server.tally.received == 6


def query(run: str) -> str:
    return to_query("recorded", recorded.State(run=run, step=1, group=0))


def test_small_prices_are_written_out() -> None:
    amounts = [0.00045, 0.0000012, 12.0, 1.5, 0.0]
    assert [html.dollars(amount) for amount in amounts] == [
        "0.00045 USD", "0.000001 USD", "12 USD", "1.5 USD", "0 USD"
    ]  # fmt: skip
