"""The report: numbers counted by hand, markup that stays text, a page that needs nothing else."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console
from synthetic_runs import HOSTILE, make_run

from ekipl_lab import tracking
from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.records import GroupRecordWriter, load_groups
from ekipl_lab.report import (
    RunData,
    answer,
    build_report,
    caveats,
    chains,
    figures,
    gather_runs,
    print_summary,
    provenance,
    reference,
    report_command,
    tables,
    training,
)
from ekipl_lab.report.gather import rebuild
from ekipl_lab.tables import TableCell, points
from ekipl_lab.tracking import RunInfo
from ekipl_lab.types import Action, EvalRecord, RewardBreakdown


def record(item: int, successes: list[bool | None], mode: str = "greedy") -> EvalRecord:
    """An item of a benchmark that cannot be rebuilt: no picture, no chain check."""
    actions = [Action(f"<answer>{s}</answer>", "policy", "m", (1, 2, 3)) for s in successes]
    values = [None if s is None else float(s) for s in successes]
    rewards = [
        RewardBreakdown({"accuracy": v}, {"accuracy": 1.0}, s)
        for v, s in zip(values, successes, strict=True)
    ]
    family = "even" if item % 2 == 0 else "odd"
    return EvalRecord(
        f"own/{item}", "counting", "test", family, 1, "m", mode, tuple(actions), tuple(rewards)
    )


def run_of(label: str, **steps: list[EvalRecord]) -> RunData:
    """A run measured at steps s0, s10, ... with the records given."""
    info = RunInfo(label * 8, label, "e", "FINISHED", 0.0, 60.0, {}, {}, {}, "")
    found = {int(name[1:]): records for name, records in steps.items()}
    config = {"seed": 0, "evaluation": {"ks": [1, 2, 4]}}
    return RunData(info, label, config, {}, {"test": found}, None)


START = [record(i, [i == 0]) for i in range(4)]  # 1 of 4
BASE = run_of("grpo", s0=START, s10=[record(i, [i in (0, 1)]) for i in range(4)])  # 2 of 4
ARM = run_of("ekipl", s0=START, s10=[record(i, [i != 0]) for i in range(4)])  # 3 of 4


def test_headline_counts_pairs_and_differences() -> None:
    table = tables.headline([BASE, ARM])
    assert table.columns == ["metric", "items", "start", "grpo, end", "ekipl, end", "ekipl − grpo"]
    heading, row = table.rows
    assert [cell.text for cell in heading] == ["test: counting, in-domain"]
    assert [cell.text for cell in row] == ["greedy accuracy", "4", "25.0", "50.0", "75.0", "+25.0"]
    # Wins 2 and 3, loses 0: mean 1/4, sd sqrt(11/12), t(3, .975) = 3.1824, McNemar 2 P(X <= 1) = 1.
    half = 3.18245 * (11 / 12) ** 0.5 / 2
    limits = f"[{points(0.25 - half)}, {points(0.25 + half)}]"
    assert row[-1].small == f"{limits}; p = 1"
    won, lost = (change.anchor for change in chains.changes([BASE, ARM])[:2])
    assert row[-1].links == (("2 won", won), ("1 lost", lost))
    assert row[2].small == "[4.6, 69.9]"  # Wilson, 1 of 4


def test_one_run_is_compared_with_its_own_start() -> None:
    table = tables.headline([ARM])
    assert table.columns == ["metric", "items", "start", "ekipl, end", "end − start"]
    assert [cell.text for cell in table.rows[1]] == [
        "greedy accuracy",
        "4",
        "25.0",
        "75.0",
        "+50.0",
    ]


def test_pass_at_k_is_paired_by_item() -> None:
    few = [record(i, [i == 0, False, False], "sampled") for i in range(2)]  # c = 1, 0 of 3
    many = [record(i, [True, True, False], "sampled") for i in range(2)]  # c = 2, 2 of 3
    table = tables.headline([run_of("a", s5=few), run_of("b", s5=many)])
    rows = {row[0].text: [cell.text for cell in row[3:]] for row in table.rows[1:]}
    # k = 4 of 3 samples is undefined, and has no row.
    # pass@1: (1/3 + 0)/2 against 2/3; pass@2: (1 - C(2,2)/C(3,2) + 0)/2 = 1/3 against 1.
    assert rows == {"pass@1": ["16.7", "66.7", "+50.0"], "pass@2": ["33.3", "100.0", "+66.7"]}


def test_what_could_not_be_scored_is_left_out_and_counted() -> None:
    end = [record(0, [None]), *(record(i, [True]) for i in range(1, 4))]
    table = tables.headline([BASE, run_of("x", s0=START, s10=end)])
    assert [cell.text for cell in table.rows[1]][4:] == ["100.0", "+66.7"]  # 1, 2, 3: 1/3 -> 1
    rows = {row[0].text: row for row in tables.quality([BASE, run_of("x", s10=end)]).rows}
    assert rows["could not be scored"][-1].text == "25.0"
    assert rows["tokens per completion"][-1].text == "3.0"
    assert not any("reasoning" in name for name in rows)  # nothing can check these chains


def test_slices_by_family() -> None:
    table = tables.slices([BASE, ARM], "family")
    cells = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows[1:]}
    assert cells == {"even": ["2", "50.0", "50.0", "50.0"], "odd": ["2", "0.0", "50.0", "100.0"]}


def test_changes_name_the_items() -> None:
    found = {change.title: list(change.ids) for change in chains.changes([BASE, ARM])}
    assert found == {
        "test: ekipl right, grpo wrong": ["own/2", "own/3"],
        "test: grpo right, ekipl wrong": ["own/0"],
        "test: grpo learned it": ["own/1"],
        "test: ekipl learned it": ["own/1", "own/2", "own/3"],
        "test: ekipl lost it": ["own/0"],
    }


def test_unequal_arms_are_told_apart() -> None:
    assert caveats.warnings([BASE, ARM]) == []
    other = replace(ARM, config={**ARM.config, "seed": 1, "data": {"task": "geometry"}})
    texts = " ".join(caveats.warnings([BASE, other]))
    assert "differ in seed" in texts and "differ in data" in texts
    assert "different seeds (0, 1)" in caveats.seeds_note([BASE, other])
    stopped = replace(ARM, info=replace(ARM.info, status="KILLED", tags={"ekipl.data.test": "z"}))
    texts = " ".join(caveats.warnings([BASE, stopped]))
    assert "ekipl is killed, not finished" in texts and "differ in data.test" in texts
    shown = [{"ekipl.shown.test": one, "ekipl.code.reward": one} for one in ("a", "b")]
    runs = [
        replace(r, info=replace(r.info, tags=t)) for r, t in zip([BASE, ARM], shown, strict=True)
    ]
    texts = " ".join(caveats.warnings(runs))
    assert "differ in the pictures, choices or chains of test." in texts
    assert "differ in the code of reward." in texts
    elsewhere = run_of("ekipl", s0=[record(i, [True]) for i in range(4)])
    assert "other policies" in " ".join(caveats.warnings([BASE, elsewhere]))
    assert "number of seeds: 1" in caveats.seeds_note([BASE, ARM])


def test_cost_is_read_at_the_step_of_the_evaluation() -> None:
    history = {"seconds/step": [(1, 2.0), (2, 3.0), (3, 4.0)], "cost/policy_tokens": [(2, 70.0)]}
    run = replace(BASE, history=history)
    assert figures.cost_by_step(run, "seconds") == {1: 2.0, 2: 5.0, 3: 9.0}
    shown = figures.cost_figures([run])
    lines = [trace for one in shown for trace in one.figure.data if trace.mode == "lines+markers"]
    assert [(list(line.x), list(line.y)) for line in lines] == [
        ([0.0, 70.0], [0.25, 0.5]),
        ([0.0, 9.0], [0.25, 0.5]),
    ]


def test_what_was_refused() -> None:
    history = {"teacher/oracle/refused/too_long": [(1, 3.0), (4, 2.0)]}
    run = replace(ARM, history=history)
    assert training._refused(run, "oracle") == TableCell("5", "5 too long")
    assert training._refused(run, "policy") == TableCell("–")


def test_p_values_of_several_sets_are_adjusted_together() -> None:
    """McNemar 6 won, 0 lost: p = 1/32 on both sets; Holm over two: 2/32."""
    base = [record(i, [False]) for i in range(8)]
    arm = [record(i, [i < 6]) for i in range(8)]
    two = {"test": {10: base}, "test_ood": {10: base}}
    first = replace(BASE, evaluations=two)
    second = replace(ARM, evaluations={"test": {10: arm}, "test_ood": {10: arm}})
    rows = [row for row in tables.headline([first, second]).rows if len(row) > 1]
    assert [row[-1].small.split("; ")[1:] for row in rows] == [["p = 0.031", "Holm p = 0.062"]] * 2


def test_equal_arms_have_no_interval() -> None:
    row = tables.headline([BASE, replace(BASE, label="again")]).rows[1]
    assert (row[-1].text, row[-1].small) == ("+0.0", "the same on every item; p = 1")
    assert row[-1].links == (("0 won", ""), ("0 lost", ""))


def test_config_difference_lists_only_what_differs() -> None:
    config = {"seed": 0, "teachers": [{"id": "a", "accuracy": 0.9}], "ks": [1, 4]}
    table = provenance.config_difference(
        [replace(BASE, config={**config, "teachers": []}), replace(ARM, config=config)]
    )
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["teachers", "[]", "–"],
        ["teachers.0.accuracy", "–", "0.9"],
        ["teachers.0.id", "–", '"a"'],
    ]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Two synthetic runs, one of them with a teacher that attacks the page."""
    work = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{work}/mlflow.db")
        with pytest.raises(DataError, match="no finished run"):
            gather_runs([])
        ekipl = make_run("ekipl", gain=0.5, teachers=("oracle", "hostile"), work=work)
        old = make_run("grpo", gain=0.0, work=work, steps=2, items=4)
        grpo = make_run("grpo", gain=0.2, work=work)
        with tracking.open_run("elsewhere", "nothing measured"):
            pass  # newest of all, and nothing to report
        yield {"ekipl": ekipl, "grpo": grpo, "old": old}


