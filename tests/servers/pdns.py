#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""pdns_server: DNS over TCP, a thread per connection, with a zone of a thousand hosts."""
from head import *

need("pdns_server")
if not os.path.exists("/usr/lib/x86_64-linux-gnu/pdns/libbindbackend.so"):
    skip("pdns-backend-bind is not installed")
hosts = "".join(f"h{n} A 10.0.{n // 256}.{n % 256}\n" for n in range(1000))
write("zone", "$TTL 3600\n@ SOA ns.example.test. root.example.test. 1 3600 600 86400 3600\n"
      f"@ NS ns.example.test.\nns A 10.1.0.1\n{hosts}")
write("named.conf", f'zone "example.test" {{ type master; file "{scratch}/zone"; }};\n')
server = Server("pdns_server", [
    "pdns_server", f"--config-dir={scratch}", f"--socket-dir={scratch}", "--launch=bind",
    f"--bind-config={scratch}/named.conf", "--daemon=no", "--guardian=no", "--local-address=127.0.0.1",
    "--local-port={port}", f"--max-tcp-connections={HOLD + 200}", "--tcp-idle-timeout=60"])
with server.running() as s:
    s.hold("dns")
finish()
