"""``python -m ekipl_lab.biaslab --out results/bias_lab``: table (JSON, Markdown) and figures."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from ekipl_lab.biaslab.figure import cosine_figure
from ekipl_lab.biaslab.report import Results, from_json, to_json, to_markdown
from ekipl_lab.biaslab.study import Condition, anchors, checks, conditions, lines
from ekipl_lab.biaslab.toy import REWARDS
from ekipl_lab.errors import ConfigError, EKIPLError
from ekipl_lab.files import write_text
from ekipl_lab.plots.figures import write_image


def main(arguments: list[str] | None = None) -> int:
    """Run the lab; 1 if an anchor does not hold, 2 if a path is wrong."""
    parser = argparse.ArgumentParser(prog="python -m ekipl_lab.biaslab", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/bias_lab"))
    parser.add_argument("--groups", type=int, default=20_000, help="drawn for each check")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        return run(options.out, options.groups)
    except EKIPLError as error:
        print(error, file=sys.stderr)
        return 2


def run(out: Path, groups: int) -> int:
    """Measure, write everything into ``out`` and say what does not hold."""
    if groups < 2:
        raise ConfigError(f"--groups is {groups}; a standard error needs at least 2.")
    out.mkdir(parents=True, exist_ok=True)
    found = [line for condition in _progress() for line in lines(condition)]
    text = to_json(Results(anchors(), checks(groups), found))
    write_text(out / "table.json", text)
    results = from_json(text)  # what is shown is what is kept
    write_text(out / "table.md", f"# Bias lab\n\n{to_markdown(results)}")
    _figures(results, out)
    broken = [anchor.claim for anchor in results.anchors if not anchor.holds]
    for claim in broken:
        print(f"does not hold: {claim}", file=sys.stderr)
    print(f"{len(found)} lines, {len(results.anchors)} anchors in {out / 'table.md'}")
    return 1 if broken else 0


def _progress() -> Iterator[Condition]:
    todo = conditions()
    for number, condition in enumerate(todo, start=1):
        print(f"[{number}/{len(todo)}] {condition}", flush=True)
        yield condition


def _figures(results: Results, out: Path) -> None:
    """Interactive pages always; drawings where a browser is at hand."""
    for reward in REWARDS:
        name = f"cosine_{reward.replace(' ', '_')}"
        figure = cosine_figure(results, reward)
        write_text(out / f"{name}.html", figure.to_html(include_plotlyjs=True))
        try:
            write_image(figure, out / f"{name}.svg", width=1250, scale=1)
        except ConfigError as error:
            print(f"{name}.svg not drawn: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
