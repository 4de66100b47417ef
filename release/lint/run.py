"""Running the rules: which, on what, and what they found."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from release.errors import CardError, UsageError, visible
from release.lint.catalog import RULES
from release.lint.rule import Edit, Problem, Rule, Severity
from release.lint.subject import Subject
from release.recipe.names import suggestion


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that breaks a rule.

    Attributes:
        file: The card, or the file beside it that is wrong.
        line: From 1; 0 where no line stands for it.
        rule: The rule.
        severity: Of this finding.
        text: What is wrong, one line.
        edit: How `--fix` puts it right; None where a person has to.
    """

    file: str
    line: int
    rule: Rule
    severity: Severity
    text: str
    edit: Edit | None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        what = f"{self.rule.id} {self.severity.value}: {self.text}"
        return f"{visible(place, 1024)}: {what}"


def chosen_rules(select: Sequence[str], ignore: Sequence[str]) -> tuple[Rule, ...]:
    """Return the rules whose ids begin with one of `select`, without those of `ignore`.

    Args:
        select: Ids or beginnings of ids, such as "KR2"; none stands for all.
        ignore: The same.

    Raises:
        UsageError: No rule's id begins so.
    """
    for prefix in (*select, *ignore):
        if not prefix or not any(rule.id.startswith(prefix) for rule in RULES):
            raise UsageError(
                f"no rule begins with {visible(prefix, 40) or 'nothing'}",
                code="unknown-rule",
                hint=suggestion(prefix, [rule.id for rule in RULES]),
            )
    return tuple(
        rule
        for rule in RULES
        if rule.id.startswith(tuple(select or ["KR"]))
        and not rule.id.startswith(tuple(ignore))
    )


def lint(subject: Subject, rules: Iterable[Rule] = RULES) -> tuple[Finding, ...]:
    """Return what breaks the rules, in the order of the card's lines.

    A card that cannot be read is looked at by no other rule than those on its text.
    """
    chosen = list(rules)
    if subject.card.faults:
        chosen = [rule for rule in chosen if rule.id.startswith("KR00")]
    findings = [
        _finding(subject, rule, problem)
        for rule in chosen
        for problem in rule.check(subject)
    ]
    return tuple(
        sorted(
            dict.fromkeys(findings),
            key=lambda each: (
                each.file != subject.card_name,
                each.file,
                each.line,
                each.rule.id,
            ),
        )
    )


def errors_of(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings that stop a publish."""
    return tuple(each for each in findings if each.severity is Severity.ERROR)


def refuse_errors(findings: Sequence[Finding]) -> None:
    """Raise for the errors among findings; nothing if there are only warnings.

    Raises:
        CardError: Code "lint": the first error, and how many more there are.
    """
    errors = errors_of(findings)
    if not errors:
        return
    more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
    raise CardError(
        f"{errors[0]}{more}",
        code="lint",
        hint="change the definition; krelease lint --rules says what each rule asks",
    )


def _finding(subject: Subject, rule: Rule, problem: Problem) -> Finding:
    return Finding(
        file=problem.file or subject.card_name,
        line=problem.line,
        rule=rule,
        severity=problem.severity or rule.severity,
        text=visible(problem.text, 600),
        edit=problem.edit,
    )
