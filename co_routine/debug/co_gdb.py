# SPDX-License-Identifier: Apache-2.0
"""The coroutines of a program in gdb, of a live process or a core file.

    (gdb) source co_gdb.py            # where `make install` has not put it for auto-loading
    (gdb) co list
    (gdb) co bt all
    (gdb) co switch 7                 # bt, frame, up, info locals are the coroutine's from here on
    (gdb) co switch back

How it works. Nothing of the program is changed at any time, no register and no byte of memory.

 - Coroutines are found in the list of all threads' envs (core/env.cpp), by the types and names of
   libcorun's debug information. It also says where a register stands in a control block: the structure
   that co_ctx/*/coctx_make.cpp lays over it has the registers' names.
 - A suspended coroutine is shown as the caller of the thread's innermost frame: our unwinder says that
   frame 0 was called with the saved registers, and all that follows is gdb's own work. A frame filter
   takes frame 0 out of `bt`: a coroutine's frames begin with number 1.
 - The bytes of a shared stack that is copied out stand in a save buffer. gdb gets them as a read-only
   section, at their true address, of a little object file (add-symbol-file), and with `set
   trust-readonly-sections on` it reads that section and not the memory of the process, where another
   coroutine's bytes are. So variables are right, too.

README.md beside this file has the limits.
"""
import contextlib
import functools
import os
import re
import struct
import tempfile
import time

import gdb
import gdb.unwinder

NO_DEADLINE = (1 << 63) - 1  # INT64_MAX
MOST_STATIC_TLS = 1 << 16


# ---- What the library's debug information says ---------------------------------------------------

def library_values(name):
    """One for each libcorun in the process: there may be one linked and one in front of it."""
    found = gdb.lookup_static_symbols(name)
    if found:
        return [symbol.value() for symbol in found]
    files = [o.filename for o in gdb.objfiles() if "libcorun" in os.path.basename(o.filename or "")]
    with contextlib.suppress(gdb.error):
        gdb.parse_and_eval("(long)&co_resume")
        files = files or ["this program"]
    if not files:
        raise gdb.GdbError("corun: there is no libcorun in this program, or it is not loaded yet")
    raise gdb.GdbError(
        f"corun: the libcorun in {', '.join(files)} has no debug information, and without it coroutines "
        "cannot be found. Take one that was built with -g, as `make` does it, and not stripped, or give "
        "gdb what was stripped off (help debug-file-directory, help add-symbol-file)")


