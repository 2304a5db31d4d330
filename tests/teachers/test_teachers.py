"""Teachers: deterministic, at their set rates, blind to the truth unless they are oracles."""

import json
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from ekipl_lab.benchmarks import load_samples
from ekipl_lab.errors import ConfigError, DataError, TeacherError
from ekipl_lab.parsing import parse_completion
from ekipl_lab.policies import build_tiny_policy, save_policy
from ekipl_lab.prompts import instructed
from ekipl_lab.rewards import get_scorer
from ekipl_lab.teachers.adapters.local import LocalSpec, LocalTeacher
from ekipl_lab.teachers.adapters.oracle import OracleTeacher
from ekipl_lab.teachers.adapters.random import RandomTeacher, pool_of
from ekipl_lab.teachers.adapters.replay import CotTeacher, ReplayTeacher, prompt_digest
from ekipl_lab.teachers.build import build_teachers, teacher_spec
from ekipl_lab.teachers.draws import stable_int
from ekipl_lab.types import Action, ActionSource, Capabilities, GenerationParams, Sample

IMAGE = Image.new("RGB", (8, 8))
PARAMS = GenerationParams()


def make_sample(index: int, **changes: object) -> Sample:
    sample = Sample(
        id=f"own/{index}",
        task="counting",
        split="train",
        images=(IMAGE,),
        question="How many?",
        answer=str(index % 10),
        answer_type="number",
    )
    return replace(sample, **changes)  # type: ignore[arg-type]


def writer(sample: Sample, *, style: str, fault: str, rng: random.Random) -> str:
    answer = str(int(sample.answer) + 1) if fault == "wrong_answer" else sample.answer
    step = "False" if fault == "wrong_chain" else "True"
    return f"<think>{step} in {style}, {rng.randrange(100)}.</think><answer>{answer}</answer>"


SAMPLES = [make_sample(index) for index in range(400)]


def texts(source: ActionSource, samples: list[Sample], n: int, seed: int | None = None) -> list:
    params = replace(PARAMS, seed=seed)
    return [[a.completion for a in row] for row in source.propose(samples, n, params)]


def test_stable_int_is_the_same_everywhere() -> None:
    assert stable_int(0, "own/1", 0, 0) == 725453881798187841


def test_oracle_errs_at_its_rate_in_its_way() -> None:
    score = get_scorer("ekipl/auto")
    sloppy = OracleTeacher("t", writer, accuracy=0.7, style="plain", seed=3)
    rows = sloppy.propose(SAMPLES, 2, PARAMS)
    right = [score(s, a).success for s, row in zip(SAMPLES, rows, strict=True) for a in row]
    assert sum(right) / 800 == pytest.approx(0.7, abs=0.05)  # 3 standard errors
    deceiver = OracleTeacher(
        "t", writer, accuracy=0.7, style="plain", fault_mode="wrong_chain", seed=3
    )
    rows = deceiver.propose(SAMPLES, 2, PARAMS)
    actions = [(s, a) for s, row in zip(SAMPLES, rows, strict=True) for a in row]
    assert all(score(s, a).success for s, a in actions)
    false = [a for _, a in actions if "False" in a.completion]
    assert len(false) == 800 - sum(right)
    assert {a.model_id for a in false} == {"oracle:plain:wrong_chain"}


def test_oracle_depends_on_seed_sample_index_and_draw_only() -> None:
    def make(seed: int = 0) -> OracleTeacher:
        return OracleTeacher("t", writer, accuracy=0.5, seed=seed, styles=("a", "b", "c"))

    before = random.getstate()
    first = texts(make(), SAMPLES[:20], 3)
    assert texts(make(), SAMPLES[10:20], 3) == first[10:]
    assert [row[:2] for row in first] == texts(make(), SAMPLES[:20], 2)
    assert texts(make(), SAMPLES[:20][::-1], 3) == first[::-1]
    assert texts(make(), SAMPLES[:20], 3, seed=1) != first
    assert texts(make(), SAMPLES[:20], 3, seed=0) == first
    assert texts(make(seed=1), SAMPLES[:20], 3) != first
    assert random.getstate() == before
    styles = Counter(a.model_id.split(":")[1] for row in make().propose(SAMPLES, 1, PARAMS)
                     for a in row)  # fmt: skip
    assert set(styles) == {"a", "b", "c"} and min(styles.values()) > 90


