import async_commander as ac


class Command(ac.ManagedCommand):
    help = "Plant something, once."
    run_once = True

    def add_arguments(self, parser):
        parser.add_argument("--password", default="")
        parser.add_argument("--fail", action="store_true")

    def execute_command(self, *args, **options):
        self.stdout.write(f"planting with {options['password']}")
        if options["fail"]:
            raise ValueError("too dry")
        return "planted"
