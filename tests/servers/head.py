# SPDX-License-Identifier: Apache-2.0
"""For the tests of servers here: one server, natively and under corun, and what it must do.

    from head import *
    server = Server("microsocks", ["microsocks", "-i", "127.0.0.1", "-p", "{port}"])
    with server.running():
        server.check("a file through it", fetch(...))
        server.hold("socks", "--backend")
    finish()

running() starts it under corun on a free port, waits until it listens, and at the end sends SIGTERM:
it has to end within 2 s and in the way in which it ends natively. hold() keeps 1,000 connections of
load_prog: first idle (the processor time of 2 s), then 100 of them active for 5 s, then gone (the
descriptors of before). A server that is not installed is skipped by name.

From the environment: BUILD_DIR; CORUN, the command in front of the server; HOLD, how many
connections; LOAD_SECONDS, how long they are busy.
"""
import contextlib
import os
import random
import re
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

BUILD = os.path.abspath(os.environ.get("BUILD_DIR", "build/x86_64"))
CORUN = shlex.split(os.environ.get("CORUN", f"{BUILD}/corun"))
LOAD = f"{BUILD}/tests/servers/load_prog"
HOLD = int(os.environ.get("HOLD", "1000"))
SECONDS = os.environ.get("LOAD_SECONDS", "5")
TICK = os.sysconf("SC_CLK_TCK")
os.environ["PATH"] += ":/usr/sbin:/sbin"

test_name = os.path.basename(sys.argv[0]).removesuffix(".py")
failed = False
scratch = tempfile.mkdtemp(prefix=f"corun-{test_name}.")
os.chmod(scratch, 0o755)
most_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(65536, most_files), most_files))
signal.signal(signal.SIGQUIT, signal.SIG_DFL)  # which a shell's background job ignores


def say(what, why=""):
    """why: nothing when it is so."""
    global failed
    if why:
        failed = True
        print("\n".join("  " + line for line in str(why).strip().split("\n")[-25:]))
    print(f"{'not ok' if why else 'ok'} - {test_name}: {what}", flush=True)


def finish():
    shutil.rmtree(scratch, ignore_errors=True)
    sys.exit(1 if failed else 0)


def skip(why):
    print(f"skip - {test_name}: {why}", flush=True)
    shutil.rmtree(scratch, ignore_errors=True)
    sys.exit(0)


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            skip(f"{program} is not installed")
    if not os.path.exists(f"{BUILD}/libcorun_waist.so"):
        skip("corun is not built")


def free_port():
    while True:
        port = random.randrange(20000, 32000)  # below the ports that the kernel gives to clients
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", port))
            return port


def file_of(size, name="file"):
    path = f"{scratch}/{name}"
    with open(path, "wb") as f:
        f.write(random.randbytes(size))
    return path


def write(name, text):
    with open(f"{scratch}/{name}", "w") as f:
        f.write(text)
    return f"{scratch}/{name}"


