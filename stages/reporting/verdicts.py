"""What the numbers say, in plain words, and no more than they say."""

from stages.evaluation.names import name_baseline
from stages.reporting.metrics import Evaluate, Interval, Paired

SIGNIFICANT = 0.05


def score(value: float) -> str:
    """Return a score of 0 to 1 with two digits."""
    return f"{value:.2f}"


def signed(value: float) -> str:
    """Return a difference with its sign."""
    return f"{value:+.2f}".replace("-", "\u2212")


def percent(value: float) -> str:
    """Return a share of 0 to 1 in percent; below ten percent with one digit."""
    return f"{100 * value:.{0 if abs(value) >= 0.0995 or value == 0 else 1}f} %"


def interval(found: Interval) -> str:
    """Return the ends of a 95 % interval."""
    return f"{score(found.low)} to {score(found.high)}"


def probability(value: float) -> str:
    """Return a p-value."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"


def compare(paired: Paired) -> str:
    """Say in one word whether the model differs from a baseline.

    It does if the interval leaves out 0 and p is below 0.05: on a few dozen documents the interval alone is too quick
    (of two equal classifiers on 19 documents, it told 8 % apart).
    """
    if paired.p_value < SIGNIFICANT and paired.low > 0:
        return "better"
    if paired.p_value < SIGNIFICANT and paired.high < 0:
        return "worse"
    return "not told apart"


def explain(paired: Paired) -> str:
    """Return a paired comparison with a baseline as a remark beside that baseline."""
    ends = f"({signed(paired.low)} to {signed(paired.high)}), {probability(paired.p_value)}"
    verdict, difference = compare(paired), signed(paired.macro_f1_difference)
    if verdict == "not told apart":
        return f"not told apart: the classifier is at {difference} {ends}"
    return f"the classifier is {verdict}: {difference} {ends}"


def summarise(found: Evaluate) -> str:
    """Return the answer to "is it any good?" in a sentence or two."""
    test = found.test
    known = f" (95 % interval {interval(test.intervals.macro_f1)})" if test.intervals else ""
    said = (
        f"On {found.documents.test:,} test documents, none of which it was trained on, the classifier "
        f"reaches a macro F1 of {score(test.macro_f1)}{known}; "
        f"{percent(test.accuracy)} of them get the class of their label."
    )
    if not found.paired:
        return said
    by_verdict: dict[str, list[str]] = {}
    for key, paired in found.paired.items():
        by_verdict.setdefault(compare(paired), []).append(name_baseline(key))
    phrases = {
        "better": "It is better than {}.",
        "worse": "It is worse than {}.",
        "not told apart": "From {} this test set cannot tell it apart.",
    }
    return " ".join(
        [said, *(phrase.format(_join(by_verdict[key])) for key, phrase in phrases.items() if key in by_verdict)]
    )


def _join(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
