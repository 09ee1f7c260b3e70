"""Damaged and hostile documents, each kind by a function: from a real PDF, or made from nothing.

`DAMAGE` spoils a real PDF at random; `HOSTILE` makes one file that is meant to cost time, memory or a crash. Used by
tests.benchmarks.damaged.
"""

import io
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable

import pymupdf

WORDS = b"BT /F 12 Tf 72 720 Td (Some words of a letter about the ferry and its mail.) Tj ET "

# --- PDFs written by hand: object 1 is the catalog, 2 the page tree, 3 the first page, 4 what it shows, 5 a font.


def assemble(*objects: bytes, trailer: bytes = b"") -> bytes:
    """Make a PDF of `objects`, numbered from 1, with a right table of their places; `trailer` goes into its trailer."""
    content, places = bytearray(b"%PDF-1.7\n"), []
    for number, body in enumerate(objects, start=1):
        places.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"xref\n0 %d\n0000000000 65535 f \n%strailer<</Size %d/Root 1 0 R%s>>\nstartxref\n%d\n%%%%EOF"
    return bytes(content + end % (len(objects) + 1, table, len(objects) + 1, trailer, len(content)))


def stream(data: bytes, entries: bytes = b"") -> bytes:
    """Make a stream object of `data` with further `entries` of its dictionary."""
    return b"<<%s/Length %d>>stream\n%s\nendstream" % (entries, len(data), data)


def packed(data: bytes, entries: bytes = b"") -> bytes:
    """Make a compressed stream object of `data`."""
    return stream(zlib.compress(data), entries + b"/Filter/FlateDecode")


def one_page(
    shows: bytes, *more: bytes, resources: bytes = b"", page: bytes = b"", catalog: bytes = b"", trailer: bytes = b""
) -> bytes:
    """Make a PDF of one page whose stream object is `shows`; `more` objects are numbered from 6."""
    return assemble(
        b"<</Type/Catalog/Pages 2 0 R%s>>" % catalog,
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/Contents 4 0 R/Resources<</Font<</F 5 0 R>>%s>>%s>>"
        % (resources, page or b"/MediaBox[0 0 612 792]"),
        shows,
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        *more,
        trailer=trailer,
    )


# --- damage to a real PDF


