#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""scribble.py PID SEED WORDS: writes over that many words of a process that is stopped, mostly over the runtime's
own and over what the dynamic linker knows: numbers of any size, and addresses of its own memory."""
import os
import random
import re
import sys

pid, seed, words = map(int, sys.argv[1:])
random.seed(seed)
areas = []
for line in open(f"/proc/{pid}/maps"):
    low, high, rights, path = re.match(r"(\w+)-(\w+) (\S+) \w+ \S+ \d+\s*(.*)", line).groups()
    if int(high, 16) < 1 << 47:
        areas.append((int(low, 16), int(high, 16), rights, path))
ours = [a for a in areas if "w" in a[2] and ("libcorun" in a[3] or not a[3]) and a[1] - a[0] < 64 << 20]
files = [a for a in areas if a[3].startswith("/")]
memory = os.open(f"/proc/{pid}/mem", os.O_RDWR)


def place():
    low, high = random.choice(random.choices([ours, files, areas], [7, 2, 1])[0])[:2]
    return random.randrange(low, high, 8)


def value():
    return random.choice([random.getrandbits(64), random.getrandbits(8), 0, (1 << 64) - 1, place(), place() + 3])


while words > 0:
    try:
        for _ in range(200):  # most words are nothing's
            at = place()
            if os.pread(memory, 8, at) != bytes(8):
                break
        os.pwrite(memory, value().to_bytes(8, "little"), at)
        words -= 1
    except OSError:
        pass
