// SPDX-License-Identifier: Apache-2.0
// Message queues and semaphores between processes.
#include "co_hook/calls/ipc.h"
#include "co_hook/calls/fd_state.h"
#include "co_hook/symbols/hook.h"
#include "co_hook/symbols/time_types.h"

#include <cstdarg>
#include <fcntl.h>
#include <mqueue.h>
#include <sys/sem.h>

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_IPC;

using sys::kernel_timespec;

// The program's timespec for the kernel, or null.
template <class T> class kernel_time {
  public:
    explicit kernel_time(const T *t) : set_(t) {
        if (t)
            value_ = {t->tv_sec, t->tv_nsec};
    }
    const kernel_timespec *get() const { return set_ ? &value_ : nullptr; }

  private:
    kernel_timespec value_{};
    bool set_;
};

template <class T> word semop_with(int id, sembuf *operations, size_t count, const T *timeout) {
    int64_t ns = -1;
    if (timeout && !to_ns(timeout, &ns))
        return -EINVAL;
    return calls::semop(id, operations, count, ns);
}
template <class T> word raw_semop_with(int id, sembuf *operations, size_t count, const T *timeout) {
    return calls::raw_semop(id, operations, count, kernel_time<T>(timeout).get());
}

template <class T>
word raw_receive(int fd, char *message, size_t bytes, unsigned *priority, const T *deadline) {
    return sys::call(sys::nr_mq_timedreceive, fd, message, bytes, priority,
                     kernel_time<T>(deadline).get());
}
template <class T>
word raw_send(int fd, const char *message, size_t bytes, unsigned priority, const T *deadline) {
    return sys::call(sys::nr_mq_timedsend, fd, message, bytes, priority,
                     kernel_time<T>(deadline).get());
}
template <class T>
word receive(int fd, char *message, size_t bytes, unsigned *priority, const T *deadline) {
    return calls::mq_receive(fd, message, bytes, priority, kernel_time<T>(deadline).get());
}
template <class T>
word send(int fd, const char *message, size_t bytes, unsigned priority, const T *deadline) {
    return calls::mq_send(fd, message, bytes, priority, kernel_time<T>(deadline).get());
}
constexpr const timespec64 *no_time = nullptr;

word changed(int id, word r) {
    if (r >= 0)
        calls::ipc_changed(id);
    return r;
}

} // namespace

