#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""stunnel4: TLS, a thread per connection. The load comes through a second stunnel4, a native one."""
from head import *
from web import Web

need("stunnel4", "openssl", "curl")
why = command("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{scratch}/key",
              "-out", f"{scratch}/cert", "-days", "2", "-subj", "/CN=localhost")
if why:
    skip(f"no certificate: {why}")


def tunnel(name, label, accept, connect, more, **options):
    write(name, f"foreground = yes\npid =\n[tunnel]\naccept = 127.0.0.1:{accept}\n"
          f"connect = 127.0.0.1:{connect}\n{more}\n")
    server = Server(label, ["stunnel4", f"{scratch}/{name}"], **options)
    server.port = accept
    return server


tls = f"cert = {scratch}/cert\nkey = {scratch}/key"
with Web() as web:
    port = free_port()
    with tunnel("web.conf", "stunnel4", port, web.port, tls).running() as s:
        s.check("a file over TLS", fetched(web.path, "-k", f"https://127.0.0.1:{port}/file"))
        s.check("a file over TLS 1.2", fetched(web.path, "-k", "--tls-max", "1.2", f"https://127.0.0.1:{port}/file"))
# load -> native stunnel4 -> stunnel4 under corun -> the load's own echo
echo, outer, inner = free_port(), free_port(), free_port()
plain = tunnel("load.conf", "the client's stunnel4", outer, inner, "client = yes")
why = plain.start([])
if why:
    skip(f"no stunnel4 for the client: {why}")
try:
    with tunnel("echo.conf", "stunnel4 before an echo", inner, echo, tls, natively=False).running() as s:
        s.hold("echo", "--backend", "--backend-port", str(echo), "--port", str(outer))
finally:
    plain.end()
finish()
