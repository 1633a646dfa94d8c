// SPDX-License-Identifier: Apache-2.0
// corun --check: what was looked at, what of it matters, what to do.
#include "co_hook/launcher/check.h"
#include "co_hook/launcher/coverage.h"
#include "co_hook/launcher/text.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace corun::launcher {

namespace {

// libc's parts and the compilers': all import what others use through them.
bool is_system(const char *name) {
    static const char *const names[] = {"ld-linux-",  "libc.so.",   "libm.so.",   "libpthread.so.",
                                        "libdl.so.",  "librt.so.",  "libgcc_s.",  "libstdc++.",
                                        "libresolv.", "libanl.so.", "libutil.so."};
    for (const char *n : names)
        if (begins(name, n))
            return true;
    return false;
}

// The program or one of its own libraries that imports it; nullptr: none.
const char *who_imports(const subject &s, const char *symbol) {
    if (s.what.elf.imports(symbol))
        return base_name(s.what.file);
    for (size_t i = 0; i < s.libraries.count; i++) {
        const library &l = s.libraries.items[i];
        if (l.path != nullptr && !is_system(l.name) && l.elf.imports(symbol))
            return l.name;
    }
    return nullptr;
}

template <size_t n> const char *who_imports_any(const subject &s, const char *const (&symbols)[n]) {
    for (const char *symbol : symbols)
        if (const char *who = who_imports(s, symbol))
            return who;
    return nullptr;
}

template <size_t n> bool imports_any(const elf_file &e, const char *const (&symbols)[n]) {
    for (const char *symbol : symbols)
        if (e.imports(symbol))
            return true;
    return false;
}

constexpr const char *thread_makers[] = {
    "pthread_create", "thrd_create",
    "_ZNSt6thread15_M_start_threadESt10unique_ptrINS_6_StateESt14default_deleteIS1_EEPFvvE"};
constexpr const char *acceptors[] = {"accept", "accept4"};
constexpr const char *forkers[] = {"fork", "vfork"};

void remark_use(const subject &s, findings *out) {
    const elf_file &e = s.what.elf;
    const char *threads = who_imports_any(s, thread_makers);
    bool serves = imports_any(e, acceptors);
    if (serves && imports_any(e, forkers) && !imports_any(e, thread_makers))
        out->add(
            weight::note,
            "it accepts connections and forks, and makes no threads: a process per connection?",
            "there corun cannot help: only threads become coroutines");
    else if (threads == nullptr)
        out->add(weight::note, "neither it nor its libraries make threads",
                 "there is nothing to gain, unless it loads what does (dlopen)");
    if (const char *who = threads == nullptr ? nullptr : who_imports(s, "pthread_spin_lock"))
        out->add(weight::note, text("%s takes spin locks", who),
                 "one that waits for such a lock spins until it is preempted, after 10 to 20 ms; a "
                 "mutex "
                 "lets the others run at once (--debug=blocked names who spins)");
    else if (threads != nullptr && e.imports("sched_yield"))
        out->add(weight::note, "it calls sched_yield, perhaps to spin",
                 "that lets the others run at once; a loop without it spins until it is preempted, "
                 "after 10 "
                 "to 20 ms (--debug=blocked names it)");
}

void remark_io_uring(const subject &s, findings *out) {
    constexpr const char *symbols[] = {"io_uring_setup", "io_uring_queue_init",
                                       "io_uring_queue_init_params"};
    const char *who = who_imports_any(s, symbols);
    for (size_t i = 0; i < s.libraries.count && who == nullptr; i++)
        if (begins(s.libraries.items[i].name, "liburing.so"))
            who = s.libraries.items[i].name;
    if (who != nullptr)
        out->add(weight::note, text("io_uring: %s", who),
                 "liburing's waits are covered as libc's are; a thread of the kernel's own is not "
                 "moved");
}

void remark_starting(const subject &s, findings *out) {
    if (is_wrapper(s.what.file))
        out->add(
            weight::note,
            text("%s starts another program, and that one runs natively", base_name(s.what.file)),
            text("put corun behind it (%s ... corun PROGRAM), or use --inherit",
                 base_name(s.what.file)));
    else if (is_shell(s.what.file))
        out->add(weight::note, "what a shell starts runs natively",
                 "put corun into the script, or use --inherit");
}

void remark_machine(const machine &m, findings *out) {
    if (!m.fsgsbase)
        out->add(
            weight::note, "the kernel or the processor has no FSGSBASE",
            "each switch costs a system call more; Linux 5.9 has it, nofsgsbase takes it away");
    if (m.seccomp_filter)
        out->add(
            weight::note, "a seccomp filter lies on this process",
            "what corun needs was tried and is allowed; helper threads serve in place of io_uring");
}

void line(const char *label, const char *value) { printf("  %-11s %s\n", label, value); }

void show_program(const subject &s) {
    const program &p = s.what;
    if (p.script != nullptr)
        line("script", p.script);
    const char *kind = p.elf.good()
                           ? (p.elf.interpreter == nullptr ? "x86_64, static" : "x86_64, dynamic")
                           : p.other;
    line("program", text("%s (%s)", p.file, kind));
    if (!p.elf.good() || p.elf.interpreter == nullptr)
        return;
    line("loader", p.elf.interpreter);
    const char *version =
        s.libc == nullptr || s.libc->path == nullptr ? nullptr : libc_version(s.libc->elf);
    if (s.libc == nullptr)
        line("libc", "the program needs none");
    else if (version == nullptr)
        line("libc", text("unknown (%s)", s.libc->path == nullptr ? "not found" : s.libc->path));
    else
        line("libc", text("glibc %s (%s)", version, s.libc->path));
    char *missing = text("%s", "");
    for (size_t i = 0; i < s.libraries.count; i++)
        if (s.libraries.items[i].path == nullptr)
            missing =
                text("%s%s%s", missing, *missing == '\0' ? "" : ", ", s.libraries.items[i].name);
    line("libraries", *missing == '\0' ? text("%zu", s.libraries.count)
                                       : text("%zu; not found: %s", s.libraries.count, missing));
}

void show_coverage(const subject &s, findings *out) {
    object_coverage all[64];
    size_t count = find_coverage(s, all, sizeof all / sizeof *all, out);
    for (size_t i = 0; i < count; i++)
        line(i == 0 ? "calls" : "", text("%s: %zu of %zu system call sites covered", all[i].name,
                                         all[i].covered, all[i].sites));
}

void show_machine(const subject &s) {
    const machine &m = s.where;
    line("kernel", text("Linux %s, %s FSGSBASE%s%s%s", m.release, m.fsgsbase ? "with" : "without",
                        m.seccomp_filter ? ", a seccomp filter" : "",
                        m.no_new_privs ? ", no new privileges" : "",
                        m.deny_write_exec ? ", MemoryDenyWriteExecute" : ""));
    line("corun", s.waist == nullptr ? "libcorun_waist.so is not there" : s.waist);
}

} // namespace

void remark(const subject &s, findings *out) {
    if (s.what.elf.good() && s.what.elf.interpreter != nullptr) {
        remark_starting(s, out);
        remark_use(s, out);
        remark_io_uring(s, out);
    }
    remark_machine(s.where, out);
}

int report(const subject &s) {
    findings all;
    show_program(s);
    show_machine(s);
    judge(s, &all);
    if (s.what.elf.good() && s.what.elf.interpreter != nullptr)
        show_coverage(s, &all);
    remark(s, &all);
    for (size_t i = 0; i < all.count; i++) {
        line(all.items[i].is == weight::note ? "note" : "no", all.items[i].what);
        if (all.items[i].advice != nullptr)
            line("", text("-> %s", all.items[i].advice));
    }
    bool can = all.reason() == nullptr;
    printf("%s\n", can ? "corun can run it" : "corun cannot run it");
    if (fflush(stdout) != 0)
        fail(exit_cannot, "stdout: %s", strerror(errno));
    return can ? 0 : exit_cannot;
}

} // namespace corun::launcher
