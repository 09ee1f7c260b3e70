"""Annotators: what gives each document a category. An annotator is a function

    annotate(documents, categories, params) -> frame

from `document_id` and `text` (and what it reads itself) to `document_id`, `category`, `confidence`
(0 to 1, or null), `status` (`ok`, `failed`, `skipped`) and `error`, one row for each document.
"""
