"""Texts are read a few at a time: the wanted ones, all of them, in the table's order."""

import polars as pl

from stages.corpus.tables import SLICE, read_texts


def test_the_wanted_texts_come_in_the_tables_order_from_however_many_slices() -> None:
    names = [f"d{number:04}" for number in range(3 * SLICE + 1)]
    table = pl.DataFrame({"document_id": names, "text": [f"text of {name}" for name in names]}).lazy()
    wanted = names[::-3]
    assert list(read_texts(table, wanted)) == [(name, f"text of {name}") for name in sorted(wanted)]
    assert list(read_texts(table, [])) == []
