// SPDX-License-Identifier: Apache-2.0
#include "co_hook/launcher/threads.h"

#include "co_hook/launcher/text.h"

#include "co_routine/base/clock.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

namespace corun::launcher {

namespace {

constexpr size_t at_once = 256; // pieces by one call: the kernel takes 1,024
constexpr size_t most_threads = size_t{1} << 22;

// Pieces of one size, from many places; none from nullptr. What could not be read is left out by read[i] =
// false. A call ends at the first place that is not there, so it is made again behind that.
void read_many(const attached &p, const void *const *from, void *to, size_t bytes, size_t count,
               bool *read) {
    for (size_t i = 0; i < count; i++)
        read[i] = false;
    for (size_t begin = 0; begin < count;) {
        iovec ours[at_once], theirs[at_once];
        size_t which[at_once], n = 0, next = begin;
        for (; n < at_once && next < count; next++)
            if (from[next] != nullptr) {
                ours[n] = {static_cast<char *>(to) + next * bytes, bytes};
                theirs[n] = {const_cast<void *>(from[next]), bytes};
                which[n++] = next;
            }
        ssize_t got = n == 0 ? 0 : process_vm_readv(p.pid, ours, n, theirs, n, 0);
        size_t whole = got > 0 ? static_cast<size_t>(got) / bytes : 0;
        for (size_t i = 0; i < whole; i++)
            read[which[i]] = true;
        begin = whole < n ? which[whole] + 1 : next;
    }
}

template <class T> T *array(size_t count) {
    return static_cast<T *>(memory(count * sizeof(T) + 1));
}

// What threads wait in: these are few, and never change.
struct known_kind {
    const wait_kind *kind;
    char name[32];
    bool names_descriptor;
};

// nullptr: it is not there.
const known_kind *kind_at(const attached &p, const wait_kind *kind) {
    static known_kind known[128], another; // more than there are
    known_kind *k = known;
    while (k < known + sizeof known / sizeof known[0] && k->kind != nullptr && k->kind != kind)
        k++;
    if (k == known + sizeof known / sizeof known[0])
        k = &another;
    else if (k->kind == kind)
        return k;
    copy_of<wait_kind> there;
    known_kind found = {kind, "", false};
    if (!there.read(p, kind))
        return nullptr;
    found.names_descriptor = there.bytes[offsetof(wait_kind, subject_is_fd)] != 0;
    for (size_t i = 0; i + 1 < sizeof found.name; i++) // it may stand at the end of what is mapped
        if (!read_memory(p, there->call + i, found.name + i, 1) || found.name[i] == '\0')
            break;
    printable(found.name);
    *k = found;
    return k;
}

// The pages from the top of the stack downwards to the last one that is in memory, of 1 GiB at most.
size_t pages_in_use(int pagemap, uintptr_t low, uintptr_t high) {
    constexpr size_t pages_at_once = 2048, most = size_t{1} << 18;
    constexpr uint64_t present = uint64_t{1} << 63, swapped = uint64_t{1} << 62;
    static uint64_t entries[pages_at_once];
    size_t left = std::min((high - low) / page_size, most);
    uintptr_t end = high / page_size + (high % page_size != 0);
    while (left > 0) {
        size_t n = std::min(left, pages_at_once);
        ssize_t got = pread(pagemap, entries, n * sizeof entries[0],
                            static_cast<off_t>((end - left) * sizeof entries[0]));
        if (got != static_cast<ssize_t>(n * sizeof entries[0]))
            return 0;
        for (size_t i = 0; i < n; i++)
            if (entries[i] & (present | swapped))
                return left - i;
        left -= n;
    }
    return 0;
}

double ns_of_cycle(const attached &p, const loop *event_loop) {
    copy_of<loop> there;
    if (event_loop == nullptr || !there.read(p, event_loop))
        return 0;
    uint64_t passed = cycles() - there->began_cycles;
    return passed == 0
               ? 0
               : static_cast<double>(now_ns() - there->began_ns) / static_cast<double>(passed);
}

struct reader {
    const attached &p;
    const co_env *env; // there
    int pagemap;
    double cycle_ns;

