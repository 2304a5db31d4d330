"""What a reviewer asks of a report: seeds, power, references; the same numbers in every form."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from paths import ROOT
from test_report import record, run_of

from ekipl_lab.benchmarks.reason_rft.published import PUBLISHED
from ekipl_lab.commands.cli import main
from ekipl_lab.errors import DataError
from ekipl_lab.evaluation import compare_seeds, write_records
from ekipl_lab.files import write_note
from ekipl_lab.report import (
    RunData,
    arms,
    build_report,
    caveats,
    gather_runs,
    provenance,
    reference,
)
from ekipl_lab.report.export import as_csv
from ekipl_lab.report.gather import sets_apart
from ekipl_lab.report.page import all_tables
from ekipl_lab.report.seeds import (
    compare_arms,
    over_seeds,
    power,
    quality_over_seeds,
    slices_over_seeds,
)
from ekipl_lab.report.tables import each_run, headline
from ekipl_lab.statistics import seeds_needed
from ekipl_lab.tables import (
    PACKAGES,
    Table,
    TableCell,
    latex_document,
    latex_text,
    markdown_document,
)
from ekipl_lab.types import EvalRecord

HOSTILE = "=cmd|' /C calc'!A0 <b>&_%$#{}~^\\ [x](y)`|\n"


def seeded(label: str, right: dict[int, int], of: int = 10, **config: object) -> list[RunData]:
    """One run per seed, with so many of 10 items right at the end."""
    runs = []
    for seed, count in right.items():
        end = [record(i, [i < count]) for i in range(of)]
        run = run_of(f"{label}-s{seed}", s0=[record(i, [False]) for i in range(of)], s10=end)
        runs.append(replace(run, config={**run.config, "seed": seed, "arm": label, **config}))
    return runs


BASE = seeded("grpo", {0: 4, 1: 5, 2: 3})
ARM = seeded("ekipl", {0: 6, 1: 6, 2: 6})
PASSES = ["pass@1", "pass@2", "pass@4"]


def test_runs_that_differ_in_their_seed_are_one_arm() -> None:
    found = arms.arms_of([*BASE, *ARM])
    assert [(arm.label, list(arm.runs)) for arm in found] == [
        ("grpo", [0, 1, 2]),
        ("ekipl", [0, 1, 2]),
    ]
    assert arms.several_seeds(found) and not arms.several_seeds(found[:1])
    assert [run.label for run in arms.representatives(found)] == ["grpo-s0", "ekipl-s0"]
    twice = arms.arms_of([BASE[0], BASE[0], *BASE[1:]])
    assert [list(arm.runs) for arm in twice] == [[0, 1, 2], [0]]  # a repeated seed is not another


def test_seeds_carry_the_primary_interval() -> None:
    """Differences 0.2, 0.1, 0.3: mean 0.2, sd 0.1, t(2) = 4.3027, half width 0.2484."""
    found = arms.arms_of([*BASE, *ARM])
    head, row = over_seeds(found).rows
    assert head[0].text == "test: counting, in-domain"
    assert [cell.text for cell in row[:2]] == ["greedy accuracy", "ekipl"]
    assert [cell.text for cell in row[2:]] == ["3", "40.0", "60.0", "+20.0", "+20.0 +10.0 +30.0"]
    assert row[5].small.startswith("[−4.8, +44.8]; p = 0.074; Holm p = 0.074")
    (result,) = compare_arms(found)
    by_hand = compare_seeds(
        {s: list(r.evaluations["test"][10]) for s, r in enumerate(ARM)},
        {s: list(r.evaluations["test"][10]) for s, r in enumerate(BASE)},
    )[0]
    assert result.result is not None and result.result.differences == by_hand.differences
    note = caveats.seeds_note([*BASE, *ARM])
    assert "grpo: seeds 0, 1, 2" in note and "paired by seed" in note


def test_holm_is_over_sets_and_only_common_seeds_are_compared() -> None:
    runs = [
        replace(
            run, evaluations={"test": run.evaluations["test"], "other": run.evaluations["test"]}
        )
        for run in (*BASE, *seeded("ekipl", {0: 6, 1: 6, 5: 9}))
    ]
    found = arms.arms_of(runs)
    rows = compare_arms(found)
    assert [row.result.seeds for row in rows if row.result] == [(0, 1), (0, 1)]
    for row in rows:
        assert row.result is not None and row.result.p_value is not None
        assert row.p_holm == pytest.approx(2 * row.result.p_value)
    assert "differ in seed (grpo: 0, 1, 2; ekipl: 0, 1, 5)" in " ".join(caveats.warnings(runs))


def test_unlike_items_are_told_and_not_compared() -> None:
    odd = seeded("ekipl", {0: 6, 1: 6, 2: 6}, of=9)
    _, row = over_seeds(arms.arms_of([*BASE, *odd])).rows
    assert row[5].text == "–" and "differ in their samples" in row[-1].text


def test_seeds_needed_at_the_spread_seen() -> None:
    (row,) = power(arms.arms_of([*BASE, *ARM])).rows
    spread = float(np.std([0.2, 0.1, 0.3], ddof=1))
    expected = [str(seeds_needed(target, spread, 0.8)) for target in (0.01, 0.02, 0.05, 0.10)]
    assert [cell.text for cell in row[1:]] == ["10.0", *expected]
    assert caveats.seeds_note([BASE[0], ARM[0]]).count("how many seeds a comparison needs") == 1


def test_the_page_of_several_seeds() -> None:
    page = build_report([*BASE, *ARM])
    assert "Over seeds: every arm against grpo" in page and "Seeds needed" in page
    assert "One run of each arm (seed 0)" in page and "Every run by itself" in page
    assert page.index("Over seeds: every") < page.index("One run of each arm (seed 0)")
    assert "<title>grpo against ekipl</title>" in page


def test_slices_over_seeds_by_hand() -> None:
    """Even items of 5: base 2, 3, 2 right, arm 3, 3, 3; odd: base 2, 2, 1, arm 3, 3, 3."""
    found = arms.arms_of([*BASE, *ARM])
    head, even, odd = slices_over_seeds(found, "family").rows
    assert head[0].text == "test: counting, in-domain"
    assert [cell.text for cell in even] == ["even", "ekipl", "5", "0.0", "46.7", "60.0", "+13.3"]
    assert [cell.text for cell in odd] == ["odd", "ekipl", "5", "0.0", "33.3", "60.0", "+26.7"]
    # Over seeds 0.2, 0, 0.2: error 0.0667, t(2) = 4.3027. Over items: only item 4 differs, at two
    # of three seeds: (0, 0, 2/3, 0, 0), error 0.1333, t(4) = 2.7764. p = 0.1835, odd 0.0572.
    assert even[-1].small == (
        "[−15.4, +42.0] over 3 seeds; [−23.7, +50.4] over 5 items; Holm p = 0.18"
    )
    assert odd[-1].small.endswith("over 5 items; Holm p = 0.11")
    (stratum,) = slices_over_seeds(found, "stratum").rows[1:]
    assert [cell.text for cell in stratum[:3]] == ["0-5 %", "ekipl", "10"]
    equal = slices_over_seeds(arms.arms_of([*BASE, *seeded("same", {0: 4, 1: 5, 2: 3})]), "family")
    assert {row[-1].small for row in equal.rows[1:]} == {"the same at all 3 seeds"}


def test_slices_of_unlike_items_are_not_compared() -> None:
    odd = seeded("ekipl", {0: 6, 1: 6, 2: 6}, of=9)
    assert slices_over_seeds(arms.arms_of([*BASE, *odd]), "family").rows == []


def test_failures_and_lengths_over_seeds() -> None:
    rows = {r[0].text: r for r in quality_over_seeds(arms.arms_of([*BASE, *ARM])).rows[1:]}
    assert [c.text for c in rows["tokens per completion"][1:]] == ["3.0", "3.0", "3.0"]
    assert [c.small for c in rows["could not be scored"][1:]] == ["", "", ""]
    unscored = [record(i, [None if i == 0 else True]) for i in range(10)]
    worse = [*BASE[:2], replace(BASE[2], evaluations={"test": {10: unscored}})]
    rows = {r[0].text: r for r in quality_over_seeds(arms.arms_of([*worse, *ARM])).rows[1:]}
    cell = rows["could not be scored"][2]
    assert (cell.text, cell.small) == ("3.3", "0.0 to 10.0")


def test_every_run_by_itself_has_no_differences() -> None:
    table = each_run([*BASE, *ARM])
    assert table.columns == ["run, end", "seed", "items", "greedy accuracy", *PASSES]
    assert [[c.text for c in row[:4]] for row in table.rows[1:3]] == [
        ["grpo-s0", "0", "10", "40.0"],
        ["grpo-s1", "1", "10", "50.0"],
    ]


def test_numbers_as_csv() -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv([*BASE, *ARM]))))
    seeds = [row for row in rows if row["kind"] == "difference over seeds"]
    (row,) = [row for row in seeds if not row["slice"]]
    sliced = {row["slice"]: float(row["value"]) for row in seeds if row["slice"]}
    assert sliced == {
        "family=even": pytest.approx(0.4 / 3), "family=odd": pytest.approx(0.8 / 3),
        "stratum=0-5 %": pytest.approx(0.2), "difficulty=1": pytest.approx(0.2),
    }  # fmt: skip
    assert (row["arm"], row["against"], row["seed"]) == ("ekipl", "grpo", "0 1 2")
    assert float(row["value"]) == pytest.approx(0.2) and float(row["low"]) == pytest.approx(
        -0.0484, abs=1e-4
    )
    end = [
        row
        for row in rows
        if row["kind"] == "metric" and row["step"] == "10" and row["slice"] == ""
        and row["metric"] == "accuracy_greedy"
    ]  # fmt: skip
    assert [(row["arm"], float(row["value"])) for row in end] == [
        *((f"grpo-s{s}", v) for s, v in ((0, 0.4), (1, 0.5), (2, 0.3))),
        *((f"ekipl-s{s}", 0.6) for s in range(3)),
    ]
    families = {row["slice"] for row in rows}
    assert {"", "family=even", "difficulty=1", "family=even difficulty=1"} <= families
    assert "stratum=0-5 %" in families
    pair = [row for row in rows if row["kind"] == "difference over items"]
    whole = [(row["arm"], row["against"]) for row in pair if not row["slice"]]
    assert whole == [(f"ekipl-s{s}", f"grpo-s{s}") for s in range(3)]  # never across seeds
    assert {row["seed"] for row in pair if row["slice"]} == {"0 1 2"}


def test_hostile_names_stay_text_in_every_form(tmp_path: Path) -> None:
    bad = replace(BASE[0], label=HOSTILE)
    text = as_csv([bad, ARM[0]])
    names = {row["arm"] for row in csv.DictReader(io.StringIO(text))} - {"ekipl-s0"}
    assert names == {"'" + HOSTILE}
    tables = all_tables([bad, ARM[0]])
    markdown = markdown_document(HOSTILE, [], tables)
    assert "<b>" not in markdown and "\\[x\\](y)" in markdown
    cut = [line for line in markdown.splitlines() if line.startswith("| ")]
    widths = {line.replace("\\|", "").count("|") for line in cut if "greedy accuracy" in line}
    assert len(widths) == 1
    latex = latex_document(HOSTILE, [HOSTILE], tables)
    assert "\\textbackslash{}" in latex and "\\&\\_\\%\\$\\#\\{\\}" in latex
    assert all(line.startswith("%") for line in latex.splitlines()[:4] if "cmd" in line)
    page = build_report([bad, ARM[0]])
    assert "<b>&_" not in page


def latex_tables(latex: str) -> list[tuple[list[str], list[list[str]]]]:
    """Column types and rows of cells of every table, read as TeX reads them."""
    found = []
    for block in re.findall(r"\\begin\{table\}.*?\\end\{table\}", latex, re.S):
        spec, body = re.fullmatch(
            r".*?\\begin\{tabular\}\{(.*?)\}\n\\toprule\n(.*)\\bottomrule.*", block, re.S
        ).groups()  # type: ignore[union-attr]
        body = re.sub(r"\\begin\{tabular\}\[t\].*?\\end\{tabular\}", "stacked", body)
        lines = body.replace("\\midrule\n", "").strip().splitlines()
        assert all(line.endswith(" \\\\") for line in lines)
        rows = [re.split(r"(?<!\\)&", line.removesuffix(" \\\\")) for line in lines]
        found.append((re.findall(r"[rl]|p\{[^}]*\}", spec), rows))
    return found


def test_latex_has_its_structure() -> None:
    latex = latex_document("t", ["n"], all_tables([*BASE, *ARM]))
    plain = re.sub(r"\\[\\{}%&$#_]", "", latex)
    depth = 0
    for sign in plain:
        depth += {"{": 1, "}": -1}.get(sign, 0)
        assert depth >= 0
    assert depth == 0
    code = [line.removesuffix("{%") for line in plain.splitlines() if not line.startswith("%")]
    assert not any(sign in line for line in code for sign in "%#_^~")  # all of them escaped
    for name in ("table", "tabular"):
        assert latex.count(f"\\begin{{{name}}}") == latex.count(f"\\end{{{name}}}") > 3
    tables = latex_tables(latex)
    assert len(tables) == len(all_tables([*BASE, *ARM]))
    for columns, rows in tables:
        assert len(rows) > 1
        for row in rows:
            part = re.match(r"\\multicolumn\{(\d+)\}\{l\}", row[0])
            assert (int(part[1]) if part else len(row)) == len(columns)
    assert "\\\\\\scriptsize [$-$4.8, +44.8]\\\\\\scriptsize p = 0.074" in latex


def test_latex_escapes_what_it_must() -> None:
    assert latex_text("a_b 5 % & #1") == "a\\_b 5 \\% \\& \\#1"
    assert latex_text("\\x{y}~^$") == (
        "\\textbackslash{}x\\{y\\}\\textasciitilde{}\\textasciicircum{}\\$"
    )
    assert latex_text("é −1\n\x07中") == "é $-$1 [U+0007][U+4E2D]"


def test_latex_compiles_where_it_can(tmp_path: Path) -> None:
    """Also with names that attack it; no line is too wide."""
    if (compiler := shutil.which("pdflatex")) is None:
        return
    bad = replace(BASE[0], label=HOSTILE + "中")
    for number, runs in enumerate(([*BASE, *ARM], [bad, ARM[0]])):
        latex = latex_document(HOSTILE, [HOSTILE], all_tables(runs))
        head = f"\\documentclass{{article}}{PACKAGES}"
        (tmp_path / f"x{number}.tex").write_text(
            f"{head}\\begin{{document}}{latex}\\end{{document}}", encoding="utf-8"
        )
        command = [compiler, "-interaction=nonstopmode", f"x{number}.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:]
        assert b"Overfull" not in done.stdout


def test_markdown_of_a_table() -> None:
    table = Table(
        "T",
        ["a", "b"],
        [[TableCell("part")], [TableCell("x|y", number=False), TableCell("1", "±2")]],
        "n",
    )
    assert markdown_document("R", ["note"], [table]) == (
        "# R\n\nnote\n\n## T\n\n| a | b |\n|:--|--:|\n| **part** |  |\n| x\\|y | 1 (±2) |\n\nn\n"
    )


def evaluation(folder: Path, records: list[EvalRecord], **changes: object) -> str:
    """A folder as `ekipl eval` leaves it."""
    folder.mkdir(parents=True)
    about = {
        "format": 1,
        "id": "f00d",
        "job": {
            "tasks": sorted({r.task for r in records}), "splits": ["test", "test_ood"],
            "families": None, "limit": None, "seed": 0, "image_size": None,
            "benchmark": "reason_rft", "scorer": "reason_rft/eval", "num_samples": 1, "ks": [1],
            "params": {"temperature": 0.1, "top_p": 0.9, "top_k": 50, "max_new_tokens": 768},
        },
        "source": {"kind": "checkpoint", "name": folder.name, "key": "k", "facts": {}},
        "data": {"test": {"samples": len(records), "hash": "abcd"}},
        "prompts": "p",
        "cost": {"actions": 10, "missing": 0, "completion_tokens": 50, "usd": 0.0},
        "seconds": 1.0,
        **changes,
    }  # fmt: skip
    (folder / "evaluation.json").write_text(json.dumps(about))
    write_records(folder / "records.parquet", records)
    return str(folder)


def test_a_changed_figure_of_an_evaluation_is_noticed(tmp_path: Path) -> None:
    folder = Path(evaluation(tmp_path / "mine", [record(0, [True], "sampled")]))
    assert gather_runs([str(folder)])  # without a seal, as an earlier version left it
    about = json.loads((folder / "evaluation.json").read_text())
    write_note(folder / "evaluation.json", about | {"ks": {10: 1, 9: 1}})
    assert gather_runs([str(folder)])
    sealed = (folder / "evaluation.json").read_text()
    for said, other in (('"seed": 0', '"seed": 1'), ('"id": "f00d"', '"id": "f00d')):
        (folder / "evaluation.json").write_text(sealed.replace(said, other))
        with pytest.raises(DataError, match="damaged"):
            gather_runs([str(folder)])


@pytest.mark.parametrize(
    ("other", "names"),
    [
        ({"format": None}, "format is missing or of another kind"),
        ({"format": 2}, "of format 2, and 1 is read here"),
        ({"job": {}}, "job.tasks is missing"),
        ({"job": {"tasks": 5, "splits": []}}, "job.tasks is missing or of another kind"),
        ({"job": {"tasks": ["a"], "splits": ["test"]}}, "seed is missing"),
        ({"source": {}}, "source.name is missing"),
        ({"source": {"name": "x"}}, "kind is missing"),
    ],
)
def test_what_is_no_evaluation_is_named(
    other: dict[str, object], names: str, tmp_path: Path
) -> None:
    folder = evaluation(tmp_path / "mine", [record(0, [True], "sampled")], **other)
    with pytest.raises(DataError, match=rf"mine/evaluation.json is .*{names}"):
        gather_runs([folder])


def published_records(counts: dict[str, tuple[str, str, int, int]]) -> list[EvalRecord]:
    found = []
    for family, (task, split, right, of) in counts.items():
        for i in range(of):
            one = record(i, [i < right], "sampled")
            name = f"reason_rft/{task}/{split}/{family}/{i}"
            found.append(replace(one, sample_id=name, task=task, split=split, family=family))
    return found


def test_published_rows_stand_beside_measured_ones(tmp_path: Path) -> None:
    records = published_records(
        {
            "clevr_math": ("counting", "test", 3, 4),
            "geomath": ("geometry", "test", 1, 4),
            "trance": ("transformation", "test", 2, 4),
            "super_clevr": ("counting", "test_ood", 1, 2),
        }
    )
    runs = gather_runs([evaluation(tmp_path / "mine", records)])
    table = reference.published(runs)
    assert table.columns[1:3] == ["clevr_math", "super_clevr"]
    mine, first = table.rows[0], table.rows[1]
    assert mine[0].text == "mine (measured here)"
    assert [c.text for c in mine[1:]] == [
        "75.00",
        "50.00",
        "25.00",
        "–",
        "50.00",
        "–",
        "–",
        "50.00",
        "–",
    ]
    assert mine[1].small == "4 items"
    assert [c.text for c in first[1:8]] == [f"{v:.2f}" for v in PUBLISHED[0].scores.values()]
    # GPT-4o: ID (68.10 + 50.18 + 42.55) / 3; OOD (34.3 + 43.49 + (28.67 + 29.76) / 2) / 3
    assert [c.text for c in first[8:]] == ["53.61", "35.67"]
    assert len(table.rows) == 1 + len(PUBLISHED)
    assert "not all published items of clevr_math" in table.note and "by task first" in table.note
    assert "other generation" not in table.note and "scored by" not in table.note
    other = [replace(runs[0], config={**runs[0].config, "reward": {"scorer": "ekipl/auto"}})]
    assert "scored by ekipl/auto, not reason_rft/eval" in reference.published(other).note
    assert reference.published([BASE[0]]).rows == []


def test_evaluations_are_arms_of_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two real evaluations, one with controls and a start; one report in four forms."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(ROOT)
    folders = []
    for name in ("careful", "sloppy"):
        folders.append(str(tmp_path / name))
        command = ["eval", f"teacher:configs/demo_ekipl.yaml#{name}", "--samples", "4"]
        command += ["--limit", "20", "--families", "compare", "remove_two", "--controls"]
        command += ["--against", "teacher:configs/demo_ekipl.yaml#sloppy"]
        assert main([*command, "--out", folders[-1]]) == 0
    out = tmp_path / "r" / "report.html"
    assert main(["report", *folders, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "nothing was trained here" in printed and "beside it report.md" in printed
    runs = gather_runs(folders)
    assert [run.label for run in runs] == ["careful", "sloppy"]
    assert runs[0].ends("test", "sampled") == (0, 1)
    page = out.read_text(encoding="utf-8")
    for words in ("Blind controls", "shuffled image", "Accuracy by stratum", "actions evaluated"):
        assert words in page, words
    assert "different conditions" not in page
    assert "cannot be compared" not in page and "What happened in training" not in page
    markdown = out.with_suffix(".md").read_text(encoding="utf-8")
    assert "## Blind controls" in markdown and "## What was measured" in markdown
    rows = list(csv.DictReader(out.with_suffix(".csv").open(encoding="utf-8")))
    table = {
        (r["arm"], r["step"], r["slice"], r["metric"]): float(r["value"])
        for r in rows
        if r["kind"] == "metric"
    }
    right = [r.success for record in runs[0].records("test", 1, "sampled") for r in record.rewards]
    assert table["careful", "1", "", "pass_at_1"] == pytest.approx(sum(right) / len(right))
    same = [r for r in rows if r["kind"] == "difference over items" and r["metric"] == "pass_at_1"]
    value = table["sloppy", "1", "", "pass_at_1"] - table["careful", "1", "", "pass_at_1"]
    assert float(same[0]["value"]) == pytest.approx(value)


def test_what_a_source_did_not_give_is_said_first(tmp_path: Path) -> None:
    cost = {"actions": 10, "missing": 3, "completion_tokens": 50, "usd": 0.0}
    records = published_records({"clevr_math": ("counting", "test", 3, 4)})
    seen = {"train": "all", "overlap": {"test": 4, "ids": 2, "items": 0, "images": 2, "near": 1}}
    name = evaluation(tmp_path / "api", records, cost=cost, contamination=seen)
    runs = gather_runs([name])
    assert any("3 of 10 actions were not given" in text for text in caveats.warnings(runs))
    (row,) = reference.overlaps(runs).rows
    assert [cell.text for cell in row] == ["api", "all", "4", "2", "0", "2", "1"]


def test_small_costs_are_not_rounded_to_nothing() -> None:
    amounts = (0.0, 0.00006, 0.0081, 0.5, 1.0, 1234.567)
    assert [provenance._amount("teacher_paid_usd", amount) for amount in amounts] == [
        "0.00", "0.0001", "0.0081", "0.5000", "1.00", "1,234.57"
    ]  # fmt: skip
    assert provenance._amount("teacher_tokens", 1234.0) == "1,234"


def test_what_was_measured_on_other_samples_stands_apart() -> None:
    mine = run_of("mine", s0=[record(i, [False]) for i in range(4)])
    same = run_of("same", s0=[record(i, [True]) for i in range(4)])
    other = run_of("other", s0=[record(i, [True]) for i in range(2, 8)])
    assert sets_apart([mine, same]) == [mine, same]
    apart = sets_apart([mine, same, other])
    names = [list(run.evaluations) for run in apart]
    assert names == [["test of mine"], ["test of mine"], ["test of other"]]
    table = headline(apart)
    headings = [row[0].text for row in table.rows if len(row) == 1]
    assert headings == [
        "test of mine: counting, in-domain",
        "test of other: counting, in-domain",
    ]
    rows = [[cell.text for cell in row] for row in table.rows if len(row) > 1]
    assert [row[1] for row in rows] == ["4", "6"]  # items of each set
    # Ends of mine, same, other, then differences: no run has a figure of a set that it did not see.
    assert rows[0][3:6] == ["0.0", "100.0", "–"] and rows[1][3:6] == ["–", "–", "100.0"]
    assert rows[0][7] == rows[1][6] == rows[1][7] == "–"
    (notice, _) = [line for line in caveats.warnings(apart) if line.startswith("Set ")]
    assert notice.startswith("Set 'test of mine' was measured for mine, same only")
    assert "test of other" in build_report(apart)
