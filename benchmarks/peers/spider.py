"""A Scrapy spider: its own scheduler and downloader, and an item pipeline that saves."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import scrapy
from scrapy.crawler import CrawlerProcess

from benchmarks.job import Job, parse
from benchmarks.models import Page


class PageSpider(scrapy.Spider):
    """One request for each page of the job."""

    name = "pages"
    job: Job

    async def start(self) -> AsyncIterator[scrapy.Request]:
        """The requests."""
        for url in self.job.urls():
            yield scrapy.Request(url)

    def parse(self, response: Any) -> Any:
        """The item of a page."""
        title, links = parse(response.url, response.text)
        yield {"url": response.url, "title": title, "links": links}


class Saving:
    """The pipeline."""

    async def process_item(self, item: Any) -> Any:
        """A row for each item."""
        await Page(**item).asave()
        return item


def run(job: Job) -> float:
    """Seconds for all pages."""
    process = CrawlerProcess(
        {
            "CONCURRENT_REQUESTS": job.threads,
            "CONCURRENT_REQUESTS_PER_DOMAIN": job.threads,
            "DOWNLOAD_DELAY": 0,
            "ITEM_PIPELINES": {Saving: 1},
            "LOG_LEVEL": "ERROR",
            "TELNETCONSOLE_ENABLED": False,
        }
    )
    process.crawl(PageSpider, job=job)
    start = time.perf_counter()
    process.start()
    return time.perf_counter() - start