def test_another_process_gives_the_same_actions() -> None:
    code = (
        "from ekipl_lab.teachers.adapters.random import RandomTeacher\n"
        "from ekipl_lab.types import GenerationParams, Sample\n"
        "s = Sample('own/7', 'counting', 'train', (), 'How many?', '7', 'number')\n"
        "print(RandomTeacher('g', seed=5).propose([s], 4, GenerationParams())[0])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = RandomTeacher("g", seed=5).propose([make_sample(7)], 4, PARAMS)[0]
    assert done.stdout.strip() == str(ours)


def test_random_teacher_is_well_formed_and_blind_to_the_truth() -> None:
    teacher = RandomTeacher("g", seed=1)
    changes = {
        "number": {},
        "numbers": {"answer": "1, 2"},
        "letter": {"answer": "B", "choices": ("1", "2", "3")},
        "calls": {"answer": "change_size(0, small)"},
    }
    for kind, change in changes.items():
        sample = make_sample(1, answer_type=kind, **change)
        for action in teacher.propose([sample], 20, PARAMS)[0]:
            assert parse_completion(action.completion).format_ok
            breakdown = get_scorer("ekipl/auto")(sample, action)
            assert breakdown.explanation in (
                "right", "another number", "other integers", "another letter", "some calls differ"
            )  # fmt: skip
        lied_to = replace(sample, answer="secret", cot="secret")
        assert texts(teacher, [lied_to], 20) == texts(teacher, [sample], 20)


def test_random_teacher_draws_evenly_from_its_pool() -> None:
    pool = pool_of([make_sample(0), make_sample(0), make_sample(3)])
    rows = texts(RandomTeacher("g", pool=pool), SAMPLES, 1)
    counts = Counter(parse_completion(row[0]).answer for row in rows)
    assert set(counts) == {"0", "3"}
    assert counts["0"] / 400 == pytest.approx(2 / 3, abs=0.08)
    with pytest.raises(TeacherError, match="empty for sample own/1"):
        RandomTeacher("g", pool=pool).propose([make_sample(1, family="other")], 1, PARAMS)
    with pytest.raises(TeacherError, match="'text'"):
        RandomTeacher("g").propose([make_sample(1, answer_type="text")], 1, PARAMS)


def recording(folder: Path, suffix: str) -> Path:
    rows = [
        {"sample_id": "own/1", "completion": "a", "model_id": "gpt"},
        {"sample_id": "own/2", "completion": "b", "model_id": "gpt"},
        {"sample_id": "own/1", "completion": "c", "model_id": "gpt"},
        {"sample_id": "own/1", "completion": "d", "model_id": "gpt"},
    ]
    path = folder / f"recording{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_replay_repeats_a_recording_in_order(tmp_path: Path, suffix: str) -> None:
    teacher = ReplayTeacher("r", recording(tmp_path, suffix))
    one, two = make_sample(1), make_sample(2)
    assert texts(teacher, [two, one], 1) == [["b"], ["a"]]
    assert texts(teacher, [one], 2) == [["a", "c"]]
    assert texts(teacher, [one], 2, seed=1) == [["d", "a"]]
    action = teacher.propose([one], 1, PARAMS)[0][0]
    assert action == Action("a", source="r", model_id="gpt")
    with pytest.raises(TeacherError, match=r"holds 1 actions for sample own/2, and 2"):
        teacher.propose([one, two], 2, PARAMS)


def test_replay_names_what_is_broken(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        ReplayTeacher("r", tmp_path / "none.jsonl")
    other = tmp_path / "x.csv"
    other.write_text("a")
    with pytest.raises(ConfigError, match=r"\.jsonl or \.parquet"):
        ReplayTeacher("r", other)
    broken = tmp_path / "x.jsonl"
    for line, names in [("{", "line 2: not JSON"), ("[1]", "line 2: not a JSON object")]:
        broken.write_text('{"sample_id": "a", "completion": "b"}\n' + line)
        with pytest.raises(DataError, match=names):
            ReplayTeacher("r", broken)
    table = tmp_path / "x.parquet"
    table.write_bytes(b"PAR1 is not enough")
    with pytest.raises(DataError, match=r"x\.parquet is no Parquet file"):
        ReplayTeacher("r", table)
    pq.write_table(pa.table({"sample_id": [1], "completion": ["a"]}), table)
    with pytest.raises(DataError, match=r"record 1: field 'sample_id'"):
        ReplayTeacher("r", table)
    broken.write_bytes(b'{"sample_id": "\xff"}')
    with pytest.raises(DataError, match=r"x\.jsonl: not UTF-8"):
        ReplayTeacher("r", broken)
    broken.write_text('{"sample_id": "a", "completion": ""}\n')
    with pytest.raises(DataError, match=r"record 1: field 'completion'"):
        ReplayTeacher("r", broken)


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"finish_reason": "missing"}, "finish_reason is 'missing'; it must be stop, or length"),
        ({"finish_reason": 5}, "field 'finish_reason'"),
        ({"model_id": 5}, "field 'model_id'"),
        ({"completion": "\ud83d"}, "field 'completion' holds half a character"),
        ({"prompt": ["x"]}, "field 'prompt'"),
    ],
)
def test_a_row_that_says_what_cannot_be_is_named(
    wrong: dict[str, Any], names: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.jsonl"
    good = {"sample_id": "own/1", "completion": "a", "finish_reason": "length", "model_id": None}
    path.write_text("".join(json.dumps(row) + "\n" for row in (good, good | wrong)))
    with pytest.raises(DataError, match=f"record 2: {names}"):
        ReplayTeacher("r", path)
    for line in ("[" * 100_000, '{"a": ' + "1" * 5000 + "}"):
        path.write_text(line)
        with pytest.raises(DataError, match="line 1: not JSON"):
            ReplayTeacher("r", path)


def test_a_recording_of_another_prompt_is_refused(tmp_path: Path) -> None:
    """The same id, and another question, another picture, or another form of asking."""
    samples = load_samples("mini", task="counting", split="train", limit=2)
    rows = [{"sample_id": s.id, "completion": "a", "prompt": prompt_digest(s)} for s in samples] * 2
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    teacher = ReplayTeacher("r", path)
    assert texts(teacher, samples, 2) == [["a", "a"]] * 2
    one, two = samples
    for other in (replace(one, question="?"), replace(one, images=two.images), instructed(one)):
        with pytest.raises(TeacherError, match=f"another prompt of sample {one.id} .its text or"):
            teacher.propose([other], 1, PARAMS)
    nothing = rows[0] | {"completion": ""}  # the teacher gave no text, which a run refuses itself
    path.write_text("".join(json.dumps(row) + "\n" for row in [nothing, rows[1]]))
    assert texts(ReplayTeacher("r", path), samples, 1) == [[""], ["a"]]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows[:3]))  # cut at a line's end
    with pytest.raises(DataError, match=f"not whole: it holds 1 actions for sample {two.id} and 2"):
        ReplayTeacher("r", path)


