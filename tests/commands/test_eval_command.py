"""`ekipl eval` from the command line: what it prints and keeps is what was measured."""

import csv
import json
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from api_kit import KEY, KEY_ENV, numbered
from fault_server import FaultServer
from paths import ROOT
from PIL import Image
from test_reason_rft import folder as published  # noqa: F401  (a fixture)

from ekipl_lab.benchmarks import load_samples
from ekipl_lab.commands.cli import build_parser, main
from ekipl_lab.commands.eval.options import job_of
from ekipl_lab.commands.eval.tables import warnings
from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.evaluation import compare, read_records, summarize
from ekipl_lab.evaluation.contamination import contamination
from ekipl_lab.evaluation.job import Job, Measured, check_job
from ekipl_lab.evaluation.run import REASON_RFT_GENERATION
from ekipl_lab.evaluation.slices import changes_since, strata_from_file, strata_of
from ekipl_lab.policies import build_tiny_policy, save_policy
from ekipl_lab.report import gather_runs
from ekipl_lab.types import Action, EvalRecord, RewardBreakdown, Sample

TEACHER = "teacher:configs/demo_ekipl.yaml#careful"


@pytest.fixture(autouse=True)
def store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of its own, so that nothing is left in the project's."""
    path = tmp_path_factory.mktemp("store")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}/mlflow.db")
    monkeypatch.setenv("COLUMNS", "160")
    return path


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("policies") / "nano"
    yield str(save_policy(*build_tiny_policy("nano", seed=0), folder, dtype="float32"))


