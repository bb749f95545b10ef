"""A download for each row: the row first, then what was downloaded for it."""

import pandas as pd

from async_commander.contrib.compat.django_commander import IterateDownloadCommand, cache_results
from tests.testapp.models import Page


class Command(IterateDownloadCommand):
    parameter_names = ["folder"]
    dependencies = []
    test_parameters = {}
    test_options = {}

    @staticmethod
    def add_arguments(parser):
        parser.add_argument("folder")
        return parser

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)

    def iterate(self):
        for obj in Page.objects.all():
            yield [obj]

    @cache_results
    def download(self, obj):
        df = pd.read_csv("{}/{}.csv".format(self.parameters["folder"], obj.url))
        return [df]

    def parse_and_save(self, obj, df):
        for _, row in df.iterrows():
            setattr(obj, row["field"], row["value"])
        obj.save()

    def cleanup(self):
        pass
