"""Two annotators on the same documents."""

from collections import Counter
from pathlib import Path

import polars as pl

from stages.annotators.agreement import kappa
from stages.classes.names import normal
from stages.corpus.csvs import read_rows
from stages.corpus.tables import ANNOTATIONS
from stages.runtime.errors import UserError


def read_categories(name: str) -> dict[str, str]:
    """Return the category of each document in a table, or in the annotations of a git revision.

    Args:
        name: a .parquet or .csv file with `document_id` and `category`, or a branch, tag, commit or experiment.

    Raises:
        UserError: if it is neither.
    """
    path = Path(name)
    try:
        if path.suffix == ".csv":
            rows = read_rows(path, ("document_id", "category"), ("document_id",))
            frame = rows.filter(pl.col("category") != "")  # as a document without one stands in a written table
        elif path.suffix == ".parquet":
            frame = pl.read_parquet(path)
        else:
            frame = pl.read_parquet(_of_revision(name))
        return dict(frame.drop_nulls("category").select("document_id", "category").iter_rows())
    except FileNotFoundError:
        raise UserError(f"--compare: {name} is missing") from None
    except pl.exceptions.PolarsError as fault:
        raise UserError(
            f"--compare: {name} is no table with document_id and category: {str(fault).splitlines()[0]}"
        ) from None


def _of_revision(name: str) -> bytes:
    import dvc.api
    from dvc.exceptions import DvcException
    from scmrepo.exceptions import SCMError

    try:
        content: bytes = dvc.api.read(str(ANNOTATIONS), rev=name, mode="rb")
    except (DvcException, SCMError, FileNotFoundError) as fault:
        reason = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
        raise UserError(
            f"--compare: {name!r} is no .csv or .parquet file, and no revision whose {ANNOTATIONS} is in DVC's cache "
            f"(`dvc pull` may bring it): {reason}"
        ) from None
    return content


def compare(first: dict[str, str], second: dict[str, str], names: tuple[str, str]) -> str:
    """Return agreement, Cohen's kappa (Cohen 1960) and the disagreements of two annotators, as text.

    Args:
        first, second: document to category; case and spaces make no difference.

    Raises:
        UserError: if they have no document in common.
    """
    common = sorted(first.keys() & second.keys())
    if not common:
        raise UserError(f"--compare: {names[0]} and {names[1]} have no document in common")
    one, other = ([normal(given[document]) for document in common] for given in (first, second))
    same = sum(a == b for a, b in zip(one, other, strict=True))
    found = kappa(one, other)
    said = "undefined (one category throughout)" if found is None else f"{found:.3f}"
    lines = [
        f"{len(common):,} documents have a category in both ({names[0]}: {len(first):,}, {names[1]}: {len(second):,})",
        f"the same in {same:,} ({same / len(common):.1%}), Cohen's kappa {said}",
    ]
    differing = [(document, first[document], second[document]) for document in common]
    differing = [row for row in differing if normal(row[1]) != normal(row[2])]
    if differing:
        pairs = Counter((normal(a), normal(b)) for _, a, b in differing)
        lines += ["", *_columns([("documents", *names), *((str(count), *pair) for pair, count in pairs.most_common())])]
        lines += ["", *_columns([("document", *names), *differing])]
    return "\n".join(lines)


def _columns(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
