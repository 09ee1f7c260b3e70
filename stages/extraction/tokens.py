"""Counting tokens without loading a model: WordPiece of bert-base-uncased, as all-MiniLM and NeoBERT count."""

from functools import lru_cache

from tokenizers import Tokenizer

from stages.backbone.bundled import bundled_folder

# Long enough for most documents of the default limit in one go; short enough for a file of gigabytes.
CHUNK_CHARACTERS = 50_000


@lru_cache(maxsize=1)
def _tokenizer() -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(bundled_folder() / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def cut(text: str, max_tokens: int) -> tuple[str, int]:
    """Return the beginning of `text` that holds at most `max_tokens` tokens, and their number."""
    kept, count = 0, 0
    while kept < len(text) and count < max_tokens:
        end = min(len(text), kept + CHUNK_CHARACTERS)
        if end < len(text) and (space := max(text.rfind(" ", kept, end), text.rfind("\n", kept, end))) > kept:
            end = space
        offsets = _tokenizer().encode(text[kept:end], add_special_tokens=False).offsets
        if count + len(offsets) > max_tokens:
            return text[: kept + offsets[max_tokens - count - 1][1]], max_tokens
        kept, count = end, count + len(offsets)
    return text[:kept], count
