# SPDX-License-Identifier: Apache-2.0
"""A file of random bytes on a native web server, for what fetches it through a proxy under test."""
import functools
import http.server
import threading

from head import file_of, scratch


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Web:
    def __init__(self, size=300000):
        self.path = file_of(size)
        http.server.ThreadingHTTPServer.request_queue_size = 1000
        self.server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Handler, directory=scratch))
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/file"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
