"""Every page of the documents is found and left by links that lead somewhere, and its code is executed."""

import re
import tomllib
from pathlib import Path
from urllib.parse import unquote

import pytest
from pymongo.uri_parser import parse_uri

from infrastructure.adapters import SCHEMES_BY_ADAPTER
from infrastructure.container import open_store
from infrastructure.persistence.sqlalchemy.engines.postgresql_address import parse_address
from infrastructure.settings import Settings
from tests.docs.blocks import FENCE, blocks, snippets
from tests.docs.copies import ROOT, files

FILES = files()
THERE = {*FILES, *(folder for path in FILES for folder in path.parents)}
"""What a visitor of the repository finds: files that are or could be committed, and their folders."""
PAGES = [path for path in FILES if path.suffix == ".md"]
INDEX, DECISIONS = Path("docs/README.md"), Path("docs/decisions/README.md")

LINK = re.compile(r"\]\(([^()\s]+)\)|^\[[^\]]+\]: (\S+)$", re.MULTILINE)
CODE = re.compile(r"``.*?``|`[^`\n]*`")

SHOWN = {"text", "json", "mermaid"}
"""Languages of blocks that show what is printed, or a picture; all others are executed."""
EXECUTED = {
    "README.md": "tests/test_docs.py::test_the_story_of_the_readme",
    "CONTRIBUTING.md": "tests/docs/test_pages.py::test_what_make_is_asked_for_is_there",
    "docs/adding-an-adapter.md": "tests/test_docs.py::test_the_story_of_an_adapter_is_that_of_the_example",
    "docs/architecture.md": "tests/test_docs.py::test_the_statements_of_a_transfer",
    "docs/calling-the-api.md": "tests/docs/test_calling_the_api.py::test_the_client_of_the_page",
    "docs/command-line.md": "tests/test_docs.py::test_the_commands_on_that_page",
    "docs/deployment.md": "tests/deployment/test_backups.py::test_postgresql",
    "docs/settings.md": "tests/docs/test_pages.py::test_the_example_of_settings_is_accepted",
    "docs/tutorial.md": "tests/docs/test_tutorial.py::test_every_step_works",
    "docs/unit-tests.md": "tests/test_docs.py::test_the_unit_tests_of_a_use_case_of_somebody_else",
    "examples/handover-lmdb/README.md": "tests/package/test_outside_adapter.py::test_the_commands_of_its_readme",
    "docs/your-own-service.md": "tests/docs/test_rename.py::test_nothing_but_the_licence_has_the_old_name",
}
"""The test that executes the blocks of a page."""
ELSEWHERE = {"docs/observability.md": "prometheus"}
"""Pages with commands that need a program which the suite does not have; each of these blocks names it."""


def prose(page: Path) -> str:
    """Return the text of a page without code blocks and code spans, in which nothing is a link or a heading."""
    return CODE.sub("", FENCE.sub("", (ROOT / page).read_text()))


