"""What MkDocs is told beside mkdocs.yml: links out of docs/ lead to pages of the site; anchors are GitHub's.

The pages are written to be read in the repository. A page there is in the site at the same place, `docs/` left out; the
README is the front page. What they link to elsewhere comes along: pages as they are, code and folders as pages that
show it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).parents[1]
LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)#\s]+)")
PICTURES = {".png", ".svg"}
LANGUAGES = {".py": "python", ".js": "js", ".toml": "toml"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Headings have the anchors that GitHub gives them, so that one link is right in both places."""
    config.mdx_configs["toc"]["slugify"] = anchor_of
    return config


def anchor_of(heading: str, separator: str) -> str:
    """As GitHub makes it of the text of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", separator)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds what the pages link to outside of docs/, and what that links to."""
    missing = ["README.md", *(named for named in _names_in(config.nav) if files.get_file_from_path(named) is None)]
    missing += [target for file in files.documentation_pages() for target in _targets(f"docs/{file.src_uri}")]
    known = {f"docs/{file.src_uri}" for file in files} | {"index.md"}
    while missing:
        path = missing.pop()
        if path in known or not (REPOSITORY / path).exists():  # MkDocs says itself what is missing
            continue
        known.add(path)
        files.append(_file(path, config))
        if path.endswith(".md"):
            missing += _targets(path)
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links and bars as the site has them."""
    del config, files
    here = page.file.src_uri
    source = "README.md" if here == "index.md" else here if (REPOSITORY / here).exists() else f"docs/{here}"

    def in_site(link: re.Match[str]) -> str:
        target = _site_path(_resolved(source, link[0]))
        return posixpath.relpath(target, posixpath.dirname(here) or ".")

    parts = re.split(r"(^```.*?^```)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("```") else LINK.sub(in_site, _bars(part)) for part in parts)


def _bars(text: str) -> str:
    """GitHub wants a bar in a table's code escaped; MkDocs shows the escape."""
    return re.sub(r"`[^`\n]*`", lambda code: code[0].replace("\\|", "|"), text)


def _names_in(nav: Any) -> Iterator[str]:
    """The pages that the navigation names."""
    if isinstance(nav, str):
        yield nav
    for each in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from _names_in(each)


def _targets(page: str) -> list[str]:
    """Where the links of a page lead, as paths from the top of the repository."""
    text = re.sub(r"^```.*?^```", "", (REPOSITORY / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    return [_resolved(page, link) for link in LINK.findall(text)]


def _resolved(page: str, link: str) -> str:
    """A link of a page as a path from the top; a folder with a README is that."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
    return f"{path}/README.md" if (REPOSITORY / path / "README.md").exists() else path


def _site_path(path: str) -> str:
    """Where the site has what the repository has here."""
    if path == "README.md":
        return "index.md"
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return path if Path(path).suffix in {".md", *PICTURES} else f"{path}.md"


def _file(path: str, config: MkDocsConfig) -> File:
    """A file of the site for one outside of docs/."""
    there = REPOSITORY / path
    if there.suffix in {".md", *PICTURES}:
        return File.generated(config, _site_path(path), abs_src_path=str(there))
    return File.generated(config, _site_path(path), content=_shown(there, path))


def _shown(there: Path, path: str) -> str:
    """A page that shows a file of code, or the files of a folder."""
    if there.is_dir():
        inside = sorted(each for each in there.rglob("*.py") if each.stat().st_size)
        return f"# {path}\n\n" + "".join(_block(each, f"## {each.relative_to(there)}") for each in inside)
    return _block(there, f"# {path}")


def _block(file: Path, heading: str) -> str:
    return f"{heading}\n\n````{LANGUAGES.get(file.suffix, 'text')}\n{file.read_text()}\n````\n\n"
