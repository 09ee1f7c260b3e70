"""Classes that are taken for one another."""

from itertools import combinations

import polars as pl

from stages.suspects.doubts import OutOfFold

# A suggestion needs this share of a class's documents to be confused, and so many documents of the pair: below, chance
# makes such pairs.
NOTABLE_SHARE = 0.2
NOTABLE_DOCUMENTS = 3

SCHEMA = {
    "class": pl.String(),
    "other": pl.String(),
    "documents": pl.Int64(),
    "share": pl.Float64(),
    "suggestion": pl.String(),
}


def class_overlaps(found: OutOfFold) -> pl.DataFrame:
    """Return the pairs of classes that are confused out of fold, those with most documents first.

    How many documents given one class belong to another is estimated from the confident joint (Northcutt et al.
    2021, equations 1 to 3). Where that is many in both directions, the two are not told apart: `merge`. Where it is
    many in one, part of `class` is what `other` holds: `split`.

    Returns:
        `class`, `other`, `documents` (confused, both directions), `share` (of the documents of both classes),
        `suggestion` (merge, split or ""). `class` is the one of which the larger share is confused.
    """
    from cleanlab.count import estimate_joint

    given = found.given()
    size = [int((given == place).sum()) for place in range(len(found.labels))]
    if sum(number > 0 for number in size) < 2:
        return pl.DataFrame(schema=SCHEMA)
    joint = estimate_joint(given, found.probabilities) * len(given)
    rows = []
    for pair in combinations(range(len(size)), 2):
        documents = round(float(joint[pair] + joint[pair[::-1]]))
        if documents:
            shares = {(one, other): joint[one, other] / max(1, size[one]) for one, other in (pair, pair[::-1])}
            notable = sum(share >= NOTABLE_SHARE for share in shares.values()) if documents >= NOTABLE_DOCUMENTS else 0
            one, other = max(shares, key=lambda way: shares[way])
            share = documents / (size[one] + size[other])
            rows.append((found.labels[one], found.labels[other], documents, share, ("", "split", "merge")[notable]))
    table = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    return table.sort("documents", "share", "class", "other", descending=[True, True, False, False])
