"""The loop's head is iterate(), its body two hooks, and 20 mails are on their way at once."""

from shop.models import Recipient
from shop.services import send_mail

import async_commander as ac


class Command(ac.IterateDownloadCommand):
    help = "send_notifications command"
    run_once = False

    def iterate(self):
        self.stdout.write("Sending notifications...")
        return Recipient.objects.filter(notified=False)

    def download(self, recipient):
        send_mail(recipient.address)

    def parse_and_save(self, recipient, sent):
        recipient.notified = True
        recipient.save()

    def cleanup(self):
        self.stdout.write(self.style.SUCCESS("Notifications sent"))