def test_a_recording_keeps_every_text(tmp_path: Path) -> None:
    """What `teach record` writes (no ASCII escapes) and this teacher reads: every odd character."""
    texts_in = ["a\u2028b\u2029c\x85d", "e\n\r\t\x0b\x0c\x1cf", "漢 \U0001f600 \0 <|im_end|>"]
    path = tmp_path / "odd.jsonl"
    lines = [json.dumps({"sample_id": "own/1", "completion": t}, ensure_ascii=False) + "\n"
             for t in texts_in]  # fmt: skip
    path.write_text("".join(lines), encoding="utf-8")
    assert texts(ReplayTeacher("r", path), [make_sample(1)], 3) == [texts_in]


def test_chains_of_the_data_are_replayed() -> None:
    bare = make_sample(1, cot="One cube.")
    tagged = make_sample(1, cot="<think>x</think>\n<answer>1</answer>")
    assert texts(CotTeacher("c"), [bare, tagged], 1) == [
        ["<think>One cube.</think><answer>1</answer>"],
        ["<think>x</think>\n<answer>1</answer>"],
    ]
    with pytest.raises(TeacherError, match="own/1 has no reasoning chain"):
        CotTeacher("c").propose([make_sample(1)], 1, PARAMS)
    with pytest.raises(TeacherError, match="set actions to 1"):
        CotTeacher("c").propose([bare], 2, PARAMS)


class Recorder:
    """An ActionSource that answers with the parameters it was given."""

    id = "inner"
    capabilities = Capabilities(logprobs=True)

    def propose(
        self, samples: list[Sample], num_actions: int, params: GenerationParams
    ) -> list[list[Action]]:
        text = f"{params.temperature} {params.seed} {params.max_new_tokens}"
        return [[Action(text, "inner", "m")] * num_actions for _ in samples]


def local(seed: int) -> LocalTeacher:
    return LocalTeacher(Recorder(), LocalSpec(id="inner", path="x", temperature=0.5, seed=seed))


def test_a_local_teacher_samples_with_its_own_seed() -> None:
    teacher = local(1)
    assert (teacher.id, teacher.capabilities.logprobs) == ("inner", True)
    first = texts(teacher, SAMPLES[:2], 1)
    assert first[0][0].startswith("0.5 ") and first[0][0].endswith(" 64")
    assert texts(teacher, SAMPLES[:2], 1) == first
    assert texts(teacher, SAMPLES[:2], 1, seed=1) != first
    assert texts(local(2), SAMPLES[:2], 1) != first


