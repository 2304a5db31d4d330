"""Why groups taught nothing, in words, and which setting to try.

    examination = examine(groups, metrics)      # groups of a window of steps, as built or recorded
    print(examination.text())

A group teaches nothing when its kept rewards are all equal and its advantages are 0. Each such
*mute* group has one cause, looked for in the order of `CAUSES`; a teacher's own trouble is told
beside it (`TEACHER_CAUSES`). Pure: works while training runs and afterwards, on
``ekipl_lab.records.load_groups`` as well as on fresh groups.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ekipl_lab.errors import ConfigError
from ekipl_lab.group_doctor.advice import Advice, advise
from ekipl_lab.groups import reward_totals
from ekipl_lab.types import POLICY, Action, RewardBreakdown

#: Why a group is mute, in the order looked for.
CAUSES = {
    "unscorable": "fewer than two of the kept actions could be scored",
    "starved": "the candidates differed, but selection kept only actions of equal reward",
    "all_right": "the policy got every action right",
    "truncated": "the policy's actions were wrong, and most of them were cut off",
    "unparseable": "the policy's actions were wrong, and from most no answer could be read",
    "format_only": "the policy's actions earned their form and nothing else: every answer wrong",
    "all_wrong": "the policy got every action wrong",
    "equal": "the kept actions earned the same although some are right and some wrong",
}
#: What keeps a teacher from helping; counted over the groups in which no policy action succeeded,
#: refusals over all actions it gave.
TEACHER_CAUSES = {
    "teacher_refused": "of the teacher's actions could not stand in a group",
    "teacher_never_better": "the teacher never earned more than the policy where that failed",
    "teacher_unused": "the teacher earned more than the policy, but no action of it was kept",
}
#: Above this share of refused actions a teacher is reported.
REFUSED_SHARE = 0.2
#: Below this, an advantage is the rounding of a mean of equal rewards, not a signal.
NO_ADVANTAGE = 1e-2


class Group(Protocol):
    """What the doctor looks at: ``ActionGroup`` and ``RecordedGroup`` both have it."""

    @property
    def candidates(self) -> tuple[Action, ...]:
        """(N,) policy first, then teachers."""
        ...

    @property
    def rewards(self) -> tuple[RewardBreakdown, ...]:
        """(N,)."""
        ...

    @property
    def kept(self) -> tuple[int, ...]:
        """(G,) indices."""
        ...

    @property
    def advantages(self) -> tuple[float, ...]:
        """(G,)."""
        ...

    @property
    def rule(self) -> str:
        """Name of the selection rule."""
        ...


@dataclass(frozen=True, slots=True)
class Finding:
    """One cause: how often, in words, and what to do about it.

    ``count`` of ``out_of`` groups, or of a teacher's actions for ``teacher_refused``; ``source``
    names the teacher, if it is about one; ``settings`` are overrides of the run's config.
    """

    cause: str
    count: int
    out_of: int
    words: str
    advice: str
    settings: tuple[str, ...] = ()
    source: str = ""

    @property
    def share(self) -> float:
        """Count as a share."""
        return self.count / self.out_of


@dataclass(frozen=True, slots=True)
class Examination:
    """All findings of a window, the commonest cause first; teachers after the policy."""

    groups: int
    mute: int
    findings: tuple[Finding, ...]

    def text(self) -> str:
        """Plain sentences, one line per finding."""
        head = (
            f"{self.mute} of {self.groups} groups ({self.mute / self.groups:.0%}) taught nothing."
        )
        lines = [
            f"- {finding.words} {finding.advice}"
            + (f" Try: {'; '.join(finding.settings)}" if finding.settings else "")
            for finding in self.findings
        ]
        return "\n".join([head, *lines])


def examine(groups: Sequence[Group], metrics: Iterable[Mapping[str, float]] = ()) -> Examination:
    """Diagnose a window of groups.

    ``metrics`` are the steps' own (``teacher/<id>/actions``, ``teacher/<id>/refused/<reason>``):
    refused actions never become candidates, so only the metrics know of them.

    Raises:
        ConfigError: no groups.
    """
    if not groups:
        raise ConfigError("There are no groups to examine; the run has not finished a step yet.")
    causes = [cause_of(group) for group in groups]
    mute = [(g, c) for g, c in zip(groups, causes, strict=True) if c is not None]
    counts = Counter(cause for _, cause in mute)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], list(CAUSES).index(item[0])))
    findings = [
        _finding(cause, count, len(groups), [g for g, c in mute if c == cause])
        for cause, count in ordered
    ]
    return Examination(len(groups), len(mute), (*findings, *_teachers(groups), *_refusals(metrics)))


def cause_of(group: Group) -> str | None:
    """Why a group taught nothing (a key of `CAUSES`); None where it taught something."""
    totals = reward_totals(group.rewards)
    kept = [totals[i] for i in group.kept]
    if _differ(kept) or any(abs(a) >= NO_ADVANTAGE for a in group.advantages):
        return None
    if sum(not math.isnan(total) for total in kept) < 2:
        return "unscorable"
    own = _policy_rows(group)
    if _differ([totals[i] for i in own]) or (set(group.kept) - set(own) and _differ(totals)):
        return "starved"
    return _own_cause([group.candidates[i] for i in own], [group.rewards[i] for i in own])


def _own_cause(actions: Sequence[Action], rewards: Sequence[RewardBreakdown]) -> str:
    """The policy's own actions all earned the same; why?"""
    if all(reward.success for reward in rewards):
        return "all_right"
    if any(reward.success for reward in rewards):
        return "equal"
    half = len(actions) / 2
    if sum(action.finish_reason == "length" for action in actions) >= half:
        return "truncated"
    if sum(reward.extracted_answer is None for reward in rewards) >= half:
        return "unparseable"
    scored = [total for total in reward_totals(rewards) if not math.isnan(total)]
    return "format_only" if scored and min(scored) > 0 else "all_wrong"


