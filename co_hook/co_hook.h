/* SPDX-License-Identifier: Apache-2.0 */
/* Which blocking calls become yields, and whether they really do. C99 to C2x, C++11 to C++20.
 *
 *     co_enable_hook_sys();                                   // all families but CO_HOOK_LOCALS
 *     co_hook_set_families(CO_HOOK_DEFAULT & ~CO_HOOK_FILES); // this coroutine: files block
 *     co_hook_report(stderr);                                 // what leads where
 *
 * A call whose family is off is libc's own: it blocks the thread. Families are switched per
 * coroutine, and for the process on top of that: a call yields where both say so. What the fd table
 * must know (dup, close, fcntl ...) is noted whatever is switched off.
 */
#ifndef CORUN_CO_HOOK_H
#define CORUN_CO_HOOK_H

#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

enum co_hook_family {
    CO_HOOK_DESCRIPTORS = 1 << 0,  /* accept connect close dup fcntl setsockopt ... */
    CO_HOOK_READ = 1 << 1,         /* read recv recvmsg pread preadv2 ... */
    CO_HOOK_WRITE = 1 << 2,        /* write send sendmsg pwrite ... */
    CO_HOOK_COPY = 1 << 3,         /* sendfile splice tee copy_file_range */
    CO_HOOK_READINESS = 1 << 4,    /* poll select epoll_wait ... */
    CO_HOOK_SLEEP = 1 << 5,        /* sleep nanosleep ... */
    CO_HOOK_SIGNALS = 1 << 6,      /* pause sigsuspend sigwait ... */
    CO_HOOK_CHILDREN = 1 << 7,     /* wait waitpid system popen fork ... */
    CO_HOOK_NAMES = 1 << 8,        /* getaddrinfo gethostbyname res_query ... */
    CO_HOOK_USERS = 1 << 9,        /* getpwnam_r syslog ... */
    CO_HOOK_LOCKS = 1 << 10,       /* flock lockf F_SETLKW */
    CO_HOOK_FILES = 1 << 11,       /* open fsync stat readdir ... */
    CO_HOOK_STDIO = 1 << 12,       /* fgets fread fprintf ... */
    CO_HOOK_IPC = 1 << 13,         /* msgrcv semop mq_receive ... */
    CO_HOOK_THREADS = 1 << 14,     /* pthread_mutex_lock sem_wait pthread_join sched_yield ... */
    CO_HOOK_LOCALS = 1 << 15,      /* pthread_getspecific ...: each coroutine's own. Opt-in */
    CO_HOOK_RAW = 1 << 16,         /* syscall(): futex and the rest */
    CO_HOOK_AIO = 1 << 17,         /* aio_suspend lio_listio io_getevents */
    CO_HOOK_ENVIRONMENT = 1 << 18, /* getenv ... of the names given to co_set_env_list */
    CO_HOOK_ALL = (1 << 19) - 1,
    CO_HOOK_DEFAULT = (1 << 19) - 1 - (1 << 15)
};

/* The running coroutine's families; they count while its hooks are enabled. 0; EINVAL: bits that are
 * no family; EPERM: not in a coroutine (get: 0); ENOMEM. Any thread, for itself. */
int co_hook_set_families(unsigned families);
unsigned co_hook_get_families(void);

/* The process's: what is off here is off in every coroutine. 0 or EINVAL. Any thread; calls that are
 * under way end as they began. */
int co_hook_set_process_families(unsigned families);
unsigned co_hook_get_process_families(void);

/* 1: a call of this name by the program leads to corun; 0: corun knows the name, but the program's
 * references lead elsewhere (link order); -1: no hook of this name. */
int co_hook_is_hooked(const char *name);

/* Every name, where the references of the program and of each loaded object lead, and what they
 * import that may block and is not covered. Returns the number of ineffective hooks. Reads ELF
 * tables; allocates; not for signal handlers. CORUN_DEBUG=hooks prints it on stderr when hooks are
 * first enabled. */
int co_hook_report(FILE *out);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
