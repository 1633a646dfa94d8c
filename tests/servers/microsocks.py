#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""microsocks: a SOCKS5 proxy, a thread per connection."""
from head import *
from web import Web

need("microsocks", "curl")
with Web() as web, Server("microsocks", ["microsocks", "-i", "127.0.0.1", "-p", "{port}"]).running() as s:
    s.check("a file through it", fetched(web.path, "-x", f"socks5h://127.0.0.1:{s.port}", web.url))
    s.hold("socks", "--backend")
finish()
