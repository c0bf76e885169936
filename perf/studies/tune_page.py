"""The search -> a page: what was tried, what came out, where the winner differs from the repository. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from reports.tables import markdown

from .tune_space import Candidate, Comparison, SearchSpace

UNITS = {"per_second": "images/s", "p50_ms": "p50 ms", "p95_ms": "p95 ms"}


def page(
    space: SearchSpace, comparisons: Sequence[Comparison], final: Comparison | None, skipped: Sequence[str]
) -> str:
    """Markdown. `final` is the winner beside the repository's configuration, None where nothing won."""
    return f"""# Settings of {space.profile}, searched by measurement

{verdict(final, space.margin)}
{f"Not tried for want of time: {', '.join(skipped)}." if skipped else ""}

Each row compares a candidate with the best so far, in turn. A median ratio above 1 means that it is better. The score
is the geometric mean of the ratios (lowest-highest). In brackets: the candidate's own median.

{rows(space, [*comparisons, *([final] if final else [])])}
"""


def verdict(final: Comparison | None, margin: float) -> str:
    """What to do with the repository."""
    if final is None:
        return f"Nothing beats the repository's configuration by {margin:.0%} in every pair: it stays."
    what = differs(final.candidate, final.beside)
    if final.better(margin):
        return f"Better than the repository's configuration, by {final.score - 1:.0%}: {what}."
    return f"The search ended with {what}, which did not beat the repository's configuration again: it stays."


def differs(candidate: Candidate, beside: Candidate) -> str:
    """Where a candidate is not as another."""
    changed = [f"{key} {value} (was {beside[key]})" for key, value in candidate.items() if value != beside[key]]
    return ", ".join(changed) or "the same"


def rows(space: SearchSpace, comparisons: Sequence[Comparison]) -> str:
    """The comparisons as a table."""
    loads = [trial.name for trial in space.trials]
    cells = []
    for c in comparisons:
        if c.failed:
            cells.append((differs(c.candidate, c.beside), f"failed: {c.failed[:80]}", *[""] * len(loads)))
            continue
        figures = [cell(c, load) if load in c.pairs else "" for load in loads]
        cells.append((differs(c.candidate, c.beside), spread(c.scores), *figures))
    heads = [f"{trial.name}, {UNITS[trial.figure]}" for trial in space.trials]
    return markdown(("candidate", "score", *heads), cells)


def cell(comparison: Comparison, load: str) -> str:
    """Median ratio of a load, and the candidate's own figure."""
    return f"{median(comparison.ratios(load)):.2f} [{median(new for _, new in comparison.pairs[load]):.1f}]"


def spread(values: Sequence[float]) -> str:
    """Median and range."""
    return f"{median(values):.2f} ({min(values):.2f}-{max(values):.2f})"
