// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/overflow.h"

#include "co_hook/waist/dump.h"
#include "co_hook/waist/signal_queue.h"
#include "co_hook/waist/stats_memory.h"
#include "co_hook/waist/thread_names.h"
#include "co_hook/waist/worker.h"

#include "co_routine/base/check.h"
#include "co_routine/base/user_memory.h"
#include "co_routine/debug/dump.h"
#include "co_routine/debug/stderr.h"
#include "co_routine/debug/unwinder.h"

#include <sys/mman.h>
#include <sys/resource.h>

extern "C" void *__libc_stack_end; // ld.so's: where the first thread's stack begins

namespace corun::waist {
namespace {

constexpr uintptr_t farthest_jump = uintptr_t{1} << 30; // as large as a frame may be
constexpr uintptr_t largest_probe = 64 * 1024;          // below the stack pointer
bool are_reported = true;
constexpr int most_frames = 128 * 1024, innermost_shown = 16, outermost_shown = 4;

// libc's threads have their guard at the lower end of it.
stack_range stack_of(const thread *t) {
    if (t->stack_low != 0)
        return {reinterpret_cast<char *>(t->stack_low), reinterpret_cast<char *>(t->stack_high)};
    rlimit limit{};
    if (t != &t->home->main || sys::call(SYS_prlimit64, 0, RLIMIT_STACK, nullptr, &limit) != 0 ||
        limit.rlim_cur > farthest_jump)
        return {};
    char *high = static_cast<char *>(__libc_stack_end);
    return {high - limit.rlim_cur, high};
}

bool is_there(uintptr_t at) {
    uintptr_t word;
    faults_let_in window;
    return copy_from_user(&word, reinterpret_cast<const void *>(at), sizeof word);
}

// A jump into a stack, for one, is none: what a smashed return address leads to.
bool is_instruction_fetch(const machine &m) {
    constexpr uintptr_t fetch = 16; // of the processor's error code
    return (m.at(REG_ERR) & fetch) != 0;
}

bool has_overflowed(const thread *t, const stack_range &stack, uintptr_t address,
                    const machine &m) {
    uintptr_t sp = m.at(REG_RSP);
    auto low = reinterpret_cast<uintptr_t>(stack.low),
         high = reinterpret_cast<uintptr_t>(stack.high);
    bool of_this_stack = low > farthest_jump && address < high && address > low - farthest_jump &&
                         sp < high && sp > low - farthest_jump;
    // Where a large frame faults above the stack pointer, that is past the end, too.
    bool near = sp < low || (sp <= address + largest_probe && (address < sp || !is_there(sp)));
    return of_this_stack && near && !is_instruction_fetch(m) && !is_on(t->signals.alternate, sp);
}

void write_frame(int number, void *pc, bool exact_pc) {
    char line[dump_line_bytes];
    write_to_stderr(line, format_dumped_frame(line, sizeof line, number, pc, exact_pc));
}

void write_frames(const machine &m) {
    constexpr size_t bytes = most_frames * sizeof(void *);
    sys::word r = sys::mmap_anonymous(bytes, PROT_READ | PROT_WRITE, MAP_NORESERVE);
    if (sys::failed(r))
        return;
    auto **pcs = reinterpret_cast<void **>(r);
    forget_code();
    int n = walk_machine(m, pcs, most_frames);
    int hidden_from = innermost_shown, hidden_to = n - outermost_shown;
    for (int i = 0; i < n; ++i) {
        if (i == hidden_from && hidden_to > hidden_from) {
            char line[64];
            write_to_stderr(
                line, format_line(line, sizeof line, "    ... %d frames ...\n", hidden_to - i));
            i = hidden_to;
        }
        write_frame(i, pcs[i], i == 0);
    }
    sys::munmap(pcs, bytes);
}

} // namespace

void report_overflows(bool on) { are_reported = on; }

void look_for_overflow(thread *t, const machine &m, uintptr_t address) {
    stack_range stack = stack_of(t);
    if (!are_reported || !stack.low || t->has_overflowed || !has_overflowed(t, stack, address, m))
        return;
    t->has_overflowed = true;
    if (!is_stderr(asked::no))
        return;
    bool is_main = t->stack_low == 0;
    char line[dump_line_bytes], who[96], used[48] = "";
    describe_thread(who, sizeof who, t);
    if (!is_main)
        format_line(used, sizeof used, ", %zu of them used",
                    stack_used(t->stack_low, t->stack_high));
    unsigned n = format_line(
        line, sizeof line,
        "corun: %s: stack overflow: its stack has %zu bytes%s; %p was touched; raise %s\n", who,
        stack.bytes(), used, reinterpret_cast<void *>(address),
        is_main ? "its limit (ulimit -s)"
                : "--stack, or what the program asks for (pthread_attr_setstacksize)");
    write_to_stderr(line, n);
    faults_let_in window; // of the walk, and of who names its frames
    write_frames(m);
}

} // namespace corun::waist
