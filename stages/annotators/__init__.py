"""Annotators: what gives each document a category.

Each has a function `annotate` that takes documents and what else it reads, and returns (`openai`: makes) a frame of
`document_id`, `category`, `confidence` (0 to 1, or null), `status` (`ok`, `failed`, `skipped`) and `error`, one row for
each document.
"""