def test_the_latest_run_of_each_name_is_taken_the_baseline_first(store: dict[str, str]) -> None:
    runs = gather_runs([])
    assert [run.info.run_id for run in runs] == [store["grpo"], store["ekipl"]]
    assert [run.teachers for run in runs] == [[], ["hostile", "oracle"]]
    assert list(runs[0].evaluations["test"]) == [0, 4, 8]
    assert runs[0].ends("test", "sampled") == (0, 8)
    both = gather_runs([store["old"], store["grpo"][:12]])
    assert [run.label for run in both] == [f"grpo {run.info.run_id[:6]}" for run in both]


class Page(HTMLParser):
    """What a browser would see: elements, scripts, addresses, text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.scripts: list[tuple[str, str]] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.text = ""
        self._script: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        self.addresses += [given[name] or "" for name in ("src", "href") if name in given]
        self.handlers += [name for name in given if name.startswith("on")]
        if tag == "script":
            self._script = given.get("type") or "code"

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._script = None

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self.scripts.append((self._script, data))
        else:
            self.text += data


@pytest.fixture(scope="module")
def page(store: dict[str, str]) -> str:
    return build_report(gather_runs([]))


def test_what_a_model_wrote_stays_text(page: str) -> None:
    seen = Page(page)
    assert HOSTILE in seen.text
    assert "<script>alert" not in page and "onerror=alert" not in re.sub(r"&lt;.*?&gt;", "", page)
    assert seen.handlers == []
    kinds = [kind for kind, _ in seen.scripts]
    assert kinds.count("code") == 2  # what draws the figures, and what opens lists
    assert "connect-src" not in page and "default-src 'none'" in page


def test_the_page_needs_nothing_else(page: str) -> None:
    seen = Page(page)
    assert all(a.startswith(("#", "data:image/png;base64,")) for a in seen.addresses)
    assert "link" not in seen.tags and "iframe" not in seen.tags
    (packed,) = [text for kind, text in seen.scripts if kind == "text/plain"]
    assert b"plotly.js v" in gzip.decompress(base64.b64decode(packed))
    assert not any("plotly.js v" in text for _, text in seen.scripts)  # packed only
    for uri in [a for a in seen.addresses if a.startswith("data:")][:2]:
        image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
        assert image.size == (chains.PICTURE, chains.PICTURE)


def test_the_sources_of_training_are_told_apart(store: dict[str, str]) -> None:
    """8 steps of 2 groups: 4 policy actions, one of each teacher; hostile text is never kept."""
    table = training.sources(gather_runs([store["ekipl"]]))
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows[1:]}
    assert [rows[name][0] for name in ("policy", "hostile", "oracle")] == ["64", "16", "16"]
    assert rows["hostile"] == ["16", "–", "0.0", "0.0", "0.0", "–"]
    assert rows["oracle"][4] == "100.0"  # it errs in its reasoning only
    assert float(rows["policy"][3]) + float(rows["oracle"][3]) == pytest.approx(100.0)


def test_the_group_doctor_speaks(store: dict[str, str]) -> None:
    """The words and the advice are the group doctor's own, over all 16 groups."""
    (run,) = gather_runs([store["ekipl"]])
    examination = training.examined(run)
    assert examination is not None and examination.groups == 16 and examination.findings
    table = training.zero_causes([run])
    head, *rows = table.rows
    assert head[0].text.startswith(
        f"ekipl: {examination.zero_advantage} of 16 groups taught nothing"
    )
    assert [row[0].text for row in rows] == [finding.words for finding in examination.findings]
    assert [row[1].text for row in rows] == [finding.advice for finding in examination.findings]