// A plain thread's change may be what a coroutine waits for.
#define CORUN_SYSV(result, name, parameters, arguments, raw, call)                                 \
    CORUN_NATIVE(result, name, parameters, plain_result<result>(raw));                             \
    result hook_##name parameters {                                                                \
        if (hooks_are_on(family))                                                                  \
            return to_libc<result>(call);                                                          \
        return static_cast<result>(changed(id, native_##name arguments));                          \
    }
CORUN_SYSV(ssize_t, msgrcv, (int id, void *message, size_t bytes, long type, int flags),
           (id, message, bytes, type, flags), calls::raw_msgrcv(id, message, bytes, type, flags),
           calls::msgrcv(id, message, bytes, type, flags))
CORUN_SYSV(int, msgsnd, (int id, const void *message, size_t bytes, int flags),
           (id, message, bytes, flags), calls::raw_msgsnd(id, message, bytes, flags),
           calls::msgsnd(id, message, bytes, flags))
CORUN_SYSV(int, semop, (int id, sembuf *operations, size_t count), (id, operations, count),
           calls::raw_semop(id, operations, count, nullptr),
           calls::semop(id, operations, count, -1))
CORUN_SYSV(int, semtimedop, (int id, sembuf *operations, size_t count, const timespec *timeout),
           (id, operations, count, timeout), raw_semop_with(id, operations, count, timeout),
           semop_with(id, operations, count, timeout))

CORUN_HOOK(ssize_t, mq_receive, (mqd_t fd, char *message, size_t bytes, unsigned *priority),
           (fd, message, bytes, priority), raw_receive(fd, message, bytes, priority, no_time),
           receive(fd, message, bytes, priority, no_time))
CORUN_HOOK(ssize_t, mq_timedreceive,
           (mqd_t fd, char *message, size_t bytes, unsigned *priority, const timespec *deadline),
           (fd, message, bytes, priority, deadline),
           raw_receive(fd, message, bytes, priority, deadline),
           receive(fd, message, bytes, priority, deadline))
CORUN_HOOK(int, mq_send, (mqd_t fd, const char *message, size_t bytes, unsigned priority),
           (fd, message, bytes, priority), raw_send(fd, message, bytes, priority, no_time),
           send(fd, message, bytes, priority, no_time))
CORUN_HOOK(int, mq_timedsend,
           (mqd_t fd, const char *message, size_t bytes, unsigned priority,
            const timespec *deadline),
           (fd, message, bytes, priority, deadline),
           raw_send(fd, message, bytes, priority, deadline),
           send(fd, message, bytes, priority, deadline))
#if defined(__i386__)
CORUN_SYSV(int, __semtimedop64,
           (int id, sembuf *operations, size_t count, const timespec64 *timeout),
           (id, operations, count, timeout), raw_semop_with(id, operations, count, timeout),
           semop_with(id, operations, count, timeout))
CORUN_HOOK(ssize_t, __mq_timedreceive_time64,
           (mqd_t fd, char *message, size_t bytes, unsigned *priority, const timespec64 *deadline),
           (fd, message, bytes, priority, deadline),
           raw_receive(fd, message, bytes, priority, deadline),
           receive(fd, message, bytes, priority, deadline))
CORUN_HOOK(int, __mq_timedsend_time64,
           (mqd_t fd, const char *message, size_t bytes, unsigned priority,
            const timespec64 *deadline),
           (fd, message, bytes, priority, deadline),
           raw_send(fd, message, bytes, priority, deadline),
           send(fd, message, bytes, priority, deadline))
#endif

// ---- Their descriptors

namespace {

mqd_t noted(mqd_t fd, int flags) {
    if (fd >= 0)
        calls::note_anonymous(fd, flags & O_NONBLOCK);
    return fd;
}

// libc asks for a name that begins with '/', the kernel for one without.
word raw_open(const char *name, int flags, unsigned mode, void *attributes) {
    if (name[0] != '/')
        return -EINVAL;
    return sys::call(SYS_mq_open, name + 1, flags, mode, attributes);
}
mqd_t fallback_mq_open(const char *name, int flags, ...) {
    va_list list;
    va_start(list, flags);
    unsigned mode = flags & O_CREAT ? va_arg(list, unsigned) : 0;
    void *attributes = flags & O_CREAT ? va_arg(list, void *) : nullptr;
    va_end(list);
    return plain_result<mqd_t>(raw_open(name, flags, mode, attributes));
}

} // namespace

static mqd_t (*native_mq_open)(const char *, int, ...) = fallback_mq_open;
CORUN_EXPORTED mqd_t hook_mq_open(const char *name, int flags, ...) __asm__("mq_open");
mqd_t hook_mq_open(const char *name, int flags, ...) {
    va_list list;
    va_start(list, flags);
    unsigned mode = flags & O_CREAT ? va_arg(list, unsigned) : 0;
    void *attributes = flags & O_CREAT ? va_arg(list, void *) : nullptr;
    va_end(list);
    return noted(native_mq_open(name, flags, mode, attributes), flags);
}
CORUN_NATIVE(mqd_t, __mq_open_2, (const char *name, int flags),
             plain_result<mqd_t>(raw_open(name, flags, 0, nullptr)));
mqd_t hook___mq_open_2(const char *name, int flags) {
    return noted(native___mq_open_2(name, flags), flags);
}
CORUN_NATIVE(int, mq_close, (mqd_t fd), plain_result<int>(sys::close(fd)));
int hook_mq_close(mqd_t fd) {
    if (int e = calls::before_close(fd))
        return plain_result<int>(e);
    int r = native_mq_close(fd);
    calls::after_close(fd);
    return r;
}

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(msgrcv, T),
    CORUN_ENTRY(msgsnd, T),
    CORUN_ENTRY(semop, T),
    CORUN_ENTRY(semtimedop, T),
    CORUN_ENTRY(mq_receive, E),
    CORUN_ENTRY(mq_timedreceive, E),
    CORUN_ENTRY(mq_send, E),
    CORUN_ENTRY(mq_timedsend, E),
    CORUN_ENTRY(mq_open, B),
    CORUN_ENTRY(__mq_open_2, B),
    CORUN_ENTRY(mq_close, B),
#if defined(__i386__)
    CORUN_ENTRY(__semtimedop64, T),
    CORUN_ENTRY(__mq_timedreceive_time64, E),
    CORUN_ENTRY(__mq_timedsend_time64, E),
#endif
};

} // namespace

CORUN_TABLE(ipc_table, entries);

} // namespace corun::symbols
