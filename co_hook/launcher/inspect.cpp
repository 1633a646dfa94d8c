// SPDX-License-Identifier: Apache-2.0
#include "co_hook/launcher/inspect.h"

#include "co_hook/launcher/attach.h"
#include "co_hook/launcher/text.h"

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

int dump(char **arguments) {
    if (arguments[1] != nullptr)
        fail(exit_cannot, "dump: one PID, and nothing behind it");
    attached p = attach(arguments[0]);
    if (!is_active(p))
        fail(exit_cannot, "process %d has never had a second thread: there is nothing to dump",
             p.pid);
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
    printf("process %d writes the dump to its stderr (%s)\n", p.pid, where);
    return 0;
}

struct command {
    const char *name;
    int (*run)(char **arguments); // those behind the name
};
constexpr command commands[] = {{"dump", dump}};

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
