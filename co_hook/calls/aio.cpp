// SPDX-License-Identifier: Apache-2.0
#include "co_hook/calls/aio.h"

#include "co_hook/calls/back_off.h"
#include "co_hook/calls/wait.h"

#include <linux/io_uring.h>

namespace corun::calls {
namespace {

constexpr size_t event_bytes = 32;
constexpr wait_kind getevents_kind{"io_getevents", false, nullptr};
constexpr wait_kind ring_kind{"io_uring_enter", true, abandon_fd_wait};
constexpr wait_kind registered_ring_kind{"io_uring_enter", false, nullptr};

// What IORING_ENTER_EXT_ARG points to.
struct enter_argument {
    uint64_t mask;
    uint32_t mask_bytes, least_wait_us;
    uint64_t time;
};

word raw_getevents(void *context, long most, void *events) {
    return sys::call(SYS_io_getevents, context, 0L, most, events, &sys::at_once);
}

// The ring with no time to wait: 0 there were enough completions, -ETIME not yet.
word ask_ring(const word (&a)[6], const enter_argument *program) {
    enter_argument now{};
    if (program)
        now = *program;
    now.time = reinterpret_cast<uint64_t>(&sys::at_once);
    word flags = (a[3] | IORING_ENTER_EXT_ARG) & ~word{IORING_ENTER_SQ_WAIT};
    return sys::call(SYS_io_uring_enter, a[0], 0L, a[2], flags, &now, sizeof now);
}

// 0 or -EFAULT
int deadline_of(const enter_argument *program, int64_t *deadline_ns) {
    *deadline_ns = no_deadline;
    if (!program)
        return 0;
    if (!can_read(program, sizeof *program))
        return -EFAULT;
    sys::kernel_timespec t;
    if (!program->time)
        return 0;
    if (!user_read(reinterpret_cast<const void *>(static_cast<uintptr_t>(program->time)), &t))
        return -EFAULT;
    *deadline_ns = deadline_in(saturated_ns(t.tv_sec, t.tv_nsec));
    return 0;
}

} // namespace

word getevents(void *context, long least, long most, void *events, int64_t deadline_ns) {
    long got = 0;
    word r = look_again(getevents_kind, deadline_ns, [&]() -> word {
        char *next = static_cast<char *>(events) + static_cast<size_t>(got) * event_bytes;
        word n = raw_getevents(context, most - got, next);
        if (n < 0)
            return n;
        got += n;
        return got >= least ? 1 : 0;
    });
    if (got > 0 || r == -ETIMEDOUT)
        return got;
    return r == 1 ? 0 : r;
}

word ring_enter(const word (&a)[6]) {
    constexpr word absolute_time = 1 << 5; // IORING_ENTER_ABS_TIMER: younger than our headers
    bool waits = (a[3] & IORING_ENTER_GETEVENTS) && static_cast<unsigned>(a[2]) > 0;
    const auto *program =
        a[3] & IORING_ENTER_EXT_ARG ? reinterpret_cast<const enter_argument *>(a[4]) : nullptr;
    int64_t deadline_ns;
    if (!waits || (a[3] & absolute_time) || deadline_of(program, &deadline_ns) != 0)
        return sys::call6(SYS_io_uring_enter, a[0], a[1], a[2], a[3], a[4], a[5]);
    word submitted = 0;
    if (a[1] != 0) {
        submitted = sys::call6(SYS_io_uring_enter, a[0], a[1], 0, a[3], a[4], a[5]);
        if (submitted < 0 || static_cast<unsigned>(submitted) < static_cast<unsigned>(a[1]))
            return submitted;
    }
    bool by_number = (a[3] & IORING_ENTER_REGISTERED_RING) == 0;
    auto fd = static_cast<int>(a[0]);
    back_off pauses;
    for (;;) {
        if (by_number)
            fd_may(fd, fd_read); // registered: completions from here on are edges
        word r = ask_ring(a, program);
        int e = 0;
        if (r == -ETIME && by_number) {
            fd_saw_eagain(fd, fd_read);
            e = fd_wait(ring_kind, fd, fd_read, deadline_ns);
        } else if (r == -ETIME) {
            e = pauses.wait(registered_ring_kind, {}, deadline_ns);
        }
        if (r == -ETIME && e == 0)
            continue;
        return submitted > 0 ? submitted : e == -ETIMEDOUT ? -ETIME : e != 0 ? e : r;
    }
}

} // namespace corun::calls