@pytest.mark.parametrize(
    ("steps", "each", "most", "seen"),
    [(60, 2, 1000, 120), (120, 2, 200, 200), (60, 8, 100, 100), (3, 40, 60, 60)],
)
def test_all_groups_are_looked_at_where_they_are_few(
    tmp_path: Path, store: dict[str, str], steps: int, each: int, most: int, seen: int
) -> None:
    (run,) = gather_runs([store["ekipl"]])
    assert run.groups is not None
    built = [g.with_sample(rebuild(g.sample_id)) for g in load_groups(run.groups, 1)]
    with GroupRecordWriter(tmp_path / "groups") as writer:
        for step in range(1, steps + 1):
            writer.write(step, [built[i % 2] for i in range(each)])
    longer = replace(run, groups=tmp_path / "groups")
    found = list(training._spread_groups(longer, most))
    assert len(found) == seen and len({(g.step, g.group) for g in found}) == seen
    assert found[0].step == 1 and found[-1].step > 0.95 * steps - 1


def test_the_ceiling_counts_groups(store: dict[str, str]) -> None:
    (run,) = gather_runs([store["ekipl"]])
    table = reference.ceiling([run])
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows[1:]}
    assert rows["oracle"][0] == rows["any teacher"][0] == rows["anyone"][0] == "100.0"
    assert rows["hostile"] == ["0.0", "0.0"] and rows["policy"][1] == "0.0"
    left = 100 - float(rows["policy"][0])
    assert float(rows["oracle"][1]) == pytest.approx(left, abs=0.11)


