// SPDX-License-Identifier: Apache-2.0
// Closing descriptors, and what is to be remembered or forgotten when they are copied and changed.
#include "co_hook/calls/transfer.h"

#include "co_hook/calls/credentials.h"
#include "co_hook/calls/lock.h"
#include "co_routine/loop/offload.h"

#include <cerrno>
#include <fcntl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

namespace corun::calls {

int before_close(int fd) {
    if (fd < 0)
        return -EBADF;
    if (fd_is_reserved(fd))
        return -EBADF; // the program never opened it
    fd_forget(fd);
    note_closing(fd);
    return 0;
}

void after_close(int fd) {
    fd_renew(fd);
    locks_changed(); // it may have been the last of a file
}

int before_dup_onto(int from, int to) {
    sys::word r = sys::fcntl(from, F_GETFD, 0);
    if (sys::failed(r))
        return static_cast<int>(r); // nothing will be closed
    if (to < 0)
        return -EBADF;
    if (!fd_vacate(to))
        return -EBUSY;
    fd_forget(to);
    return 0;
}

namespace {
unsigned last_descriptor() {
    uint64_t limits[2] = {};
    sys::call(SYS_prlimit64, 0, RLIMIT_NOFILE, nullptr, limits);
    constexpr uint64_t most = 1 << 20;
    return static_cast<unsigned>(limits[0] < most ? limits[0] : most);
}
} // namespace

word unshare_descriptors() {
    if (int e = before_credentials_change(true)) // the helpers would have the former table
        return e;
    return sys::call(SYS_unshare, CLONE_FILES);
}

void before_close_range(unsigned first, unsigned last) {
    unsigned end = last_descriptor();
    for (unsigned fd = first; fd <= last && fd < end; ++fd)
        before_close(static_cast<int>(fd));
}

void after_close_range(unsigned first, unsigned last) {
    unsigned end = last_descriptor();
    for (unsigned fd = first; fd <= last && fd < end; ++fd)
        fd_renew(static_cast<int>(fd));
}

word close_around_reserved(unsigned first, unsigned last, word (*close_part)(unsigned, unsigned)) {
    unsigned end = last_descriptor(), start = first;
    if (first > last)
        return -EINVAL;
    for (unsigned fd = first; fd <= last && fd < end; ++fd) {
        if (!fd_is_reserved(static_cast<int>(fd)))
            continue;
        if (start < fd)
            if (word r = close_part(start, fd - 1))
                return r;
        start = fd + 1;
    }
    return start <= last && start >= first ? close_part(start, last) : 0;
}

namespace {
// A call that was never made leaves the descriptor open.
void close_after_all(int64_t result, const long *args) {
    if (result == -ECANCELED)
        sys::close(static_cast<int>(args[0]));
}

// Closing tells the server of a far file system (FUSE, network), and waits for its answer.
word close_by_helper(int fd) {
    static constexpr wait_kind kind{"close", false, nullptr};
    const long args[6] = {fd, 0, 0, 0, 0, 0};
    return static_cast<word>(offload_syscall(kind, offload_shared, SYS_close, args, nullptr, 0,
                                             no_deadline, close_after_all));
}
} // namespace

word close(int fd) {
    if (int e = outwait_turns(fd))
        return e;
    const fd_state *s = fd < 0 ? nullptr : fd_states.find(static_cast<size_t>(fd));
    bool far = s && speed_of(__atomic_load_n(&s->bits, __ATOMIC_RELAXED)) == speed_far;
    if (int refused = before_close(fd))
        return refused;
    word r = CO_UNLIKELY(far) ? close_by_helper(fd) : sys::close(fd);
    after_close(fd);
    return r;
}

void after_fcntl(int fd, int command, word argument, word result) {
    if (sys::failed(result))
        return;
    if (command == F_SETFL)
        note_status_flags(fd, argument & O_NONBLOCK);
    else if (command == F_DUPFD || command == F_DUPFD_CLOEXEC)
        note_duplicate(fd, static_cast<int>(result), false);
    else if (is_unlock(command, reinterpret_cast<const void *>(argument)))
        locks_changed();
}

void after_ioctl(int fd, unsigned long request, word argument, word result) {
    if (request == FIONBIO && !sys::failed(result))
        note_status_flags(fd, *reinterpret_cast<const int *>(argument) != 0);
}

} // namespace corun::calls
