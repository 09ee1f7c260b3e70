"""The page: sections put into templates in which every text is escaped and made showable."""

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from stages.reporting.charts import number
from stages.reporting.foreign import short, showable
from stages.reporting.sections import build
from stages.reporting.sources import Sources
from stages.reporting.verdicts import interval, percent, score

TEMPLATES = Path(__file__).parent / "templates"


def code(text: str) -> Markup:
    """Return `text` with what stands between backticks as code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(showable(text)))))


def render(sources: Sources) -> str:
    """Return the report as one page of HTML that needs no other file, no script and no network."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Every text on its way into the page passes here; markup is our own and has passed already.
        finalize=lambda value: value if isinstance(value, Markup) or not isinstance(value, str) else showable(value),
    )
    environment.filters.update(score=score, percent=percent, interval=interval, number=number, short=short, code=code)
    corpus = Path(str(sources.params["corpus"])).name
    return environment.get_template("page.html.j2").render(
        corpus=corpus,
        model=sources.params["model"]["name"],
        sections=build(sources),
        changed=sources.changed,
        outdated=sources.outdated,
        evaluate=sources.evaluate,
        style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
    )
