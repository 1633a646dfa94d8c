// SPDX-License-Identifier: Apache-2.0
#include "co_routine/debug/stderr.h"

#include "co_routine/base/raw_sys.h"

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <initializer_list>
#include <poll.h>
#include <sys/stat.h>

namespace corun {
namespace {

struct statx at_start;
bool was_there;

bool look_at_2(struct statx *out) {
    return !sys::failed(sys::call(SYS_statx, 2, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC,
                                  STATX_TYPE | STATX_INO, out));
}

} // namespace

// In a constructor: a daemon may close it before it has a coroutine.
__attribute__((constructor)) void note_stderr() { was_there = look_at_2(&at_start); }

bool is_stderr(asked a) {
    struct statx s {};
    if (!look_at_2(&s))
        return false;
    sys::word flags = sys::fcntl(2, F_GETFL, 0);
    bool is_log = (flags & O_ACCMODE) == O_WRONLY && (a == asked::yes || (flags & O_APPEND) != 0);
    bool same = was_there && s.stx_dev_major == at_start.stx_dev_major &&
                s.stx_dev_minor == at_start.stx_dev_minor && s.stx_ino == at_start.stx_ino;
    return same || S_ISCHR(s.stx_mode) || (S_ISREG(s.stx_mode) && is_log);
}

void write_to_stderr(const char *text, size_t length) {
    pollfd room{2, POLLOUT, 0};
    if (!is_stderr(asked::no) || sys::ppoll(&room, 1, &sys::at_once, nullptr) <= 0)
        return;
    uint64_t of_writing = 0, before = 0, pending = 0;
    for (int s : {SIGPIPE, SIGXFSZ, SIGTTOU})
        of_writing |= uint64_t{1} << (s - 1);
    sys::call(SYS_rt_sigprocmask, SIG_BLOCK, &of_writing, &before, sys::sigset_bytes);
    sys::call(SYS_rt_sigpending, &pending, sys::sigset_bytes);
    sys::word n = sys::write(2, text, length);
    uint64_t ours = of_writing & ~pending; // what was pending is somebody else's doing
    if ((n == -EPIPE || n == -EFBIG) && ours)
        sys::call(sys::nr_rt_sigtimedwait, &ours, nullptr, &sys::at_once, sys::sigset_bytes);
    sys::call(SYS_rt_sigprocmask, SIG_SETMASK, &before, nullptr, sys::sigset_bytes);
}

} // namespace corun