def command(*words, seconds=30):
    """What a command that has to succeed has done wrong: nothing, or its output."""
    try:
        done = subprocess.run([str(w) for w in words], stdin=subprocess.DEVNULL, timeout=seconds,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace")
    except subprocess.TimeoutExpired as e:
        return f"{words[0]}: no end within {seconds} s\n{(e.stdout or b'').decode(errors='replace')}"
    return "" if done.returncode == 0 else f"{words[0]}: {done.returncode}\n{done.stdout}"


def same_bytes(one, other):
    return command("cmp", one, other)


def fetched(path, *curl):
    """Eight at once; what came of a file that curl asks for is compared."""
    jobs = [subprocess.Popen(["curl", "-sS", "--max-time", "20", "-o", f"{scratch}/got{i}", *curl],
                             stderr=subprocess.PIPE, text=True) for i in range(8)]
    why = "".join(job.communicate()[1] for job in jobs)
    return why or "".join(same_bytes(path, f"{scratch}/got{i}") for i in range(8))


def pace(pid):
    """Processor time of a process so far, in clock ticks."""
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def by_signal(pid):
    os.kill(pid, signal.SIGQUIT)


def by_command(pid):
    return command(f"{BUILD}/corun", "dump", pid)


def descriptors(pid):
    """But for corun's own, which come when they are first needed: an epoll and a few eventfds."""
    links = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            links.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    others = sum(link.startswith("anon_inode:") for link in links)
    return len(links) - min(others, 4)


def tasks(pid):
    """Kernel threads but corun's helpers."""
    names = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/comm") as f:
            names.append(f.read().strip())
    return [name for name in names if not name.startswith(("corun-", "iou-"))]


def dumped(text):
    """How many threads a dump says it is of, and the frames of each by its number."""
    said = re.search(r" dump of (\d+) threads", text)
    blocks = re.split(r"^thread (\d+) .*\n", text, flags=re.M)[1:]
    return int(said[1]), {number: re.findall(r"^    #\d+ .*", frames, re.M)
                          for number, frames in zip(blocks[::2], blocks[1::2])}


class Server:
    def __init__(self, label, words, start_seconds=15, end_seconds=2, env=None, natively=True):
        """words: the command, {port} in it is a free port. natively: compare how SIGTERM ends it."""
        self.label, self.words, self.env = label, words, env
        self.start_seconds, self.end_seconds, self.natively = start_seconds, end_seconds, natively
        self.child = self.port = None

    def start(self, before):
        self.port = self.port or free_port()
        self.log = f"{scratch}/server.log"
        with open(self.log, "a") as log:
            self.child = subprocess.Popen(
                before + [w.replace("{port}", str(self.port)) for w in self.words],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=scratch, start_new_session=True,
                env=dict(os.environ, **(self.env or {})))
        deadline = time.monotonic() + self.start_seconds
        while time.monotonic() < deadline and self.child.poll() is None:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return ""
            time.sleep(0.02)
        return f"it does not listen; status {self.child.poll()}\n{self.tail()}"

    def tail(self):
        with open(self.log, errors="replace") as f:
            return "".join(f.readlines()[-15:])

    def end(self, number=signal.SIGTERM, seconds=None):
        """(how it ended, seconds); None: it had to be killed."""
        begin = time.monotonic()
        self.child.send_signal(number)
        try:
            status = self.child.wait(seconds or self.end_seconds)
        except subprocess.TimeoutExpired:
            status = None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()
        return status, time.monotonic() - begin

    @contextlib.contextmanager
    def running(self):
        native = None
        if self.natively:
            why = self.start([])
            if why:
                skip(f"{self.label} does not start natively: {why}")
            time.sleep(0.3)  # some set up their signals after they listen
            native, _ = self.end(seconds=20)
        why = self.start(CORUN)
        say(f"{self.label}: starts", why)
        try:
            if not why:
                yield self
        except Exception as e:
            say(f"{self.label}: the test itself", repr(e))
        finally:
            alive = self.child.poll() is None
            status, seconds = self.end()
            if not why:
                how = ("it died before" if not alive else "it had to be killed" if status is None else
                       f"natively with status {native}, under corun {status}"
                       if self.natively and status != native else "")
                self.check(f"ends on SIGTERM within {self.end_seconds} s", how)

    def check(self, what, why):
        say(f"{self.label}: {what}", why and f"{why}\n-- the server's log\n{self.tail()}")

    def load(self, protocol, *options, connections, active, seconds):
        return subprocess.Popen(
            [LOAD, "--protocol", protocol, "--port", str(self.port), "--connections", str(connections),
             "--active", str(active), "--seconds", str(seconds), *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def dump(self, protocol, *options, ask, connections=500, active=100):
        """A dump of all threads while clients are busy: whole, and nobody has an error. ask(pid)."""
        load = self.load(protocol, *options, "--pause", connections=connections, active=active, seconds=3)
        try:
            while (line := load.stdout.readline()) and line != "connected\n":
                pass
            print("", file=load.stdin, flush=True)
            time.sleep(1)
            begin, old = time.monotonic(), os.path.getsize(self.log)
            why = ask(self.child.pid)
            whole = []
            while not why and not whole and time.monotonic() - begin < 10:
                time.sleep(0.02)
                with open(self.log, errors="replace") as f:
                    f.seek(old)
                    whole = re.findall(r"^corun: process .*?^corun: end of the dump$", f.read(), re.M | re.S)
            took = time.monotonic() - begin
            said, threads = dumped(whole[-1]) if whole else (0, {})
            # Where a stack ends: the first thread's in _start, whose name a stripped program has not.
            cut = [number for number, frames in threads.items()
                   if not re.search(r" (clone3?|__clone3?|__libc_start_main(_impl)?)\+", "\n".join(frames[-2:]))]
            print(f"  {len(threads)} threads in {took:.2f} s")
            self.check(f"a dump under load, of {connections} threads at least", why or (
                "" if len(threads) >= connections and said >= connections else f"{len(threads)} threads, {said} in its head"))
            self.check("... with all frames of each", "" if threads and not cut else
                       f"{len(cut)} without a first frame: {[threads[number][-2:] for number in cut[:3]]}")
            while line and not line.startswith("result"):
                line = load.stdout.readline()
            self.check("nobody has noticed", "" if " errors=0\n" in line and " requests=0 " not in line
                       else line or "no result")
            load.communicate("\n", timeout=20)
        finally:
            load.kill()
            load.wait()

    def settle(self):
        """What is connected may still wait to be accepted."""
        for _ in range(20):
            begin = pace(self.child.pid)
            time.sleep(0.3)
            if pace(self.child.pid) - begin <= 1:
                break

    def hold(self, protocol, *options, connections=HOLD, active=100, idle_ticks=6, name=""):
        name = f" ({name})" if name else ""
        # What a server opens for its first clients and keeps comes before the descriptors are counted.
        self.load(protocol, *options, connections=100, active=100, seconds=0.5).communicate("\n")
        time.sleep(0.5)
        before = descriptors(self.child.pid)
        load = self.load(protocol, *options, "--pause", connections=connections, active=active,
                         seconds=SECONDS)
        try:
            if "--backend" in options:
                load.stdout.readline()
                print("", file=load.stdin, flush=True)
            line = load.stdout.readline()
            said = []
            while line and line != "connected\n":
                said.append(line)
                line = load.stdout.readline()
            self.check(f"{connections} connections{name}", "" if line else "".join(said))
            if not line:
                return
            self.settle()
            threads, begin = tasks(self.child.pid), pace(self.child.pid)
            time.sleep(2)
            used = pace(self.child.pid) - begin
            self.check(f"idle{name}", f"{used / TICK:.2f} s of processor time in 2 s"
                       if used > idle_ticks else "")
            self.check(f"one kernel thread, but for helpers{name}", "" if len(threads) == 1 else
                       f"{len(threads)}: {threads[:5]}")
            print("", file=load.stdin, flush=True)
            said = []
            while line and not line.startswith("result"):
                line = load.stdout.readline()
                said.append(line)
            print("  " + line.strip())
            clean = " errors=0\n" in line and " requests=0 " not in line and len(said) == 1
            self.check(f"{active} active for {SECONDS} s, byte for byte{name}",
                       "" if clean else "".join(said) or "no result")
            load.communicate("\n", timeout=20)
        finally:
            load.kill()
            load.wait()
        deadline = time.monotonic() + 10
        while descriptors(self.child.pid) > before and time.monotonic() < deadline:
            time.sleep(0.05)
        now = descriptors(self.child.pid)
        self.check(f"no descriptor left behind{name}",
                   f"{before} before, {now} after" if now > before else "")
