// SPDX-License-Identifier: Apache-2.0
#include "co_hook/launcher/inspect.h"

#include "co_hook/launcher/attach.h"
#include "co_hook/launcher/frames.h"
#include "co_hook/launcher/objects.h"
#include "co_hook/launcher/rows.h"
#include "co_hook/launcher/text.h"
#include "co_hook/launcher/threads.h"
#include "co_hook/launcher/top.h"

#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/syscall.h>
#include <unistd.h>

namespace corun::launcher {

namespace {

bool is_number(const char *word) {
    return word != nullptr && *word != '\0' && strspn(word, "0123456789") == strlen(word);
}

attached only_process(char **arguments) {
    if (arguments[1] != nullptr)
        fail(exit_cannot, "one PID, and nothing behind it");
    return attach_to_threads(arguments[0]);
}

int written() {
    if (fflush(stdout) != 0)
        fail(exit_cannot, "stdout: %s", strerror(errno));
    return 0;
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
    return written();
}

int ps(char **arguments) {
    attached p = only_process(arguments);
    give_way();
    thread_list list = read_threads(p);
    puts(head_of_rows(false));
    for (size_t i = 0; i < list.count; i++)
        puts(line_of(p, list.rows[i], nullptr));
    return written();
}

void show_stack(const attached &p, const thread_row &listed) {
    thread_now now;
    frames found;
    if (!walk_thread(p, listed, &now, &found))
        return;
    const thread_row &r = now.row;
    const char *subject = subject_of(p, r);
    printf("thread %d%s %s%s%s%s%s", r.tid, r.name[0] == '\0' ? "" : text(" '%s'", r.name),
           word_of(r.state), r.call == nullptr ? "" : text(" in %s", r.call),
           *subject == '\0' ? "" : text(" (%s)", subject),
           r.waited_ns < 0 ? "" : text(" for %s", duration(r.waited_ns)),
           r.stack_bytes == 0
               ? ""
               : text("; stack %s, %s of it in memory", kib(r.stack_bytes), kib(r.stack_used)));
    puts(found.count > 0 ? "" : "; it does not stand still, or may not be stopped");
    for (int i = 0; i < found.count; i++) {
        const char *name = name_of_code(p, found.pcs[i], i == 0 && found.first_is_exact);
        printf("    #%d 0x%lx%s%s\n", i, static_cast<unsigned long>(found.pcs[i]),
               *name == '\0' ? "" : " ", name);
    }
}

int stack(char **arguments) {
    const char *id = arguments[1];
    if (id != nullptr && (!is_number(id) || strlen(id) > 9))
        fail(exit_cannot, "stack: '%s' is no number of a thread, as corun ps shows it", id);
    if (id != nullptr && arguments[2] != nullptr)
        fail(exit_cannot, "stack: one PID, one thread at most, and nothing behind it");
    attached p = attach_to_threads(arguments[0]);
    thread_list list = read_threads(p);
    bool is_found = false;
    prepare_walks(p);
    for (size_t i = 0; i < list.count; i++) {
        if (id != nullptr && list.rows[i].tid != atoi(id))
            continue;
        is_found = true;
        show_stack(p, list.rows[i]);
    }
    if (id != nullptr && !is_found)
        fail(exit_cannot, "process %d has no thread %s; corun ps %d lists them", p.pid, id, p.pid);
    return written();
}

struct command {
    const char *name;
    bool takes_options;
    int (*run)(char **arguments); // those behind the name
};
constexpr command commands[] = {
    {"dump", false, dump}, {"ps", false, ps}, {"stack", false, stack}, {"top", true, top}};

const command *command_of(char **arguments) {
    if (arguments[1] == nullptr)
        return nullptr;
    const char *word = arguments[2];
    for (const command &c : commands)
        if (same(c.name, arguments[1]) &&
            (word == nullptr || is_number(word) || (c.takes_options && word[0] == '-')))
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
