"""A download for each row: the import line is another, and 20 of them run at once."""

from shop.models import Politician
from shop.services import page_about

from async_commander.contrib.compat.django_commander import IterateDownloadCommand


class Command(IterateDownloadCommand):
    parameter_names = []
    dependencies = []
    test_parameters = {}
    test_options = {}

    @staticmethod
    def add_arguments(parser):
        return parser

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)

    def iterate(self):
        for politician in Politician.objects.all():
            yield [politician]

    def download(self, politician):
        return [page_about(politician.name)]

    def parse_and_save(self, politician, text):
        politician.summary = text
        politician.save()

    def cleanup(self):
        pass
