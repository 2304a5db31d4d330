"""Votes: kept whole, counted by hand, exported as the forms that trainers read."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from app import judging, votes
from app.votes import Vote
from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.statistics import cohen_kappa

FIRST = Vote("ann", "s1", "r/test/1", "q/test/1", "chain a", "chain b", "how many?", "a")


def test_a_vote_is_on_disk_with_its_time_and_the_last_of_a_rater_stands(tmp_path: Path) -> None:
    path = tmp_path / "judge" / "votes.jsonl"
    first = votes.cast(replace(FIRST, reason="<b>\u2028 0"), path)
    second = votes.cast(replace(FIRST, rater="bob", choice="b", tags_a=("saw",)), path)
    assert first.id != second.id and first.time > 0
    assert votes.read(path) == [first, second]
    changed = votes.cast(replace(FIRST, choice="tie"), path)
    assert votes.read(path) == [second, changed]
    assert path.read_text(encoding="utf-8").count("\n") == 3


def test_a_torn_line_is_not_a_vote_and_is_cut_off_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    first = votes.cast(FIRST, path)
    with path.open("ab") as stream:
        stream.write(b'{"rater": "torn", "sam')
    assert votes.read(path) == [first]
    second = votes.cast(replace(FIRST, rater="bob"), path)
    assert votes.read(path) == [first, second]
    path.write_bytes(b"no json\n" + path.read_bytes())
    with pytest.raises(DataError, match="Line 1 of the votes is damaged"):
        votes.read(path)


def test_votes_of_many_at_once_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"

    def rate(name: str) -> None:
        for i in range(10):
            votes.cast(replace(FIRST, rater=name, sample_id=f"s{i}"), path)

    threads = [threading.Thread(target=rate, args=(f"rater {i}",)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(votes.read(path)) == 60
    assert len({json.loads(line)["id"] for line in path.read_text().splitlines()}) == 60


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rater": " "}, "Write who votes"),
        ({"rater": "x" * 61}, "Write who votes"),
        ({"rater": "a\nb"}, "Write who votes"),
        ({"rater": "a\0"}, "Write who votes"),
        ({"choice": "left"}, "A vote is one of"),
        ({"tags_b": ("seen",)}, "An error tag is one of"),
        ({"reason": "x" * 2001}, "at most 2000 characters"),
        ({"corrected": "x" * 2001}, "at most 2000 characters"),
        ({"source_b": "r/test/1"}, "two different sources"),
    ],
)
def test_a_vote_that_cannot_be_is_not_kept(
    change: dict[str, object], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "votes.jsonl"
    with pytest.raises(ConfigError, match=words):
        votes.cast(replace(FIRST, **change), path)  # type: ignore[arg-type]
    assert not path.exists()


def test_a_secret_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "sk-very-secret-value-1")
    with pytest.raises(ConfigError):
        votes.cast(replace(FIRST, reason="sk-very-secret-value-1"), tmp_path / "votes.jsonl")
    assert not (tmp_path / "votes.jsonl").exists()


def test_win_rates_count_both_orders_of_a_pair_together() -> None:
    swapped = replace(
        FIRST, sample_id="s2", source_a=FIRST.source_b, source_b=FIRST.source_a, choice="b"
    )
    cast = [FIRST, swapped, replace(FIRST, sample_id="s3", choice="tie"),
            replace(FIRST, sample_id="s4", choice="b")]  # fmt: skip
    (row,) = votes.win_rates(cast)
    # q against r: s1 lost, s2 lost, s3 tied, s4 won: (0 + 0 + 0.5 + 1) / 4
    assert (row.first, row.second) == ("q/test/1", "r/test/1")
    assert (row.wins, row.losses, row.ties, row.rate.value) == (1, 2, 1, 0.375)
    assert row.rate.low < 0.375 < row.rate.high and row.rate.n == 4
    assert votes.win_rates([]) == []


def test_agreement_by_hand() -> None:
    def of(rater: str, choices: str) -> list[Vote]:
        words = {"a": "a", "b": "b", "t": "tie"}
        return [
            replace(FIRST, rater=rater, sample_id=f"s{i}", choice=words[c])
            for i, c in enumerate(choices)
        ]

    (row,) = votes.agreement([*of("ann", "aabbt"), *of("bob", "aabab"), *of("cy", "")])
    # equal on 3 of 5; by chance (2*3 + 2*2 + 1*0) / 25 = 0.4; kappa = (0.6 - 0.4) / 0.6
    assert (row.first, row.second, row.pairs, row.equal) == ("ann", "bob", 5, 0.6)
    assert row.kappa == pytest.approx(1 / 3)
    (always,) = votes.agreement([*of("ann", "aa"), *of("bob", "aa")])
    assert (always.equal, always.kappa) == (1.0, None)
    assert votes.agreement(of("ann", "ab")) == []


def test_a_correction_of_spaces_is_none() -> None:
    said = [replace(FIRST, corrected=" \n"), replace(FIRST, rater="bob", corrected="Two\n\u2028.")]
    (row,) = judging.corrections(said)
    assert (row["rater"], row["completion"][0]["content"]) == ("bob", "Two\n\u2028.")


def test_kappa() -> None:
    assert cohen_kappa("abab", "abab") == 1.0
    assert cohen_kappa("aabb", "abab") == 0.0
    assert cohen_kappa("ab", "ba") == -1.0
    assert cohen_kappa("aa", "aa") is None
    with pytest.raises(ConfigError, match="labels in pairs"):
        cohen_kappa("a", "ab")
    with pytest.raises(ConfigError, match="labels in pairs"):
        cohen_kappa("", "")


def test_error_tags_are_counted_by_source() -> None:
    cast = [replace(FIRST, tags_a=("saw", "format")), replace(FIRST, rater="bob", tags_a=("saw",))]
    assert votes.error_tags(cast) == {
        "r/test/1": {"saw": 2, "reasoned": 0, "format": 1},
        "q/test/1": {"saw": 0, "reasoned": 0, "format": 0},
    }


def test_both_orders_of_a_pair_are_one_pair(tmp_path: Path) -> None:
    """A was compared with B, and B with A: one pair, whose votes are counted together."""
    path = tmp_path / "votes.jsonl"
    swapped = replace(
        FIRST, source_a=FIRST.source_b, source_b=FIRST.source_a, chain_a=FIRST.chain_b,
        chain_b=FIRST.chain_a, choice="b", tags_b=("saw",),
    )  # fmt: skip
    again = votes.cast(FIRST, path), votes.cast(swapped, path)
    assert votes.read(path) == [again[1]]  # the last of a rater on a pair stands
    said = [FIRST, replace(swapped, rater="bob"), replace(swapped, rater="cy", choice="a")]
    assert [row.equal for row in votes.agreement(said)] == [1.0, 0.0, 0.0]
    (pair,) = votes.by_pair(said).values()
    assert [(v.chain_a, v.choice) for v in pair] == [("chain b", c) for c in "bba"]
    (row,) = judging.preferences(said)  # two of three hold "chain a" for the better one
    assert (row["chosen"][0]["content"], row["rejected"][0]["content"]) == ("chain a", "chain b")
    assert row["votes"] == "2 of 3" and not list(judging.preferences([said[0], said[2]]))


@pytest.mark.parametrize(
    "wrong", [{"choice": "left"}, {"choice": None}, {"tags_a": "saw"}, {"tags_b": ["seen"]},
              {"chain_a": 5}, {"source_b": "r/test/1"}, {"time": "now"}],
)  # fmt: skip
def test_a_line_that_is_no_vote_is_named(wrong: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    path.write_text(json.dumps({**asdict(FIRST), **wrong}) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match="Line 1 of the votes is damaged"):
        votes.read(path)
