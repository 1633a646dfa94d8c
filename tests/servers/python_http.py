#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""python3 -m http.server: a thread per connection."""
from head import *

PYTHON = "/usr/bin/python3"  # Debian's
need(PYTHON, "curl")
path = file_of(300000)
small = file_of(1000, "small")
serve = [PYTHON, "-m", "http.server", "--bind", "127.0.0.1", "--directory", scratch]
with Server("http.server", serve + ["{port}"]).running() as s:
    s.check("a file, a connection each", fetched(path, f"http://127.0.0.1:{s.port}/file"))
# Its backlog is five: who connects waits until the one before is served.
with Server("http.server, kept connections", serve + ["--protocol", "HTTP/1.1", "{port}"]).running() as s:
    s.hold("http-kept", "--path", "/small", "--body", small, "--openings", "4")
    s.dump("http-kept", "--path", "/small", "--body", small, "--openings", "4", ask=by_signal)
finish()
