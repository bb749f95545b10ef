"""Many at once: what was returned is handed to cleanup()."""

import os

from async_commander.contrib.compat.django_commander import MultiprocessedIterateDownloadCommand, log_command
from tests.testapp.models import Effect

results_seen = []


class Command(MultiprocessedIterateDownloadCommand):
    parameter_names = []
    dependencies = []
    test_parameters = {}
    test_options = {}

    @staticmethod
    def add_arguments(parser):
        return parser

    def iterate(self):
        for number in range(6):
            yield [number]

    def download(self, number):
        return [number * 10]

    @log_command
    def parse_and_save(self, number, ten_times):
        Effect.objects.create(key=f"square {number}", run=str(self.log.pk))
        return os.getpid(), number, ten_times, self.log_id

    def cleanup(self, results):
        results_seen[:] = results