def test_teachers_are_built_from_their_config(tmp_path: Path) -> None:
    raw = [
        {"type": "oracle", "id": "careful", "accuracy": 0.9, "style": "a"},
        {"type": "oracle", "id": "sloppy", "accuracy": 0.9, "style": "a"},
        {"type": "random", "id": "guesser", "answers": ["7"]},
        {"type": "replay", "id": "recorded", "path": str(recording(tmp_path, ".jsonl"))},
        {"type": "replay", "id": "chains", "cot": True},
    ]
    specs = [teacher_spec(item) for item in raw]
    assert [spec.actions for spec in specs] == [1] * 5
    teachers = build_teachers(specs, writer, styles=("a", "b"))
    assert [teacher.id for teacher in teachers] == [item["id"] for item in raw]
    assert all(isinstance(teacher, ActionSource) for teacher in teachers)
    careful, sloppy = (texts(teacher, SAMPLES, 1) for teacher in teachers[:2])
    assert careful != sloppy  # seeds made from the ids: they do not err together
    assert (
        texts(teachers[2], SAMPLES[:2], 1) == [["<think>I guess 7.</think><answer>7</answer>"]] * 2
    )


@pytest.mark.parametrize(
    ("raw", "names"),
    [
        ({"id": "a"}, "Unknown teacher type"),
        ({"type": "oracel", "id": "a"}, "did you mean 'oracle'"),
        ({"type": "oracle", "id": "a", "acuracy": 0.5}, "did you mean 'accuracy'"),
        ({"type": "oracle", "id": "a", "accuracy": 1.5}, "'a': oracle.accuracy|'a': accuracy"),
        ({"type": "oracle"}, "id is missing; add it"),
        ({"type": "oracle", "id": "a b"}, "'a b': id"),
        ({"type": "oracle", "id": "a", "actions": 0}, "actions"),
        ({"type": "oracle", "id": "a", "fault_mode": "rude"}, "fault_mode"),
        ({"type": "replay", "id": "a"}, "either `path` or `cot: true`"),
    ],
)
def test_a_wrong_spec_is_one_clear_sentence(raw: dict, names: str) -> None:
    with pytest.raises(ConfigError, match=names) as caught:
        teacher_spec(raw)
    assert "\n" not in str(caught.value)


def test_wrong_combinations_are_refused() -> None:
    one = teacher_spec({"type": "random", "id": "a"})
    with pytest.raises(ConfigError, match="Two teachers have the id 'a'"):
        build_teachers([one, one])
    with pytest.raises(ConfigError, match="'policy'"):
        build_teachers([teacher_spec({"type": "random", "id": "policy"})])
    oracle = teacher_spec({"type": "oracle", "id": "o", "style": "pain"})
    with pytest.raises(ConfigError, match="no chain writer"):
        build_teachers([oracle])
    with pytest.raises(ConfigError, match="did you mean 'plain'"):
        build_teachers([oracle], writer, styles=("plain", "terse"))
    with pytest.raises(ConfigError, match="list of styles"):
        build_teachers([teacher_spec({"type": "oracle", "id": "o"})], writer)


def test_a_writer_that_fails_is_a_teacher_error_that_names_the_sample() -> None:
    broken = make_sample(1, answer="no number")
    teacher = OracleTeacher("t", writer, accuracy=0.0, style="plain")
    with pytest.raises(TeacherError, match="own/1"):
        teacher.propose([broken], 1, PARAMS)


def test_a_checkpoint_teaches_under_its_own_id_and_leaves_the_random_state_alone(
    tmp_path: Path,
) -> None:
    save_policy(*build_tiny_policy("nano", seed=1), tmp_path / "big")
    spec = teacher_spec({"type": "policy", "id": "big", "path": str(tmp_path / "big"), "seed": 3})
    (teacher,) = build_teachers([spec])
    samples = load_samples("mini", task="counting", split="train", limit=2)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    params = replace(PARAMS, max_new_tokens=6)
    first = teacher.propose(samples, 2, params)
    assert torch.equal(torch.get_rng_state(), before)
    assert {action.source for row in first for action in row} == {"big"}
    alone = teacher.propose(samples[1:], 2, params)[0]
    assert [action.token_ids for action in alone] == [action.token_ids for action in first[1]]
    assert teacher.propose(samples, 2, replace(params, seed=1)) != first
    missing = teacher_spec({"type": "policy", "id": "none", "path": str(tmp_path / "none")})
    with pytest.raises(ConfigError, match="none"):
        build_teachers([missing])
