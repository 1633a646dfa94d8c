#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""example/legacy_server: pthreads, a mutex, conditions."""
from head import *

need(f"{BUILD}/example/legacy_server")
with Server("legacy_server", [f"{BUILD}/example/legacy_server", "--port", "{port}"]).running() as s:
    s.hold("table")
finish()
