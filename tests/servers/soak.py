#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Three servers under corun while clients come, stall, reset and vanish: nothing may be left behind.

    SOAK_MINUTES=20 tests/servers/soak.py

For each server a third of the time, in rounds. In a round load_prog checks every byte on 200
connections while 200 others misbehave; then all go, and what the server holds is looked at: its
descriptors are those of the first round, its memory no more than a little beyond the second's.
"""
import asyncio
import struct

from head import *

MINUTES = float(os.environ.get("SOAK_MINUTES", "20"))
ROUND = min(20.0, MINUTES * 60 / 3 / 5)  # seconds of load


async def misbehave(port, opening, until):
    """One client after the other; each breaks off somewhere, in a way of its own."""
    while time.monotonic() < until:
        writer = None
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 5)
            kind = random.randrange(6)
            if kind == 0:
                await asyncio.sleep(random.random() * 2)  # says nothing
            elif kind == 1:
                writer.write(opening[:random.randrange(len(opening))])  # stalls in the middle
                await asyncio.sleep(random.random() * 2)
            elif kind == 2:
                writer.write(random.randbytes(random.randrange(1, 4000)))  # nonsense
                await asyncio.sleep(random.random() * 0.1)
            elif kind == 3:
                writer.write(opening)  # vanishes before the answer
            elif kind == 4:
                writer.write(opening)
                await asyncio.wait_for(reader.read(10), 1)
            if kind in (2, 3, 4) and random.random() < 0.5:  # a reset, not an end
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except (OSError, asyncio.TimeoutError):
            pass
        finally:
            if writer:
                writer.transport.abort() if random.random() < 0.5 else writer.close()
        await asyncio.sleep(random.random() * 0.05)


def chaos(port, opening, seconds):
    async def all_of_them():
        until = time.monotonic() + seconds
        await asyncio.gather(*(misbehave(port, opening, until) for _ in range(CLIENTS)))
    asyncio.run(all_of_them())


def resident_kb(pid):
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Rss:"))


def soak(label, words, opening, protocol, *options):
    with Server(label, words).running() as s:
        pid, seen, why = s.child.pid, [], ""
        end = time.monotonic() + MINUTES * 60 / 3
        while not why and (time.monotonic() < end or len(seen) < 3):
            load = s.load(protocol, *options, connections=200, active=50, seconds=ROUND)
            if "--backend" in options:
                load.stdout.readline()
                print("", file=load.stdin, flush=True)
            chaos(s.port, opening, ROUND)
            said = load.communicate(timeout=60)[0]
            why = "" if " errors=0\n" in said and " starved=0 " in said else said
            for _ in range(50):
                time.sleep(0.2)
                if seen and descriptors(pid) <= seen[0][0]:
                    break
            seen.append((descriptors(pid), resident_kb(pid)))
        s.check("every byte while others misbehave", why)
        print(f"  {len(seen)} rounds; descriptors, resident KB: {seen[:3]} ... {seen[-1]}")
        s.check("descriptors are those of the first round", "" if seen[-1][0] <= seen[0][0] else seen)
        s.check("memory stays", "" if min(kb for _, kb in seen[-2:]) <= seen[:2][-1][1] * 1.1 + 2048 else seen)


CLIENTS = 200
need("microsocks", "nbdkit", "/usr/bin/python3")
small = file_of(1000, "small")
soak("microsocks", ["microsocks", "-i", "127.0.0.1", "-p", "{port}"], b"\5\1\0\5\1\0\1\177\0\0\1\0\7",
     "socks", "--backend")
soak("nbdkit", ["nbdkit", "-f", "-i", "127.0.0.1", "-p", "{port}", "memory", "8M"],
     b"\0\0\0\3IHAVEOPT\0\0\0\1\0\0\0\0" + b"\x25\x60\x95\x13" + bytes(24), "nbd")
soak("http.server", ["/usr/bin/python3", "-m", "http.server", "--bind", "127.0.0.1", "--directory", scratch,
                     "--protocol", "HTTP/1.1", "{port}"],
     b"GET /small HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "http-kept", "--path", "/small", "--body", small,
     "--openings", "4")
finish()
