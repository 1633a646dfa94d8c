// SPDX-License-Identifier: Apache-2.0
#include "co_hook/calls/ipc.h"

#include "co_hook/calls/back_off.h"
#include "co_hook/calls/wait.h"

#include "co_routine/base/spinlock.h"
#include "co_routine/loop/fd_events.h"
#include "co_routine/loop/fork_generation.h"

#include <cerrno>
#include <sys/ipc.h>
#include <sys/sem.h>

namespace corun::calls {
namespace {

constexpr wait_kind receive_kind{"mq_receive", true, abandon_fd_wait};
constexpr wait_kind send_kind{"mq_send", true, abandon_fd_wait};
constexpr int semctl_flags = 0; // i386's SYS_semctl is the new one: no IPC_64

// ---- System V: who waits, so that a change made here wakes it before its pause is over

constexpr unsigned waiter_lists = 64;
struct waiter_list {
    unsigned lock;
    uint32_t generation; // of the process, see fork_generation.h
    unsigned count;      // atomic
    list_node ring;      // of wait_links; nullptr: nobody yet. subject is the object's number
};
waiter_list lists[waiter_lists];

// A forked child begins with nobody, and with the lock free: whoever held it is not there.
waiter_list *list_of(int id) {
    waiter_list *l = &lists[static_cast<unsigned>(id) % waiter_lists];
    uint32_t generation = fork_generation();
    if (l->generation != generation) {
        l->lock = l->count = 0;
        l->ring = {};
        l->generation = generation;
    }
    return l;
}

void leave_list(coroutine *co) {
    waiter_list *l = list_of(static_cast<int>(co->subject.fd));
    spin_guard guard(&l->lock);
    for (list_node *n = l->ring.next; n && n != &l->ring; n = n->next)
        if (n == &co->wait_link) {
            n->unlink();
            __atomic_sub_fetch(&l->count, 1U, __ATOMIC_RELAXED);
            return;
        }
    co->wait_link = {};
}

constexpr wait_kind msgrcv_kind{"msgrcv", false, leave_list};
constexpr wait_kind msgsnd_kind{"msgsnd", false, leave_list};
constexpr wait_kind semop_kind{"semop", false, leave_list};

// The waiter is in the list from before its look on, so no change made by this process is missed.
class sysv_wait {
  public:
    sysv_wait(const wait_kind &kind, int id) : kind_(kind), id_(id) {}
    ~sysv_wait() { leave(); }
    sysv_wait(const sysv_wait &) = delete;
    sysv_wait &operator=(const sysv_wait &) = delete;

    void join() {
        coroutine *co = self_for_waiting();
        if (!co)
            return;
        co->subject.fd = id_;
        waiter_list *l = list_of(id_);
        spin_guard guard(&l->lock);
        if (!l->ring.next)
            l->ring.next = l->ring.prev = &l->ring;
        list_head::insert_before(&l->ring, &co->wait_link);
        __atomic_add_fetch(&l->count, 1U, __ATOMIC_SEQ_CST);
        joined_ = co;
    }
    void leave() {
        if (!joined_)
            return;
        joined_->subject.fd = id_;
        leave_list(joined_);
        joined_ = nullptr;
    }
    int pause(int64_t deadline_ns) { return pauses_.wait(kind_, {.fd = id_}, deadline_ns); }

