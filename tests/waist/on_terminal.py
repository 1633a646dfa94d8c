#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""on_terminal.py ROWSxCOLUMNS STEP... -- COMMAND...: runs COMMAND on a terminal of that size, with these steps:

    until=REGEX   until the screen shows it (20 s at most)
    key=TEXT      types it
    size=RxC      the window changes
    signal=NAME   to COMMAND;  kill=PID  SIGKILL to another process
    stopped       until COMMAND has stopped
    pause=SECONDS lets them pass

and prints the last screen; then "fits" or "too large" for the window, "restored" or what is not, "status N"
(below 0: a signal), and what came behind the last screen as "words: ...".
"""
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
split = sys.argv.index("--")
size, steps, command = sys.argv[1], sys.argv[2:split], sys.argv[split + 1:]
master, slave = os.openpty()
rows = columns = 0


def resize(to):
    global rows, columns
    rows, columns = map(int, to.split("x"))
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def in_front():
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)


# As a shell would be: the leader of the terminal's session, with COMMAND in a group of its own.
if keeper := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(keeper, 0)[1]))
os.setsid()
fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
resize(size)
before = termios.tcgetattr(slave)
child = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, preexec_fn=in_front)
seen, since = "", 0  # since: where what may be looked at begins


def more(seconds):
    global seen
    if select.select([master], [], [], seconds)[0]:
        seen += os.read(master, 1 << 16).decode(errors="replace")
        return True
    return False


def frames(text):
    """The whole screens: from one home to the next, or to the end of the screens."""
    found = re.findall(r"\x1b\[H(.*?)\x1b\[J", text, re.S)
    return [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", f).split("\r\n") for f in found]


def until(condition, what):
    end = time.monotonic() + 20
    while not condition():
        if time.monotonic() > end or (child.poll() is not None and not more(0)):
            sys.exit(f"never: {what}; seen: {seen[-2000:]!r}")
        more(0.02)


for step in steps:
    kind, _, value = step.partition("=")
    if kind == "until":
        until(lambda: any(re.search(value, "\n".join(f), re.M) for f in frames(seen[since:])), value)
    elif kind == "key":
        since = len(seen)
        os.write(master, value.encode())
    elif kind == "size":
        since = len(seen)
        resize(value)
        os.kill(child.pid, signal.SIGWINCH)
    elif kind == "signal":
        since = len(seen)
        os.kill(child.pid, getattr(signal, "SIG" + value))
    elif kind == "kill":
        os.kill(int(value), signal.SIGKILL)
    elif kind == "pause":
        end = time.monotonic() + float(value)
        while time.monotonic() < end:
            more(0.02)
    elif kind == "stopped":
        until(lambda: os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT), "stopped")
        more(0.1)
        print("while stopped:", "restored" if termios.tcgetattr(slave) == before and seen.endswith(LEAVE)
              else repr(seen[-60:]))
end = time.monotonic() + 20
while child.poll() is None and time.monotonic() < end:
    more(0.02)
if child.poll() is None:
    child.kill()
    sys.exit(f"it has not ended; seen: {seen[-2000:]!r}")
while more(0.1):
    pass
screens = frames(seen[since:]) or frames(seen)
print("\n".join(screens[-1]) if screens else "no screen")
fits = screens and len(screens[-1]) <= rows and all(len(line) <= columns for line in screens[-1])
print("fits" if fits else "too large")
behind = seen.rpartition(LEAVE)
print("restored" if termios.tcgetattr(slave) == before and behind[1] and "\x1b" not in behind[2]
      else f"not restored: {seen[-80:]!r}")
print("status", child.returncode)
print("words:", behind[2].strip())
