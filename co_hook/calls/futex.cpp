// SPDX-License-Identifier: Apache-2.0
#include "co_hook/calls/futex.h"

#include "co_hook/calls/address_wait.h"
#include "co_hook/calls/futex_owner.h"
#include "co_hook/calls/kernel_time.h"

#include "co_routine/loop/offload.h"

#include <cerrno>
#include <fcntl.h>
#include <linux/futex.h>

namespace corun::calls {

constinit const futex_threads *all_threads_are_coroutines = nullptr;

namespace {

holder_key holder(const coroutine *co) {
    const futex_threads *all = all_threads_are_coroutines;
    return all && !is_woken(co) ? key_of(all->holder_of(co)) : 0;
}

constexpr wait_kind futex_kind{"futex",           false, abandon_address_wait, nullptr,
                               ended_by::program, holder};
constexpr wait_kind shared_futex_kind{"futex (shared)", false, nullptr};

constexpr uint32_t all_bits = FUTEX_BITSET_MATCH_ANY;

struct request {
    const word (&a)[6];
    bool time64;

    int *at() const { return reinterpret_cast<int *>(a[0]); }
    int *at2() const { return reinterpret_cast<int *>(a[4]); }
    int command() const { return static_cast<int>(a[1]) & FUTEX_CMD_MASK; }
    bool is_private() const { return (a[1] & FUTEX_PRIVATE_FLAG) != 0; }
    bool on_wall_clock() const { return (a[1] & FUTEX_CLOCK_REALTIME) != 0; }
    int value() const { return static_cast<int>(a[2]); }
    int value2() const { return static_cast<int>(a[3]); } // where others have the timeout
    uint32_t value3() const { return static_cast<uint32_t>(a[5]); }

