"""manage.py arun scrapers_fetch --threads 50"""

from __future__ import annotations

from django.conf import settings
from django.db.models import QuerySet

import async_commander as ac
from library.models import Link, Module, Symbol
from library.parsing import read_index, read_page


class Command(ac.IterateDownloadCommand[Module, str]):
    """Fetch the documentation of every module, and note what it defines and which modules it mentions."""

    prefix: str = ""  # --prefix asyncio: only these modules

    limits = ac.Limits(threads=20)
    retry = ac.Retry(attempts=4)

    async def iterate(self) -> QuerySet[Module]:
        index = await self.http.get(settings.LIBRARY_URL)
        pages = read_index(index.raise_for_status().text)
        modules = [Module(name=name, url=str(index.url.join(href))) for name, href in pages]
        self.db.upsert(*modules, unique=["name"], update=["url"])
        await self.db.flush()
        return Module.objects.filter(name__startswith=self.prefix)

    async def download(self, module: Module) -> str:
        response = await self.http.get(module.url)
        return response.raise_for_status().text

    async def parse_and_save(self, module: Module, html: str) -> None:
        page = await self.cpu(read_page, html)
        module.title, module.summary = page.title, page.summary
        symbols = [Symbol(module=module, name=name, kind=kind) for name, kind in page.symbols.items()]
        links = [Link(source=module, target=name) for name in page.mentions if name != module.name]
        self.db.update(module, fields=["title", "summary"])
        self.db.upsert(*symbols, unique=["module", "name"], update=["kind"])
        self.db.upsert(*links, unique=["source", "target"], update=[])
