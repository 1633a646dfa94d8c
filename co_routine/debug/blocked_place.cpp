// SPDX-License-Identifier: Apache-2.0
#include "co_routine/debug/blocked_place.h"

#include "co_routine/base/check.h"
#include "co_routine/base/clock.h"
#include "co_routine/base/raw_sys.h"
#include "co_routine/core/env.h"
#include "co_routine/debug/call_name.h"
#include "co_routine/debug/fault_report.h"
#include "co_routine/debug/symbol_names.h"
#include "co_routine/debug/unwinder.h"

#include <cerrno>
#include <csignal>
#include <dlfcn.h>
#include <fcntl.h>
#include <initializer_list>

namespace corun {
namespace {

constexpr int most_frames = sizeof blocked_place::frames / sizeof blocked_place::frames[0];
static_assert(most_frames <= frames_shown);

// ---- A thread that computes answers by itself

constexpr int ask_signal = SIGURG; // ignored unless somebody handles it
constexpr int64_t answer_limit_ns = 50 * ns_per_ms;

struct {
    unsigned asked; // atomic: 1 while an answer is wanted, 2 when it is there
    int count;
    void *pcs[most_frames];
    uintptr_t sp; // with places_by_stack
} answer;

#if defined(__x86_64__)
constexpr int pc_register = REG_RIP, sp_register = REG_RSP;
#else
constexpr int pc_register = REG_EIP, sp_register = REG_ESP;
#endif

void on_ask(int, siginfo_t *info, void *context) {
    if (info->si_code != SI_QUEUE || info->si_value.sival_ptr != &answer)
        return;
    co_env *env = places_by_stack ? nullptr : env_or_null();
    unsigned asked = 1;
    if (!(env || places_by_stack) || __atomic_load_n(&answer.asked, __ATOMIC_ACQUIRE) != asked)
        return;
    if (places_by_stack) { // errno's thread-local storage is anybody's
        const greg_t *registers = static_cast<ucontext_t *>(context)->uc_mcontext.gregs;
        answer.pcs[0] = reinterpret_cast<void *>(registers[pc_register]);
        answer.sp = static_cast<uintptr_t>(registers[sp_register]);
        answer.count = 1;
        __atomic_store_n(&answer.asked, 2U, __ATOMIC_RELEASE);
        return;
    }
    int saved = errno;
    answer.count = co_backtrace(env->running, answer.pcs, most_frames);
    __atomic_store_n(&answer.asked, 2U, __ATOMIC_RELEASE);
    errno = saved;
}

void ask(int tid, blocked_place *out) {
    if (!asks_by_signal())
        return;
    siginfo_t info{};
    info.si_signo = ask_signal;
    info.si_code = SI_QUEUE;
    info.si_pid = static_cast<pid_t>(sys::getpid());
    info.si_value.sival_ptr = &answer;
    __atomic_store_n(&answer.asked, 1U, __ATOMIC_RELEASE);
    sys::call(SYS_rt_tgsigqueueinfo, sys::getpid(), tid, ask_signal, &info);
    int64_t until = now_ns() + answer_limit_ns;
    while (__atomic_load_n(&answer.asked, __ATOMIC_ACQUIRE) == 1 && now_ns() < until) {
        sys::kernel_timespec t{0, ns_per_ms / 4};
        sys::call(sys::nr_clock_nanosleep, CLOCK_MONOTONIC, 0, &t, nullptr);
    }
    // No answer: it has the signal blocked, or is late; then its answer is dropped.
    if (__atomic_exchange_n(&answer.asked, 0U, __ATOMIC_ACQ_REL) != 2 || answer.count <= 0)
        return;
    // The handler's own frame and the signal's are the first ones.
    int skip = answer.count > 2 ? 2 : 0;
    out->count = answer.count - skip;
    for (int i = 0; i < out->count; ++i)
        out->frames[i] = answer.pcs[i + skip];
    out->exact_first = true;
}

// ---- One in the kernel is read from outside

// Memory that may go away at any moment: the kernel looks, and says so instead of faulting.
size_t peek(uintptr_t from, void *to, size_t bytes) {
    iovec local{to, bytes}, remote{reinterpret_cast<void *>(from), bytes};
    sys::word n = sys::call(SYS_process_vm_readv, sys::getpid(), &local, 1, &remote, 1, 0);
    return sys::failed(n) ? 0 : static_cast<size_t>(n);
}

// What stands before a return address is a call: e8 rel32, or ff /2 of up to seven bytes.
bool follows_a_call(uintptr_t pc) {
    unsigned char before[7];
    if (pc < sizeof before || peek(pc - sizeof before, before, sizeof before) != sizeof before)
        return false;
    if (before[2] == 0xE8)
        return true;
    for (int at : {5, 4, 3, 1, 0})
        if (before[at] == 0xFF && (before[at + 1] >> 3 & 7) == 2)
            return true;
    return false;
}

void find_return_addresses(uintptr_t sp, blocked_place *out) {
    constexpr size_t piece = 4096;
    uintptr_t words[piece / sizeof(uintptr_t)];
    for (int pieces = 0; pieces < 4 && out->count < most_frames; ++pieces, sp += piece) {
        // To the end of a page, behind which there may be nothing.
        size_t wanted = piece - sp % piece;
        size_t n = peek(sp, words, wanted) / sizeof(uintptr_t);
        for (size_t i = 0; i < n && out->count < most_frames; ++i) {
            Dl_info info;
            if (words[i] < piece || !follows_a_call(words[i]) ||
                !code_info(reinterpret_cast<void *>(words[i]), &info))
                continue;
            out->frames[out->count++] = reinterpret_cast<void *>(words[i]);
        }
        if (n * sizeof(uintptr_t) < wanted)
            return;
        sp -= sp % piece;
    }
}

// "73 0x5 0x2 0x0 0x0 0x0 0x0 0x7ffe.. 0x7f12..", "-1 sp pc" or "running".
size_t read_state(int tid, char *out, size_t size) {
    char path[48];
    format_line(path, sizeof path, "/proc/self/task/%d/syscall", tid);
    sys::word fd = sys::call(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (sys::failed(fd))
        return 0;
    sys::word n = sys::read(static_cast<int>(fd), out, size - 1);
    sys::close(static_cast<int>(fd));
    out[sys::failed(n) ? 0 : n] = '\0';
    return sys::failed(n) ? 0 : static_cast<size_t>(n);
}

bool next_number(const char **at, uintptr_t *out) {
    const char *p = *at;
    while (*p == ' ')
        ++p;
    bool negative = *p == '-', hexadecimal = p[0] == '0' && p[1] == 'x';
    p += negative ? 1 : hexadecimal ? 2 : 0;
    const char *begin = p;
    uintptr_t value = 0;
    for (;; ++p) {
        unsigned digit;
        if (*p >= '0' && *p <= '9')
            digit = static_cast<unsigned>(*p - '0');
        else if (hexadecimal && *p >= 'a' && *p <= 'f')
            digit = static_cast<unsigned>(*p - 'a') + 10;
        else
            break;
        value = value * (hexadecimal ? 16 : 10) + digit;
    }
    *at = p;
    *out = negative ? 0 - value : value;
    return p != begin;
}

} // namespace

bool places_by_stack;

bool asks_by_signal() {
    struct sigaction now {};
    return sigaction(ask_signal, nullptr, &now) == 0 && (now.sa_flags & SA_SIGINFO) &&
           now.sa_sigaction == on_ask;
}

void prepare_places() {
    struct sigaction now {};
    if (sigaction(ask_signal, nullptr, &now) != 0 || (now.sa_flags & SA_SIGINFO) ||
        (now.sa_handler != SIG_DFL && now.sa_handler != SIG_IGN))
        return;
    struct sigaction ours {};
    ours.sa_sigaction = on_ask;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
    sigaction(ask_signal, &ours, nullptr);
}

blocked_place place_of_thread(int tid) {
    blocked_place place;
    char text[256];
    if (read_state(tid, text, sizeof text) == 0)
        return place;
    if (text[0] == 'r') {
        place.how = blocked_place::computing;
        ask(tid, &place);
        if (places_by_stack && place.count > 0)
            find_return_addresses(answer.sp, &place);
        return place;
    }
    uintptr_t number[9];
    int n = 0;
    const char *at = text;
    while (n < 9 && next_number(&at, &number[n]))
        ++n;
    if (n != 9 && n != 3)
        return place;
    place.how = n == 9 ? blocked_place::in_system_call : blocked_place::in_kernel;
    place.number = static_cast<long>(number[0]);
    place.argument[0] = n == 9 ? number[1] : 0;
    place.argument[1] = n == 9 ? number[2] : 0;
    place.exact_first = true;
    place.frames[place.count++] = reinterpret_cast<void *>(number[n - 1]);
    find_return_addresses(number[n - 2], &place);
    return place;
}

unsigned describe_place(const blocked_place &place, char *out, unsigned size) {
    switch (place.how) {
    case blocked_place::in_system_call: {
        const char *name = call_name(place.number);
        return format_line(out, size, "in system call %ld%s%s (%p, %p)", place.number,
                           name ? " " : "", name ? name : "",
                           reinterpret_cast<void *>(place.argument[0]),
                           reinterpret_cast<void *>(place.argument[1]));
    }
    case blocked_place::in_kernel:
        return format_line(out, size, "in the kernel, not by a system call (a page of a file?)");
    case blocked_place::computing:
        return format_line(out, size, "computing%s",
                           place.count ? ""
                                       : " (it did not answer SIGURG, or that is the program's)");
    default:
        return format_line(out, size, "where is not known (no /proc/self/task/*/syscall)");
    }
}

void write_frames_of(const blocked_place &place) {
    forget_names();
    write_report_frames(place.frames, place.count, place.exact_first);
}

} // namespace corun
