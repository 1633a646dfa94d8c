// SPDX-License-Identifier: Apache-2.0
// What a linked program says of deadlocks: on stderr, with frames.
#include "co_routine/base/check.h"
#include "co_routine/base/raw_sys.h"
#include "co_routine/debug/blocked.h"
#include "co_routine/debug/blocked_place.h"
#include "co_routine/debug/deadlock.h"
#include "co_routine/debug/dump.h"
#include "co_routine/debug/fault_report.h"
#include "co_routine/debug/stderr.h"
#include "co_routine/debug/unwinder.h"
#include "co_routine/loop/offload.h"

#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <initializer_list>

namespace corun {
namespace {

// ---- Who else there is

// The value behind "Threads:\t" and its like; false: there is none.
bool value_in(const char *status, const char *label, unsigned base, uint64_t *out) {
    const char *at = strstr(status, label);
    if (!at)
        return false;
    *out = 0;
    for (at += strlen(label); *at && *at != '\n'; ++at) {
        unsigned digit = *at >= '0' && *at <= '9'   ? static_cast<unsigned>(*at - '0')
                         : *at >= 'a' && *at <= 'f' ? static_cast<unsigned>(*at - 'a') + 10
                                                    : base;
        if (digit < base)
            *out = *out * base + digit;
    }
    return true;
}

uint64_t bit_of(int signal) { return uint64_t{1} << (signal - 1); }

// Signals that libc, corun and the sanitizers handle. Any other process may send the rest, SIGABRT too.
uint64_t harmless_signals() {
    uint64_t set = bit_of(32) | bit_of(33);
    for (int s : {SIGSEGV, SIGBUS})
        if (has_fibers() || is_handled_here_alone(s))
            set |= bit_of(s);
    if (has_fibers())
        set |= bit_of(SIGFPE) | bit_of(SIGILL);
    return asks_by_signal() ? set | bit_of(SIGURG) : set;
}

// Not by what its own threads do: the helpers have no work, for everybody waits for a coroutine.
bool may_be_woken(const co_env *) {
    char status[4096];
    sys::word fd = sys::call(SYS_openat, AT_FDCWD, "/proc/self/status", O_RDONLY | O_CLOEXEC, 0);
    if (sys::failed(fd))
        return true;
    sys::word n = sys::read(static_cast<int>(fd), status, sizeof status - 1);
    sys::close(static_cast<int>(fd));
    status[sys::failed(n) ? 0 : n] = '\0';
    uint64_t threads, caught;
    if (!value_in(status, "\nThreads:", 10, &threads) ||
        !value_in(status, "\nSigCgt:", 16, &caught))
        return true;
    size_t ours = 1 + offload_helper_count() + (watcher_is_running() ? 1 : 0);
    return threads > ours || (caught & ~harmless_signals()) != 0;
}

// ---- The text

void write_one(const coroutine *co, void *caller) {
    char line[dump_line_bytes];
    write_to_stderr(line, format_coroutine(line, sizeof line, co));
    each_frame_line(co, caller, [](const char *frame, unsigned length) {
        write_to_stderr(frame, length);
        return 0;
    });
}

void write_cycle(const wait_cycles &cycles, size_t i, void *caller) {
    char line[2048] = "corun: ";
    constexpr unsigned prefix = 7;
    unsigned n =
        prefix + format_cycle(line + prefix, sizeof line - prefix - 1, cycles, i, describe);
    line[n++] = '\n';
    write_to_stderr(line, n);
    const coroutine *co = cycles.first(i);
    unsigned listed = 0;
    do {
        write_one(co, caller);
        co = cycles.next(co);
    } while (co != cycles.first(i) && ++listed < most_asleep_listed);
}

void write_new_cycles(const wait_cycles &cycles, void *caller) {
    for (size_t i = 0; i < cycles.count(); ++i)
        if (!was_reported(cycles, i)) {
            note_reported(cycles, i);
            write_cycle(cycles, i, caller);
        }
}

void write_asleep(const co_env *env, const wait_cycles &cycles, void *caller) {
    size_t asleep = is_asleep(&env->root) ? 1 : 0;
    for (size_t i = 0; i < env->all.size(); ++i)
        asleep += is_asleep(env->all[i]);
    char line[256];
    write_to_stderr(line,
                    format_line(line, sizeof line,
                                "corun: all coroutines are asleep: %zu wait, and nothing is left "
                                "that could wake one\n",
                                asleep));
    write_new_cycles(cycles, caller);
    size_t listed = 0, others = 0;
    auto list = [&](const coroutine *co) {
        if (!is_asleep(co) || cycles.has(co))
            return;
        ++others;
        if (listed < most_asleep_listed && ++listed)
            write_one(co, caller);
    };
    list(&env->root);
    for (size_t i = 0; i < env->all.size(); ++i)
        list(env->all[i]);
    if (others > listed)
        write_to_stderr(line,
                        format_line(line, sizeof line, "corun: and %zu more\n", others - listed));
}

// On the thread's own stack, where the loop is: there is room.
void prepare_frames() {
    char line[256];
    if (!libunwind_was_sought() && !load_libunwind(false))
        write_to_stderr(line, format_line(line, sizeof line, "corun: %s\n", what_backtraces_need));
}

void report(co_env *env, bool all_asleep) {
    prepare_frames();
    forget_code();
    wait_cycles cycles(env, all_asleep);
    void *caller = __builtin_return_address(0);
    if (all_asleep) {
        write_asleep(env, cycles, caller);
        return;
    }
    write_new_cycles(cycles, caller);
}

} // namespace

constinit deadlock_door deadlocks = {may_be_woken, report};

} // namespace corun
