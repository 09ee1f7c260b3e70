"""Reading params.yaml: YAML 1.2, strictly typed, every fault named by its key."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stages.runtime.errors import UserError

PARAMS_FILE = Path("params.yaml")

Params = Mapping[str, Any]
S = TypeVar("S", bound="Section")


class Section(BaseModel):
    """A section of params.yaml: no coercion, no unknown keys, no changes afterwards."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


def load(path: Path = PARAMS_FILE) -> Params:
    """Parse the params file as YAML 1.2, in which `5e-05` (DVC writes it so) is a number.

    Raises:
        UserError: if the file is missing or is no YAML mapping.
    """
    try:
        parsed = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing here: run from the folder that holds it") from None
    except (YAMLError, UnicodeDecodeError) as fault:
        raise UserError(f"{path} cannot be read as YAML: {' '.join(str(fault).split())}") from None
    if not isinstance(parsed, dict):
        raise UserError(f"{path} holds no sections")
    return parsed


def validate(values: object, schema: type[S], *, at: str) -> S:
    """Hold `values` against `schema`; `at` is the dotted key they stand under ("" for the top).

    Raises:
        UserError: naming every offending key.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(_explain(fault, schema, at) for fault in error.errors())
    raise UserError(f"{PARAMS_FILE}: {faults}")


def _explain(fault: ErrorDetails, schema: type[Section], at: str) -> str:
    key = ".".join(str(part) for part in (at, *fault["loc"]) if part != "")
    if fault["type"] == "missing":
        return f"{key} is missing"
    if fault["type"] in ("extra_forbidden", "invalid_key"):
        known = _fields(schema, fault["loc"][:-1])
        close = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1, cutoff=0.5)
        return f"{key} is no known key" + (f"; did you mean {close[0]}?" if close else f" (known: {', '.join(known)})")
    wanted = fault["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    if fault["type"] == "model_type":
        wanted = "a section with keys below it"
    return f"{key}: must be {wanted} (is {fault['input']!r})"


def _fields(schema: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    for part in path:
        inner = schema.model_fields[str(part)].annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        schema = inner
    return list(schema.model_fields)


def read_section(name: str, schema: type[S]) -> S:
    """Read one section of params.yaml, typed by `schema`."""
    return validate(load().get(name), schema, at=name)


def read_corpus() -> Path:
    """Return the corpus folder that params.yaml names.

    Raises:
        UserError: if the key is no text or the folder is not there.
    """
    corpus = load().get("corpus")
    if not isinstance(corpus, str) or not corpus:
        raise UserError(f"{PARAMS_FILE}: corpus: must be the path of a corpus folder (is {corpus!r})")
    if not Path(corpus).is_dir():
        raise UserError(f"{PARAMS_FILE}: corpus: there is no folder {corpus!r}: copy data/template to it")
    return Path(corpus)
