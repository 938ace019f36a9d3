"""The code blocks of a document: which there are, and what those that name a file do to a copy of this repository."""

import re
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
TARGET = re.compile(r"`([\w./-]+\.\w+)`[^`]*:\n\n\Z")


@dataclass(frozen=True, slots=True)
class Block:
    """`path` is the last file that the paragraph before the block names, if that paragraph ends with a colon."""

    language: str
    text: str
    path: str | None

    def apply(self, root: Path) -> None:
        """Change a file below `root` as a `diff` block says, or create it with the content of any other block."""
        assert self.path is not None, f"say right before the block where this belongs:\n{self.text}"
        file = root / self.path
        if self.language != "diff":
            assert not file.exists(), f"{self.path} exists; show what changes as a diff"
            file.write_text(self.text)
            return
        for hunk in re.split(r"^@@.*\n", self.text, flags=re.MULTILINE):
            before, after = _sides(hunk)
            content = file.read_text()
            assert content.count(before) == 1, f"{content.count(before)} times in {self.path}:\n{before}"
            file.write_text(content.replace(before, after))


def _sides(hunk: str) -> tuple[str, str]:
    """Return the lines of a hunk before and after the change."""
    lines = [line or " " for line in hunk.splitlines()]
    assert {line[0] for line in lines} <= {" ", "+", "-"}, hunk
    sides = ("".join(f"{line[1:]}\n" for line in lines if line[0] in kept) for kept in (" -", " +"))
    before, after = sides
    return f"\n{before}", f"\n{after}"


def blocks(document: str) -> list[Block]:
    """Return all code blocks of a document in Markdown, in their order, without the indentation of lists."""
    found = []
    for match in FENCE.finditer(document):
        indent, language, text = match.groups()
        target = TARGET.search(document, 0, match.start())
        path = target[1] if target else None
        found.append(Block(language, re.sub(rf"^{indent}", "", text, flags=re.MULTILINE), path))
    return found


def snippets(language: str, document: str) -> list[str]:
    """Return the texts of the blocks of a language, or of several: `json|text`."""
    return [block.text for block in blocks(document) if re.fullmatch(language, block.language)]


def comparable(printed: str) -> str:
    """Return a text in which ids are replaced by their place in the order of appearance, and times by `<time>`."""
    ids: dict[str, str] = {}
    printed = re.sub(
        r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", lambda id: ids.setdefault(id[0], f"<{len(ids)}>"), printed
    )
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "<time>", printed)
