"""Render the sample's Markdown sources to PDFs and write its CSV tables.

python data/sample/render.py            write documents/ and the CSVs beside this script
python data/sample/render.py --check    exit 1 naming the first of them that is out of date

The same sources give the same bytes on any day and machine, so that --check can compare files.
"""

import argparse
import csv
import io
from bisect import bisect_left
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode as Node
from reportlab import platypus
from reportlab.lib.enums import TA_CENTER, TA_JUSTIFY, TA_LEFT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.platypus import Frame, PageTemplate, Paragraph
from reportlab.platypus.doctemplate import LayoutError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

HERE = Path(__file__).resolve().parent
KEYS = ("title", "authors", "year", "keywords", "category", "layout")
TABLES = {"metadata.csv": ("authors", "year", "keywords"), "gold.csv": ("category",), "labels.csv": ("category",)}
WIDTH, HEIGHT = A4
GUTTER, PADDING = 20, 3


class Look(NamedTuple):
    """The typography of one layout, in points."""

    font: str
    bold: str
    size: float
    leading: float
    table_size: float
    title_size: float
    align: int
    margin: float

    def style(self, size: float, **changes: Any) -> ParagraphStyle:
        leading = size * self.leading / self.size
        base = {"fontName": self.font, "bulletFontName": self.font, "fontSize": size, "bulletFontSize": size}
        base |= {"leading": leading, "spaceAfter": self.leading / 2, "alignment": self.align}
        return ParagraphStyle("", **{**base, **changes})


LOOKS = {
    "article": Look("Times-Roman", "Times-Bold", 10.5, 14, 9, 18, TA_JUSTIFY, 80),
    "two_column": Look("Times-Roman", "Times-Bold", 9, 11.5, 7.5, 17, TA_JUSTIFY, 57),
    "report": Look("Helvetica", "Helvetica-Bold", 14, 23, 11, 30, TA_LEFT, 97),
}


def read_source(path: Path, categories: set[str]) -> dict[str, str]:
    """Return the header's values and the body; ValueError or YAMLError says what is wrong with them."""
    text = path.read_text(encoding="utf-8")
    # The standard fonts hold no other characters: reportlab would print black boxes.
    text.encode("cp1252")
    before, header, body = text.split("---\n", 2) if text.count("---\n") > 1 else (text, "", "")
    loaded = YAML(typ="safe", pure=True).load(header)
    if before or not isinstance(loaded, dict):
        raise ValueError("no header of keys and values between --- lines")
    if missing := [key for key in KEYS if loaded.get(key) in (None, "")]:
        raise ValueError(f"missing header key: {', '.join(missing)}")
    values = {key: str(loaded[key]) for key in KEYS}
    for key, known in (("category", categories), ("layout", set(LOOKS))):
        if values[key] not in known:
            raise ValueError(f"unknown {key}: {values[key]}")
    return {**values, "body": body}


def markup(node: Node) -> str:
    """Return a node's text in reportlab's paragraph markup."""
    inner = "".join(markup(child) for child in node.children)
    match node.type:
        case "text":
            return escape(node.content)
        case "softbreak":
            return " "
        case "em" | "strong":
            return f"<{node.tag}>{inner}</{node.tag}>"
        case "inline" | "paragraph" | "heading" | "th" | "td":
            return inner
    raise ValueError(f"unsupported Markdown: {node.type}")


def table(node: Node, look: Look, width: float) -> platypus.Table:
    """Set a table whose columns get room for their longest word first, so that no word is broken."""

    def widest(texts: list[str]) -> float:
        return 2 * PADDING + 1 + max([0.0, *(float(stringWidth(text, look.bold, look.table_size)) for text in texts)])

    rows = [[markup(cell) for cell in row.children] for part in node.children for row in part.children]
    columns = [list(column) for column in zip(*rows, strict=True)]
    least = [widest(" ".join(column).split()) for column in columns]
    ideal = [widest(column) for column in columns]
    share = min(1, (width - sum(least)) / max(1, sum(ideal) - sum(least)))
    widths = [low + share * (high - low) for low, high in zip(least, ideal, strict=True)]
    cell = {"leading": look.table_size * 1.25, "alignment": TA_LEFT, "spaceAfter": 0}
    styles = [look.style(look.table_size, **cell, fontName=font) for font in (look.bold, look.font)]
    cells = [[Paragraph(text, styles[index > 0]) for text in row] for index, row in enumerate(rows)]
    rules: list[Any] = [("GRID", (0, 0), (-1, -1), 0.5, "black"), ("VALIGN", (0, 0), (-1, -1), "TOP")]
    rules += [(f"{side}PADDING", (0, 0), (-1, -1), PADDING) for side in ("LEFT", "RIGHT", "TOP", "BOTTOM")]
    space = {"spaceBefore": look.leading, "spaceAfter": look.leading}
    return platypus.Table(cells, widths, style=rules, repeatRows=1, hAlign="LEFT", **space)


def flowables(parent: Node, look: Look, width: float, depth: int = 0) -> list[Any]:
    """Turn the blocks under a node into platypus flowables."""
    story: list[Any] = []
    indent = 1.4 * look.size * depth
    for node in parent.children:
        match node.type:
            case "heading":
                style = look.style(look.size * 1.15, fontName=look.bold, alignment=TA_LEFT)
                # keepWithNext would move the whole next paragraph along, and leave the columns uneven.
                story += [platypus.CondPageBreak(4 * look.leading), Paragraph(markup(node), style)]
            case "bullet_list" | "ordered_list":
                story += flowables(node, look, width, depth + 1)
            case "list_item":
                first, *rest = flowables(node, look, width, depth)
                bullet = f"{node.info}." if node.info else "\u2022"
                story += [Paragraph(first.text, first.style, bulletText=bullet), *rest]
            case "table":
                story.append(table(node, look, width))
            case _:
                style = look.style(look.size, leftIndent=indent, bulletIndent=max(0, indent - 1.4 * look.size))
                story.append(Paragraph(markup(node), style))
    return story


