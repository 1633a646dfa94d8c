#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""privoxy: a thread per connection, with the package's filters and actions."""
from head import *
from web import Web

need("privoxy", "curl")
body = file_of(2000, "body")
with open("/etc/privoxy/config") as f:
    packaged = f.read()
with Web() as web:
    port = free_port()
    own = ("listen-address", "logdir", "logfile", "max-client-connections")
    kept = [line for line in packaged.split("\n") if line.split(" ")[0] not in own]
    write("conf", "\n".join(kept) + f"\nlisten-address 127.0.0.1:{port}\nlogdir {scratch}\nlogfile log\n"
          f"max-client-connections {HOLD + 200}\n")
    server = Server("privoxy", ["privoxy", "--no-daemon", f"{scratch}/conf"])
    server.port = port
    with server.running() as s:
        s.check("GET", fetched(web.path, "-x", f"http://127.0.0.1:{port}", web.url))
        s.hold("http", "--backend", "--path", "/body", "--body", body)
finish()
