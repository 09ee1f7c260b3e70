"""Names with every odd sign, and what lies among documents without being one: pipes, sockets, links, locked files."""

import os
import socket
import tempfile
from pathlib import Path

NAMES: tuple[str | bytes, ...] = (
    "line\nbreak",
    "carriage\rreturn",
    "tab\tand\x01\x1b[31mcontrol\x7f",
    "it's",
    'say "so"',
    "back\\slash",
    "-rf",
    "--check",
    "$(touch owned)",
    "`touch owned`",
    "%s%n{}{0}",
    "*?[a]!",
    "a|b>c<d&e;f#g~h=i^j",
    " spaces ",
    "ends with a dot.",
    "two.pdf",
    "NUL",
    "emoji \U0001f99c\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\u202eRTL \u05e9\u05dc\u05d5\u05dd",
    "decomposed U\u0308ber",
    "line\u2028separator\ufeff\u200b",
    "noncharacter \uffff\U0010ffff",
    "Case",
    "case",
    "x" * 251,
    "\u6f22" * 83 + "xx",
    b"caf\xe9",
    b"surrogate \xed\xa0\x80\xff\xfe",
)


def make_special_files(folder: Path) -> None:
    """Make, in `folder`, what cannot be opened as a document: pipes, sockets, links, folders, locked files."""
    folder.mkdir(parents=True)
    os.mkfifo(folder / "pipe.pdf")
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as server:
        # The path of a socket has room for a hundred bytes only.
        server.bind(f"{short}/s")
        Path(short, "s").rename(folder / "socket.pdf")
    links = {"nowhere": "missing", "itself": "itself.pdf", "one": "two.pdf", "two": "one.pdf", "folder": ".."}
    links |= {"zeros": "/dev/zero", "null": "/dev/null", "pipe behind a link": "pipe.pdf", "memory": "/proc/self/mem"}
    for name, target in links.items():
        (folder / f"{name}.pdf").symlink_to(target)
    (folder / "a folder.pdf").mkdir()
    (folder / "a folder.pdf/inside.txt").write_text("Words in a folder named like a document.", encoding="utf-8")
    (folder / "linked folder").symlink_to("..")
    locked = folder / "locked.txt"
    locked.write_text("words that nobody may read", encoding="utf-8")
    locked.chmod(0)
    with (folder / "8 GB of nothing.pdf").open("wb") as file:
        file.truncate(8 << 30)
