"""A file is downloaded once and taken apart: a bare data frame, rows with their index."""

import pandas as pd

from async_commander.contrib.compat.django_commander import DownloadIterateCommand, cache_results
from tests.testapp.models import Author, Effect


class Command(DownloadIterateCommand):
    parameter_names = []
    dependencies = []
    test_parameters = {}
    test_options = {"path": "roster.csv"}

    @staticmethod
    def add_arguments(parser):
        parser.add_argument("--path", default="roster.csv")
        return parser

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)

    @cache_results
    def download(self):
        Effect.objects.create(key="downloaded")
        return pd.read_csv(self.options["path"])

    def iterate(self, df):
        for index, row in df.iterrows():
            yield [index, row]

    def parse_and_save(self, index, row):
        Author.objects.get_or_create(name=f"{index} {row['name']}")

    def cleanup(self):
        Effect.objects.create(key="cleanup", run=str(self.log.pk))
