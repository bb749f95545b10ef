"""python outside.py [PORT] [SECONDS]: the outside world of the four commands, which takes a while for each answer.

GET /page/NAME is an encyclopedia, POST /mail sends one, GET /message is the next message to a bot, POST /reply answers.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Outside(BaseHTTPRequestHandler):
    """Answers each request after `seconds`; messages are there at once."""

    seconds = 0.05
    protocol_version = "HTTP/1.1"
    _numbers = itertools.count(1)
    _mutex = threading.Lock()

    def do_GET(self) -> None:
        """A page, or a message."""
        if self.path == "/message":
            with self._mutex:
                self._answer(f"user{next(self._numbers) % 10}")
        else:
            time.sleep(self.seconds)
            self._answer(f"All about {self.path.rpartition('/')[2]}")

    def do_POST(self) -> None:
        """A mail, or a reply."""
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(self.seconds)
        self._answer("accepted")

    def _answer(self, text: str) -> None:
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing of each request."""


class Server(ThreadingHTTPServer):
    """Many callers at once."""

    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8765
    Outside.seconds = float(sys.argv[2]) if len(sys.argv) > 2 else Outside.seconds
    with Server(("127.0.0.1", port), Outside) as server:
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()