def test_contamination_of_a_run_is_looked_for(store: dict[str, str]) -> None:
    (row,) = reference.overlaps(gather_runs([store["grpo"]])).rows
    assert [cell.text for cell in row[1:-1]] == ["1,000 samples of train", "48", "0", "0", "0"]


def test_the_page_tells_what_it_must(page: str, store: dict[str, str]) -> None:
    seen = Page(page)
    for words in (
        "grpo against ekipl",
        "number of seeds: 1",
        "makes no claim about the method",
        "test_ood: counting, out-of-domain",
        "Why groups taught nothing",
        "of these unsound",
        "dropped",
        store["ekipl"],
        "mini/counting/test abcd",
        "How to read this page",
    ):
        assert words in seen.text, words
    shown = [json.loads(text) for kind, text in seen.scripts if kind == "application/json"]
    titles = [figure["layout"]["title"]["text"] for figure in shown]
    for title in (
        "greedy accuracy on test",
        "pass@4 on test_ood",
        "ekipl minus grpo at the end",
        "ekipl: who wrote what is trained on",
        "Groups that teach nothing",
        "greedy accuracy on test",
    ):
        assert title in titles, title


def test_a_browser_draws_every_figure(page: str, tmp_path: Path) -> None:
    boxes = page.count('<div class="plot"')
    assert boxes == page.count('<script type="application/json">') > 10
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        return
    path = tmp_path / "report.html"
    path.write_text(page, encoding="utf-8")
    command = [
        *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
        *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
        *("--disable-sync", f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr"),
        *("--virtual-time-budget=20000", "--dump-dom", path.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.count('class="plot js-plotly-plot"') == boxes
    assert "Refused to" not in done.stderr and "Uncaught" not in done.stderr


def test_the_terminal_shows_the_same_headline(store: dict[str, str]) -> None:
    runs = gather_runs([])
    stream = io.StringIO()
    print_summary(runs, Console(file=stream, width=120, color_system=None))
    text = stream.getvalue()
    for row in tables.headline(runs).rows:
        assert all(cell.text in text for cell in row)
    assert "policy completions sampled" in text and "number of seeds: 1" in text
    said = answer.answer(runs)
    shown = " ".join(text.split())
    brief = [said[0], next(part for part in said if part.startswith("What was lost"))]
    assert answer.in_brief(runs) == brief and all(part in shown for part in brief)


def test_the_command_writes_the_page(store: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "new" / "report.html"
    assert report_command([store["grpo"]], out) == 0
    names = sorted(path.name for path in out.parent.iterdir())
    assert names == ["report.csv", "report.html", "report.md", "report.tex"]
    assert "\n\nIn short. " in (out.parent / "report.md").read_text(encoding="utf-8")
    assert "end − start" in Page(out.read_text(encoding="utf-8")).text
    with pytest.raises(DataError, match="'nope'"):
        report_command(["nope"], out)


def test_a_run_that_was_never_measured_is_refused(store: dict[str, str]) -> None:
    with tracking.open_run("synthetic", "unmeasured") as run:
        run.log_metrics({"policy/reward": 0.5}, 1)
    with pytest.raises(ConfigError, match="unmeasured"):
        build_report(gather_runs([run.run_id]))


@pytest.mark.parametrize("name", ["report.pdf", "report.md", "report"])
def test_a_page_of_another_ending_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"must be named \*\.html"):
        report_command([], tmp_path / name)
    assert not list(tmp_path.iterdir())