def build(source: dict[str, str], percent: int = 100) -> tuple[bytes, int]:
    """Return a PDF and its number of pages; two_column fills only percent of the first page's height."""
    look, layout = LOOKS[source["layout"]], source["layout"]
    margin, width, height = look.margin, WIDTH - 2 * look.margin, HEIGHT - 2 * look.margin
    column = (width - GUTTER) / 2 if layout == "two_column" else width
    sides = (0, column + GUTTER) if layout == "two_column" else (0,)

    def head(canvas: Any, _: Any) -> None:
        canvas.setFont(look.font, 9)
        canvas.drawString(margin, HEIGHT - margin + 18, source["title"].partition(":")[0])

    def foot(canvas: Any, _: Any) -> None:
        canvas.setFont(look.font, 9)
        canvas.drawCentredString(WIDTH / 2, margin - 27, str(canvas.getPageNumber()))

    def frame(x: float, top: float, wide: float, high: float) -> Frame:
        return Frame(margin + x, margin + top - high, wide, high, 0, 0, 0, 0)

    align = TA_LEFT if layout == "report" else TA_CENTER
    title = look.style(look.title_size, leading=look.title_size * 1.25, fontName=look.bold, alignment=align)
    line = f"{source['year']}. <i>Keywords:</i> {escape(source['keywords'])}" if layout == "article" else source["year"]
    story: list[Any] = [
        Paragraph(escape(source["title"]), title),
        Paragraph(escape(source["authors"].replace("; ", ", ")), look.style(look.size + 1, alignment=align)),
        Paragraph(line, look.style(look.size, alignment=align, spaceAfter=look.leading)),
    ]
    # The foot is drawn at the end of the page so that it comes last in reading order.
    strips = {"onPageEnd": foot} if layout == "article" else {"onPage": head, "onPageEnd": foot}
    text = PageTemplate("text", [frame(x, height, column, height) for x in sides], **strips)
    first = text
    if layout == "report":
        first = PageTemplate("first", [frame(0, height * 0.75, width, height * 0.75)])
        story += [platypus.NextPageTemplate("text"), platypus.PageBreak()]
    elif layout == "two_column":
        used = sum(part.wrap(width, height)[1] + part.getSpaceAfter() for part in story) + 1
        pair = [frame(x, height - used, column, (height - used) * percent / 100) for x in sides]
        first = PageTemplate("first", [frame(0, height, width, used), *pair], **strips)
        story += [platypus.NextPageTemplate("text"), platypus.FrameBreak()]
    story += flowables(Node(MarkdownIt("commonmark").enable("table").parse(source["body"])), look, column)
    buffer = io.BytesIO()
    # Deflate's output varies with the zlib in use: compressed, the bytes would differ between machines.
    # A report's properties lack its title, as those of many real PDFs do.
    properties = {"title": None if layout == "report" else source["title"], "invariant": 1, "pageCompression": 0}
    document = platypus.BaseDocTemplate(buffer, pageTemplates=[first, text], **properties)
    document.build(story)
    return buffer.getvalue(), document.page


def render(source: dict[str, str]) -> bytes:
    """Return a PDF; two columns are made as short as they can be, lest the text leave the second empty."""

    def fits(percent: int) -> bool:
        try:
            return build(source, percent)[1] == 1
        except LayoutError:
            return False

    return build(source, bisect_left(range(100), True, key=fits) if source["layout"] == "two_column" else 100)[0]


def outputs() -> dict[str, bytes]:
    """Return the content of every file that the sources give, by its path beside this script."""
    with (HERE / "categories.csv").open(encoding="utf-8", newline="") as file:
        categories = {row["category"] for row in csv.DictReader(file)}
    sources: dict[str, dict[str, str]] = {}
    files: dict[str, bytes] = {}
    for path in sorted((HERE / "sources").glob("*.md"), key=lambda path: path.stem):
        try:
            sources[path.stem] = read_source(path, categories)
            files[f"documents/{path.stem}.pdf"] = render(sources[path.stem])
        except (ValueError, YAMLError, LayoutError) as error:
            raise SystemExit(f"{path.name}: {' '.join(str(error).split())}") from None
    for name, columns in TABLES.items():
        text = io.StringIO()
        rows = [[stem, *(source[column] for column in columns)] for stem, source in sources.items()]
        csv.writer(text, lineterminator="\n").writerows([["document_id", *columns], *rows])
        files[name] = text.getvalue().encode()
    return files


def difference(files: dict[str, bytes]) -> str:
    """Name the first file here that is not as given; empty if there is none."""
    present = {f"documents/{path.name}" for path in HERE.glob("documents/*.pdf")}
    for name in sorted(present | set(files)):
        if name not in files:
            return f"{name}: extra, no source renders to it"
        if not (HERE / name).exists():
            return f"{name}: missing"
        if (HERE / name).read_bytes() != files[name]:
            return f"{name}: differs from what the sources give"
    return ""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; compare with what is there")
    checking, made = parser.parse_args().check, outputs()
    if checking and (message := difference(made)):
        raise SystemExit(message)
    if not checking:
        (HERE / "documents").mkdir(exist_ok=True)
        for made_name, content in made.items():
            (HERE / made_name).write_bytes(content)