def _finding(cause: str, count: int, groups: int, mute: Sequence[Group]) -> Finding:
    words = f"{count} of {groups} groups ({count / groups:.0%}): {CAUSES[cause]}."
    found = advise(cause, rule=mute[0].rule, teachers=_teacher_ids(mute), longest=_longest(mute))
    return Finding(cause, count, groups, words, found.text, found.settings)


def _teachers(groups: Sequence[Group]) -> list[Finding]:
    """Teachers that could not help the groups in which no policy action succeeded."""
    failed = [g for g in groups if not any(g.rewards[i].success for i in _policy_rows(g))]
    findings = []
    for teacher in _teacher_ids(failed):
        asked = [g for g in failed if any(a.source == teacher for a in g.candidates)]
        better = [g for g in asked if _better(g, teacher)]
        unused = [g for g in better if not any(g.candidates[i].source == teacher for i in g.kept)]
        for cause, count in (
            ("teacher_never_better", 0 if better else len(asked)),
            ("teacher_unused", len(unused)),
        ):
            if count:
                words = f"{teacher}: {count} of {len(asked)} groups that the policy failed: "
                found = advise(cause, rule=asked[0].rule, teachers=(teacher,), longest=0)
                findings.append(_about(teacher, cause, count, len(asked), words, found))
    return findings


def _refusals(metrics: Iterable[Mapping[str, float]]) -> list[Finding]:
    given: Counter[str] = Counter()
    refused: dict[str, Counter[str]] = {}
    for step in metrics:
        for name, value in step.items():
            kind, _, rest = name.partition("/")
            if kind == "teacher" and rest.endswith("/actions"):
                given[rest.removesuffix("/actions")] += round(value)
            elif kind == "teacher" and "/refused/" in rest:
                teacher, _, reason = rest.rpartition("/refused/")
                refused.setdefault(teacher, Counter())[reason] += round(value)
    findings = []
    for teacher, reasons in refused.items():
        count, asked = reasons.total(), given[teacher] + reasons["missing"]
        if asked and count / asked >= REFUSED_SHARE:
            told = ", ".join(f"{reason} {n}" for reason, n in reasons.most_common())
            words = f"{teacher}: {count} of {asked} ({told}): "
            found = advise(reasons.most_common(1)[0][0], rule="", teachers=(teacher,), longest=0)
            findings.append(_about(teacher, "teacher_refused", count, asked, words, found))
    return findings


def _about(teacher: str, cause: str, count: int, out_of: int, words: str, found: Advice) -> Finding:
    text = f"{words}{TEACHER_CAUSES[cause]}."
    return Finding(cause, count, out_of, text, found.text, found.settings, teacher)


def _policy_rows(group: Group) -> list[int]:
    return [i for i, action in enumerate(group.candidates) if action.source == POLICY]


def _teacher_ids(groups: Iterable[Group]) -> tuple[str, ...]:
    sources = (action.source for group in groups for action in group.candidates)
    return tuple(dict.fromkeys(source for source in sources if source != POLICY))


def _better(group: Group, teacher: str) -> bool:
    """Whether an action of the teacher earned more than every action of the policy."""
    totals = reward_totals(group.rewards)
    pairs = list(zip(group.candidates, totals, strict=True))
    own = [t for a, t in pairs if a.source == POLICY and not math.isnan(t)]
    theirs = [t for a, t in pairs if a.source == teacher and not math.isnan(t)]
    return bool(theirs) and max(theirs) > max(own, default=-math.inf)


def _longest(groups: Iterable[Group]) -> int:
    """Tokens of the longest action that was cut off; 0 if none is known."""
    actions = (action for group in groups for action in group.candidates)
    cut = [a for a in actions if a.finish_reason == "length"]
    return max((len(a.token_ids) for a in cut if a.token_ids), default=0)


def _differ(totals: Sequence[float]) -> bool:
    return len({total for total in totals if not math.isnan(total)}) > 1
