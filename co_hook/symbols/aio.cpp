// SPDX-License-Identifier: Apache-2.0
// Waiting for asynchronous I/O. libc's requests are words that its own threads fill in: so they are
// looked at again and again (calls/aio.h).
//
// The requests and their buffers are used by other threads while the coroutine is parked: they must
// not stand on a shared stack.
#include "co_hook/calls/aio.h"
#include "co_hook/symbols/hook.h"
#include "co_hook/symbols/time_types.h"

#include <aio.h>

// libaio's names; nothing of libaio is needed.
struct io_event;

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_AIO;

// -1: none given. False: EINVAL.
template <class T> bool deadline_of(const T *timeout, int64_t *deadline) {
    int64_t ns = 0;
    *deadline = no_deadline;
    if (!timeout)
        return true;
    if (!to_ns(timeout, &ns))
        return false;
    *deadline = deadline_in(ns);
    return true;
}

template <class T>
word suspend(const wait_kind &kind, const struct aiocb *const *list, int count, const T *timeout) {
    int64_t deadline;
    if (count < 0 || !deadline_of(timeout, &deadline))
        return -EINVAL;
    word r = calls::look_again(kind, deadline, [=]() -> word {
        bool any = false;
        for (int i = 0; i < count; ++i) {
            if (!list[i])
                continue;
            any = true;
            if (aio_error(list[i]) != EINPROGRESS)
                return 1;
        }
        return any ? 0 : 1; // libc's returns at once too
    });
    return r == 1 ? 0 : r == -ETIMEDOUT ? -EAGAIN : r;
}

} // namespace

// In a -static program libc's own cannot be found: there it is never waited for in vain.
#define CORUN_AIO_SUSPEND(name, T)                                                                 \
    CORUN_NATIVE(int, name, (const struct aiocb *const *list, int count, const T *timeout),        \
                 (static_cast<void>(list), static_cast<void>(count), static_cast<void>(timeout),   \
                  plain_result<int>(-ENOSYS)));                                                    \
    int hook_##name(const struct aiocb *const *list, int count, const T *timeout) {                \
        static constexpr wait_kind kind{#name, false, nullptr};                                    \
        if (!hooks_are_on(family))                                                                 \
            return native_##name(list, count, timeout);                                            \
        return to_libc<int>(suspend(kind, list, count, timeout));                                  \
    }
CORUN_AIO_SUSPEND(aio_suspend, timespec)
CORUN_HOOK_ALIAS(int, aio_suspend64, aio_suspend,
                 (const struct aiocb *const *, int, const timespec *));
#if defined(__i386__)
CORUN_AIO_SUSPEND(__aio_suspend_time64, timespec64)
#endif

// LIO_WAIT is LIO_NOWAIT and waiting for all of them.
#define CORUN_LIO_LISTIO(name)                                                                     \
    CORUN_NATIVE(int, name, (int, struct aiocb *const *, int, struct sigevent *),                  \
                 plain_result<int>(-ENOSYS));                                                      \
    int hook_##name(int mode, struct aiocb *const *list, int count, struct sigevent *event) {      \
        if (mode != LIO_WAIT || !hooks_are_on(family))                                             \
            return native_##name(mode, list, count, event);                                        \
        return list_and_wait(native_##name, list, count);                                          \
    }
namespace {
int list_and_wait(int (*native)(int, struct aiocb *const *, int, struct sigevent *),
                  struct aiocb *const *list, int count) {
    static constexpr wait_kind kind{"lio_listio", false, nullptr};
    int result = native(LIO_NOWAIT, list, count, nullptr), error = errno;
    if (result != 0 && error != EIO)
        return result;
    word r = calls::look_again(kind, no_deadline, [=]() -> word {
        for (int i = 0; i < count; ++i)
            if (list[i] && list[i]->aio_lio_opcode != LIO_NOP && aio_error(list[i]) == EINPROGRESS)
                return 0;
        return 1;
    });
    if (sys::failed(r))
        return to_libc<int>(r);
    for (int i = 0; i < count; ++i)
        if (list[i] && list[i]->aio_lio_opcode != LIO_NOP && aio_error(list[i]) != 0)
            result = -1;
    return result == 0 ? 0 : plain_result<int>(-EIO);
}
} // namespace
CORUN_LIO_LISTIO(lio_listio)
#if defined(__i386__)
CORUN_LIO_LISTIO(lio_listio64)
#else
CORUN_HOOK_ALIAS(int, lio_listio64, lio_listio,
                 (int, struct aiocb *const *, int, struct sigevent *));
#endif

// ---- libaio's, where a program has it: -errno is its result

CORUN_NATIVE(int, io_getevents,
             (void *context, long least, long most, io_event *events, timespec *timeout),
             static_cast<int>(sys::call(SYS_io_getevents, context, least, most, events, timeout)));
int hook_io_getevents(void *context, long least, long most, io_event *events, timespec *timeout) {
    int64_t deadline;
    if (!hooks_are_on(family) || least > most || most <= 0)
        return native_io_getevents(context, least, most, events, timeout);
    if (!deadline_of(timeout, &deadline))
        return -EINVAL;
    word r = calls::getevents(context, least, most, events, deadline);
    if (r == -ECANCELED)
        leave_with(r);
    return static_cast<int>(r);
}

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(aio_suspend, O),          CORUN_ALIAS_ENTRY(aio_suspend64, O),
    CORUN_ENTRY(lio_listio, O),           CORUN_ENTRY(io_getevents, O),
#if defined(__i386__)
    CORUN_ENTRY(__aio_suspend_time64, O), CORUN_ENTRY(lio_listio64, O),
#else
    CORUN_ALIAS_ENTRY(lio_listio64, O),
#endif
};

} // namespace

CORUN_TABLE(aio_table, entries);

} // namespace corun::symbols
