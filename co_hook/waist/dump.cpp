// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/dump.h"

#include "co_hook/calls/calls.h"
#include "co_hook/waist/holders.h"
#include "co_hook/waist/own_signals.h"
#include "co_hook/waist/patch.h"
#include "co_hook/waist/published.h"
#include "co_hook/waist/signal_queue.h"
#include "co_hook/waist/stats_memory.h"
#include "co_hook/waist/thread_names.h"

#include "co_routine/base/check.h"
#include "co_routine/base/user_memory.h"
#include "co_routine/debug/backtrace.h"
#include "co_routine/debug/deadlock.h"
#include "co_routine/debug/dump.h"
#include "co_routine/debug/stderr.h"
#include "co_routine/debug/stretches.h"
#include "co_routine/debug/unwinder.h"
#include "co_routine/loop/park.h"

#include <cerrno>
#include <climits>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#pragma GCC visibility push(hidden)
extern "C" {
extern char __ehdr_start[], etext[];
}
#pragma GCC visibility pop

namespace corun::waist {
namespace {

constexpr wait_kind request_kind{"a request for a dump", false, nullptr, nullptr,
                                 ended_by::runtime};

// Room for one thread at least; written out when half of it is full.
constexpr size_t text_bytes = 128 * 1024;
constexpr int64_t stretch_ns = 2 * ns_per_ms;
static_assert(text_bytes / 2 > (most_dumped_frames + 1) * dump_line_bytes);

struct {
    int signal = 0;
    bool is_claimed = false;
    char *text = nullptr;
    size_t length = 0;
    uint64_t number = 0;                       // of dumps: a thread notes in which it was last
    bool deadlock = false, all_asleep = false; // to be written
} dump;

void add_line(const char *line, unsigned bytes) {
    memcpy(dump.text + dump.length, line, bytes);
    dump.length += bytes;
}

template <class... Args> void add(const char *format, Args... args) {
    char line[dump_line_bytes];
    add_line(line, format_line(line, sizeof line, format, args...));
}

// By native calls that do not wait. A reader that is gone, or a limit of files, is no reason for a signal. Not
// debug/stderr.h's: that drops what stderr does not take, and the mask that the kernel has is noted here.
word write_piece(const char *from, size_t bytes) {
    constexpr signal_set of_writing = bit_of(SIGPIPE) | bit_of(SIGXFSZ) | bit_of(SIGTTOU);
    signal_set pending = 0;
    block_in_kernel(kernel_mask() | of_writing);
    sys::call(SYS_rt_sigpending, &pending, sys::sigset_bytes);
    word n = sys::write(2, from, bytes);
    signal_set ours = of_writing & ~pending; // what was pending is somebody else's doing
    if ((n == -EPIPE || n == -EFBIG) && ours)
        sys::call(sys::nr_rt_sigtimedwait, &ours, nullptr, &sys::at_once, sys::sigset_bytes);
    block_in_kernel(kernel_mask());
    return n;
}

// The others run while stderr takes nothing. What cannot be written is dropped.
void write_out() {
    constexpr size_t never_waits = PIPE_BUF; // fits where poll says that there is room
    for (size_t done = 0; done < dump.length && is_stderr();) {
        pollfd room{2, POLLOUT, 0};
        if (calls::poll(&room, 1, -1, nullptr) < 0)
            break;
        size_t left = dump.length - done;
        word n = write_piece(dump.text + done, left < never_waits ? left : never_waits);
        if (n <= 0 && n != -EINTR && n != -EAGAIN)
            break;
        done += n > 0 ? static_cast<size_t>(n) : 0;
    }
    dump.length = 0;
}

// ---- libunwind

// It opens a pipe for itself when it is first used, which only walks that we do not make would write to; its
// numbers are the program's. There is one thread: what two new descriptors get now, it gets next.
class pipe_of_libunwind {
  public:
    pipe_of_libunwind() {
        for (word &fd : ends_)
            fd = sys::call(SYS_openat, AT_FDCWD, "/", O_PATH | O_CLOEXEC, 0);
        for (word fd : ends_)
            sys::close(static_cast<int>(fd));
    }
    void close_if_opened() const {
        struct stat a {
        }, b{};
        if (sys::call(SYS_fstat, ends_[0], &a) == 0 && sys::call(SYS_fstat, ends_[1], &b) == 0 &&
            S_ISFIFO(a.st_mode) && a.st_ino == b.st_ino && a.st_dev == b.st_dev)
            for (word fd : ends_)
                sys::close(static_cast<int>(fd));
    }

