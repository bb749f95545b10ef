"""django-managed-commands: mails, one after the other."""

from django_managed_commands.base import ManagedCommand
from shop.models import Recipient
from shop.services import send_mail


class Command(ManagedCommand):
    help = "send_notifications command"
    run_once = False

    def execute_command(self, *args, **options):
        self.stdout.write("Sending notifications...")
        for recipient in Recipient.objects.filter(notified=False):
            send_mail(recipient.address)
            recipient.notified = True
            recipient.save()
        self.stdout.write(self.style.SUCCESS("Notifications sent successfully"))