    word native() const { return native_with(a[1], a[2], a[3]); }
    word native_with(word operation, word value, word value2) const {
        return sys::call(time64 ? sys::nr_futex : long{SYS_futex}, a[0], operation, value, value2,
                         a[4], a[5]);
    }
};

int error_of(const int *address) {
    if (reinterpret_cast<uintptr_t>(address) % sizeof(int) != 0)
        return EINVAL;
    return cannot_be_mapped(address) ? EFAULT : 0;
}

bool differs(const void *address, uintptr_t value) {
    return __atomic_load_n(static_cast<const uint32_t *>(address), __ATOMIC_SEQ_CST) != value;
}

// Does the word lie in memory of this process alone? Its page was just read, so it is there.
bool is_own_memory(const void *address) {
    constexpr uint64_t of_a_file_or_shared = uint64_t{1} << 61, present = uint64_t{1} << 63;
    word fd = sys::call(SYS_openat, AT_FDCWD, "/proc/self/pagemap", O_RDONLY | O_CLOEXEC, 0);
    if (sys::failed(fd))
        return false;
    uint64_t entry = 0;
    uint64_t offset = reinterpret_cast<uintptr_t>(address) / page_size * sizeof entry;
    word low = static_cast<word>(offset),
         high = sizeof(word) == 4 ? static_cast<word>(offset >> 32) : 0;
    word n = sys::call(SYS_pread64, fd, &entry, sizeof entry, low, high);
    sys::close(static_cast<int>(fd));
    return n == sizeof entry && (entry & (present | of_a_file_or_shared)) == present;
}

// A helper whose coroutine went away has taken a wake that was meant for somebody who still waits.
void hand_shared_wake_on(int64_t result, const long *args) {
    if (result == 0)
        sys::call(SYS_futex, args[0], long{FUTEX_WAKE_BITSET}, 1, nullptr, nullptr,
                  static_cast<uint32_t>(args[5]));
}

word wait_shared(const request &r, int64_t ns, uint32_t bitset) {
    sys::kernel_timespec until{}; // absolute, for the helper may begin later
    bool wall = r.on_wall_clock() && r.command() == FUTEX_WAIT_BITSET;
    if (ns != no_deadline && r.command() == FUTEX_WAIT)
        ns = deadline_in(ns);
    until = {ns / ns_per_s, ns % ns_per_s};
    offload_buffer time{&until, sizeof until, true, false, false};
    bool timed = ns != no_deadline;
    long operation = FUTEX_WAIT_BITSET | (wall ? FUTEX_CLOCK_REALTIME : 0);
    const long args[6] = {
        r.a[0], operation, r.a[2], timed ? sys::as_word(&until) : 0, 0, static_cast<long>(bitset)};
    coroutine *co = tls_env->running;
    bool cancelled = false, given_up;
    int64_t result;
    do { // no cancel ends it: a helper that was left behind hands on what it gets
        if (!all_threads_are_coroutines)
            cancelled |= co->take(flag_cancel);
        given_up = false;
        result = offload_syscall(shared_futex_kind, offload_own, sys::nr_futex, args, &time,
                                 timed ? 1 : 0, no_deadline, hand_shared_wake_on, &given_up);
    } while (result == -EINTR || (result == -ECANCELED && given_up && !all_threads_are_coroutines));
    if (cancelled)
        co->set(flag_cancel);
    return static_cast<word>(result);
}

// As is_own_memory; but what a door knows for certain needs no look.
bool is_of_this_process(const request &r) {
    const futex_threads *all = all_threads_are_coroutines;
    return r.is_private() || (all && all->is_private(r.at())) || is_own_memory(r.at());
}

int wait_here(const request &r, wait_deadline deadline, uint32_t bitset) {
    auto wait = CO_LIKELY(!all_threads_are_coroutines) ? wait_at_regardless : wait_at_interruptibly;
    return wait(futex_kind, r.at(), differs, static_cast<uint32_t>(r.value()), deadline, bitset);
}

word wait(const request &r, uint32_t bitset) {
    int64_t ns;
    if (int e = read_kernel_time(reinterpret_cast<const void *>(r.a[3]), r.time64, &ns))
        return e;
    bool relative = r.command() == FUTEX_WAIT;
    if (relative && r.on_wall_clock()) {
        // Some kernels refuse this. They say so, with a word that has changed already.
        int one = 1;
        if (word e = sys::call(SYS_futex, &one, FUTEX_WAIT | FUTEX_CLOCK_REALTIME, 0, nullptr);
            e != -EAGAIN)
            return e;
    }
    if (bitset == 0)
        return -EINVAL;
    if (int e = error_of(r.at()))
        return -e;
    if (!can_read(r.at(), sizeof(int)))
        return -EFAULT;
    if (differs(r.at(), static_cast<uint32_t>(r.value())))
        return -EAGAIN;
    if (!is_of_this_process(r))
        return wait_shared(r, ns, bitset);
    if (relative)
        return wait_here(r, deadline_in(ns), bitset);
    return wait_here(r, {ns, r.on_wall_clock() ? CLOCK_REALTIME : CLOCK_MONOTONIC}, bitset);
}

// At most n, of both sides. The kernel takes less than one for one.
word wake_both(int *address, int n, uint32_t bitset, bool is_private) {
    static unsigned wakes;
    if (n < 1)
        n = 1;
    if (all_threads_are_coroutines) { // and a handler interrupts none of this
        int here = wake_at(address, n, bitset);
        if (is_private || here >= n)
            return here;
        word in_kernel = sys::call(SYS_futex, address, long{FUTEX_WAKE_BITSET}, n - here, nullptr,
                                   nullptr, bitset);
        return sys::failed(in_kernel) ? (here > 0 ? here : in_kernel) : here + in_kernel;
    }
    long operation = FUTEX_WAKE_BITSET | (is_private ? FUTEX_PRIVATE_FLAG : 0);
    bool any = may_be_waited_at(address);
    bool kernel_first = any && __atomic_fetch_add(&wakes, 1U, __ATOMIC_RELAXED) % 16 == 0;
    word woken = 0;
    if (any && !kernel_first)
        woken = wake_at_in_handler(address, n, bitset);
    if (woken >= n)
        return woken;
    word r = sys::call(SYS_futex, address, operation, n - woken, nullptr, nullptr, bitset);
    if (sys::failed(r))
        return woken > 0 ? woken : r;
    woken += r;
    if (kernel_first && woken < n)
        woken += wake_at_in_handler(address, n - static_cast<int>(woken), bitset);
    return woken;
}

word wake(const request &r, uint32_t bitset) {
    if (bitset == 0 || error_of(r.at()) != 0)
        return r.native(); // it says what is wrong
    return wake_both(r.at(), r.value(), bitset, r.is_private());
}

word requeue(const request &r) {
    bool compare = r.command() == FUTEX_CMP_REQUEUE;
    int to_wake = r.value(), to_move = r.value2();
    if (to_wake < 0 || to_move < 0 || error_of(r.at()) != 0 || error_of(r.at2()) != 0 ||
        (compare && !can_read(r.at(), sizeof(int))))
        return r.native();
    int woken = 0;
    int ours = requeue_at(r.at(), r.at2(), to_wake, to_move, compare ? differs : nullptr,
                          r.value3(), &woken);
    if (ours < 0)
        return ours;
    to_wake -= woken;
    to_move -= ours - woken;
    bool nobody_else = all_threads_are_coroutines && r.is_private();
    if (ours > 0 && (nobody_else || (to_wake == 0 && to_move == 0)))
        return ours;
    word theirs = r.native_with(r.a[1], to_wake, to_move);
    if (sys::failed(theirs))
        return ours > 0 ? ours : theirs;
    return ours + theirs;
}

// The operation that FUTEX_WAKE_OP makes on its second word, made here: the kernel would not tell
// whether the comparison held. False: there is no such operation.
bool change(int *word_at, uint32_t encoded, int *before) {
    auto argument = static_cast<int>(encoded << 8) >> 20; // 12 bits with their sign
    if (encoded >> 28 & FUTEX_OP_OPARG_SHIFT)
        argument = static_cast<int>(1U << (argument & 31));
    switch (encoded >> 28 & 7) {
    case FUTEX_OP_SET:
        *before = __atomic_exchange_n(word_at, argument, __ATOMIC_SEQ_CST);
        return true;
    case FUTEX_OP_ADD:
        *before = __atomic_fetch_add(word_at, argument, __ATOMIC_SEQ_CST);
        return true;
    case FUTEX_OP_OR:
        *before = __atomic_fetch_or(word_at, argument, __ATOMIC_SEQ_CST);
        return true;
    case FUTEX_OP_ANDN:
        *before = __atomic_fetch_and(word_at, ~argument, __ATOMIC_SEQ_CST);
        return true;
    case FUTEX_OP_XOR:
        *before = __atomic_fetch_xor(word_at, argument, __ATOMIC_SEQ_CST);
        return true;
    default:
        return false;
    }
}

// 1, 0, or -ENOSYS
int compare(int before, uint32_t encoded) {
    int with = static_cast<int>(encoded << 20) >> 20;
    switch (encoded >> 24 & 15) {
    case FUTEX_OP_CMP_EQ:
        return before == with;
    case FUTEX_OP_CMP_NE:
        return before != with;
    case FUTEX_OP_CMP_LT:
        return before < with;
    case FUTEX_OP_CMP_GE:
        return before >= with;
    case FUTEX_OP_CMP_LE:
        return before <= with;
    case FUTEX_OP_CMP_GT:
        return before > with;
    default:
        return -ENOSYS;
    }
}

word wake_op(const request &r) {
    // Asks the kernel about both addresses: to compare and to move nobody.
    constexpr long look = FUTEX_CMP_REQUEUE | FUTEX_PRIVATE_FLAG;
    word e = sys::call(SYS_futex, r.a[4], look, 0, 0, r.a[0], 0);
    if (sys::failed(e) && e != -EAGAIN)
        return e;
    int before;
    if (!can_write(r.at2(), sizeof before))
        return -EFAULT;
    if (!change(r.at2(), r.value3(), &before))
        return -ENOSYS;
    int holds = compare(before, r.value3());
    if (holds < 0)
        return holds;
    word woken = wake_both(r.at(), r.value(), all_bits, r.is_private());
    if (sys::failed(woken) || !holds)
        return woken;
    word others = wake_both(r.at2(), r.value2(), all_bits, r.is_private());
    return sys::failed(others) ? others : woken + others;
}

// FUTEX_LOCK_PI and its kin: native but for a door whose coroutines are the threads.
word with_owner(const request &r) {
    int command = r.command();
    bool waits =
        command == FUTEX_LOCK_PI || command == FUTEX_LOCK_PI2 || command == FUTEX_WAIT_REQUEUE_PI;
    bool may_say_clock = command == FUTEX_LOCK_PI2 || command == FUTEX_WAIT_REQUEUE_PI;
    if (r.on_wall_clock() && !may_say_clock)
        return -ENOSYS;
    int64_t ns = no_deadline;
    if (waits)
        if (int e = read_kernel_time(reinterpret_cast<const void *>(r.a[3]), r.time64, &ns))
            return e;
    if (command == FUTEX_UNLOCK_PI && !can_read(r.at(), sizeof(int)))
        return -EFAULT; // which comes first there
    if (int e = error_of(r.at()))
        return -e;
    bool locks =
        command == FUTEX_LOCK_PI || command == FUTEX_LOCK_PI2 || command == FUTEX_TRYLOCK_PI;
    if (locks ? !can_write(r.at(), sizeof(int)) : !can_read(r.at(), sizeof(int)))
        return -EFAULT;
    bool wall = command == FUTEX_LOCK_PI || r.on_wall_clock();
    wait_deadline deadline{ns, wall ? CLOCK_REALTIME : CLOCK_MONOTONIC};
    bool shared = !r.is_private();
    switch (command) {
    case FUTEX_LOCK_PI:
    case FUTEX_LOCK_PI2:
        return lock_owned(r.at(), shared, deadline);
    case FUTEX_TRYLOCK_PI:
        return try_lock_owned(r.at(), shared);
    case FUTEX_UNLOCK_PI:
        return unlock_owned(r.at());
    default:
        break;
    }
    if (int e = error_of(r.at2()))
        return -e;
    if (!can_write(r.at2(), sizeof(int)))
        return -EFAULT;
    if (command == FUTEX_CMP_REQUEUE_PI)
        return wake_to_lock_owned(r.at(), r.at2(), r.value(), r.value2(), r.value3());
    return wait_and_lock_owned(r.at(), static_cast<uint32_t>(r.value()), deadline, r.at2(), shared);
}

} // namespace

word futex(const word (&a)[6], bool time64, bool in_coroutine) {
    request r{a, time64};
    bool wall = r.on_wall_clock();
    switch (r.command()) {
    case FUTEX_WAIT:
        return in_coroutine ? wait(r, all_bits) : r.native();
    case FUTEX_WAIT_BITSET:
        return in_coroutine ? wait(r, r.value3()) : r.native();
    case FUTEX_WAKE:
        return wall ? r.native() : wake(r, all_bits);
    case FUTEX_WAKE_BITSET:
        return wall ? r.native() : wake(r, r.value3());
    case FUTEX_REQUEUE:
    case FUTEX_CMP_REQUEUE:
        return wall ? r.native() : requeue(r);
    case FUTEX_WAKE_OP:
        return wall ? r.native() : wake_op(r);
    case FUTEX_LOCK_PI:
    case FUTEX_LOCK_PI2:
    case FUTEX_TRYLOCK_PI:
    case FUTEX_UNLOCK_PI:
    case FUTEX_WAIT_REQUEUE_PI:
    case FUTEX_CMP_REQUEUE_PI:
        return all_threads_are_coroutines && in_coroutine ? with_owner(r) : r.native();
    default:
        return r.native();
    }
}

} // namespace corun::calls
