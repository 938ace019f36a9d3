"""Draw a terminal in which a server is started and an item transferred, as docs/recording.svg: `make recording`.

The commands are those of the README's section "A first transfer", sent to a real server; what they print is what is
drawn. Only the port is replaced by the usual one, so that every run draws the same picture.
"""

import asyncio
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from tests.docs.blocks import snippets
from tests.docs.copies import run
from tests.support.served import served

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "recording.svg"
COMMENTS = (
    '# Ada transfers an item to Grace, with If-Match: "1" and an Idempotency-Key',
    "# The answer was lost? Send it again: the same answer, and no second effect",
    "# With another key it is a new request, and the item is no longer Ada's",
)
COLUMNS = 78
THEME = TerminalTheme((24, 27, 32), (214, 219, 226), [(24, 27, 32)] + [(150, 158, 170)] * 7)
BETWEEN = "-- between two commands --"

# As rich's own, but without the fonts that it would load from another site.
SVG = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<title>A terminal: make serve, and three transfers</title>
<style>
.{unique_id}-matrix {{
  font: {char_height}px/{line_height}px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace
}}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def commands() -> tuple[str, list[str]]:
    """Return what the README does before its transfers, and the commands of the transfers."""
    before: list[str] = []
    transfers: list[str] = []
    for snippet in snippets("sh", (ROOT / "README.md").read_text()):
        for line in snippet.splitlines():
            (transfers if line.startswith("transfer ") else before).append(line)
        if len(transfers) == len(COMMENTS):
            return "\n".join(before), [line.removesuffix(" > /dev/null") for line in transfers]
    raise SystemExit(f"README.md does not have {len(COMMENTS)} commands that begin with `transfer `.")


async def draw() -> str:
    """Run the commands on a new server, and return the picture of them and of what they print."""
    before, transfers = commands()
    script = f"\necho '{BETWEEN}'\n".join([before, *transfers])
    with TemporaryDirectory() as folder:
        async with served(Path(folder), LOG_LEVEL="warning") as server:
            printed = await asyncio.to_thread(run, script, Path(folder), HANDOVER=server.url)
            announced = server.said.replace(server.url, "http://127.0.0.1:8000").splitlines()[:2]
    answers = [part.strip() for part in printed.split(BETWEEN)][1:]
    console = Console(width=COLUMNS, record=True, file=StringIO(), legacy_windows=False)
    show(console, "make serve", "\n".join(announced))
    for comment, command, answer in zip(COMMENTS, transfers, answers, strict=True):
        console.print(Text(f"\n{comment}", "color(7)"))
        show(console, command, answer)
    return console.export_svg(title="Handover", theme=THEME, code_format=SVG, unique_id="recording")


def show(console: Console, command: str, printed: str) -> None:
    """Print a prompt with a command, and below it what it has printed."""
    console.print(Text.assemble(("$ ", "color(7)"), (command, "bold")))
    console.print(Text(printed))


if __name__ == "__main__":
    PICTURE.write_text(asyncio.run(draw()))
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size:,} bytes")
