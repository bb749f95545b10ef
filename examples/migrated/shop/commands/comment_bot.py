"""The loop's head is iterate(), its body download(), and 20 messages are answered at once."""

from shop import services as whatssignagram
from shop.models import Comment

import async_commander as ac


class Command(ac.IterateDownloadCommand):
    help = "WhatsSignaGram bot to provide the most recent comment for a user"
    always_on = True

    def iterate(self):
        bot_connection = whatssignagram.Connection(secret="z4vk14=yzfm")

        while True:
            yield bot_connection.next_message()

    def download(self, message):
        username = message.contents
        comments = Comment.objects.filter(user__username=username).order_by("timestamp")
        if comments.count() == 0:
            message.reply(f"No comments found for user {username}")
        else:
            message.reply(f"Last comment for {username} was {comments.last().text}")

    def parse_and_save(self, message, replied):
        pass