def register_slots():
    """(name, offset, bytes) of what a switch saves."""
    maker = gdb.lookup_global_symbol("coctx_make_regs")
    if not maker:
        raise gdb.GdbError("corun: co_ctx has no debug information: how a switch saves is not known")
    block = gdb.lookup_type("(anonymous namespace)::block", maker.symtab.static_block())
    return [(f.name, f.bitpos // 8, f.type.sizeof) for f in block.fields()]


def memory(at, length):
    return bytes(gdb.selected_inferior().read_memory(at, length))


class Coroutine:
    def __init__(self, env, pointer):
        self.env = env
        self.at = int(pointer)
        self.value = pointer.dereference()
        self.value.fetch_lazy()
        self.id = int(self.value["id"])
        self.state = str(self.value["state"]).rsplit("::")[-1]
        self.flags = int(self.value["flags"])
        home = self.value["tenancy"]["home"]
        self.home = home if home and home["group"] else None  # else a gate: core/watched.h
        self.pool = self.value["pool"]
        extra = self.value["extra"]
        self.name = extra["name"].string(errors="replace") if extra else self.thread_name()

    def __str__(self):
        return f"#{self.id}" + (f" '{self.name}'" if self.name else "")

    def thread_name(self):
        """Of a thread of the program, under corun: its number as gettid gives it."""
        if not self.has("elsewhere") or not re.search("thread_main|^$", self.describe_entry()):
            return ""
        thread = gdb.lookup_type("corun::waist::thread").pointer()
        return f"tid {int(self.value['arg'].cast(thread)['tid'])}"

    def has(self, flag):
        return bool(self.flags & self.env.flags["flag_" + flag])

    def has_frames(self):
        return self.state not in ("fresh", "ended") and self.has("ran")

    def is_out(self):
        """Others' bytes stand where its stack belongs."""
        return self.home is not None and not self.pool and int(self.home["occupant"]) != self.at

    def bounds(self):
        """Of its stack; (0, 0) where that is not known."""
        if self.home and not self.pool:
            return int(self.home["low"]), int(self.home["high"])
        low = int(self.value["stack_low"])
        if self.has("elsewhere"):
            return low, int(self.value["stack_high"])
        return low, low + int(self.pool["stack_bytes_"])

    def saved_registers(self):
        return memory(int(self.value["regs"].address), self.value["regs"].type.sizeof)

    def saved_stack(self):
        """(address, bytes) of a stack that is copied out."""
        tenancy = self.value["tenancy"]
        length, end = int(tenancy["saved_bytes"]), int(tenancy["saved"]) + int(tenancy["saved_capacity"])
        return int(self.home["high"]) - length, memory(end - length, length)

    def describe_wait(self):
        kind = self.value["waiting"]
        if self.state != "parked" or not kind:
            return ""
        call, subject = kind["call"].string(), self.value["subject"]
        if kind["subject_is_fd"]:
            return f"{call} fd {int(subject['fd'])}"
        return f"{call} {subject['object'].format_string()}" if subject["object"] else call

    def describe_deadline(self):
        deadline = int(self.value["deadline_ns"])
        if self.state != "parked" or deadline == NO_DEADLINE:
            return ""
        if not is_live():
            return "yes"  # when it was then is not in the core
        return f"{max(0, deadline - time.monotonic_ns()) / 1e9:.3f} s"

    def describe_stack(self):
        if self.has("elsewhere"):
            return "the thread's"
        low, high = self.bounds()
        size = f"{(high - low) // 1024}K"
        if not self.home:
            return f"private {size}"
        if self.pool:
            return f"shared, own range {size}"
        if self.is_out():
            return f"shared {size}, {int(self.value['tenancy']['saved_bytes'])} saved"
        return f"shared {size}, in place"

    def describe_entry(self):
        entry = self.value["entry"]
        name = re.search("<(.*)>", entry.format_string())
        return name[1] if name else hex(int(entry)) if entry else ""


class Env:
    """Of a thread of the kernel."""

    def __init__(self, value, flags):
        self.value, self.flags = value, flags
        self.thread = None
        self.lost = 0  # coroutines that are not in the core file

    def count(self):
        return int(self.value["all"]["size_"])

    @functools.cached_property
    def coroutines(self):
        found = []
        for i in range(self.count()):
            with contextlib.suppress(gdb.MemoryError):
                pointer = self.value["all"]["data_"][i]
                if pointer["env"] == self.value.address:  # else the page is not in the core file
                    found.append(Coroutine(self, pointer))
        self.lost = self.count() - len(found)
        return sorted((co for co in found if not co.has("doomed")), key=lambda co: co.id)

    @functools.cached_property
    def standing(self):
        """The address of the one that the thread's own registers belong to. In the midst of a switch
        `running` is its successor already, but it is still on its own stack."""
        running = int(self.value["running"])
        if not self.thread:
            return running
        with in_thread(self.thread):
            sp = int(gdb.newest_frame().read_register("sp"))
        for co in self.coroutines:
            low, high = co.bounds()
            if low <= sp < high and not co.is_out() and co.has_frames():
                return co.at
        return running


def all_envs():
    flags = None
    for value in library_values("corun::(anonymous namespace)::registry"):
        while value:
            flags = flags or {f.name.rsplit("::")[-1]: f.enumval
                              for f in gdb.lookup_type("corun::co_flag").fields()}
            yield Env(value.dereference(), flags)
            value = value["next_env"]


# ---- Threads -------------------------------------------------------------------------------------

def is_live():
    connection = gdb.selected_inferior().connection
    return connection is not None and connection.type == "native"


@contextlib.contextmanager
def in_thread(thread):
    """And back to the thread and the frame that were chosen before."""
    before, level = gdb.selected_thread(), gdb.selected_frame().level()
    try:
        if thread.global_num != before.global_num:
            thread.switch()
        yield
    finally:
        before.switch()
        select_frame(level)


def select_frame(level):
    frame = gdb.newest_frame()
    while frame.level() < level and frame.older():
        frame = frame.older()
    frame.select()


def find_threads(envs):
    """By the thread-local pointer, where gdb can read it (libthread_db), else by where errno lies: not
    far below the FS base."""
    threads = gdb.selected_inferior().threads()
    without = []
    for thread in threads:
        with in_thread(thread):
            own, base = 0, 0
            with contextlib.suppress(gdb.error):
                own = int(gdb.parse_and_eval("corun::tls_env"))
            with contextlib.suppress(gdb.error, ValueError):
                base = int(gdb.newest_frame().read_register("fs_base"))
        env = next((e for e in envs if int(e.value.address) == own), None)
        if env:
            env.thread = thread
        elif base:
            without.append((base, thread))
    for env in envs:
        near = [(base, t.num, t) for base, t in without
                if 0 < base - int(env.value["errno_at"]) < MOST_STATIC_TLS]
        if not env.thread and near:
            env.thread = min(near)[2]
        if not env.thread and len(envs) == 1:  # under corun, whose threads have FS bases of their own
            env.thread = min(threads, key=lambda thread: thread.num)


# ---- The coroutine that is looked at -------------------------------------------------------------

class Overlay:
    """Bytes that gdb sees at an address instead of what the process has there."""

    def __init__(self, at, content):
        self.before = gdb.parameter("trust-readonly-sections")
        self.at = at
        with tempfile.NamedTemporaryFile(prefix="corun-stack-", delete=False) as file:
            file.write(object_file(at, content))
        self.path = file.name
        gdb.execute(f"add-symbol-file {self.path} -o 0", to_string=True)  # asks nothing: no terminal
        gdb.execute("set trust-readonly-sections on")

    def shut(self):
        """Safe while the program runs."""
        gdb.execute(f"set trust-readonly-sections {'on' if self.before else 'off'}")

    def remove(self):
        self.shut()
        with contextlib.suppress(gdb.error):  # the user may have taken it away
            gdb.execute(f"remove-symbol-file -a {self.at:#x}", to_string=True)
        with contextlib.suppress(OSError):
            os.unlink(self.path)


def object_file(at, content):
    """An ELF file of this architecture with one read-only section."""
    wide = gdb.lookup_type("void").pointer().sizeof == 8
    header, section = ("<16sHHIQQQIHHHHHH", "<IIQQQQIIQQ") if wide else ("<16sHHIIIIIHHHHHH", "<10I")
    names = b"\0.corun\0.shstrtab\0"
    start = struct.calcsize(header)
    body = content + names
    executable, machine, progbits, strtab, allocated = 2, 62 if wide else 3, 1, 3, 2
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1, 1])
    return b"".join([
        struct.pack(header, ident, executable, machine, 1, 0, 0, start + len(body), 0, start, 0, 0,
                    struct.calcsize(section), 3, 2),
        body,
        struct.pack(section, *[0] * 10),
        struct.pack(section, 1, progbits, allocated, at, start, len(content), 0, 0, 1, 0),
        struct.pack(section, 8, strtab, 0, 0, start + len(content), len(names), 0, 0, 1, 0)])


