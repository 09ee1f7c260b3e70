"""How predictions are chosen and written."""

import io
import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.predicting.answers import FORMATS, Wanted, select, tabulate, writing
from stages.runtime.errors import UserError

LABELS = ["bread", "rail", "sea"]
NAMES = ["a", "über alles", 'c "d", e']
PROBABILITIES = np.array([[0.1, 0.7, 0.2], [0.3, 0.3, 0.4], [0.98, 0.01, 0.01]], dtype=np.float32)


def write(form: str, parts: list[slice], threshold: float | None = None, top_k: int | None = None) -> bytes:
    """Return what is written of the predictions above, part after part."""
    out, wanted = io.BytesIO(), Wanted(form, threshold, top_k)
    with writing(out, LABELS, wanted, max(map(len, NAMES))) as put:
        for part in parts:
            put(NAMES[part], PROBABILITIES[part])
    return out.getvalue()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("parts", [[slice(0, 1), slice(1, 3)], [slice(0, 2), slice(2, 2), slice(2, 3)]])
@pytest.mark.parametrize(("threshold", "top_k"), [(None, None), (0.6, None), (0.6, 2)])
def test_parts_make_what_the_whole_makes(
    form: str, parts: list[slice], threshold: float | None, top_k: int | None
) -> None:
    in_parts, whole = write(form, parts, threshold, top_k), write(form, [slice(0, 3)], threshold, top_k)
    if form == "parquet":
        assert pl.read_parquet(io.BytesIO(in_parts)).equals(pl.read_parquet(io.BytesIO(whole)))
    else:
        assert in_parts == whole


def test_json_is_an_array_also_of_nothing() -> None:
    assert json.loads(write("json", [])) == []
    [first, *_] = json.loads(write("json", [slice(0, 3)], 0.6))
    shares = {"bread": 0.1, "rail": 0.7, "sea": 0.2}
    assert first == {"document_id": "a", "label": "rail", "guess": "rail", "probabilities": shares}


def test_the_table_shows_a_guess_in_brackets_and_further_classes_if_asked() -> None:
    assert write("table", [slice(0, 3)], 0.6, 2).decode().splitlines() == [
        "document    probability  label",
        "a                 0.700  rail  0.200  sea",
        "über alles        0.400  (sea)  0.300  bread",
        'c "d", e          0.980  bread  0.010  rail',
    ]
    assert write("table", [slice(0, 1)]).decode().splitlines()[1] == "a                 0.700  rail"


def test_a_name_moves_no_cursor() -> None:
    out = io.BytesIO()
    with writing(out, ["bread"], Wanted("table"), 3) as put:
        put(["\x1b[2Jé\n"], np.array([[1.0]]))
    assert out.getvalue().decode().splitlines()[1] == r"\x1b[2Jé\n        1.000  bread"


def test_csv_has_a_column_for_each_class_or_pairs_of_the_likeliest() -> None:
    assert write("csv", [slice(1, 2)], 0.6).decode().splitlines() == [
        "document_id,label,guess,bread,rail,sea",
        "über alles,,sea,0.3,0.3,0.4",
    ]
    assert write("csv", [slice(2, 3)], top_k=9).decode().splitlines() == [
        "document_id,label,label_1,probability_1,label_2,probability_2,label_3,probability_3",
        '"c ""d"", e",bread,bread,0.98,rail,0.01,sea,0.01',
    ]


def test_a_class_with_the_name_of_a_column_is_refused_where_it_would_be_one() -> None:
    with pytest.raises(UserError, match="--format csv: a class is called 'label', as a column is"):
        tabulate([], ["label", "rail"], Wanted("csv"))
    assert tabulate([], ["label", "rail"], Wanted("csv", top_k=1)).columns[-1] == "probability_1"
    assert tabulate([], ["guess", "rail"], Wanted("csv")).columns == ["document_id", "label", "guess", "rail"]


@given(
    st.lists(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3), min_size=1, max_size=5),
    st.floats(0, 1),
    st.integers(1, 4),
)
def test_the_label_is_the_likeliest_and_stands_where_what_is_shown_reaches_the_threshold(
    rows: list[list[float]], threshold: float, top_k: int
) -> None:
    names = [str(place) for place in range(len(rows))]
    probabilities = np.array(rows, dtype=np.float32)
    for answer, row in zip(select(names, probabilities, LABELS, Wanted("json", threshold, top_k)), rows, strict=True):
        shown = list(answer.shares.values())
        assert shown == sorted(shown, reverse=True)
        assert len(shown) == min(top_k, 3)
        assert next(iter(answer.shares)) == answer.guess == LABELS[int(np.array(row, np.float32).argmax())]
        assert (answer.label == answer.guess) == (shown[0] >= threshold)