def links(page: Path) -> list[str]:
    """Return where the links of a page lead, but for those to other sites."""
    found = ("".join(match) for match in LINK.findall(prose(page)))
    return [unquote(target) for target in found if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings as GitHub makes them.

    Letters become small, spaces hyphens, and punctuation goes; a repeated anchor gets `-1`, `-2` and so on.
    """
    text = FENCE.sub("", (ROOT / page).read_text())
    seen: dict[str, int] = {}
    found = set()
    for heading in re.findall(r"^#{1,6} (.+?)\s*#*$", text, re.MULTILINE):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        number = seen[anchor] = seen.get(anchor, -1) + 1
        found.add(f"{anchor}-{number}" if number else anchor)
    return found


def resolved(page: Path, link: str) -> tuple[Path, str]:
    """Return the file that a link leads to, relative to the repository, and its anchor or an empty text."""
    path, _, anchor = link.partition("#")
    target = (ROOT / page).parent / path if path else ROOT / page
    return Path(*target.resolve().relative_to(ROOT.resolve()).parts), anchor


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for link in links(page):
        target, anchor = resolved(page, link)
        if target not in THERE or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_an_anchor_is_made_as_github_makes_it(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# 2. A `key`, [once](x.md)\n## Twice\n```sh\n# no heading\n```\n## Twice\n### SQL: Core or ORM?\n")
    assert anchors(page) == {"2-a-key-once", "twice", "twice-1", "sql-core-or-orm"}


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent == INDEX.parent], ids=str)
def test_every_page_is_in_the_index_and_leads_back(page: Path) -> None:
    linked = {resolved(INDEX, link)[0] for link in links(INDEX)}
    assert page in linked | {INDEX}, "say in docs/README.md who should read it"
    back = Path("README.md") if page == INDEX else INDEX
    assert back in {resolved(page, link)[0] for link in links(page)}, "add [All documents](README.md) to its beginning"


def test_every_decision_is_in_their_index_and_leads_back() -> None:
    listed = (ROOT / DECISIONS).read_text()
    lines = []
    for page in PAGES:
        if page.parent == DECISIONS.parent and page != DECISIONS:
            text = (ROOT / page).read_text()
            assert text.endswith("\n\n[All decisions](README.md)\n"), f"this is the last line of a decision: {page}"
            lines.append(f"- [{text.partition(chr(10))[0].removeprefix('# ')}]({page.name})")
    missing = [line for line in lines if line not in listed]
    assert missing == [], f"add to {DECISIONS}:\n" + "\n".join(missing)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_all_code_is_executed(page: Path) -> None:
    code = [block for block in blocks((ROOT / page).read_text()) if block.language not in SHOWN]
    if str(page) in ELSEWHERE:
        assert all(ELSEWHERE[str(page)] in block.text for block in code)
    elif languages := {block.language for block in code}:
        assert str(page) in EXECUTED, f"name the test that executes {languages}, or mark what is only shown as `text`"
        file, _, test = EXECUTED[str(page)].partition("::")
        assert f"def {test}(" in (ROOT / file).read_text()


def test_what_make_is_asked_for_is_there() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        text = (ROOT / page).read_text()
        commands = [*CODE.findall(text), *"\n".join(snippets("sh", text)).splitlines()]
        asked = {name for command in commands for name in re.findall(r"^`*make ([a-z-]+)", command)}
        assert asked <= targets, page
    lines = "".join(snippets("sh", (ROOT / "CONTRIBUTING.md").read_text())).splitlines()
    assert all(line.startswith("make ") for line in lines)


def test_the_example_of_settings_is_accepted(tmp_path: Path) -> None:
    [example] = snippets("ini", (ROOT / "docs/settings.md").read_text())
    (tmp_path / ".env").write_text(example.replace("…", "0123456789abcdef" * 2))
    settings = Settings(_env_file=tmp_path / ".env")
    assert (settings.environment, settings.workers, settings.scheme) == ("production", 4, "postgresql")
    for line in example.splitlines():
        assert line.partition("=")[0].removeprefix("HANDOVER_").lower() in Settings.model_fields


def test_a_variable_in_braces_is_replaced_in_quotes_of_any_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/settings.md says of `.env`."""
    monkeypatch.setenv("GIVEN", "given")
    for quote in "", '"', "'":
        (tmp_path / ".env").write_text(f"HANDOVER_METRICS_TOKEN={quote}1${{GIVEN}}2${{UNSET}}3%24{{GIVEN}}{quote}\n")
        token = Settings(_env_file=tmp_path / ".env").metrics_token
        assert token
        assert token.get_secret_value() == "1given23%24{GIVEN}", quote
    password = parse_address("postgresql://handover:%24{GIVEN}@localhost/handover").arguments["password"]
    assert password == "${GIVEN}"


def test_the_urls_of_stores_are_accepted() -> None:
    section = (ROOT / "docs" / "settings.md").read_text().partition("## The URLs of stores")[2].partition("\n## ")[0]
    urls = re.findall(r"\| `([^`]+)` \|$", section, re.MULTILINE)
    schemes = {url.partition("://")[0] for url in urls}
    assert schemes == {scheme for schemes in SCHEMES_BY_ADAPTER.values() for scheme in schemes}
    for url in urls:
        settings = Settings(database_url=url, _env_file=None)
        store = open_store(settings)
        if settings.adapter == "beanie" and settings.scheme != "mongodb+srv":  # which asks a DNS server
            parse_uri(url, validate=True)
        assert store.capabilities
        assert "s3cret" not in settings.masked_url


def test_the_other_entry_point_of_an_adapter_is_the_one_that_is_looked_for() -> None:
    parsed = tomllib.loads(snippets("toml", (ROOT / "docs/adding-an-adapter.md").read_text())[1])
    [group] = parsed["project"]["entry-points"]
    assert f'entry_points(group="{group}"' in (ROOT / "src/interfaces/certification/plugin.py").read_text()