class Choice:
    """A suspended coroutine in place of what its thread does."""

    def __init__(self, co):
        self.co = co
        self.thread = co.env.thread or gdb.selected_thread()
        self.slots = register_slots()
        self.registers = co.saved_registers()
        self.level = None  # of the frame that is made its callee: not 0 where functions are inlined
        at, content = co.saved_stack() if co.is_out() else (0, b"")
        self.overlay = Overlay(at, content) if content else None

    def __contains__(self, frame):
        return self.level is not None and frame.level() <= self.level


class State:
    choice = None
    left = None  # an overlay that could not be removed, because the program ran

    @classmethod
    def choose(cls, co):
        cls.drop()
        if co:
            cls.choice = Choice(co)
        gdb.invalidate_cached_frames()

    @classmethod
    def drop(cls):
        cls.program_runs()
        if cls.left:
            cls.left.remove()
            cls.left = None
        gdb.invalidate_cached_frames()

    @classmethod
    def program_runs(cls, event=None):
        if cls.choice and cls.choice.overlay:
            cls.choice.overlay.shut()
            cls.left = cls.choice.overlay
        cls.choice = None

    @classmethod
    def before_prompt(cls):
        if cls.choice and not cls.choice.thread.is_valid() or cls.left and not cls.choice:
            cls.drop()


