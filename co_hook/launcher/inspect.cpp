// SPDX-License-Identifier: Apache-2.0
#include "co_hook/launcher/inspect.h"

#include "co_hook/launcher/attach.h"
#include "co_hook/launcher/text.h"
#include "co_hook/launcher/threads.h"

#include "co_routine/base/clock.h"

#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <sys/syscall.h>
#include <unistd.h>

namespace corun::launcher {

namespace {

bool is_number(const char *word) {
    return word != nullptr && *word != '\0' && strspn(word, "0123456789") == strlen(word);
}

// The one that they name, with threads to ask about.
attached only_process(char **arguments) {
    if (arguments[1] != nullptr)
        fail(exit_cannot, "one PID, and nothing behind it");
    attached p = attach(arguments[0]);
    if (!is_active(p))
        fail(exit_cannot, "process %d has never had a second thread: there is nothing to show",
             p.pid);
    return p;
}

int dump(char **arguments) {
    attached p = only_process(arguments);
    siginfo_t info{};
    info.si_signo = waist::set_ids_signal;
    info.si_code = SI_QUEUE;
    info.si_pid = getpid();
    info.si_uid = getuid();
    info.si_value.sival_ptr = const_cast<void *>(p.published_at);
    if (syscall(SYS_rt_sigqueueinfo, p.pid, info.si_signo, &info) != 0)
        fail(exit_cannot, "process %d: %s", p.pid, strerror(errno));
    char where[PATH_MAX] = "";
    ssize_t n = readlink(text("/proc/%d/fd/2", p.pid), where, sizeof where - 1);
    if (n < 0)
        fail(exit_cannot, "process %d has closed its stderr, where the dump would go", p.pid);
    printf("process %d writes the dump to its stderr (%s)\n", p.pid, printable(where));
    return 0;
}

const char *duration(int64_t ns) {
    spoken_duration d = in_words(ns);
    return ns < 0 ? "-" : text("%lld %s", d.count, d.unit);
}

const char *kib(size_t bytes) { return bytes == 0 ? "-" : text("%zuK", bytes / 1024); }

const char *word_of(co_state s) {
    return s == co_state::parked ? "parked" : s == co_state::ready ? "ready" : "running";
}

const char *subject_of(const attached &p, const thread_row &r) {
    if (r.fd >= 0) {
        const char *peer = peer_of(p, r.fd);
        return *peer == '\0' ? text("fd %d", r.fd) : text("fd %d, %s", r.fd, peer);
    }
    return r.object == 0 ? "" : text("0x%lx", static_cast<unsigned long>(r.object));
}

int ps(char **arguments) {
    attached p = only_process(arguments);
    read_peers(p);
    thread_list list = read_threads(p);
    printf("%10s %-16s %-7s %-10s %8s %7s %8s %9s  %s\n", "THREAD", "NAME", "STATE", "CALL", "FOR",
           "USED", "STACK", "WAITS", "ON");
    for (size_t i = 0; i < list.count; i++) {
        const thread_row &r = list.rows[i];
        printf("%10d %-16.16s %-7s %-10s %8s %7s %8s %9llu  %s\n", r.tid,
               r.name[0] == '\0' ? "-" : r.name, word_of(r.state), r.call == nullptr ? "-" : r.call,
               duration(r.waited_ns), kib(r.stack_used), kib(r.stack_bytes), r.waits,
               subject_of(p, r));
    }
    return fflush(stdout) == 0 ? 0 : exit_cannot;
}

struct command {
    const char *name;
    int (*run)(char **arguments); // those behind the name
};
constexpr command commands[] = {{"dump", dump}, {"ps", ps}};

const command *command_of(char **arguments) {
    if (arguments[1] == nullptr || (arguments[2] != nullptr && !is_number(arguments[2])))
        return nullptr;
    for (const command &c : commands)
        if (same(c.name, arguments[1]))
            return &c;
    return nullptr;
}

} // namespace

bool asks_for_inspection(char **arguments) { return command_of(arguments) != nullptr; }

int inspect(char **arguments) {
    const command *c = command_of(arguments);
    if (arguments[2] == nullptr)
        fail(exit_cannot,
             "%s: the number of a process is missing (a program of that name: corun -- %s)",
             c->name, c->name);
    return c->run(arguments + 2);
}

} // namespace corun::launcher
