#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tinyproxy: a thread per connection; GET, a connection each, and CONNECT.

It calls fsync after every line of its log: where that is a disk, the test would measure the disk.
"""
from head import *
from web import Web

need("tinyproxy", "curl")
body = file_of(2000, "body")
with open("/etc/tinyproxy/tinyproxy.conf") as f:
    packaged = f.read()
with Web() as web, tempfile.NamedTemporaryFile(
        dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as log:
    port = free_port()
    own = ("User", "Group", "Port", "PidFile", "LogFile", "MaxClients", "Allow", "ConnectPort")
    kept = [line for line in packaged.split("\n") if line.split(" ")[0] not in own]
    write("conf", "\n".join(kept) + f"\nPort {port}\nListen 127.0.0.1\nMaxClients {HOLD + 200}\n"
          f'Allow 127.0.0.0/8\nLogFile "{log.name}"\nPidFile "{scratch}/pid"\n')
    server = Server("tinyproxy", ["tinyproxy", "-d", "-c", f"{scratch}/conf"])
    server.port = port
    with server.running() as s:
        s.check("GET", fetched(web.path, "-x", f"http://127.0.0.1:{port}", web.url))
        s.check("CONNECT", fetched(web.path, "-p", "-x", f"http://127.0.0.1:{port}", web.url))
        s.hold("http", "--backend", "--path", "/body", "--body", body, name="GET")
        s.hold("connect", "--backend", name="CONNECT")
finish()
