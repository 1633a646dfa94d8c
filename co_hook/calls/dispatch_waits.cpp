// SPDX-License-Identifier: Apache-2.0
#include "co_hook/calls/dispatch_parts.h"

#include "co_hook/calls/aio.h"
#include "co_hook/calls/children.h"
#include "co_hook/calls/epoll.h"
#include "co_hook/calls/ipc.h"
#include "co_hook/calls/kernel_time.h"
#include "co_hook/calls/signals.h"

#include <cerrno>

namespace corun::calls {
namespace {

// A time limit for calls that take -1 for ever.
int read_limit(word time, bool time64, int64_t *ns) {
    int e = read_kernel_time(as<const void *>(time), time64, ns);
    if (e == 0 && *ns == no_deadline)
        *ns = -1;
    return e;
}

bool is_mask(word mask, word bytes) { return !mask || as<size_t>(bytes) == sys::sigset_bytes; }

word raw_epoll_wait(const word (&a)[6], int64_t ns, word mask) {
    return epoll_wait(as<int>(a[0]), as<epoll_event *>(a[1]), as<int>(a[2]), ns,
                      as<const void *>(mask));
}

bool epoll_call(long nr, const word (&a)[6], word *result) {
    int64_t ns = ms_to_ns(as<int>(a[3]));
    switch (nr) {
    case SYS_epoll_wait:
        return *result = raw_epoll_wait(a, ns, 0), true;
    case SYS_epoll_pwait:
        return *result = is_mask(a[4], a[5]) ? raw_epoll_wait(a, ns, a[4]) : -EINVAL, true;
    case SYS_epoll_pwait2: // 64-bit seconds everywhere
        if (int e = read_limit(a[3], true, &ns))
            return *result = e, true;
        return *result = is_mask(a[4], a[5]) ? raw_epoll_wait(a, ns, a[4]) : -EINVAL, true;
    default:
        return false;
    }
}

word raw_sigtimedwait(const word (&a)[6], bool time64) {
    int64_t ns;
    if (as<size_t>(a[3]) != sys::sigset_bytes)
        return -EINVAL;
    if (!can_read(as<const void *>(a[0]), sys::sigset_bytes))
        return -EFAULT;
    if (int e = read_limit(a[2], time64, &ns))
        return e;
    return sigtimedwait(as<const void *>(a[0]), as<siginfo_t *>(a[1]), ns);
}

word raw_sigsuspend(const word (&a)[6]) {
    if (as<size_t>(a[1]) != sys::sigset_bytes)
        return -EINVAL;
    if (!can_read(as<const void *>(a[0]), sys::sigset_bytes))
        return -EFAULT;
    return wait_for_handler(as<const void *>(a[0]));
}

bool signal_call(long nr, const word (&a)[6], word *result) {
    switch (nr) {
    case SYS_rt_sigtimedwait:
        return *result = raw_sigtimedwait(a, words_are_long), true;
#if defined(__i386__)
    case SYS_rt_sigtimedwait_time64:
        return *result = raw_sigtimedwait(a, true), true;
#endif
    case SYS_rt_sigsuspend:
        return *result = raw_sigsuspend(a), true;
    case SYS_pause:
        return *result = wait_for_handler(nullptr), true;
    default:
        return false;
    }
}

bool child_call(long nr, const word (&a)[6], word *result) {
    switch (nr) {
    case SYS_wait4:
        *result = calls::wait4(as<pid_t>(a[0]), as<int *>(a[1]), as<int>(a[2]), as<rusage *>(a[3]));
        return true;
    case SYS_waitid:
        *result = calls::waitid(as<int>(a[0]), as<id_t>(a[1]), as<siginfo_t *>(a[2]), as<int>(a[3]),
                                as<rusage *>(a[4]));
        return true;
#if defined(__i386__)
    case SYS_waitpid:
        return *result = calls::wait4(as<pid_t>(a[0]), as<int *>(a[1]), as<int>(a[2]), nullptr),
               true;
#endif
    default:
        return false;
    }
}

// mq_timedsend and mq_timedreceive; the deadline is checked where it is used.
word raw_queue(const word (&a)[6], bool time64, bool send) {
    sys::kernel_timespec deadline{};
    const auto *at = as<const void *>(a[4]);
    time_in_64_bits wide{};
    time_in_words narrow{};
    if (at && !(time64 ? user_read(at, &wide) : user_read(at, &narrow)))
        return -EFAULT;
    if (time64)
        deadline = {wide.seconds, wide.part};
    else
        deadline = {narrow.seconds, narrow.part};
    const sys::kernel_timespec *until = a[4] ? &deadline : nullptr;
    if (send)
        return mq_send(as<int>(a[0]), as<const char *>(a[1]), as<size_t>(a[2]), as<unsigned>(a[3]),
                       until);
    return mq_receive(as<int>(a[0]), as<char *>(a[1]), as<size_t>(a[2]), as<unsigned *>(a[3]),
                      until);
}

word raw_semtimedop(word id, word operations, word count, word time, bool time64) {
    int64_t ns;
    if (int e = read_limit(time, time64, &ns))
        return e;
    return calls::semop(as<int>(id), as<sembuf *>(operations), as<size_t>(count), ns);
}

#if defined(__i386__)
// All of System V in one number.
bool ipc_call(const word (&a)[6], word *result) {
    constexpr int semop_number = 1, semtimedop_number = 4, msgsnd_number = 11, msgrcv_number = 12;
    struct kludge {
        void *message;
        long type;
    };
    int id = as<int>(a[1]);
    auto n = as<size_t>(a[2]);
    auto *memory = as<void *>(a[4]);
    switch (a[0]) { // a version in the upper half: the newer form of msgrcv, left to the kernel
    case semop_number:
        return *result = calls::semop(id, static_cast<sembuf *>(memory), n, -1), true;
    case semtimedop_number:
        return *result = raw_semtimedop(id, a[4], a[2], a[5], false), true;
    case msgsnd_number:
        return *result = msgsnd(id, memory, n, as<int>(a[3])), true;
    case msgrcv_number: {
        kludge k;
        if (!user_read(memory, &k))
            return *result = memory ? -EFAULT : -EINVAL, true;
        return *result = msgrcv(id, k.message, n, k.type, as<int>(a[3])), true;
    }
    default:
        return false;
    }
}
#endif

bool aio_call(long nr, const word (&a)[6], word *result) {
    if (nr == SYS_io_uring_enter)
        return *result = ring_enter(a), true;
    bool is_either = nr == SYS_io_getevents || (nr == SYS_io_pgetevents && a[5] == 0);
    if (!is_either || a[1] > a[2] || a[2] <= 0)
        return false;
    int64_t ns;
    if (int e = read_kernel_time(as<const void *>(a[4]), words_are_long, &ns))
        return *result = e, true;
    *result = getevents(as<void *>(a[0]), a[1], a[2], as<void *>(a[3]),
                        ns == no_deadline ? no_deadline : deadline_in(ns));
    return true;
}

bool message_call(long nr, const word (&a)[6], word *result) {
    switch (nr) {
    case SYS_mq_timedsend:
        return *result = raw_queue(a, words_are_long, true), true;
    case SYS_mq_timedreceive:
        return *result = raw_queue(a, words_are_long, false), true;
    case SYS_msgrcv:
        *result = msgrcv(as<int>(a[0]), as<void *>(a[1]), as<size_t>(a[2]), a[3], as<int>(a[4]));
        return true;
    case SYS_msgsnd:
        *result = msgsnd(as<int>(a[0]), as<const void *>(a[1]), as<size_t>(a[2]), as<int>(a[3]));
        return true;
#if defined(__i386__)
    case SYS_mq_timedsend_time64:
        return *result = raw_queue(a, true, true), true;
    case SYS_mq_timedreceive_time64:
        return *result = raw_queue(a, true, false), true;
    case SYS_semtimedop_time64:
        return *result = raw_semtimedop(a[0], a[1], a[2], a[3], true), true;
    case SYS_ipc:
        return ipc_call(a, result);
#else
    case SYS_semop:
        return *result = calls::semop(as<int>(a[0]), as<sembuf *>(a[1]), as<size_t>(a[2]), -1),
               true;
    case SYS_semtimedop:
        return *result = raw_semtimedop(a[0], a[1], a[2], a[3], true), true;
#endif
    default:
        return false;
    }
}

} // namespace

bool dispatch_wait(long nr, const word (&a)[6], word *result) {
    return epoll_call(nr, a, result) || signal_call(nr, a, result) || child_call(nr, a, result) ||
           message_call(nr, a, result) || aio_call(nr, a, result);
}

} // namespace corun::calls
