// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/numbers.h"

#include <sys/syscall.h>

// By the low 16 bits of rax; waist_call looks at the others.
extern "C" __attribute__((visibility("hidden"))) unsigned char waist_table[65536];
unsigned char waist_table[65536];

namespace corun::waist {
namespace {

// clang-format off
// From the start: what makes a second thread or process, what loads objects (loaded.h), and what is to be
// known of signals and of rights.
constexpr short of_one_thread[] = {SYS_clone, SYS_clone3, SYS_fork, SYS_vfork, SYS_mmap, SYS_close,
                                   SYS_prctl, SYS_seccomp, SYS_signalfd, SYS_signalfd4};

// Threads and signals (waist/), then what calls/dispatch*.cpp know.
constexpr short of_threads[] = {
    SYS_exit, SYS_exit_group, SYS_gettid, SYS_set_tid_address, SYS_set_robust_list, SYS_get_robust_list,
    SYS_rseq, SYS_arch_prctl, SYS_munmap, SYS_mprotect, SYS_pkey_mprotect, SYS_mremap, SYS_madvise,
    SYS_tgkill, SYS_tkill, SYS_rt_sigaction,
    SYS_rt_sigprocmask, SYS_rt_sigpending, SYS_rt_sigsuspend, SYS_rt_sigtimedwait,
    SYS_rt_tgsigqueueinfo, SYS_sigaltstack, SYS_pause, SYS_timer_create, SYS_timer_delete,
    SYS_execve, SYS_execveat, SYS_sched_getaffinity,
    SYS_sched_setaffinity, SYS_sched_getparam, SYS_sched_setparam, SYS_sched_getscheduler,
    SYS_sched_setscheduler, SYS_sched_rr_get_interval, SYS_sched_getattr, SYS_sched_setattr,
    SYS_getpriority, SYS_setpriority, SYS_getpgid, SYS_getsid, SYS_prlimit64, SYS_futex, nr_futex_waitv,
    nr_futex_wake, nr_futex_wait, nr_futex_requeue, SYS_setuid, SYS_setgid, SYS_setreuid,
    SYS_setregid, SYS_setresuid, SYS_setresgid, SYS_setfsuid, SYS_setfsgid, SYS_setgroups,
    SYS_capset, SYS_unshare, SYS_setns, SYS_landlock_restrict_self};
constexpr short of_calls[] = {
    SYS_read, SYS_readv, SYS_pread64, SYS_preadv, SYS_preadv2, SYS_write, SYS_writev,
    SYS_pwrite64, SYS_pwritev, SYS_pwritev2, SYS_recvfrom, SYS_recvmsg, SYS_recvmmsg,
    SYS_sendto, SYS_sendmsg, SYS_sendmmsg, SYS_accept, SYS_accept4, SYS_connect, SYS_poll,
    SYS_ppoll, SYS_select, SYS_pselect6, SYS_epoll_wait, SYS_epoll_pwait, SYS_epoll_pwait2,
    SYS_nanosleep, SYS_clock_nanosleep, SYS_sched_yield, SYS_close, SYS_dup, SYS_dup2,
    SYS_dup3, SYS_close_range, SYS_fcntl, SYS_ioctl, SYS_socket, SYS_socketpair, SYS_setsockopt,
    SYS_pipe, SYS_pipe2, SYS_eventfd2, SYS_timerfd_create, SYS_wait4, SYS_waitid, SYS_mq_timedsend,
    SYS_mq_timedreceive, SYS_msgrcv, SYS_msgsnd, SYS_semop, SYS_semtimedop, SYS_flock,
    SYS_open, SYS_openat, SYS_creat, SYS_sendfile, SYS_splice, SYS_tee, SYS_vmsplice,
    SYS_copy_file_range, SYS_unlink, SYS_unlinkat, SYS_rmdir, SYS_rename, SYS_renameat,
    SYS_renameat2, SYS_mkdir, SYS_mkdirat, SYS_link, SYS_linkat, SYS_symlink, SYS_symlinkat,
    SYS_mknod, SYS_mknodat, SYS_chmod, SYS_fchmod, SYS_fchmodat, SYS_chown, SYS_lchown,
    SYS_fchown, SYS_fchownat, SYS_truncate, SYS_ftruncate, SYS_access, SYS_faccessat,
    SYS_faccessat2, SYS_fallocate, SYS_fdatasync, SYS_fsync, SYS_lstat, SYS_newfstatat,
    SYS_readahead, SYS_readlink, SYS_readlinkat, SYS_stat, SYS_statx, SYS_sync,
    SYS_sync_file_range, SYS_syncfs, SYS_io_uring_enter, SYS_io_getevents,
    SYS_io_pgetevents};
// clang-format on

template <unsigned n> void claim(const short (&numbers)[n]) {
    for (short nr : numbers)
        waist_table[nr] = WAIST_IS_OURS;
}

} // namespace

void claim_first_numbers() {
    claim(of_one_thread);
    waist_table[SYS_rt_sigreturn] = WAIST_SIGRETURN; // wants its own stack pointer
}

void claim_numbers_of_stats(bool at_end) {
    waist_table[SYS_rt_sigaction] = WAIST_IS_OURS;
    if (at_end)
        waist_table[SYS_exit_group] = WAIST_IS_OURS;
}

void claim_all_numbers() {
    claim(of_threads);
    claim(of_calls);
}

} // namespace corun::waist
