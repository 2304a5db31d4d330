"""The adapter that docs/teachers.md grows, as it stands there, against a server that misbehaves."""

import re
from pathlib import Path
from typing import Any

import pytest
from api_kit import PARAMS, gateway_spec, numbered
from fault_server import FaultServer
from paths import ROOT

from ekipl_lab.parsing import parse_completion
from ekipl_lab.teachers.gateway.gateway import Gateway

DOCS = ROOT / "docs"
SEED = 5


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    """The names that the page's code defines."""
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "teachers.md").read_text(), re.DOTALL)
    assert len(code.splitlines()) <= 50
    names: dict[str, Any] = {"__name__": "written"}
    exec(compile(code, "docs/teachers.md", "exec"), names)
    return names


@pytest.mark.parametrize("reasoning", ["", "I look."])
def test_every_sample_gets_its_own_answer(
    tmp_path: Path, written: dict[str, Any], reasoning: str
) -> None:
    text = "<think>{seen}</think><answer>{number}</answer>"
    if reasoning:
        text = "{seen}<answer>{number}</answer>"
    faults = ("429_wait", "500", "reset", "cut_off", "schema", "empty")
    with FaultServer(seed=SEED, rate=0.3, faults=faults, text=text, reasoning=reasoning) as server:
        spec = written["OllamaSpec"](
            id="t", model="m", base_url=server.url, gateway=gateway_spec(tmp_path)
        )
        with Gateway(written["OllamaAdapter"](spec), spec.gateway) as gateway:
            rows = gateway.propose([numbered(n, images=2) for n in range(40)], 1, PARAMS)
            assert server.tally.faults.total() - server.tally.faults["ok"] >= 8, f"seed {SEED}"
    for number, (action,) in enumerate(rows):
        assert f"[{number}, {number + 1000}]" in action.completion
        assert f"<answer>{number}</answer>" in action.completion
        assert action.model_id == "m-served" and action.usage is not None
        assert (action.usage.prompt_tokens, action.usage.completion_tokens) == (100, 20)
        if reasoning:
            assert action.completion.startswith("<think>I look.</think>")
        else:
            assert parse_completion(action.completion).answer == str(number)