def truncated(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def bytes_flipped(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.choice((1, 10, 100, 1000, len(content) // 10))):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def block_of_zeros(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(content))
    size = min(len(content) - start, chance.choice((512, 4096, 65536)))
    return content[:start] + bytes(size) + content[start + size :]


def wrong_header(content: bytes, chance: random.Random) -> bytes:
    return chance.choice((b"%PDF-9.9", b"%!PS-Ado", b"\x89PNG\r\n\x1a\n", b"GIF89a__", b"\0" * 8)) + content[8:]


def junk_before_the_header(content: bytes, chance: random.Random) -> bytes:
    return chance.randbytes(chance.choice((1, 1024, 100_000))) + content


def spliced(content: bytes, chance: random.Random) -> bytes:
    start, end = sorted(chance.randrange(len(content)) for _ in range(2))
    return content[:end] + content[start:]


def numbers_changed(content: bytes, chance: random.Random) -> bytes:
    """Change numbers outside of streams as well as in them: lengths, references, places, sizes."""
    share = chance.choice((0.001, 0.02, 0.3))
    other = (b"0", b"-1", b"1", b"7", b"65536", b"2147483648", b"99999999999999999999", b"1e300", b"nan")
    return re.sub(rb"\d+", lambda found: chance.choice(other) if chance.random() < share else found[0], content)


def references_changed(content: bytes, chance: random.Random) -> bytes:
    """Point references at other objects, so that a page is its own font, its own parent …"""
    numbers = re.findall(rb"(\d+) 0 R", content) or [b"1"]
    share = chance.choice((0.02, 0.3))

    def change(found: re.Match[bytes]) -> bytes:
        return b"%s 0 R" % (chance.choice(numbers) if chance.random() < share else found[1])

    return re.sub(rb"(\d+) 0 R", change, bytes(pymupdf.open(stream=content).tobytes()))


def sent_as_text(content: bytes, chance: random.Random) -> bytes:
    return chance.choice((content.replace(b"\n", b"\r\n"), bytes(byte & 0x7F for byte in content)))


def encrypted(content: bytes, chance: random.Random) -> bytes:
    with pymupdf.open(stream=content) as document:
        return bytes(document.tobytes(encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="user", owner_pw="owner"))


def encrypted_with_an_empty_password(content: bytes, chance: random.Random) -> bytes:
    way = chance.choice((pymupdf.PDF_ENCRYPT_AES_256, pymupdf.PDF_ENCRYPT_AES_128, pymupdf.PDF_ENCRYPT_RC4_40))
    with pymupdf.open(stream=content) as document:
        return bytes(document.tobytes(encryption=way, user_pw="", owner_pw="owner"))


def encrypted_and_damaged(content: bytes, chance: random.Random) -> bytes:
    return bytes_flipped(encrypted_with_an_empty_password(content, chance), chance)


def unpacked_and_flipped(content: bytes, chance: random.Random) -> bytes:
    """Flip bytes of the uncompressed form, where they reach fonts, operators and text and not only a checksum."""
    with pymupdf.open(stream=content) as document:
        return bytes_flipped(bytes(document.tobytes(expand=255)), chance)


DAMAGE: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    truncated,
    bytes_flipped,
    block_of_zeros,
    wrong_header,
    junk_before_the_header,
    spliced,
    numbers_changed,
    references_changed,
    sent_as_text,
    encrypted,
    encrypted_with_an_empty_password,
    encrypted_and_damaged,
    unpacked_and_flipped,
)

# --- hostile files made from nothing


def many_pages(count: int = 5000) -> bytes:
    pages = [
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents %d 0 R/Resources<</Font<</F 3 0 R>>>>>>" % (n + 5)
        for n in range(0, 2 * count, 2)
    ]
    texts = [stream(b"BT /F 12 Tf 72 720 Td (Words of page %d of a long report.) Tj ET" % n) for n in range(count)]
    kids = b" ".join(b"%d 0 R" % n for n in range(4, 4 + 2 * count, 2))
    return assemble(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[%s]/Count %d>>" % (kids, count),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        *(part for pair in zip(pages, texts, strict=True) for part in pair),
    )


def deep_page_tree(depth: int = 20_000) -> bytes:
    first = b"<</Type/Catalog/Pages 2 0 R>>"
    nodes = [b"<</Type/Pages/Count 1/Kids[%d 0 R]/Parent %d 0 R>>" % (n + 3, max(n + 1, 2)) for n in range(depth)]
    last = b"<</Type/Page/MediaBox[0 0 612 792]/Parent %d 0 R>>" % (depth + 1)
    return assemble(first, *nodes, last)


def page_tree(kids: bytes, count: int) -> bytes:
    return assemble(b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[%s]/Count %d>>" % (kids, count))


def huge_image(side: int = 60_000) -> bytes:
    """An image of `side` times `side` pixels, which are all black and pack into little."""
    entries = b"/Type/XObject/Subtype/Image/Width %d/Height %d/ColorSpace/DeviceRGB/BitsPerComponent 8" % (side, side)
    image = zeros_packed(3 * side * side // 100, entries)
    return one_page(stream(WORDS + b"q 500 0 0 500 50 50 cm /I Do Q"), image, resources=b"/XObject<</I 6 0 R>>")


def zlib_of_one_sign(size: int, sign: bytes) -> bytes:
    """Return what unpacks to `size` times `sign`, without having to pack it all: one MB of it again and again."""
    packer, piece, check = zlib.compressobj(9, wbits=-15), sign * (1 << 20), 1
    block = packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)
    for _ in range(size >> 20):
        check = zlib.adler32(piece, check)
    return b"\x78\xda" + block * (size >> 20) + packer.flush() + struct.pack(">I", check)


def zeros_packed(size: int, entries: bytes = b"", sign: bytes = b"\0") -> bytes:
    return stream(zlib_of_one_sign(size, sign), entries + b"/Filter/FlateDecode")


def packed_three_times(size: int = 4 << 30) -> bytes:
    return stream(
        zlib.compress(zlib.compress(zlib_of_one_sign(size, b" "))), b"/Filter[/FlateDecode/FlateDecode/FlateDecode]"
    )


def forms_in_forms(breadth: int, depth: int) -> bytes:
    """Forms that each draw the next one `breadth` times: breadth to the power of depth texts."""
    form = b"/Type/XObject/Subtype/Form/BBox[0 0 612 792]/Resources<<%s>>"
    forms = [stream(b"/X Do " * breadth, form % (b"/XObject<</X %d 0 R>>" % n)) for n in range(7, 7 + depth)]
    last = stream(WORDS, form % b"/Font<</F 5 0 R>>")
    return one_page(stream(b"/X Do"), *forms, last, resources=b"/XObject<</X 6 0 R>>")


def form_in_itself() -> bytes:
    form = b"/Type/XObject/Subtype/Form/BBox[0 0 612 792]/Resources<</XObject<</X 6 0 R>>/Font<</F 5 0 R>>>>"
    return one_page(stream(b"/X Do"), stream(WORDS + b"/X Do /X Do", form), resources=b"/XObject<</X 6 0 R>>")


def glyph_in_itself() -> bytes:
    font = b"<</Type/Font/Subtype/Type3/FontBBox[0 0 9 9]/FontMatrix[1 0 0 1 0 0]/FirstChar 65/LastChar 65/Widths[9]"
    font += b"/CharProcs<</a 7 0 R>>/Encoding<</Differences[65/a]>>/Resources<</Font<</G 6 0 R>>>>>>"
    glyph = stream(b"9 0 d0 BT /G 1 Tf (AAAA) Tj ET")
    page = stream(WORDS + b"BT /G 9 Tf 72 700 Td (AAAA) Tj ET")
    return one_page(page, font, glyph, resources=b"/ExtGState<<>>").replace(b"/F 5 0 R", b"/F 5 0 R/G 6 0 R", 1)


def font_bomb(size: int = 1 << 30) -> bytes:
    """A font file and a table of characters that unpack to a gigabyte each."""
    font = b"<</Type/Font/Subtype/TrueType/BaseFont/X/FirstChar 65/LastChar 65/Widths[500]"
    font += b"/FontDescriptor 7 0 R/ToUnicode 8 0 R>>"
    descriptor = b"<</Type/FontDescriptor/FontName/X/Flags 32/FontBBox[0 0 9 9]/FontFile2 9 0 R>>"
    content = one_page(
        stream(WORDS + b"BT /G 9 Tf 72 700 Td (AAAA) Tj ET"), font, descriptor, zeros_packed(size), zeros_packed(size)
    )
    return content.replace(b"/F 5 0 R", b"/F 5 0 R/G 6 0 R", 1)


def page_box(box: bytes) -> bytes:
    return one_page(stream(WORDS), page=b"/MediaBox[%s]" % box)


def rules(count: int = 300_000) -> bytes:
    """Short lines at every angle, as in a map or a plot, which table finders compare with each other."""
    lines = b"".join(b"%d %d m %d %d l S " % (n % 601, n % 787, n % 593, n % 773) for n in range(count))
    return one_page(packed(WORDS + lines))


def snippets(count: int = 200_000) -> bytes:
    """Single letters all over one page: each is a line of its own."""
    text = b"".join(b"1 0 0 1 %d %d Tm (a) Tj " % (n * 7 % 600, n * 11 % 780) for n in range(count))
    return one_page(packed(b"BT /F 2 Tf " + text + b"ET"))


def title_of_half_a_sign() -> bytes:
    """A title that is UTF-16 with one half of a pair, which is no Unicode text."""
    return one_page(stream(WORDS * 3), trailer=b"/Info<</Title<FEFF0041D8000042>>>")


def text_of_half_a_sign() -> bytes:
    """A font that says its letter A is one half of a UTF-16 pair."""
    table = b"/CIDInit/ProcSet findresource begin begincmap 1 begincodespacerange <00><FF> endcodespacerange "
    table += b"1 beginbfchar <41><D800> endbfchar endcmap end"
    font = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/ToUnicode 7 0 R>>"
    content = one_page(stream(WORDS * 3 + b"BT /G 9 Tf 72 700 Td (AAAA) Tj ET"), font, stream(table))
    return content.replace(b"/F 5 0 R", b"/F 5 0 R/G 6 0 R", 1)


def outline_in_itself() -> bytes:
    return one_page(stream(WORDS), b"<</Title(a)/Parent 6 0 R/First 6 0 R/Next 6 0 R>>", catalog=b"/Outlines 6 0 R")


def with_a_file_and_javascript() -> bytes:
    document = pymupdf.open(stream=one_page(stream(WORDS), catalog=b"/OpenAction<</S/JavaScript/JS(while\\(1\\);)>>"))
    document.embfile_add("invoice.exe", b"MZ" * 1000)
    return bytes(document.tobytes())


def old_tables_in_a_circle() -> bytes:
    """A trailer whose /Prev is its own table: a reader that follows it never ends."""
    content = one_page(stream(WORDS))
    place = content.rindex(b"xref\n0 ", 0, content.rindex(b"startxref"))
    return content.replace(b"/Root 1 0 R>>\nstartxref", b"/Root 1 0 R/Prev %d>>\nstartxref" % place)


def png() -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("word/document.xml", "<w:document/>")
    return buffer.getvalue()


HTML = b"<!DOCTYPE html><html><body><h1>404</h1><p>The paper you asked for is not here.</body></html>"
MB = 1 << 20

# By the name of the file that each makes.
HOSTILE: dict[str, Callable[[], bytes]] = {
    "5000 pages.pdf": many_pages,
    "deep page tree.pdf": deep_page_tree,
    "no pages.pdf": lambda: page_tree(b"", 0),
    "fewer pages than said.pdf": lambda: page_tree(b"", 3),
    "two thousand million pages.pdf": lambda: page_tree(b"2 0 R", 2_000_000_000),
    "page tree in itself.pdf": lambda: page_tree(b"2 0 R 2 0 R", 4),
    "huge image.pdf": huge_image,
    "bomb of spaces.pdf": lambda: one_page(zeros_packed(2 << 30, sign=b" ")),
    "bomb of words.pdf": lambda: one_page(packed(WORDS * 500_000)),
    "bomb in a bomb.pdf": lambda: one_page(packed_three_times()),
    "forms in forms.pdf": lambda: forms_in_forms(10, 12),
    "form in itself.pdf": form_in_itself,
    "forms beyond the stack.pdf": lambda: forms_in_forms(1, 20_000),
    "glyph in itself.pdf": glyph_in_itself,
    "font bomb.pdf": font_bomb,
    "gigantic page.pdf": lambda: page_box(b"0 0 1000000000 1000000000"),
    "page without size.pdf": lambda: page_box(b"0 0 0 0"),
    "page of no number.pdf": lambda: page_box(b"nan inf -1e999 1e999"),
    "300000 rules.pdf": rules,
    "200000 letters.pdf": snippets,
    "half a sign in the title.pdf": title_of_half_a_sign,
    "half a sign in the text.pdf": text_of_half_a_sign,
    "outline in itself.pdf": outline_in_itself,
    "file and JavaScript.pdf": with_a_file_and_javascript,
    "table in a circle.pdf": old_tables_in_a_circle,
    "object in itself.pdf": lambda: one_page(b"4 0 R"),
    "length in itself.pdf": lambda: one_page(b"<</Length 4 0 R>>stream\n%s\nendstream" % WORDS),
    "deep array.pdf": lambda: one_page(stream(WORDS), b"[" * 1_000_000, catalog=b"/Names 6 0 R"),
    "deep array on the page.pdf": lambda: one_page(stream(WORDS + b"[" * 1_000_000)),
    "deep graphics states.pdf": lambda: one_page(packed(b"q " * 3_000_000 + WORDS)),
    "unknown lock.pdf": lambda: one_page(stream(WORDS), trailer=b"/Encrypt<</Filter/Other/V 9/R 9>>/ID[(a)(a)]"),
    "PNG.pdf": png,
    "HTML.pdf": lambda: HTML,
    "ZIP.pdf": zipped,
    "empty.pdf": lambda: b"",
    "empty.txt": lambda: b"",
    "100 MB of zeros.pdf": lambda: bytes(100 * MB),
    "100 MB of zeros.txt": lambda: bytes(100 * MB),
    "100 MB of zeros after the header.pdf": lambda: b"%PDF-1.7\n" + bytes(100 * MB),
    "100 MB of noise.pdf": lambda: b"%PDF-1.7\n" + random.Random(0).randbytes(100 * MB),
    "PDF.txt": lambda: one_page(packed(WORDS)),
    "Latin-1.txt": lambda: "Über die Fähre".encode("latin-1") * 100,
    "half of UTF-16.md": lambda: "Über die Fähre".encode("utf-16")[:-1],
    "half a sign.txt": lambda: b"\xff\xfeA\0\0\xd8B\0",
    "100 MB on one line.txt": lambda: b"words " * (100 * MB // 6),
    "10 MB of one word.txt": lambda: b"x" * (10 * MB),
    "rule of dashes with a letter.md": lambda: b"-" * 200 + b"x\nSome words.",
    "spaces in a heading.md": lambda: b"# a" + b" " * 20_000 + b"b\nSome words.",
    "200000 brackets.md": lambda: b"[" * 200_000 + b" some words",
    "200000 stars.md": lambda: b"*" * 200_000 + b" some words",
    "a million blank lines.txt": lambda: b" \n" * 1_000_000 + b"some words",
}