    thread_row row_of(const coroutine *at, const coroutine &co, const waist::thread &t,
                      const co_extra *extra) const {
        thread_row r{};
        uint64_t now_cycles = cycles();
        r.at = at;
        r.tid = t.tid;
        if (extra != nullptr)
            memcpy(r.name, extra->name, sizeof r.name - 1);
        printable(r.name);
        r.state = co.state;
        r.fd = -1;
        r.waited_ns = -1;
        r.switches = co.turns;
        r.ends_at = reinterpret_cast<uintptr_t>(t.clear_child_tid);
        if (co.state == co_state::parked && co.waiting != nullptr) {
            const known_kind *kind = kind_at(p, co.waiting);
            r.call = kind == nullptr ? nullptr : kind->name;
            if (kind != nullptr && kind->names_descriptor)
                r.fd = static_cast<int>(co.subject.fd);
            else
                r.object = reinterpret_cast<uintptr_t>(co.subject.object);
            if (!co.has(flag_queued) && now_cycles > co.parked_at_cycles)
                r.waited_ns = static_cast<int64_t>(
                    cycle_ns * static_cast<double>(now_cycles - co.parked_at_cycles));
            read_holder(p, t, &r);
            r.has_limit = co.deadline_ns != no_deadline;
        }
        if (t.stack_low != 0 && t.stack_high > t.stack_low) {
            r.stack_bytes = t.stack_high - t.stack_low;
            r.stack_used = pages_in_use(pagemap, t.stack_low, t.stack_high) * page_size;
        }
        return r;
    }
};

// Is that a thread's, and not one of the runtime's own?
bool is_threads(const coroutine &co, const co_env *env) {
    return co.env == env && co.arg != nullptr && co.state != co_state::ended;
}

reader reader_of(const attached &p, const co_env *env, const loop *event_loop) {
    return {p, env, open(text("/proc/%d/pagemap", p.pid), O_RDONLY | O_CLOEXEC),
            ns_of_cycle(p, event_loop)};
}

struct list_of_all {
    copy_of<co_env> env;
    coroutine **at;
    size_t count;
};
// False: the list has moved meanwhile, as it does when it grows.
bool read_places(const attached &p, const co_env *env, list_of_all *out) {
    copy_of<co_env> then;
    if (!out->env.read(p, env))
        fail(exit_cannot, "process %d is gone", p.pid);
    out->count = out->env->all.size();
    if (out->count > most_threads)
        fail(exit_cannot, "process %d: what it shows makes no sense", p.pid);
    out->at = array<coroutine *>(out->count);
    return read_memory(p, out->env->all.data(), out->at, out->count * sizeof *out->at) &&
           then.read(p, env) && then->all.data() == out->env->all.data();
}

} // namespace

thread_list read_threads(const attached &p) {
    copy_of<waist::worker> w;
    list_of_all all;
    if (!w.read(p, p.shown.the_worker))
        fail(exit_cannot, "process %d is gone", p.pid);
    for (int attempts = 5; !read_places(p, w->env, &all);)
        if (--attempts == 0)
            fail(exit_cannot, "process %d: its list of threads cannot be read", p.pid);
    size_t count = all.count;
    coroutine **places = all.at;
    auto *blocks = static_cast<coroutine *>(aligned_alloc(64, (count + 1) * sizeof(coroutine)));
    auto *good = array<bool>(count);
    if (blocks == nullptr)
        fail(exit_cannot, "out of memory");
    read_many(p, reinterpret_cast<const void *const *>(places), blocks, sizeof *blocks, count,
              good);
    // The runtime's own have no thread.
    size_t threads = 0;
    for (size_t i = 0; i < count; i++)
        if (good[i] && is_threads(blocks[i], w->env) && blocks[i].index == i) {
            places[threads] = places[i];
            memmove(static_cast<void *>(&blocks[threads++]), &blocks[i], sizeof *blocks);
        }
    auto **at = array<const void *>(threads), **extra_at = array<const void *>(threads);
    for (size_t i = 0; i < threads; i++) {
        at[i] = blocks[i].arg;
        extra_at[i] = blocks[i].extra;
    }
    auto *theirs = static_cast<waist::thread *>(memory((threads + 1) * sizeof(waist::thread)));
    auto *extras = static_cast<co_extra *>(memory((threads + 1) * sizeof(co_extra)));
    auto *has_thread = array<bool>(threads), *has_extra = array<bool>(threads);
    read_many(p, at, theirs, sizeof *theirs, threads, has_thread);
    read_many(p, extra_at, extras, sizeof *extras, threads, has_extra);
    reader r = reader_of(p, w->env, all.env->event_loop);
    thread_list list{array<thread_row>(threads), 0, all.env->counts.switches};
    for (size_t i = 0; i < threads; i++)
        if (has_thread[i]) {
            sleep_at_times();
            list.rows[list.count++] =
                r.row_of(places[i], blocks[i], theirs[i], has_extra[i] ? &extras[i] : nullptr);
        }
    if (r.pagemap >= 0)
        close(r.pagemap);
    free(blocks);
    if (list.count == 0) // it has one as long as it lives
        fail(exit_cannot, "process %d: no thread of it can be read", p.pid);
    std::sort(list.rows, list.rows + list.count,
              [](const thread_row &a, const thread_row &b) { return a.tid < b.tid; });
    find_deadlocks(list);
    return list;
}

bool read_again(const attached &p, const thread_row &listed, thread_now *out) {
    copy_of<waist::worker> w;
    copy_of<co_extra> extra;
    if (!w.read(p, p.shown.the_worker) || !out->co.read(p, listed.at) ||
        !is_threads(*out->co.operator->(), w->env) ||
        !out->t.read(p, static_cast<const waist::thread *>(out->co->arg)) ||
        out->t->tid != listed.tid)
        return false;
    static reader *again; // its clock is set once
    copy_of<co_env> env;
    if (again == nullptr) {
        if (!env.read(p, w->env))
            return false;
        again = new (memory(sizeof *again)) reader(reader_of(p, w->env, env->event_loop));
    }
    out->row = again->row_of(listed.at, *out->co.operator->(), *out->t.operator->(),
                             extra.read(p, out->co->extra) ? extra.operator->() : nullptr);
    bool same = out->row.object == listed.object; // only a list of all tells who is a holder
    out->row.holder = same ? listed.holder : 0;
    out->row.joins = listed.joins;
    out->row.is_deadlocked = listed.is_deadlocked;
    return true;
}

} // namespace corun::launcher
