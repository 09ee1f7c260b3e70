"""The plots that dvc.yaml declares: their templates, filled as DVC fills them with the tables of two runs."""

import json
from typing import Any

import pytest
from dvc_render import VegaRenderer
from ruamel.yaml import YAML

from tests.conftest import ROOT
from tests.small_report import tables

PLOTS: dict[str, dict[str, Any]] = {
    path: declared
    for stage in YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"].values()
    for plot in stage.get("plots", [])
    for path, declared in plot.items()
    if "template" in declared
}
FEATURES = {
    "metrics/evaluate/reliability.csv": ["temperature scaling", '{"ideal": 0}, {"ideal": 1}', '"field": "documents"'],
    "metrics/evaluate/learning_curve.csv": ['"field": "low"', '"field": "high"'],
    "metrics/evaluate/class_overlaps.csv": ["datum.class + ' and ' + datum.other"],
    "metrics/evaluate/per_class.csv": ['"zero": true'],
}


@pytest.mark.parametrize("path", PLOTS)
def test_a_template_is_filled_with_the_table_of_each_run(path: str) -> None:
    declared = PLOTS[path]
    header, rows = tables().get(path.removeprefix("metrics/"), ([declared["x"], declared["y"]], [(1, "a"), (2, "b")]))
    assert {declared["x"], declared["y"]} <= set(header)
    points = [
        # As DVC reads a CSV file: every value as text.
        {**{name: str(cell) for name, cell in zip(header, row, strict=True)}, "rev": rev}
        for rev in ("one", "other")
        for row in rows
    ]
    places = {"template": declared["template"], "template_dir": str(ROOT / ".dvc/plots")}
    spec = VegaRenderer(
        points, path, x=declared["x"], y=declared["y"], title=declared["title"], **places
    ).get_filled_template()
    said = json.dumps(spec)
    assert "<DVC" not in said
    assert declared["title"] in said
    assert spec["data"]["values"] == points
    for feature in FEATURES.get(path, []):
        assert feature in said
