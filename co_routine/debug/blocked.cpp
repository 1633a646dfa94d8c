// SPDX-License-Identifier: Apache-2.0
#include "co_routine/debug/blocked.h"

#include "co_routine/base/at_fork.h"
#include "co_routine/base/check.h"
#include "co_routine/base/clock.h"
#include "co_routine/base/raw_sys.h"
#include "co_routine/base/spinlock.h"
#include "co_routine/debug/blocked_place.h"
#include "co_routine/debug/dump.h"
#include "co_routine/debug/stretches.h"
#include "co_routine/loop/loop.h"
#include "co_routine/loop/offload_helpers.h"

#include <cstring>
#include <initializer_list>
#include <new>
#include <signal.h>
#include <sys/mman.h>

namespace corun {

constexpr unsigned who_bytes = 112;
static_assert(sizeof stretch::frames == sizeof blocked_place::frames);

struct turn_watch {
    turn_watch *next = nullptr; // all of them, under watches_lock
    int tid = 0;
    // Written by the loop's thread, read by the watcher: began_ns is 0 while `who` is written and
    // while no coroutine runs.
    int64_t began_ns = 0; // atomic
    char who[who_bytes] = {};
    // The loop's thread's own.
    int64_t turn_began_ns = 0, longest_ns = 0;
    unsigned ran = 0;
    char longest[who_bytes] = {};
    // The watcher's own.
    int64_t reported_began_ns = 0, next_report_ns = 0;
    // Under watches_lock: where the stretch that began then was, in the middle of it.
    int64_t place_began_ns = 0;
    blocked_place place;
};

namespace {

turn_watch *watches;
unsigned watches_lock;
bool watcher_runs; // under watches_lock

int64_t limit_ns() { return int64_t{blocked_limit_ms()} * ns_per_ms; }
long to_ms(int64_t ns) { return static_cast<long>(ns / ns_per_ms); }

template <class... Args> void say(const char *format, Args... args) {
    char line[400] = "corun: ";
    constexpr unsigned prefix = 7;
    unsigned length =
        prefix + format_line(line + prefix, sizeof line - prefix - 1, format, args...);
    line[length++] = '\n';
    sys::write(2, line, length);
}

// The other threads, the watcher among them, and whoever held the lock stayed in the parent.
void after_fork_in_child() {
    co_env *env = env_or_null();
    watches = env ? env->watch : nullptr;
    if (watches) {
        watches->next = nullptr;
        watches->tid = static_cast<int>(sys::gettid());
    }
    watcher_runs = false;
    spin_release(&watches_lock);
    stretches_after_fork_in_child();
}

__attribute__((constructor)) void prepare_for_fork() {
    at_fork(nullptr, nullptr, after_fork_in_child);
}

// ---- The watcher

// One that is over its limit and not yet reported, or again after ten times as long. Copied, so that
// nothing of it is used once the lock is gone.
struct stuck {
    turn_watch *watch; // may be gone by now
    int tid;
    int64_t began_ns, for_ns;
    char who[who_bytes];
};

__attribute__((no_sanitize("thread"))) bool find_stuck(turn_watch *w, int64_t now, stuck *out) {
    int64_t began = __atomic_load_n(&w->began_ns, __ATOMIC_ACQUIRE);
    if (began == 0 || now - began <= limit_ns())
        return false;
    if (w->reported_began_ns == began && now < w->next_report_ns)
        return false;
    out->watch = w;
    out->tid = w->tid;
    out->began_ns = began;
    out->for_ns = now - began;
    for (unsigned i = 0; i < who_bytes; ++i)
        out->who[i] = static_cast<volatile char *>(w->who)[i];
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (__atomic_load_n(&w->began_ns, __ATOMIC_RELAXED) != began)
        return false; // it went on at this moment
    w->reported_began_ns = began;
    w->next_report_ns = began + 10 * (now - began);
    return true;
}

// How often a place was reported, this time included: its callers are shown once. They tell one from
// another, and not its pc, which differs each time that a thread computes there. The watcher's own.
unsigned times_seen(const blocked_place &place) {
    struct seen {
        uint64_t key;
        unsigned times;
    };
    static seen all[64];
    static unsigned next;
    if (place.count < 2)
        return 1;
    constexpr uint64_t multiplier = 0x100000001B3; // FNV-1a's
    uint64_t key =
        static_cast<uint64_t>(place.how) * multiplier ^ static_cast<uint64_t>(place.number);
    for (int i = 1; i < place.count; ++i)
        key = key * multiplier ^ reinterpret_cast<uintptr_t>(place.frames[i]);
    for (seen &s : all)
        if (s.times > 0 && s.key == key)
            return ++s.times;
    all[next++ % (sizeof all / sizeof *all)] = {key, 1};
    return 1;
}

// If it still is.
void keep_place(const stuck &s, const blocked_place &place) {
    spin_guard guard(&watches_lock);
    for (turn_watch *w = watches; w; w = w->next)
        if (w == s.watch && __atomic_load_n(&w->began_ns, __ATOMIC_ACQUIRE) == s.began_ns) {
            w->place_began_ns = s.began_ns;
            w->place = place;
        }
}

void report(const stuck &s) {
    blocked_place place = place_of_thread(s.tid);
    keep_place(s, place);
    char where[200];
    describe_place(place, where, sizeof where);
    unsigned times = times_seen(place);
    char again[40] = "";
    if (times > 1)
        format_line(again, sizeof again, " (%u times here)", times);
    say("%s keeps the loop of thread %d from turning, for %ld ms so far: %s%s", s.who, s.tid,
        to_ms(s.for_ns), where, again);
    if (times > 1)
        place.count = 1;
    write_frames_of(place);
}

bool look_once() {
    constexpr int at_most = 8;
    stuck found[at_most];
    int n = 0;
    int64_t now = now_ns();
    {
        spin_guard guard(&watches_lock);
        if (!watches) {
            watcher_runs = false;
            return false;
        }
        for (turn_watch *w = watches; w && n < at_most; w = w->next)
            n += find_stuck(w, now, &found[n]) ? 1 : 0;
    }
    for (int i = 0; i < n; ++i)
        report(found[i]);
    return true;
}

void *watcher_main(void *) {
    while (look_once()) {
        int64_t nap = limit_ns() / 4;
        nap = nap < ns_per_ms ? ns_per_ms : nap > 20 * ns_per_ms ? 20 * ns_per_ms : nap;
        sys::kernel_timespec t{0, nap};
        sys::call(sys::nr_clock_nanosleep, CLOCK_MONOTONIC, 0, &t, nullptr);
    }
    return nullptr;
}

bool create_watcher() {
    // The program's signals go to the program's threads; 32 and 33 are glibc's own.
    uint64_t mask = ~uint64_t{0}, former = 0;
    for (int s : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS, 32, 33})
        mask &= ~(uint64_t{1} << (s - 1));
    sys::call(SYS_rt_sigprocmask, SIG_SETMASK, &mask, &former, sys::sigset_bytes);
    bool created = start_helper_thread(watcher_main, nullptr);
    sys::call(SYS_rt_sigprocmask, SIG_SETMASK, &former, nullptr, sys::sigset_bytes);
    return created;
}

// On the thread's own stack, in the loop: where a thread may be made.
void have_watcher() {
    bool create = false;
    {
        spin_guard guard(&watches_lock);
        create = !watcher_runs;
        watcher_runs = true;
    }
    if (create && !create_watcher()) {
        {
            spin_guard guard(&watches_lock);
            watcher_runs = false; // tried again at the next turn
        }
        static bool is_said; // atomic
        if (!__atomic_exchange_n(&is_said, true, __ATOMIC_RELAXED))
            say("CORUN_DEBUG=blocked: no thread can be made: a hang is reported only when it ends, "
                "or once one can");
    }
}

// ---- The loop's side

void keep(turn_watch *w, int64_t began, int64_t now) {
    stretch s;
    s.lasted_ns = now - began;
    s.ended_ns = now;
    format_line(s.who, sizeof s.who, "%s of thread %d", w->who, w->tid);
    blocked_place place;
    {
        spin_guard guard(&watches_lock);
        if (w->place_began_ns == began)
            place = w->place;
    }
    describe_place(place, s.where, sizeof s.where);
    s.exact_first = place.exact_first;
    s.count = place.count;
    memcpy(s.frames, place.frames, sizeof place.frames);
    keep_stretch(s);
}

// What ran until now has come back.
void close_stretch(turn_watch *w, int64_t now) {
    if (w->began_ns == 0)
        return;
    int64_t began = w->began_ns, lasted = now - began;
    __atomic_store_n(&w->began_ns, int64_t{0}, __ATOMIC_RELEASE);
    if (lasted > limit_ns()) {
        keep(w, began, now);
        say("%s kept the loop of thread %d from turning for %ld ms", w->who, w->tid, to_ms(lasted));
    }
    if (lasted > w->longest_ns) {
        w->longest_ns = lasted;
        memcpy(w->longest, w->who, who_bytes);
    }
}

} // namespace

