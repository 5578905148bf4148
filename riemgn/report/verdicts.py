"""Words of verdicts: which are good news, and the sign beside each, so that colour is never alone."""

from collections import Counter
from collections.abc import Iterable

TONES = {
    "good": ("holds", "successful", "loss_tolerance_met", "step_tolerance_met", "gradient_tolerance_met", "target met"),
    "bad": (
        "fails",
        "step_limit",
        "step_collapsed",
        "krylov_limit",
        "line_search_failed",
        "retraction_failed",
        "non_finite",
        "other",
        "error",
        "not run",
        "no time",
    ),
    "doubtful": ("undecided", "departs from golden", "rank_lost", "ball_left", "target missed"),
    "plain": ("not applicable", "no data", "no target", "nothing checked", "missing"),
}
SIGNS = {"good": "✓", "bad": "✗", "doubtful": "≈", "plain": "–"}
ORDER = [word for tone in ("bad", "doubtful", "plain", "good") for word in TONES[tone]]  # worst first


def tone(word: str) -> str:
    """good, bad, doubtful or plain; a word that is not known is doubtful."""
    return next((name for name, words in TONES.items() if word in words), "doubtful")


def tally(words: Iterable[str]) -> list[tuple[str, int]]:
    """How often each word occurs, the worst first."""
    counts = Counter(words)
    return sorted(counts.items(), key=lambda entry: (ORDER.index(entry[0]) if entry[0] in ORDER else -1, entry[0]))
