"""A command that others depend on."""

from async_commander.contrib.compat.django_commander import BasicCommand, log_command


class Command(BasicCommand):
    parameter_names = ["category"]
    dependencies = []
    test_parameters = {"category": 1}
    test_options = {}

    @staticmethod
    def add_arguments(parser):
        parser.add_argument("category", type=int)
        return parser

    def __init__(self, **options):
        super().__init__(**options)

    @log_command
    def run(self):
        return {
            "category": self.parameters["category"],
            "test": self.options["test"],
            "log": self.log.pk,
            "anew": self.options["refresh_cache"],
        }