void watch_switch(co_env *env, const coroutine *co) {
    turn_watch *w = env->watch;
    if (w->ran == 0)
        have_watcher();
    int64_t now = now_ns();
    close_stretch(w, now);
    if (w->ran++ == 0)
        w->turn_began_ns = now;
    describe(w->who, who_bytes, co);
    __atomic_store_n(&w->began_ns, now, __ATOMIC_RELEASE);
}

void watch_turn_end(co_env *env) {
    turn_watch *w = env->watch;
    if (w->ran == 0)
        return;
    int64_t now = now_ns(), lasted = now - w->turn_began_ns;
    close_stretch(w, now);
    if (lasted > limit_ns() && w->longest_ns <= limit_ns())
        say("the loop of thread %d did not turn for %ld ms: %u coroutines ran, the longest was %s, "
            "%ld ms",
            w->tid, to_ms(lasted), w->ran, w->longest, to_ms(w->longest_ns));
    w->ran = 0;
    w->longest_ns = 0;
}

bool watcher_is_running() {
    spin_guard guard(&watches_lock);
    return watcher_runs;
}

void prepare_watch(co_env *env) {
    if (!(debug_flags() & CO_DEBUG_BLOCKED)) {
        end_watch(env);
        return;
    }
    if (env->watch)
        return;
    sys::word r = sys::mmap_anonymous(sizeof(turn_watch), PROT_READ | PROT_WRITE, 0);
    if (sys::failed(r)) {
        say("CORUN_DEBUG=blocked: no memory");
        return;
    }
    prepare_places();
    auto *w = new (reinterpret_cast<void *>(r)) turn_watch;
    w->tid = static_cast<int>(sys::gettid());
    spin_guard guard(&watches_lock);
    w->next = watches;
    watches = w;
    env->watch = w;
}

void end_watch(co_env *env) {
    turn_watch *w = env->watch;
    if (!w)
        return;
    {
        spin_guard guard(&watches_lock);
        for (turn_watch **at = &watches; *at; at = &(*at)->next)
            if (*at == w) {
                *at = w->next;
                break;
            }
    }
    env->watch = nullptr;
    sys::munmap(w, sizeof *w);
}

} // namespace corun
