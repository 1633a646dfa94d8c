// SPDX-License-Identifier: Apache-2.0
#include "co_routine/debug/call_name.h"

#include <sys/syscall.h>

namespace corun {

const char *call_name(long number) {
    // clang-format off
#define NAME(name) {SYS_##name, #name}
    static constexpr struct {
        long number;
        const char *name;
    } names[] = {
        NAME(read), NAME(write), NAME(readv), NAME(writev), NAME(pread64), NAME(pwrite64),
        NAME(preadv), NAME(pwritev), NAME(preadv2), NAME(pwritev2), NAME(open), NAME(openat),
        NAME(openat2), NAME(creat), NAME(close), NAME(close_range), NAME(poll), NAME(ppoll),
        NAME(select), NAME(pselect6), NAME(epoll_wait), NAME(epoll_pwait), NAME(epoll_pwait2),
        NAME(accept4), NAME(connect), NAME(recvfrom), NAME(recvmsg), NAME(recvmmsg), NAME(sendto),
        NAME(sendmsg), NAME(sendmmsg), NAME(shutdown), NAME(nanosleep), NAME(clock_nanosleep),
        NAME(pause), NAME(rt_sigsuspend), NAME(rt_sigtimedwait), NAME(wait4), NAME(waitid),
        NAME(futex), NAME(futex_waitv), NAME(flock), NAME(fcntl), NAME(ioctl), NAME(fsync),
        NAME(fdatasync), NAME(sync), NAME(syncfs), NAME(sync_file_range), NAME(msync),
        NAME(fallocate), NAME(ftruncate), NAME(truncate), NAME(readahead), NAME(sendfile),
        NAME(splice), NAME(tee), NAME(vmsplice), NAME(copy_file_range), NAME(stat), NAME(lstat),
        NAME(statx), NAME(access), NAME(faccessat), NAME(readlink), NAME(getdents64), NAME(rename),
        NAME(renameat), NAME(renameat2), NAME(unlink), NAME(unlinkat), NAME(rmdir), NAME(mkdir),
        NAME(mkdirat), NAME(link), NAME(linkat), NAME(msgsnd), NAME(msgrcv), NAME(mq_timedsend),
        NAME(mq_timedreceive), NAME(io_getevents), NAME(io_uring_enter), NAME(execve), NAME(vfork),
        NAME(clone), NAME(fork), NAME(ptrace), NAME(getrandom), NAME(mmap), NAME(munmap),
        NAME(mremap), NAME(madvise), NAME(sched_yield), NAME(io_pgetevents),
#if defined(__i386__)
        NAME(_newselect), NAME(socketcall), NAME(waitpid), NAME(fcntl64), NAME(ftruncate64),
        NAME(sendfile64), NAME(stat64), NAME(lstat64), NAME(fstatat64), NAME(ipc), NAME(mmap2),
        NAME(clock_nanosleep_time64), NAME(ppoll_time64), NAME(pselect6_time64), NAME(futex_time64),
        NAME(recvmmsg_time64), NAME(rt_sigtimedwait_time64), NAME(semtimedop_time64),
        NAME(mq_timedsend_time64), NAME(mq_timedreceive_time64), NAME(io_pgetevents_time64),
#else
        NAME(accept), NAME(newfstatat), NAME(semop), NAME(semtimedop),
#endif
    };
    // clang-format on
    for (const auto &n : names)
        if (n.number == number)
            return n.name;
    return nullptr;
}

} // namespace corun