  private:
    const wait_kind &kind_;
    int id_;
    coroutine *joined_ = nullptr;
    back_off pauses_;
};

// look(): the call with IPC_NOWAIT.
template <class Look>
word sysv_call(const wait_kind &kind, int id, word would_block, int64_t deadline_ns, Look look) {
    word r = look();
    if (r != would_block)
        return r;
    sysv_wait waiter(kind, id);
    for (;;) {
        waiter.join();
        r = look();
        if (r != would_block) // a removed one is not known any more: it was there a moment ago
            return r == -EINVAL ? -EIDRM : r;
        if (now_ns() >= deadline_ns)
            return -EAGAIN;
        int e = waiter.pause(deadline_ns);
        if (e != 0 && e != -ETIMEDOUT)
            return e;
        waiter.leave();
    }
}

// ---- POSIX queues

// Monotonic, for a moment of the wall clock as it goes now.
int64_t monotonic_deadline(const sys::kernel_timespec *wall) {
    if (!wall)
        return no_deadline;
    sys::kernel_timespec now{};
    sys::call(sys::nr_clock_gettime, CLOCK_REALTIME, &now);
    int64_t seconds = wall->tv_sec - now.tv_sec, ns;
    if (__builtin_mul_overflow(seconds, ns_per_s, &ns))
        return seconds > 0 ? no_deadline : now_ns();
    return deadline_in(ns + wall->tv_nsec - now.tv_nsec);
}

bool is_valid_time(const sys::kernel_timespec *t) {
    return !t || (t->tv_sec >= 0 && t->tv_nsec >= 0 && t->tv_nsec < ns_per_s);
}

template <class Look>
word queue_call(const wait_kind &kind, int fd, fd_direction d, const sys::kernel_timespec *deadline,
                Look look) {
    if (!is_valid_time(deadline))
        return -EINVAL;
    for (;;) {
        word r = look();
        if (r != -ETIMEDOUT) {
            fd_done(fd, d);
            return r;
        }
        fd_saw_eagain(fd, d);
        int64_t until = monotonic_deadline(deadline);
        // Somebody may set the clock: no longer than a second without a look at it.
        if (now_ns() >= until)
            return -ETIMEDOUT;
        if (deadline && until > deadline_in(ns_per_s))
            until = deadline_in(ns_per_s);
        int e = fd_wait(kind, fd, d, until);
        if (e != 0 && e != -ETIMEDOUT)
            return e;
    }
}

} // namespace

void ipc_changed(int id) {
    waiter_list *l = list_of(id);
    if (__atomic_load_n(&l->count, __ATOMIC_SEQ_CST) == 0)
        return;
    spin_guard guard(&l->lock);
    for (list_node *n = l->ring.next; n && n != &l->ring; n = n->next) {
        coroutine *co = CO_CONTAINER(n, coroutine, wait_link);
        if (co->subject.fd == id)
            unpark(co);
    }
}

word raw_msgrcv(int id, void *message, size_t bytes, long type, int flags) {
#if defined(__i386__)
    struct {
        void *message;
        long type;
    } both{message, type};
    constexpr int msgrcv_number = 12;
    return sys::call(SYS_ipc, msgrcv_number, id, bytes, flags, &both, type);
#else
    return sys::call(SYS_msgrcv, id, message, bytes, type, flags);
#endif
}

word raw_msgsnd(int id, const void *message, size_t bytes, int flags) {
#if defined(__i386__)
    constexpr int msgsnd_number = 11;
    return sys::call(SYS_ipc, msgsnd_number, id, bytes, flags, message, 0);
#else
    return sys::call(SYS_msgsnd, id, message, bytes, flags);
#endif
}

word raw_semop(int id, sembuf *operations, size_t count, const sys::kernel_timespec *timeout) {
#if defined(__i386__)
    return sys::call(SYS_semtimedop_time64, id, operations, count, timeout);
#else
    return sys::call(SYS_semtimedop, id, operations, count, timeout);
#endif
}

word msgrcv(int id, void *message, size_t bytes, long type, int flags) {
    auto look = [=] { return raw_msgrcv(id, message, bytes, type, flags | IPC_NOWAIT); };
    word r = flags & IPC_NOWAIT ? look() : sysv_call(msgrcv_kind, id, -ENOMSG, no_deadline, look);
    if (r >= 0)
        ipc_changed(id);
    return r;
}

word msgsnd(int id, const void *message, size_t bytes, int flags) {
    auto look = [=] { return raw_msgsnd(id, message, bytes, flags | IPC_NOWAIT); };
    word r = flags & IPC_NOWAIT ? look() : sysv_call(msgsnd_kind, id, -EAGAIN, no_deadline, look);
    if (r >= 0)
        ipc_changed(id);
    return r;
}

namespace {

// Of several operations some may have IPC_NOWAIT: it counts where it is the first that would wait.
// Which one that is only their values tell.
bool first_that_waits_may_not(int id, const sembuf *operations, size_t count) {
    bool any = false, all = true;
    for (size_t i = 0; i < count; ++i) {
        bool nowait = (operations[i].sem_flg & IPC_NOWAIT) != 0;
        any |= nowait;
        all &= nowait;
    }
    if (any == all)
        return any;
    for (size_t i = 0; i < count; ++i) {
        const sembuf &o = operations[i];
        word value = sys::call(SYS_semctl, id, o.sem_num, semctl_flags | GETVAL, 0);
        for (size_t k = 0; k < i; ++k)
            value += operations[k].sem_num == o.sem_num ? operations[k].sem_op : 0;
        if (o.sem_op == 0 ? value != 0 : value + o.sem_op < 0)
            return (o.sem_flg & IPC_NOWAIT) != 0;
    }
    return false; // it has changed: look again
}

} // namespace

namespace {

// A signal that is pending ends also a call that has no time to wait; by its end it is no longer.
template <class F> word undisturbed(F look) {
    word r;
    do
        r = look();
    while (r == -EINTR);
    return r;
}

} // namespace

// With no time to wait the kernel changes nothing where one operation would wait.
word semop(int id, sembuf *operations, size_t count, int64_t timeout_ns) {
    auto look = [=] {
        return undisturbed([=] { return raw_semop(id, operations, count, &sys::at_once); });
    };
    int64_t deadline_ns = timeout_ns < 0 ? no_deadline : deadline_in(timeout_ns);
    word r = look();
    if (r == -EAGAIN && timeout_ns != 0) {
        if (first_that_waits_may_not(id, operations, count))
            return r;
        r = sysv_call(semop_kind, id, -EAGAIN, deadline_ns, look);
    }
    if (r >= 0)
        ipc_changed(id);
    return r;
}

word mq_receive(int fd, char *message, size_t bytes, unsigned *priority,
                const sys::kernel_timespec *deadline) {
    return queue_call(receive_kind, fd, fd_read, deadline, [=] {
        return undisturbed([=] {
            return sys::call(sys::nr_mq_timedreceive, fd, message, bytes, priority, &sys::at_once);
        });
    });
}

word mq_send(int fd, const char *message, size_t bytes, unsigned priority,
             const sys::kernel_timespec *deadline) {
    return queue_call(send_kind, fd, fd_write, deadline, [=] {
        return undisturbed([=] {
            return sys::call(sys::nr_mq_timedsend, fd, message, bytes, priority, &sys::at_once);
        });
    });
}

} // namespace corun::calls
