"""PythonAnywhere's guide: a bot, one message after the other."""

from django.core.management.base import BaseCommand
from shop import services as whatssignagram
from shop.models import Comment


class Command(BaseCommand):
    help = "WhatsSignaGram bot to provide the most recent comment for a user"

    def add_arguments(self, parser):
        parser.add_argument("--messages", type=int, help="end after so many: the guide's has no end")

    def handle(self, *args, **options):
        bot_connection = whatssignagram.Connection(secret="z4vk14=yzfm")
        left = options["messages"]

        while left is None or left > 0:
            message = bot_connection.next_message()
            left = left and left - 1

            username = message.contents
            comments = Comment.objects.filter(user__username=username).order_by("timestamp")
            if comments.count() == 0:
                message.reply(f"No comments found for user {username}")
            else:
                message.reply(f"Last comment for {username} was {comments.last().text}")
