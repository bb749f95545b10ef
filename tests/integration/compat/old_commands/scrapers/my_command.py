"""A basic command in a folder: a parameter, an option, a dependency by a function, rows that are returned."""

from async_commander.contrib.compat.django_commander import BasicCommand
from tests.testapp.models import Product


class Command(BasicCommand):
    parameter_names = ["category"]
    dependencies = [("process_category", {"category": lambda x: x.parameters["category"]})]
    test_parameters = {}
    test_options = {}

    @staticmethod
    def add_arguments(parser):
        parser.add_argument("category", type=int)
        parser.add_argument("--refresh_processed", action="store_true", default=False)
        return parser

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)

    def run(self):
        objects = Product.objects.filter(stock=self.parameters["category"])
        if not self.options["refresh_processed"]:
            objects = objects.filter(name="")
        return objects

    def cleanup(self):
        pass