  private:
    word ends_[2] = {};
};

// ---- Frames

bool is_runtime(uintptr_t pc) {
    return pc >= reinterpret_cast<uintptr_t>(__ehdr_start) &&
           pc < reinterpret_cast<uintptr_t>(etext) && !is_slot(pc);
}

} // namespace

int walk_machine(const machine &m, void **pcs, int max) {
    return walk_registers({m.at(REG_RBX), m.at(REG_RBP), m.at(REG_R12), m.at(REG_R13),
                           m.at(REG_R14), m.at(REG_R15), m.at(REG_RSP), m.at(REG_RIP)},
                          pcs, max);
}

int frames_of_thread(const thread *t, void **pcs, int max, bool *exact_first) {
    if (t->call_nr >= 0 && t->at_call) {
        const frame *f = t->at_call;
        uintptr_t pc = is_slot(f->slot) ? site_of_slot(f->slot) : f->slot;
        return walk_registers({f->rbx, f->rbp, f->r12, f->r13, f->r14, f->r15, f->sp(), pc}, pcs,
                              max);
    }
    int n = walk_suspended(t->co->regs, {}, pcs, max), own = 0;
    while (own < n && is_runtime(reinterpret_cast<uintptr_t>(pcs[own])))
        ++own;
    if (exact_first)
        *exact_first = own > 0 && pcs[own - 1] == reinterpret_cast<void *>(&waist_restorer);
    for (int i = own; i < n; ++i)
        pcs[i - own] = pcs[i];
    return n - own;
}

namespace {

// ---- The text

void add_owner(const thread *t, char *line, unsigned *length) {
    held_by by = t->co->state == co_state::parked ? holder_of(t) : held_by{};
    if (!by.who)
        return;
    const char *format =
        by.by_end ? "; the end of thread %d\n" : "; a mutex that thread %d holds, it seems\n";
    *length += format_line(line + *length - 1, dump_line_bytes - *length, format, by.who->tid) - 1;
}

void add_thread(const thread *t) {
    char who[96], stack[64] = "", line[dump_line_bytes];
    describe_thread(who, sizeof who, t);
    if (t->stack_low != 0)
        format_line(stack, sizeof stack, "; stack %zu bytes, %zu used",
                    t->stack_high - t->stack_low, stack_used(t->stack_low, t->stack_high));
    unsigned n = format_coroutine(line, sizeof line, t->co, {who, stack});
    add_owner(t, line, &n);
    add_line(line, n);
    void *pcs[most_dumped_frames];
    bool exact_first = false;
    int frames = frames_of_thread(t, pcs, most_dumped_frames, &exact_first);
    for (int i = 0; i < frames; ++i)
        add_line(line, format_dumped_frame(line, sizeof line, i, pcs[i], i == 0 && exact_first));
}

void add_head(worker *w) {
    unsigned ready = 0, parked = 0;
    for (list_node *n = w->threads.ring.next; n != &w->threads.ring; n = n->next) {
        co_state s = CO_CONTAINER(n, thread, link)->co->state;
        ready += s == co_state::ready;
        parked += s == co_state::parked;
    }
    char name[16] = "";
    sys::call(SYS_prctl, PR_GET_NAME, name);
    add("corun: process %ld (%s), dump of %u threads: %u ready, %u parked\n", sys::getpid(), name,
        w->live, ready, parked);
    if (!libunwind_loaded())
        add("corun: frames need libunwind.so.8 (Debian: apt install libunwind8); without it they "
            "follow frame pointers\n");
}

// Some threads that are not in the dump yet. True: there may be more, and the others had a turn.
bool write_some(worker *w) {
    int64_t began = now_ns();
    for (list_node *n = w->threads.ring.next; n != &w->threads.ring; n = n->next) {
        thread *t = CO_CONTAINER(n, thread, link);
        if (t->dumped_in == dump.number)
            continue;
        t->dumped_in = dump.number;
        add_thread(t);
        bool full = dump.length > text_bytes / 2;
        if (!full && now_ns() - began <= stretch_ns)
            continue;
        full ? write_out() : pause_until(now_ns());
        return true; // from the beginning: n may have ended
    }
    return false;
}

// ---- Deadlocks

unsigned name_of(char *out, unsigned size, const coroutine *co) {
    return describe_thread(out, size, static_cast<const thread *>(co->arg));
}

void add_cycle(const wait_cycles &cycles, size_t i, const char *before) {
    char line[4 * dump_line_bytes];
    unsigned n = format_line(line, sizeof line, "%s", before);
    n += format_cycle(line + n, sizeof line - n - 1, cycles, i, name_of);
    line[n++] = '\n';
    add_line(line, n);
}

void add_cycles(const worker *w) {
    const wait_cycles cycles(w->env);
    for (size_t i = 0; i < cycles.count() && dump.length <= text_bytes / 2; ++i)
        add_cycle(cycles, i, "");
}

void add_stretches() {
    stretch s;
    for (unsigned i = 0; kept_stretch(i, &s) && dump.length <= text_bytes / 2; ++i) {
        char line[dump_line_bytes];
        unsigned n = format_line(line, sizeof line, "stretch: ");
        n += format_stretch(line + n, sizeof line - n - 1, s);
        line[n++] = '\n';
        add_line(line, n);
        for (int f = 0; f < s.count; ++f)
            add_line(line, format_dumped_frame(line, sizeof line, f, s.frames[f],
                                               f == 0 && s.exact_first));
    }
}

void add_one(const coroutine *co, unsigned *met) {
    if (++*met <= most_asleep_listed && dump.length <= text_bytes / 2)
        add_thread(static_cast<const thread *>(co->arg));
}

// Those that were not reported, with their threads; as many as there is room for.
void add_new_cycles(const wait_cycles &cycles) {
    for (size_t i = 0; i < cycles.count() && dump.length <= text_bytes / 2; ++i) {
        if (was_reported(cycles, i))
            continue;
        note_reported(cycles, i);
        add_cycle(cycles, i, "corun: ");
        unsigned met = 0;
        const coroutine *co = cycles.first(i);
        do {
            add_one(co, &met);
            co = cycles.next(co);
        } while (co != cycles.first(i));
    }
}

void write_deadlock(worker *w, bool all_asleep) {
    forget_code();
    const wait_cycles cycles(w->env, all_asleep);
    if (all_asleep)
        add("corun: all threads are asleep: %u wait, and nothing is left that could wake one\n",
            w->live);
    add_new_cycles(cycles);
    unsigned met = 0;
    for (size_t i = 0; all_asleep && i < w->env->all.size(); ++i)
        if (is_asleep(w->env->all[i]) && !cycles.has(w->env->all[i]))
            add_one(w->env->all[i], &met);
    if (met > most_asleep_listed)
        add("corun: and more: corun dump %ld shows all\n", sys::getpid());
    write_out(); // the others may run from here on
}

void write_dump(worker *w) {
    ++dump.number;
    forget_code();
    add_head(w);
    while (write_some(w)) {
    }
    write_out(); // room for what is as long as that
    add_cycles(w);
    write_out();
    add_stretches();
    add("corun: end of the dump\n");
    write_out();
}

void *dump_forever(void *) {
    worker *w = &the_worker;
    for (;;) {
        bool asleep = dump.all_asleep;
        if (dump.deadlock) {
            dump.deadlock = dump.all_asleep = false;
            if (is_stderr(asked::no))
                write_deadlock(w, asleep);
        }
        while (__atomic_exchange_n(&w->dump_requested, false, __ATOMIC_ACQ_REL))
            write_dump(w);
        if (!dump.deadlock) // it may have come while stderr took nothing
            park(request_kind, {}, no_deadline);
    }
}

} // namespace

void prepare_dumps(int signal) { dump.signal = signal; }

void load_for_dumps() {
    if (libunwind_was_sought())
        return;
    int saved = errno;
    pipe_of_libunwind opened;
    load_libunwind_elsewhere();
    opened.close_if_opened();
    errno = saved;
}

void claim_dump_signal() {
    if (!dump.signal || is_own_signal(dump.signal))
        return;
    own_signal(dump.signal, [](worker *w, int, uintptr_t) { request_dump(w); });
    dump.is_claimed = true;
    show_own_signals();
}

void release_dump_signal() {
    if (dump.is_claimed)
        disown_signal(dump.signal);
    dump.is_claimed = false;
}

bool is_dump_request(const siginfo_t &info) {
    return info.si_signo == set_ids_signal && info.si_code == SI_QUEUE &&
           info.si_value.sival_ptr == &corun_published;
}

bool begin_dumper(worker *w) {
    constexpr size_t stack_bytes = 64 * 1024;
    if (!dump.text) {
        sys::word r = sys::mmap_anonymous(text_bytes, PROT_READ | PROT_WRITE, MAP_NORESERVE);
        if (sys::failed(r))
            return false;
        dump.text = reinterpret_cast<char *>(r);
    }
    dump.length = 0;
    dump.deadlock = dump.all_asleep = false;
    __atomic_store_n(&w->dump_requested, false, __ATOMIC_RELAXED); // the parent's
    return w->dumper.start(w, dump_forever, stack_bytes);
}

void report_deadlock(co_env *, bool all_asleep) {
    dump.deadlock = true;
    dump.all_asleep |= all_asleep;
    the_worker.dumper.wake();
}

void request_dump(worker *w) {
    __atomic_store_n(&w->dump_requested, true, __ATOMIC_RELEASE);
    w->dumper.wake();
}

} // namespace corun::waist
