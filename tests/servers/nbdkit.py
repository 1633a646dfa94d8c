#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""nbdkit: with -t 1 a thread per connection, by default 17."""
from head import *

need("nbdkit", "nbdcopy")
disk, copy = file_of(8 << 20, "disk"), f"{scratch}/copy"
for label, options in (("nbdkit -t 1", ["-t", "1"]), ("nbdkit", [])):
    serve = ["nbdkit", "-f", *options, "-i", "127.0.0.1", "-p", "{port}", "memory", "8M"]
    with Server(label, serve).running() as s:
        uri = f"nbd://127.0.0.1:{s.port}"
        s.check("nbdcopy there and back", command("nbdcopy", disk, uri) or command("nbdcopy", uri, copy)
                or same_bytes(disk, copy))
        s.hold("nbd")
        s.dump("nbd", ask=by_command)  # SIGQUIT ends it
finish()
