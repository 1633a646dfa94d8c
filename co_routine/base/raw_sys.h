// SPDX-License-Identifier: Apache-2.0
// System calls without libc: the result, or -errno. Nothing here touches errno, is a cancellation
// point or can be interposed, so the runtime may use it from inside its own hooks, on a helper thread
// and between two stacks.
//
// Where i386 has a call with 64-bit time, that one is used; kernel_timespec is 64-bit everywhere.
#pragma once

#include "co_routine/base/sanitizer.h"

#include <cstddef>
#include <cstdint>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <type_traits>

namespace corun {

inline constexpr size_t page_size = 4096; // on both architectures

}

namespace corun::sys {

using word = long;

struct kernel_timespec {
    int64_t tv_sec;
    int64_t tv_nsec; // read as 64 bits by the kernel on both architectures
};

#if defined(__x86_64__)

inline word call6(word nr, word a, word b, word c, word d, word e, word f) {
    register word r10 __asm__("r10") = d;
    register word r8 __asm__("r8") = e;
    register word r9 __asm__("r9") = f;
    word result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

#elif defined(__i386__)

// The sixth argument goes through ebp, which the compiler may not give away: it is saved on the
// stack around the call, and the argument is pushed first because it may be addressed by esp.
inline word call6(word nr, word a, word b, word c, word d, word e, word f) {
    word result;
    __asm__ volatile("pushl %[f]\n\t"
                     "pushl %%ebp\n\t"
                     "movl 4(%%esp), %%ebp\n\t"
                     "int $0x80\n\t"
                     "popl %%ebp\n\t"
                     "addl $4, %%esp"
                     : "=a"(result)
                     : "a"(nr), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e), [f] "g"(f)
                     : "memory", "cc");
    return result;
}

#else
#error "corun knows x86_64 and i386: add the architecture here and under co_ctx/"
#endif

template <class T> inline word as_word([[maybe_unused]] T value) {
    if constexpr (std::is_null_pointer_v<T>)
        return 0;
    else if constexpr (std::is_pointer_v<T>)
        return reinterpret_cast<word>(value);
    else
        return static_cast<word>(value);
}

// In the SAN= builds a test may answer in the kernel's place: true, and *result is the call's. Plain
// builds know nothing of it.
#if defined(CO_CHECK_LEVEL) && CO_CHECK_LEVEL >= 2
using stand_in = bool (*)(long nr, word *result);
inline stand_in call_stand_in = nullptr;
inline bool answered_by_test(long nr, word *result) {
    stand_in test = __atomic_load_n(&call_stand_in, __ATOMIC_ACQUIRE);
    return test && test(nr, result);
}
#else
inline constexpr bool answered_by_test(long, word *) { return false; }
#endif

// sys::call(SYS_read, fd, buffer, size): any system call by number.
template <class... Args> inline word call(long nr, Args... args) {
    static_assert(sizeof...(Args) <= 6);
    word a[6] = {as_word(args)...};
    word result = 0;
    if (answered_by_test(nr, &result))
        return result;
    return call6(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}
inline word call(long nr) { return call6(nr, 0, 0, 0, 0, 0, 0); }

#if defined(__i386__)
inline constexpr long nr_ppoll = SYS_ppoll_time64;
inline constexpr long nr_pselect6 = SYS_pselect6_time64;
inline constexpr long nr_clock_gettime = SYS_clock_gettime64;
inline constexpr long nr_clock_nanosleep = SYS_clock_nanosleep_time64;
inline constexpr long nr_futex = SYS_futex_time64;
inline constexpr long nr_mmap = SYS_mmap2; // offset in pages
inline constexpr long nr_fcntl = SYS_fcntl64;
inline constexpr long nr_rt_sigtimedwait = SYS_rt_sigtimedwait_time64;
inline constexpr long nr_mq_timedreceive = SYS_mq_timedreceive_time64;
inline constexpr long nr_mq_timedsend = SYS_mq_timedsend_time64;
#else
inline constexpr long nr_ppoll = SYS_ppoll;
inline constexpr long nr_pselect6 = SYS_pselect6;
inline constexpr long nr_clock_gettime = SYS_clock_gettime;
inline constexpr long nr_clock_nanosleep = SYS_clock_nanosleep;
inline constexpr long nr_futex = SYS_futex;
inline constexpr long nr_mmap = SYS_mmap;
inline constexpr long nr_fcntl = SYS_fcntl;
inline constexpr long nr_rt_sigtimedwait = SYS_rt_sigtimedwait;
inline constexpr long nr_mq_timedreceive = SYS_mq_timedreceive;
inline constexpr long nr_mq_timedsend = SYS_mq_timedsend;
#endif

// A time limit that is over before the call begins: it looks, and does not wait.
inline constexpr kernel_timespec at_once{0, 0};

// The kernel's signal set is 8 bytes on both architectures.
inline constexpr size_t sigset_bytes = 8;

inline word read(int fd, void *buffer, size_t n) { return call(SYS_read, fd, buffer, n); }
inline word write(int fd, const void *buffer, size_t n) { return call(SYS_write, fd, buffer, n); }
inline word close(int fd) { return call(SYS_close, fd); }
// 0 and the new position, or -errno.
inline word lseek(int fd, int64_t offset, int whence, int64_t *at) {
#if defined(__i386__)
    return call(SYS__llseek, fd, static_cast<long>(offset >> 32), static_cast<long>(offset), at,
                whence);
#else
    *at = call(SYS_lseek, fd, offset, whence);
    return *at < 0 ? *at : 0;
#endif
}
inline word fcntl(int fd, int command, word argument) {
    return call(nr_fcntl, fd, command, argument);
}
inline word mmap_anonymous(size_t bytes, int protection, int extra_flags) {
    constexpr int private_anonymous = 0x22;
    word start = call(nr_mmap, 0L, bytes, protection, private_anonymous | extra_flags, -1, 0);
    san_own_space_taken();
    return start;
}
inline word munmap(void *start, size_t bytes) {
    san_own_space_returned();
    return call(SYS_munmap, start, bytes);
}
inline word madvise(void *start, size_t bytes, int advice) {
    return call(SYS_madvise, start, bytes, advice);
}
inline word mprotect(void *start, size_t bytes, int protection) {
    return call(SYS_mprotect, start, bytes, protection);
}
inline word mremap_may_move(void *start, size_t old_bytes, size_t new_bytes) {
    constexpr int may_move = 1;
    san_own_space_returned();
    word moved = call(SYS_mremap, start, old_bytes, new_bytes, may_move);
    san_own_space_taken();
    return moved;
}
inline word epoll_create(int flags) { return call(SYS_epoll_create1, flags); }
inline word epoll_ctl(int epoll_fd, int operation, int fd, epoll_event *event) {
    return call(SYS_epoll_ctl, epoll_fd, operation, fd, event);
}
inline word eventfd(unsigned initial, int flags) { return call(SYS_eventfd2, initial, flags); }
inline word ppoll(pollfd *fds, nfds_t count, const kernel_timespec *timeout, const void *mask) {
    return call(nr_ppoll, fds, count, timeout, mask, sigset_bytes);
}
inline word recvfrom(int fd, void *buffer, size_t n, int flags, void *address, void *length) {
    return call(SYS_recvfrom, fd, buffer, n, flags, address, length);
}
inline word sendto(int fd, const void *buffer, size_t n, int flags, const void *address,
                   socklen_t length) {
    return call(SYS_sendto, fd, buffer, n, flags, address, length);
}
inline word getpid() { return call(SYS_getpid); }
inline word gettid() { return call(SYS_gettid); }

// PID_MAX_LIMIT: no thread that the kernel knows has a higher number.
inline constexpr int highest_tid = 4194304;
inline bool failed(word result) { return static_cast<unsigned long>(result) > -4096UL; }

} // namespace corun::sys
