"""Why groups taught nothing, in words, and which setting to try.

    examination = examine(groups, metrics)      # groups of a window of steps, as built or recorded
    print(examination.text())

Each group that taught nothing has one cause (`causes`); a teacher's own trouble is named beside it
(`TEACHER_CAUSES`). Pure: works while training runs and afterwards, on
``ekipl_lab.records.load_groups`` as well as on fresh groups.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ekipl_lab.errors import ConfigError
from ekipl_lab.groups.candidates import reward_totals
from ekipl_lab.groups.doctor.advice import Advice, advise, without_oracle
from ekipl_lab.groups.doctor.causes import CAUSES, Group, cause_of, policy_rows
from ekipl_lab.types import POLICY

if TYPE_CHECKING:
    from ekipl_lab.records import RecordedGroup

#: What keeps a teacher from helping; counted over the groups in which no policy action succeeded,
#: refusals over all actions it gave.
TEACHER_CAUSES = {
    "teacher_refused": "of the teacher's actions were refused",
    "teacher_never_better": "the teacher never earned more than the policy where that failed",
    "teacher_unused": "the teacher earned more than the policy, but no action of it was kept",
}
#: Above this share of refused actions a teacher is reported.
REFUSED_SHARE = 0.2


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
    """All findings of a window, the commonest cause first; teachers after the policy.

    ``zero_advantage`` of the ``groups`` taught nothing.
    """

    groups: int
    zero_advantage: int
    findings: tuple[Finding, ...]

    def text(self) -> str:
        """Plain sentences, one line per finding."""
        count, groups = self.zero_advantage, self.groups
        head = f"{count} of {groups} groups ({count / groups:.0%}) taught nothing."
        lines = [
            f"- {finding.words} {finding.advice}"
            + (f" Try: {'; '.join(finding.settings)}" if finding.settings else "")
            for finding in self.findings
        ]
        return "\n".join([head, *lines])


def examine(
    groups: Sequence[Group], metrics: Iterable[Mapping[str, float]] = (), *, chains: bool = True
) -> Examination:
    """Diagnose a window of groups.

    ``metrics`` are the steps' own (``teacher/<id>/actions``, ``teacher/<id>/refused/<reason>``):
    refused actions never become candidates, so only the metrics know of them. ``chains``: whether
    there is a chain writer for these data, which an oracle needs.

    Raises:
        ConfigError: no groups.
    """
    if not groups:
        raise ConfigError("There are no groups to examine; the run has not finished a step yet.")
    by_cause: dict[str, list[Group]] = {}
    for group in groups:
        if (cause := cause_of(group)) is not None:
            by_cause.setdefault(cause, []).append(group)
    ordered = sorted((c for c in CAUSES if c in by_cause), key=lambda c: -len(by_cause[c]))
    findings = [_finding(cause, by_cause[cause], len(groups)) for cause in ordered]
    findings += [*_teachers(groups), *_refusals(metrics)]
    if not chains:
        findings = [replace(one, settings=without_oracle(one.settings)) for one in findings]
    return Examination(
        groups=len(groups),
        zero_advantage=sum(map(len, by_cause.values())),
        findings=tuple(findings),
    )


def examine_recorded(
    groups: Sequence[RecordedGroup], metrics: Iterable[Mapping[str, float]] = ()
) -> Examination:
    """The same for groups on record: only the built-in benchmark has a chain writer."""
    chains = all(group.sample_id.startswith("mini/") for group in groups)
    return examine(groups, metrics, chains=chains)


def _finding(cause: str, found: Sequence[Group], groups: int) -> Finding:
    count = len(found)
    words = f"{count} of {groups} groups ({count / groups:.0%}): {CAUSES[cause]}."
    advice = advise(
        cause, rule=found[0].rule, teachers=_teacher_ids(found), longest=_longest(found)
    )
    return Finding(cause, count, groups, words, advice.text, advice.settings)


def _teachers(groups: Sequence[Group]) -> list[Finding]:
    """Teachers that could not help the groups in which no policy action succeeded."""
    failed = [g for g in groups if not any(g.rewards[i].success for i in policy_rows(g))]
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
            listed = ", ".join(f"{reason} {n}" for reason, n in reasons.most_common())
            words = f"{teacher}: {count} of {asked} ({listed}): "
            found = advise(reasons.most_common(1)[0][0], rule="", teachers=(teacher,), longest=0)
            findings.append(_about(teacher, "teacher_refused", count, asked, words, found))
    return findings


def _about(teacher: str, cause: str, count: int, out_of: int, words: str, found: Advice) -> Finding:
    text = f"{words}{TEACHER_CAUSES[cause]}."
    return Finding(cause, count, out_of, text, found.text, found.settings, teacher)


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