class FrameId:
    def __init__(self, sp, pc):
        self.sp, self.pc = sp, pc


class SuspendedUnwinder(gdb.unwinder.Unwinder):
    def __init__(self):
        super().__init__("corun")

    def __call__(self, pending):
        choice = State.choice
        if not choice or gdb.selected_thread().global_num != choice.thread.global_num:
            return None
        if choice.level is None:
            choice.level = pending.level()
        if pending.level() != choice.level:
            return None
        saved = {}
        for name, offset, length in choice.slots:
            try:
                kind = pending.read_register(name).type
            except ValueError:
                continue  # padding, or the x87 word, which gdb knows by another name
            saved[name] = gdb.Value(choice.registers[offset:offset + length], kind)
        # All frames of the coroutine lie above its stack pointer, as gdb wants it of callers.
        sp, pc = (next(v for n, v in saved.items() if n[1:] == name) for name in ("sp", "ip"))
        info = pending.create_unwind_info(FrameId(sp, pc))
        for name, value in saved.items():
            info.add_saved_register(name, value)
        return info


class SuspendedFilter:
    name, enabled, priority = "corun", True, 1000

    def filter(self, frames):
        choice = State.choice
        if not choice or gdb.selected_thread().global_num != choice.thread.global_num:
            return frames
        return (f for f in frames if f.inferior_frame() not in choice)


# ---- Commands ------------------------------------------------------------------------------------

def envs_and_threads():
    if not gdb.selected_thread():
        raise gdb.GdbError("corun: there is no process and no core file")
    envs = list(all_envs())
    find_threads(envs)
    return sorted(envs, key=lambda env: env.thread.num if env.thread else 0)


def say_what_is_lost(envs):
    lost = sum(env.lost for env in envs)
    return (f"{lost} coroutines are not in this core file: gdb's gcore leaves out stacks with guard pages. "
            "`co gcore` and the kernel do not." if lost else "")


def find(argument):
    """The coroutine with the number, with a # in front or not."""
    if not re.fullmatch("#?[0-9]+", argument):
        raise gdb.GdbError(f"corun: '{argument}' is not the number of a coroutine: see co list")
    envs = envs_and_threads()
    for env in envs:
        for co in env.coroutines:
            if co.id == int(argument.lstrip("#")):
                return co
    raise gdb.GdbError(f"corun: there is no coroutine #{argument.lstrip('#')}: see co list. "
                       f"{say_what_is_lost(envs)}".rstrip())


def thread_number(env):
    return str(env.thread.num) if env.thread else "?"


