// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/stats.h"

#include "co_hook/waist/code_names.h"
#include "co_hook/waist/dump.h"
#include "co_hook/waist/numbers.h"
#include "co_hook/waist/own_signals.h"
#include "co_hook/waist/signal_queue.h"
#include "co_hook/waist/stats_memory.h"
#include "co_hook/waist/stats_table.h"
#include "co_hook/waist/thread_names.h"

#include "co_routine/base/check.h"
#include "co_routine/base/clock.h"
#include "co_routine/debug/call_name.h"
#include "co_routine/debug/stderr.h"
#include "co_routine/debug/stretches.h"
#include "co_routine/debug/unwinder.h"
#include "co_routine/loop/offload.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <initializer_list>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <ucontext.h>

namespace corun::waist {
namespace {

constexpr int last_words[] = {SIGTERM, SIGINT, SIGHUP}; // end a process that leaves them alone

struct {
    bool at_end = false;
    int signal = 0;
    const char *path = nullptr; // of the file; "": stderr
    int fd = -1;                // the file, or a second one of stderr
    dev_t device = 0;
    ino_t inode = 0;
    bool is_child = false; // of a fork
    uint64_t began_cycles = 0;
    int64_t began_ns = 0;
    size_t rss_before_kb = 0;
    uint64_t stacks_measured = 0, deepest_ended = 0;
    unsigned writing = 0; // atomic
    char *walk_stack = nullptr;
} stats;
constexpr size_t walk_stack_bytes = 64 * 1024;
char path_of_file[sizeof options::stats_file];

// ---- The file

constexpr int lowest_number = 100; // out of the way of numbers that programs count on

bool note_file(sys::word fd) {
    struct stat s {};
    if (sys::failed(fd) || sys::failed(sys::call(SYS_fstat, fd, &s)))
        return false;
    stats.fd = static_cast<int>(fd);
    stats.device = s.st_dev;
    stats.inode = s.st_ino;
    return true;
}

sys::word open_file() {
    sys::word fd = sys::call(SYS_openat, AT_FDCWD, stats.path,
                             O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0644);
    if (sys::failed(fd))
        return fd;
    sys::word high = sys::fcntl(static_cast<int>(fd), F_DUPFD_CLOEXEC, lowest_number);
    if (sys::failed(high))
        return fd;
    sys::close(static_cast<int>(fd));
    return high;
}

[[noreturn]] void refuse_file(int error) {
    char line[sizeof path_of_file + 64];
    unsigned n = format_line(line, sizeof line, "corun: --stats=%s: %s\n", stats.path,
                             strerrordesc_np(error));
    sys::write(2, line, n);
    end_refused();
}

bool is_noted(const struct stat &s) { return s.st_dev == stats.device && s.st_ino == stats.inode; }

// A daemon closes every number that it does not know.
int file_now() {
    struct stat s {};
    if (!*stats.path && is_stderr())
        return 2;
    if (!sys::failed(sys::call(SYS_fstat, stats.fd, &s)) && is_noted(s))
        return stats.fd;
    return *stats.path && note_file(open_file()) ? stats.fd : -1;
}

// ---- Writing

void write_now(const char *occasion, uintptr_t pc) {
    unsigned nobody = 0;
    if (!__atomic_compare_exchange_n(&stats.writing, &nobody, 1U, false, __ATOMIC_ACQUIRE,
                                     __ATOMIC_RELAXED))
        return; // a signal came while a table is written
    worker *w = &the_worker;
    table_request r;
    r.fd = file_now();
    r.occasion = occasion;
    r.self = whose_turn(w);
    r.pc = pc;
    uint64_t now_cycles = cycles();
    if (r.self && r.self->counts.turn_began && pc)
        r.turn_cycles = now_cycles - r.self->counts.turn_began;
    int64_t now = now_ns();
    r.since_ns = stats.began_ns;
    if (now > stats.began_ns)
        r.cycles_per_ns = static_cast<double>(now_cycles - stats.began_cycles) /
                          static_cast<double>(now - stats.began_ns);
    r.rss_before_kb = stats.rss_before_kb;
    r.stacks_measured = stats.stacks_measured;
    r.deepest_ended = stats.deepest_ended;
    if (r.fd >= 0)
        write_table(w, r);
    __atomic_store_n(&stats.writing, 0U, __ATOMIC_RELEASE);
}

// ---- Signals

// As the kernel would have, for a signal at its default that ends the process.
void die(int s) {
    kernel_action none{};
    sys::call(SYS_rt_sigaction, s, &none, nullptr, sys::sigset_bytes);
    sys::call(SYS_tgkill, sys::getpid(), sys::gettid(), s);
    uint64_t open = bit_of(s);
    constexpr int unblock = 1;
    sys::call(SYS_rt_sigprocmask, unblock, &open, nullptr, sys::sigset_bytes);
}

void answer(worker *w, int s, uintptr_t pc) {
    char occasion[32];
    format_line(occasion, sizeof occasion, "signal %d", s);
    bool asked_for = s == stats.signal;
    if (asked_for || !stats.is_child || w->counts.threads_created > 0)
        write_now(occasion, pc);
    if (!asked_for)
        die(s);
}

// ---- Times

// Shorter ones are not kept with their frames: a walk takes some 10 us, and more the first time.
constexpr uint64_t shortest_kept_cycles = 2500000; // about a millisecond

int64_t ns_of(uint64_t cycles_passed, uint64_t now_cycles, int64_t now) {
    auto passed = static_cast<double>(now_cycles - stats.began_cycles);
    return static_cast<int64_t>(static_cast<double>(now - stats.began_ns) / passed *
                                static_cast<double>(cycles_passed));
}

// Of a turn that goes on the frames are sought again when it has become twice as long.
template <class F> void keep_turn(const thread *t, uint64_t now_cycles, const char *where, F walk) {
    stretch s;
    s.key = t->counts.turn_began;
    s.ended_ns = now_ns();
    s.lasted_ns = ns_of(now_cycles - s.key, now_cycles, s.ended_ns);
    if (is_minor_stretch(s.key, s.lasted_ns)) {
        note_stretch_length(s.key, s.lasted_ns, s.ended_ns);
        return;
    }
    describe_thread(s.who, sizeof s.who, t);
    format_line(s.where, sizeof s.where, "%s", where);
    s.exact_first = t->call_nr < 0;
    forget_code();
    s.count = walk(s.frames, static_cast<int>(sizeof s.frames / sizeof *s.frames));
    keep_stretch(s);
}

struct turn_with_call {
    const thread *t;
    uint64_t now;
    bool in_call;
};
void keep_turn_with_call(void *argument) {
    const turn_with_call &turn = *static_cast<turn_with_call *>(argument);
    const char *name = call_name(turn.t->call_nr);
    char where[64];
    format_line(where, sizeof where, "%s %s", turn.in_call ? "in" : "before",
                name ? name : "a call");
    keep_turn(turn.t, turn.now, where,
              [&](void **pcs, int max) { return frames_of_thread(turn.t, pcs, max); });
}

void note_turn(thread *t, uint64_t now, bool in_call) {
    longest_turn &longest = t->home->counts.longest;
    uint64_t so_far = now - t->counts.turn_began;
    if (CO_LIKELY((so_far <= longest.cycles && so_far < shortest_kept_cycles) ||
                  t->counts.turn_began == 0))
        return;
    if (so_far > longest.cycles)
        longest = {so_far, t->tid, t->call_nr, in_call, t->at_call->slot};
    if (so_far < shortest_kept_cycles)
        return;
    // On a stack of its own: how much the thread has used of its stack is in the table.
    if (!stats.walk_stack)
        return;
    turn_with_call turn{t, now, in_call};
    call_on_stack(stats.walk_stack, walk_stack_bytes, keep_turn_with_call, &turn);
}

void begin_counting() {
    stats.began_cycles = cycles();
    stats.began_ns = now_ns();
}

} // namespace

// ---- Counting

void time_call(thread *t) {
    t->counts.call_began = cycles();
    note_turn(t, t->counts.call_began, false);
}

void time_call_ended(thread *t, bool had_turn) {
    uint64_t now = cycles();
    if (!had_turn) {
        t->counts.turn_began = now;
        return;
    }
    if (t->call_nr < 0)
        return;
    uint64_t lasted = now - t->counts.call_began, turn = now - t->counts.turn_began;
    call_counts &c = t->home->counts.of(t->call_nr);
    if (lasted > c.longest_cycles)
        c.longest_cycles = lasted;
    note_turn(t, now, lasted > turn / 2);
}

void time_turn_preempted(const thread *t, const machine &m, uintptr_t pc) {
    longest_turn &longest = t->home->counts.longest;
    uint64_t now = cycles(), lasted = now - t->counts.turn_began;
    if (t->counts.turn_began == 0)
        return;
    if (lasted > longest.cycles)
        longest = {lasted, t->tid, -1, false, pc};
    if (lasted < shortest_kept_cycles)
        return;
    keep_turn(t, now, "until it was preempted", [&](void **pcs, int max) {
        faults_let_in window;
        return walk_machine(m, pcs, max);
    });
}

void count_new_thread(worker *w) {
    if (++w->counts.threads_created == 1)
        claim_dump_signal();
    if (w->live > w->counts.most_threads)
        w->counts.most_threads = w->live;
}

void count_end_of_thread(thread *t) {
    ++t->home->counts.threads_ended;
    // Looking at a stack costs some microseconds: at the first ones, then at one in 64.
    constexpr uint64_t all_of_the_first = 64, one_in = 64;
    uint64_t n = t->home->counts.threads_ended;
    if (!t->home->counts.timed || t->stack_low == 0 || (n > all_of_the_first && n % one_in != 0))
        return;
    size_t used = stack_used(t->stack_low, t->stack_high);
    ++stats.stacks_measured;
    if (used > stats.deepest_ended)
        stats.deepest_ended = used;
}

// ---- What others call

void prepare_stats(const options &asked) {
    stats.at_end = asked.stats;
    stats.signal = asked.stats_signal;
    if (!stats.at_end && !stats.signal)
        return;
    memcpy(path_of_file, asked.stats_file, sizeof path_of_file);
    stats.path = path_of_file;
    // Of stderr a second one, because many programs close theirs as the last thing they do.
    sys::word fd = *stats.path ? open_file() : sys::fcntl(2, F_DUPFD_CLOEXEC, lowest_number);
    if (!note_file(fd)) {
        if (*stats.path)
            refuse_file(static_cast<int>(-fd));
        note_file(2); // numbers end below lowest_number
    }
    begin_counting();
    sys::word stack = sys::mmap_anonymous(walk_stack_bytes, PROT_READ | PROT_WRITE, MAP_NORESERVE);
    stats.walk_stack = sys::failed(stack) ? nullptr : reinterpret_cast<char *>(stack);
    the_worker.counts.timed = true;
    on_offload = [](coroutine *co) {
        auto *t = static_cast<thread *>(co->arg);
        if (t && co->has(flag_elsewhere))
            ++t->home->counts.of(t->call_nr).helped;
    };
    claim_numbers_of_stats(stats.at_end);
    if (stats.at_end)
        for (int last : last_words)
            own_signal(last, answer);
    if (stats.signal)
        own_signal(stats.signal, answer);
    show_own_signals();
}

void begin_stats(worker *w) {
    if (!w->counts.timed)
        return;
    stats.rss_before_kb = memory_now().resident;
    w->main.counts.turn_began = cycles();
}

void stats_after_fork_in_child(worker *w) {
    bool timed = w->counts.timed;
    w->counts = {};
    w->preemptions = 0;
    w->counts.timed = timed;
    if (w->active) {
        thread *self = running_thread();
        self->counts.was_preempted = false;
        self->counts.line = nullptr;
    }
    if (!timed)
        return;
    stretches_after_fork_in_child();
    stats.is_child = true;
    stats.stacks_measured = stats.deepest_ended = 0;
    stats.writing = 0;
    begin_counting();
    if (w->active)
        begin_stats(w);
}

void stats_at_end() {
    if (stats.at_end && (!stats.is_child || the_worker.counts.threads_created > 0))
        write_now("the end", 0);
}

} // namespace corun::waist