def lines_of(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return {(row["slice"], row["metric"]): row for row in csv.DictReader(file)}


def test_a_teacher_on_two_splits(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--split", "test", "test_ood", "--limit", "12", "--samples", "64"]
    assert main(["eval", TEACHER, *options, "--k", "1", "64", "--export", "lmms-eval"]) == 0
    out = capsys.readouterr().out
    assert "teacher careful" in out and "a teacher's own settings come first" in out
    (folder,) = (store / "eval").iterdir()
    assert folder.name.startswith("careful-")
    records = read_records(folder / "records.parquet")
    assert len(records) == 24 and {len(r.actions) for r in records} == {64}
    table = lines_of(folder / "metrics.csv")
    by_hand = {
        (row.group["split"], row.metric): row
        for row in summarize(records, by=("task", "split"), ks=(1, 64))
    }
    for split in ("test", "test_ood"):
        for metric in ("pass_at_1", "pass_at_64", "majority_vote", "format_failure_sampled"):
            found = table[f"task=counting split={split}", metric]
            assert float(found["value"]) == by_hand[split, metric].value
            assert float(found["low"]) == by_hand[split, metric].low
            assert f"{by_hand[split, metric].value:.3f}" in out
    assert "pass_at_32" not in {metric for _, metric in table}
    assert table["task=counting split=test", "chain_sound_sampled"]["n"] == "12"
    slices = {where.rpartition(" ")[2].partition("=")[0] for where, _ in table}
    assert slices == {"all", "task", "split", "family", "difficulty"}
    about = json.loads((folder / "evaluation.json").read_text())
    assert about["source"]["kind"] == "teacher" and about["cost"]["actions"] == 24 * 64
    assert about["data"]["test"]["samples"] == 12 and about["seconds"] >= 0
    assert len((folder / "samples_lmms_eval.jsonl").read_text().splitlines()) == 24


def test_the_same_command_continues_where_it_was(
    nano: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Interrupted within the third batch, then again: what was there is kept, and all agree."""
    from ekipl_lab.policies import PolicySource

    seen: list[str] = []
    honest = PolicySource.propose_streaming

    def propose(self, samples, num_actions, params, on_complete):  # type: ignore[no-untyped-def]
        def hear(index: int, actions: list[Action]) -> None:
            if len(seen) == 5 and stop:
                raise KeyboardInterrupt
            seen.append(samples[index].id)
            on_complete(index, actions)

        return honest(self, samples, num_actions, params, hear)

    stop = True
    monkeypatch.setattr(PolicySource, "propose_streaming", propose)
    command = ["eval", "--policy", nano, "--limit", "8", "--num-samples", "0"]
    command += ["--batch-size", "2", "--max-new-tokens", "6", "--out", str(tmp_path / "e")]
    assert main(command) == 130
    assert "the same command continues" in capsys.readouterr().err
    assert not (tmp_path / "e" / "evaluation.json").exists()
    stop = False
    kept = (tmp_path / "e" / "cache" / "greedy" / "part-000000.jsonl").read_text()
    assert [json.loads(line)["sample_id"] for line in kept.splitlines()] == seen
    assert main(command) == 0
    assert len(seen) == 9 and len(set(seen)) == 8  # the third batch ran again, as it was
    first = read_records(tmp_path / "e" / "records.parquet")
    assert main([*command[:-1], str(tmp_path / "whole")]) == 0
    assert read_records(tmp_path / "whole" / "records.parquet") == first
    with_other_seed = [*command, "--seed", "3"]
    assert main(with_other_seed) == 2
    assert "was made with another seed" in capsys.readouterr().err


def test_controls_and_what_was_forgotten(
    nano: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = save_policy(*build_tiny_policy("nano", seed=1), tmp_path / "b" / "n", dtype="float32")
    out = tmp_path / "e"
    command = ["eval", str(other), "--limit", "6", "--samples", "2", "--max-new-tokens", "6"]
    assert main([*command, "--controls", "--out", str(out)]) == 2  # before anything is measured
    assert "shuffling needs at least two" in capsys.readouterr().err and not out.exists()
    command += ["--families", "compare", "remove_two"]
    assert main([*command, "--controls", "--against", nano, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    for words in ("blind controls", "question_only", "shuffled_image", "since the start"):
        assert words in printed
    names = {path.name for path in out.iterdir()}
    assert {"start.parquet", "control-question_only.parquet"} <= names
    start = read_records(out / "start.parquet")
    assert {r.mode for r in start} == {"greedy", "sampled"}
    assert {r.model_id for r in start} == {"nano"}
    shuffled = read_records(out / "control-shuffled_image.parquet")
    assert {r.mode for r in shuffled} == {"greedy"} and len(shuffled) == 6
    with (out / "since_start.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["mode"] for row in rows} == {"greedy", "sampled"}
    assert sum(int(row["n"]) for row in rows if row["mode"] == "greedy") <= 6
    assert any(where.startswith("task=counting split=test stratum=") for where, _ in lines_of(
        out / "metrics.csv"
    ))  # fmt: skip
    # Measured anew without them: a page of the folder must not show those of before.
    assert main([*command, "--out", str(out)]) == 0
    left = {path.name for path in out.iterdir()}
    assert left == {"cache", "evaluation.json", "metrics.csv", "records.parquet"}
    # The same weights rounded to another dtype are another model.
    assert main([*command, "--dtype", "bfloat16", "--out", str(out)]) == 2
    assert "was made with another model" in capsys.readouterr().err


def parsed(*options: str):  # type: ignore[no-untyped-def]
    return job_of(build_parser().parse_args(["eval", *options]))


def test_the_published_settings_are_a_preset() -> None:
    job = parsed("org/model", "--preset", "reason_rft", "--benchmark", "reason_rft")
    assert job.params == REASON_RFT_GENERATION
    assert (job.modes, job.num_samples, job.scorer) == (("sampled",), 1, "reason_rft/eval")
    assert job.tasks == ("counting", "geometry", "transformation") and job.used_ks == (1,)
    own = parsed(
        *("org/model", "--preset", "reason_rft", "--samples", "8", "--scorer", "ekipl/strict"),
        *("--temperature", "0.5", "--seed", "7"),
    )
    assert own.params == replace(REASON_RFT_GENERATION, temperature=0.5, seed=7)
    assert (own.num_samples, own.scorer, own.used_ks) == (8, "ekipl/strict", (1, 2, 4, 8))


def test_a_folder_of_the_published_layout(
    published: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = tmp_path / "teachers.yaml"
    config.write_text("teachers: [{type: random, id: guess}]")
    out = tmp_path / "out"
    command = ["eval", f"teacher:{config}", "--benchmark", str(published), "--out", str(out)]
    command += ["--split", "test", "test_ood", "--preset", "reason_rft", "--limit", "0"]
    assert main(command) == 0
    assert "scored by reason_rft/eval" in capsys.readouterr().out
    records = read_records(out / "records.parquet")
    assert {r.family for r in records} == {
        *("clevr_math", "super_clevr", "geomath", "geometry3k"),
        *("trance", "trance_left", "trance_right"),
    }
    assert len(records) == 28 and {r.rewards[0].explanation[:15] for r in records} == {
        "reason_rft/eval"
    }
    assert set(json.loads((out / "evaluation.json").read_text())["data"]) == {
        f"{task}/{split}"
        for task in ("counting", "geometry", "transformation")
        for split in ("test", "test_ood")
    }


def test_an_api_teacher_that_skips_failures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sample 3 answers 400 and is skipped: counted and shown; the others are all there."""
    monkeypatch.setattr(
        "ekipl_lab.benchmarks.load_samples", lambda *a, **k: [numbered(i) for i in range(6)]
    )
    monkeypatch.setenv(KEY_ENV, KEY)
    out = tmp_path / "out"
    with FaultServer(script={3: ["400"]}) as server:
        config = tmp_path / "teachers.yaml"
        config.write_text(json.dumps({"teachers": [teacher_of(server.url, tmp_path)]}))
        command = ["eval", f"teacher:{config}", "--samples", "1", "--out", str(out)]
        assert main(command) == 0
        printed = capsys.readouterr().out
        assert "1 of 6 actions were not given by the source" in printed
        assert "missing_sampled" in printed
        received = server.tally.received
        assert main(command) == 0
        assert server.tally.received == received + 1  # only the missing one is asked again
    assert json.loads((out / "evaluation.json").read_text())["cost"]["missing"] == 0


def own_data(folder: Path, answers: list[str], chain: str = "I see it.") -> str:
    """Data of one's own with chains; the teachers beside it are those of ``t.yaml``."""
    Image.new("RGB", (32, 32), "red").save(folder / "a.png")
    rows = [
        {"id": str(n), "image": "a.png", "question": f"How many {n}?", "answer": a, "cot": chain}
        for n, a in enumerate(answers)
    ]
    (folder / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = ", ".join(f"{name}: {name}" for name in rows[0])
    (folder / "own.yaml").write_text(
        "name: own\ntask: t\nanswer_type: number\nsplits: {test: x.jsonl}\n"
        f"columns: {{{columns}}}\n"
    )
    (folder / "mine.py").write_text(
        "from ekipl_lab.types import Action\n\n\nclass Knows:\n"
        "    def propose(self, samples, num_actions, params):\n"
        "        texts = [f'<think>x</think><answer>{s.answer}</answer>' for s in samples]\n"
        "        return [[Action(text, 'mine', 'mine')] * num_actions for text in texts]\n"
    )
    teachers = [
        {"type": "replay", "id": "chains", "cot": True},
        {"type": "python", "id": "knows", "class": f"{folder}/mine.py:Knows"},
        {"type": "random", "id": "guesser"},
        {"type": "ensemble", "id": "panel", "members": [{"type": "random", "id": "g"}]},
    ]
    (folder / "t.yaml").write_text(json.dumps({"teachers": teachers}))
    return str(folder / "own.yaml")


@pytest.mark.parametrize("teacher", ["chains", "knows"])
def test_a_teacher_is_asked_again_where_the_truth_changed(teacher: str, tmp_path: Path) -> None:
    """The prompt is the same; what this teacher says of it is not."""
    out = tmp_path / "out"

    def accuracy(answers: list[str], chain: str) -> list[bool | None]:
        data = own_data(tmp_path, answers, chain)
        command = ["eval", f"teacher:{tmp_path}/t.yaml#{teacher}", "--benchmark", data]
        assert main([*command, "--samples", "1", "--out", str(out)]) == 0
        found = sorted(read_records(out / "records.parquet"), key=lambda record: record.sample_id)
        return [record.rewards[0].success for record in found]

    assert accuracy(["3", "4"], "I see it.") == [True, True]
    assert accuracy(["3", "5"], "I see it.") == [True, True]
    wrong = "<think>x</think><answer>9</answer>"
    assert accuracy(["3", "5"], wrong) == [teacher == "knows"] * 2


@pytest.mark.parametrize("teacher", ["guesser", "panel"])
def test_a_guesser_with_other_answers_to_guess_is_another_source(
    teacher: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = own_data(tmp_path, list("345678")), str(tmp_path / "out")
    command = ["eval", f"teacher:{tmp_path}/t.yaml#{teacher}", "--benchmark", data, "--out", out]
    assert main([*command, "--samples", "1", "--limit", "2"]) == 0
    assert main([*command, "--samples", "1"]) == 2
    assert "was made with another model" in capsys.readouterr().err


def test_the_code_of_an_own_reward_is_kept(tmp_path: Path) -> None:
    data, out = own_data(tmp_path, ["3", "4"]), tmp_path / "out"
    command = ["eval", f"teacher:{tmp_path}/t.yaml#knows", "--benchmark", data, "--samples", "1"]
    command += ["--scorer", f"python:{tmp_path}/reward.py:score", "--out", str(out)]
    tags = []
    for value in ("1.0", "0.5", "0.5"):
        text = f"def score(completion, sample):\n    return {value}\n"
        (tmp_path / "reward.py").write_text(text)
        assert main(command) == 0
        tags.append(gather_runs([str(out)])[0].info.tags["ekipl.code.reward"])
    assert tags[0] != tags[1] == tags[2]


def test_a_start_and_controls_that_cost_are_asked_for_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(KEY_ENV, KEY)
    data, folder = own_data(tmp_path, list("3456")), tmp_path / "out"
    (tmp_path / "t.yaml").write_text(
        json.dumps(
            {
                "teachers": [
                    teacher_of("http://127.0.0.1:9", tmp_path) | {"id": "paid"},
                    {"type": "random", "id": "free", "answers": ["3"]},
                ]
            }
        ).replace('"usd": 1.0', '"usd": null')
    )
    options = ["--benchmark", data, "--samples", "2", "--out", str(folder)]
    free, paid = (f"teacher:{tmp_path}/t.yaml#{name}" for name in ("free", "paid"))
    assert main(["eval", free, "--against", paid, *options]) == 2
    said = capsys.readouterr()
    assert "paid: 8 actions" in said.out and "has no ceiling" in said.err
    assert main(["eval", paid, "--controls", "question_only", *options]) == 2
    said = capsys.readouterr()
    assert "paid: 16 actions" in said.out and "has no ceiling" in said.err
    assert not folder.exists()


def teacher_of(url: str, folder: Path) -> dict[str, object]:
    return {
        "type": "openai",
        "id": "t",
        "model": "m",
        "base_url": f"{url}/v1",
        "api_key_env": KEY_ENV,
        "gateway": {
            "cache": str(folder / "store.sqlite3"),
            "on_error": "skip",
            "price": {"input": 1.0, "output": 2.0},
            "budget": {"usd": 1.0},
            "backoff": 0.0,
        },
    }


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "Name what to evaluate once"),
        (["a", "--policy", "b"], "Name what to evaluate once"),
        (["x", "--preset", "reason_rtf"], "did you mean 'reason_rft'"),
        (["x", "--k", "64"], "pass@64 is undefined for 32 samples per item; draw at least 64"),
        (["x", "--mode", "greedy", "--temperature", "0.5"], "--temperature is about sampling"),
        (["x", "--samples", "0", "--k", "1"], "--k is about sampling"),
        (["x", "--temperature", "0"], "temperature above 0 (from 0.0001 to 100); or --mode greedy"),
        (["x", "--mode", "sampled", "--samples", "0"], "--samples is 0"),
        (["x", "--top-p", "0"], "--top-p"),
        (["x", "--max-new-tokens", "0"], "--max-new-tokens"),
        ([TEACHER, "--mode", "greedy"], "A teacher answers with its own temperature"),
        (["x", "--against", TEACHER], "A teacher answers with its own temperature"),
        ([TEACHER, "--export", "vlmevalkit"], "VLMEvalKit reads one prediction per item"),
        (["x", "--scorer", "ekipl/atuo"], "did you mean 'ekipl/auto'"),
        (["x", "--task", "countin"], "did you mean 'counting'"),
        (["no/such/folder"], "does not exist"),
        (["configs"], "has no config.json"),
        (["assets/policies/counting", "--strata", "x.json"], "x.json cannot be read"),
    ],
)
def test_wrong_use(options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    limits = ["--limit", "2", "--max-new-tokens", "4"] if "--strata" in options else []
    code = main(["eval", *options, *limits, *(["--samples", "0"] if limits else [])])
    error = capsys.readouterr().err
    assert code == 2 and sentence in error and "Traceback" not in error


def test_strata_and_changes_by_hand(make: Callable[..., object]) -> None:
    start = [*make("a", [0] * 19 + [1]), *make("b", [1, 1, 0, 0]), *make("c", [1, 1, 1, 0])]  # type: ignore[misc]
    strata = strata_of(start)
    assert {strata[r.sample_id] for r in start if r.family == "a"} == {"0-5 %"}
    assert {strata[r.sample_id] for r in start if r.family == "b"} == {"5-50 %"}
    assert {strata[r.sample_id] for r in start if r.family == "c"} == {"> 50 %"}
    now = [*make("a", [1] * 20), *make("b", [1, 1, 0, 0]), *make("c", [0] * 4)]  # type: ignore[misc]
    found = {change.group["family"]: change for change in changes_since(now, start)}
    assert (found["a"].verdict, found["b"].verdict) == ("gained", "open")
    assert found["c"].verdict == "open"  # 3 of 4 lost: mean -0.75, t(3) = 3.18 x 0.25
    assert found["a"].p_holm == pytest.approx(3 * 2 * 0.5**19)
    many = [*make("c", [1] * 20)], [*make("c", [0] * 18 + [1] * 2)]  # type: ignore[misc]
    assert changes_since(many[1], many[0])[0].verdict == "forgotten"
    plain = compare(now[:20], start[:20])
    assert found["a"].comparison == plain
    with pytest.raises(DataError, match="other samples, such as"):
        changes_since(now[1:], start)


@pytest.fixture
def make() -> Callable[..., object]:
    def build(family: str, successes: list[int]) -> list[EvalRecord]:
        return [
            EvalRecord(
                f"own/{family}/{i}", "t", "test", family, 1, "m", "greedy",
                (Action("x", "policy", "m"),),
                (RewardBreakdown({"accuracy": float(s)}, {"accuracy": 1.0}, bool(s)),),
            )
            for i, s in enumerate(successes)
        ]  # fmt: skip

    return build


def test_strata_are_read_from_what_the_gates_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def of(task: str, family: str) -> EvalRecord:
        return EvalRecord(f"{task}/{family}", task, "test", family, 1, "m", "greedy", (), ())

    records = [of("counting", "remove"), of("geometry", "area"), of("geometry", "remove")]
    shipped = ROOT / "results" / "headroom.json"
    assert strata_from_file(shipped, records) == {
        "counting/remove": "> 50 %",
        "geometry/area": "5-50 %",
        "geometry/remove": "",
    }
    (tmp_path / "flat.json").write_text('{"families": {"area": {"stratum": "x"}}}')
    with pytest.raises(
        DataError, match="holds no strata of families; `ekipl headroom --out` writes"
    ):
        strata_from_file(tmp_path / "flat.json", records)
    (tmp_path / "other.json").write_text('{"other": {"families": {"area": {"stratum": "x"}}}}')
    command = ["eval", "assets/policies/counting", "--limit", "2", "--out", str(tmp_path / "out")]
    assert main([*command, "--strata", str(tmp_path / "other.json")]) == 2
    assert "has strata of other, and of no family" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_contamination_by_hand() -> None:
    train = load_samples("mini", task="counting", split="train", limit=6)
    test = load_samples("mini", task="counting", split="test", limit=6)
    clean = contamination(train, test)
    assert clean is not None and clean.clean and (clean.train, clean.test) == (6, 6)
    planted: list[Sample] = [
        train[0],  # the very sample
        replace(test[1], images=train[1].images, question=train[1].question),  # the same item
        replace(test[2], images=train[2].images, question="Another?"),  # the same image
        *test[3:],
    ]
    found = contamination(train, planted)
    assert found is not None and not found.clean
    assert (found.ids, found.items, found.images) == (1, 2, 3)
    assert found.examples == tuple(sample.id for sample in planted[:3])
    dim = [image.point(lambda value: max(0, value - 1)) for image in train[3].images]
    near = contamination(train, [replace(test[3], images=tuple(dim))])
    assert near is not None and (near.clean, near.near) == (True, 1)
    assert contamination(train * 1000, test) is None


def test_ground_truths_are_checked_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = replace(numbered(1), answer="many")
    monkeypatch.setattr("ekipl_lab.benchmarks.load_samples", lambda *a, **k: [broken])
    assert main(["eval", TEACHER]) == 2
    assert broken.id in capsys.readouterr().err


def test_job_needs_a_mode() -> None:
    with pytest.raises(ConfigError, match="Give a mode"):
        check_job(Job(source="x", modes=()))


def test_every_command_of_the_page_is_understood() -> None:
    page = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    blocks = [block.split("```")[0] for block in page.split("```bash\n")[1:]]
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("ekipl ")]
    assert len(lines) >= 3
    for line in lines:
        args = build_parser().parse_args(shlex.split(line)[1:])
        if line.startswith("ekipl eval"):
            check_job(job_of(args))


def test_a_choice_on_the_test_split_is_said() -> None:
    def lines(asked: str, missing: int = 0) -> list[str]:
        summary = {
            "cost": {"missing": missing, "actions": 9},
            "source": {"facts": {"asked": asked}},
            "job": {"splits": ["test"]},
        }
        return warnings(Measured([], {}, [], [], summary))

    assert "chosen by eval/test/pass_at_1" in lines("mlflow:r@best:eval/test/pass_at_1")[0]
    assert lines("mlflow:r@best:eval/validation/pass_at_1") == lines("mlflow:r@20") == []
    assert lines("models:/m", missing=2)[0].startswith("2 of 9 actions were not given")


def test_a_value_over_fewer_items_says_over_how_many() -> None:
    from types import SimpleNamespace

    from ekipl_lab.commands.eval.tables import _short_table
    from ekipl_lab.evaluation.summary import MetricRow

    def row(metric: str, n: int) -> MetricRow:
        return MetricRow({"family": "a"}, metric, 0.5, 0.2, 0.8, "wilson", n)

    job = SimpleNamespace(used_ks=(1, 4))
    table = _short_table(("family",), [row("accuracy_greedy", 10), row("pass_at_4", 2)], job)  # type: ignore[arg-type]
    cells = {str(column.header): list(column.cells) for column in table.columns}
    assert cells == {
        "n": ["10"],
        "accuracy_greedy": ["0.500 (0.200 to 0.800)"],
        "pass_at_4": ["0.500 (0.200 to 0.800, n=2)"],
    }


def test_a_difference_alike_on_every_item_shows_no_interval(make) -> None:
    from ekipl_lab.commands.eval.tables import _between

    right, wrong = make("c", [1, 1]), make("c", [0, 0])
    assert _between(compare(wrong, right)) == "none: all alike"
    mixed = compare(make("c", [0, 1, 0, 1]), make("c", [1, 1, 1, 1]))
    assert _between(mixed).startswith("-1.4") and " to +0.4" in _between(mixed)