@contextlib.contextmanager
def looking_at(co):
    """None: at the thread itself."""
    before, level = State.choice, gdb.selected_frame().level()
    try:
        State.choose(co)
        yield
    finally:
        State.choose(before.co if before else None)
        select_frame(level)


class Prefix(gdb.Command):
    """The coroutines of a program that uses corun, or runs under it.

co list           all of them: thread, number, name, state, what each waits in and on, how long
                  still, stack, entry function
co bt ID|all      their frames, suspended or running; what follows is for gdb's bt: co bt 7 -full
co switch ID      bt, frame, up, down, info locals are the coroutine's, until the program runs on
co switch back    the thread again
co gcore [FILE]   a core file, with the stacks that gdb's own gcore leaves out

Core files will do. Nothing of the program is changed. libcorun must have its debug information."""

    def __init__(self):
        super().__init__("co", gdb.COMMAND_STACK, prefix=True)

    def invoke(self, argument, from_tty):
        gdb.execute("help co")


class Command(gdb.Command):
    def invoke(self, argument, from_tty):
        try:
            self.run(argument.strip())
        except (gdb.MemoryError, UnicodeError) as error:
            raise gdb.GdbError(f"corun: {error}. Are program and libraries those that ran there?")


class List(Command):
    """Lists all coroutines of all threads. * is the one that `co switch` has chosen.

"left" is the time to the deadline of what it waits in; in a core file only whether there is one."""

    head = ("", "thread", "id", "name", "state", "waits in", "left", "stack", "entry")

    def __init__(self):
        super().__init__("co list", gdb.COMMAND_STACK)

    def run(self, argument):
        rows = [self.head]
        envs = envs_and_threads()
        for env in envs:
            for co in env.coroutines:
                chosen = State.choice and State.choice.co.id == co.id
                state = "running" if co.at == env.standing else co.state
                rows.append(("*" if chosen else "", thread_number(env), f"#{co.id}", co.name, state,
                             co.describe_wait(), co.describe_deadline(), co.describe_stack(),
                             co.describe_entry()))
        if len(rows) == 1:
            print(say_what_is_lost(envs) or "There are no coroutines.")
            return
        widths = [max(len(row[i]) for row in rows) for i in range(len(self.head))]
        for row in rows:
            print("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())
        if any(env.lost for env in envs):
            print(say_what_is_lost(envs))


class Backtrace(Command):
    """co bt ID|all [OPTIONS OF bt]: the frames of a coroutine, or of each.

A suspended one begins with frame 1: frame 0 is where its thread really stands."""

    def __init__(self):
        super().__init__("co bt", gdb.COMMAND_STACK)

    def run(self, argument):
        which, _, options = argument.partition(" ")
        if not which:
            raise gdb.GdbError("corun: co bt ID|all [OPTIONS OF bt]")
        chosen = [find(which)] if which != "all" else [
            co for env in envs_and_threads() for co in env.coroutines]
        for co in chosen:
            self.show(co, co.at == co.env.standing, options)

    def show(self, co, is_running, options):
        waits = co.describe_wait()
        state = "running" if is_running else co.state
        print(f"\nCoroutine {co}, {state}{' in ' + waits if waits else ''} (thread {thread_number(co.env)}):")
        if not is_running and not co.has_frames():
            print("No frames: it has " + ("ended." if co.state == "ended" else "not begun."))
            return
        with in_thread(co.env.thread or gdb.selected_thread()), looking_at(None if is_running else co):
            gdb.execute("bt " + options)


class Switch(Command):
    """co switch ID: gdb's own commands show that coroutine; co switch back: the thread again.

It changes nothing in the program, and ends when that runs on. Frame 0 is where the thread really stands,
the coroutine's own frames begin with number 1."""

    def __init__(self):
        super().__init__("co switch", gdb.COMMAND_STACK)

    def run(self, argument):
        if argument == "back":
            State.choose(None)
            gdb.execute("frame 0")
            return
        co = find(argument)
        is_running = co.at == co.env.standing
        if not is_running and not co.has_frames():
            raise gdb.GdbError(f"corun: coroutine {co} has no frames: it has "
                               + ("ended" if co.state == "ended" else "not begun"))
        if co.env.thread:
            co.env.thread.switch()
        if is_running:
            State.choose(None)
            gdb.execute("frame 0")
            return
        State.choose(co)
        gdb.newest_frame()  # our unwinder sees it
        gdb.execute(f"frame {first_frame(State.choice)}")


class Gcore(Command):
    """co gcore [FILE]: gdb's gcore, and then what it has left out.

Where a page of a mapping cannot be read, gcore leaves out the rest of the mapping. A stack's guard is such
a page (Linux 6.13 and later), so most stacks of coroutines would be missing."""

    at_once = 1 << 20  # as gcore reads

    def __init__(self):
        super().__init__("co gcore", gdb.COMMAND_FILES, gdb.COMPLETE_FILENAME)

    def run(self, argument):
        path = os.path.expanduser(argument) or f"core.{gdb.selected_inferior().pid}"
        gdb.execute(f"gcore {path}", to_string=True)
        added = 0
        with open(path, "r+b") as file:
            for at, offset, length in self.segments(file):
                whole = True
                for done in range(0, length, self.at_once):
                    part = min(self.at_once, length - done)
                    if whole:
                        with contextlib.suppress(gdb.MemoryError):
                            memory(at + done, part)
                            continue
                    whole = False
                    added += self.fill(file, at + done, offset + done, part)
        print(f"Saved {path}, with {added // 1024} KiB that gcore had left out.")

    def segments(self, file):
        """(address, offset, length) of what is in a core file."""
        wide = file.read(5)[4] == 2
        file.seek(32 if wide else 28)
        table = struct.unpack("<Q" if wide else "<I", file.read(8 if wide else 4))[0]
        file.seek(54 if wide else 42)
        size, count = struct.unpack("<HH", file.read(4))
        for i in range(count):
            file.seek(table + i * size)
            entry = struct.unpack("<IIQQQQ" if wide else "<IIIII", file.read(40 if wide else 20))
            kind, offset, at, length = (entry[0], entry[2], entry[3], entry[5]) if wide else (
                entry[0], entry[1], entry[2], entry[4])
            if kind == 1:  # PT_LOAD
                yield at, offset, length

    def fill(self, file, at, offset, length):
        try:
            content = memory(at, length)
        except gdb.MemoryError:
            half = length // 2 & ~4095
            return half and (self.fill(file, at, offset, half)
                             + self.fill(file, at + half, offset + half, length - half))
        if not content.strip(b"\0"):
            return 0  # as it is in the file
        file.seek(offset)
        file.write(content)
        return length


def first_frame(choice):
    frame = gdb.newest_frame()
    while frame in choice or choice.level is None:
        frame = frame.older()
    return frame.level()


def after_info_threads():
    """A debugger's list of threads does not say that there is more."""
    with contextlib.suppress(gdb.error, gdb.GdbError):
        count = sum(env.count() for env in all_envs())
        if count:
            print(f"corun: and {count} coroutines, which run on them: see co list.")


def begin():
    for command in (Prefix, List, Backtrace, Switch, Gcore):
        command()
    gdb.unwinder.register_unwinder(None, SuspendedUnwinder(), replace=True)
    gdb.frame_filters["corun"] = SuspendedFilter()
    gdb.events.cont.connect(State.program_runs)
    gdb.events.before_prompt.connect(State.before_prompt)
    gdb.events.gdb_exiting.connect(lambda event: State.drop())
    gdb.corun_after_info_threads = after_info_threads
    gdb.execute("define info hookpost-threads\npython gdb.corun_after_info_threads()\nend")


# Both libraries have it auto-loaded, and .gdbinit may source it as well.
if not hasattr(gdb, "corun_after_info_threads"):
    begin()
