// SPDX-License-Identifier: Apache-2.0
/*
 * co_routine.h - corun's public interface for C (C99 and later) and C++ (C++11 and later).
 *
 *     #include <co_routine.h>
 *
 *     static void *greet(void *name) {
 *         co_sleep_ms(10);                  // this coroutine waits; the others run
 *         printf("hello, %s\n", (char *)name);
 *         return NULL;
 *     }
 *     int main(void) {
 *         co_go(NULL, NULL, greet, "one");
 *         co_go(NULL, NULL, greet, "two");
 *         co_run();                         // until every coroutine of this thread has ended
 *     }
 *     // cc hello.c $(pkg-config --cflags --libs corun)
 *
 * Rules
 *  - A coroutine belongs to the thread that created it and runs there only. Functions that take a
 *    coroutine are called on that thread, unless they say "from any thread".
 *  - Functions marked [waits] park the calling coroutine: the loop runs the others meanwhile. Called
 *    outside a coroutine (on the thread's own stack) they run the loop until they can return.
 *  - Functions that return int give 0 or an errno value unless they say otherwise; errno is untouched.
 *  - Misuse that cannot be survived (resuming a coroutine that has ended, releasing one that runs)
 *    ends the process with one line on stderr that names the coroutine.
 *  - Coroutines on a shared stack must not hand out pointers to their own stack variables: while such
 *    a coroutine is suspended, another one's bytes stand at those addresses. What corun itself is
 *    given (buffers, pollfd arrays, results) is safe.
 *
 * The first part has libco's names with libco's meaning; differences are listed in README.md.
 */
#ifndef CORUN_CO_ROUTINE_H
#define CORUN_CO_ROUTINE_H

#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#ifndef __cplusplus
#include <stdbool.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif
#if defined(__GNUC__)
#pragma GCC visibility push(default) /* what a public header declares is what the library exports */
#endif

struct stCoRoutine_t;
struct stShareStack_t;
struct stCoEpoll_t;
struct stCoCond_t;
typedef struct stCoRoutine_t stCoRoutine_t;
typedef struct stShareStack_t stShareStack_t;
typedef struct stCoEpoll_t stCoEpoll_t;
typedef struct stCoCond_t stCoCond_t;

/* ---- Coroutines ------------------------------------------------------------------------------ */

typedef void *(*pfn_co_routine_t)(void *);
typedef int (*pfn_co_eventloop_t)(void *);

#define CO_STACK_SIZE_DEFAULT (128 * 1024)
#define CO_GUARD_SIZE_DEFAULT (64 * 1024)

/* How a coroutine is to be made. In C, zero-fill it: every zero means the default. */
struct stCoRoutineAttr_t {
    int stack_size;              /* bytes; 0 or less: 128 KiB. Rounded up to whole pages. Ignored
                                    with share_stack. */
    stShareStack_t *share_stack; /* run on one of these stacks; NULL: a private stack */
    int guard_size;              /* bytes below a private stack that fault when touched; 0: 64 KiB;
                                    less than 0: none */
#ifdef __cplusplus
    stCoRoutineAttr_t() : stack_size(CO_STACK_SIZE_DEFAULT), share_stack(0), guard_size(0) {}
#endif
};
typedef struct stCoRoutineAttr_t stCoRoutineAttr_t;

/* Creates a coroutine that will call routine(arg). It does not run before it is resumed. The caller
 * owns *co and ends that with co_release. attr may be NULL; it is not kept.
 * EINVAL: no co, no routine, a size beyond 1 GiB, or a shared stack of another thread.
 * ENOMEM: no memory for the stack. */
int co_create(stCoRoutine_t **co, const stCoRoutineAttr_t *attr, pfn_co_routine_t routine,
              void *arg);

/* Runs co until it yields, waits or ends; then returns. A coroutine that waits in a [waits] function
 * and is resumed early looks again and goes on waiting. Ends the process when co is running or has
 * resumed somebody, has ended, or belongs to another thread. */
void co_resume(stCoRoutine_t *co);

/* Suspends co, which must be the running coroutine, and returns to the one that resumed it. In C++20
 * co_yield is a keyword; co_yield_to_resumer is the same function everywhere. */
void co_yield_to_resumer(stCoRoutine_t *co);
#if !defined(__cpp_impl_coroutine) && !(defined(__cplusplus) && __cplusplus > 201703L)
void co_yield(stCoRoutine_t *co);
#endif

/* co_yield of the running coroutine. */
void co_yield_ct(void);

/* Frees co. It must not be running, and nobody may be waiting to join it. A coroutine that has not
 * ended is dropped without unwinding: no destructor of its runs (use co_cancel and co_join for that).
 * NULL is ignored. */
void co_release(stCoRoutine_t *co);

/* Makes a coroutine that has ended, or never ran, ready to be resumed from the start again. */
void co_reset(stCoRoutine_t *co);

/* The running coroutine; the thread's own control block on the thread's own stack; NULL in a thread
 * that has not used corun. */
stCoRoutine_t *co_self(void);

/* Like co_create, and ready to run in the loop. With out == NULL it is freed when it ends; otherwise
 * the caller owns *out: co_join, then co_release. */
int co_go(stCoRoutine_t **out, const stCoRoutineAttr_t *attr, pfn_co_routine_t fn, void *arg);

/* [waits] until co has ended; *ret (may be NULL) receives what it returned, CO_CANCELED if it was
 * cancelled. Any number may join; co stays the caller's to release.
 * EDEADLK: co is the caller. ECANCELED: the caller was cancelled. */
int co_join(stCoRoutine_t *co, void **ret);
#define CO_CANCELED ((void *)-1)

/* Asks co to end at the wait it is in, or at its next one: the wait is left, destructors run, and co
 * ends with CO_CANCELED. A coroutine that has not run yet ends without running. Twice is once. From
 * any thread, while co is not released. ESRCH: it has ended. EINVAL: the thread's own stack. ENOTSUP
 * (on co's thread): there is no unwinder and the mode is not CO_CANCEL_ERRNO. It needs libgcc_s (any C++
 * program has it) and unwind tables; where a frame has none, unwinding stops, the stack is freed and
 * co_stats.unwind_stopped counts it. */
int co_cancel(stCoRoutine_t *co);

enum co_cancel_mode_t {
    CO_CANCEL_UNWIND = 0, /* the default: the stack is unwound */
    CO_CANCEL_ERRNO = 1   /* nothing is unwound: this and every later wait returns ECANCELED */
};
/* Chooses what a cancel does to the running coroutine; returns the former mode, -1 for a bad one. */
int co_cancel_mode(int mode);

/* [waits] To the back of the ready queue: every coroutine that is ready runs first. */
void co_yield_now(void);

/* [waits] ms milliseconds on the monotonic clock, any length. ECANCELED; EINVAL: ms < 0. */
int co_sleep_ms(long ms);

/* Makes co, which has called co_yield, ready to run in its thread's loop. When it has not yielded
 * yet, its next co_yield comes back through the loop by itself: a wake-up is never lost, several are
 * one. From any thread, while co is not released. ESRCH: it has ended. */
int co_wake(stCoRoutine_t *co);

/* A name for reports; copied, at most 63 bytes are kept. NULL takes it away. ENOMEM. */
int co_set_name(stCoRoutine_t *co, const char *name);
/* The name, or NULL. Valid until the next co_set_name or co_release. */
const char *co_get_name(const stCoRoutine_t *co);

/* Bytes of stack that co has ever used. Private: from the top to the lowest byte that is not zero,
 * former users of the same stack included. Shared: the largest number of bytes saved or in use. */
size_t co_stack_high_water(const stCoRoutine_t *co);

/* ---- Shared stacks --------------------------------------------------------------------------- */

/* count stacks of size bytes each, for coroutines of the calling thread: attr.share_stack. Many
 * coroutines take turns on one stack; a suspended one keeps only the bytes in use. A new coroutine
 * goes to the stack with the fewest. NULL with errno EINVAL or ENOMEM. */
stShareStack_t *co_alloc_sharestack(int count, int size);
/* Frees them. EBUSY: coroutines still live on them. */
int co_release_sharestack(stShareStack_t *stacks);

/* ---- The loop -------------------------------------------------------------------------------- */

/* Runs the loop until every coroutine of this thread that was started has ended. One that has yielded
 * counts: nobody resumes or wakes it, and co_run does not return (co_dump from another one shows who
 * waits, and for what). */
void co_run(void);

/* Runs the loop for ever, or until pfn(arg), called after each turn and at least every millisecond,
 * returns -1. With pfn NULL an idle loop sleeps. ctx: co_get_epoll_ct(). */
void co_eventloop(stCoEpoll_t *ctx, pfn_co_eventloop_t pfn, void *arg);
/* The calling thread's loop, made if need be. NULL with errno when it cannot be made. */
stCoEpoll_t *co_get_epoll_ct(void);

/* [waits] poll(2) for coroutines: same arguments, same results, -1 with errno; POLLNVAL for a
 * descriptor that a hooked call closes meanwhile. ctx: as above. */
int co_poll(stCoEpoll_t *ctx, struct pollfd fds[], nfds_t nfds, int timeout_ms);

/* ---- Coroutine-local values ------------------------------------------------------------------ */

/* As pthread_setspecific/pthread_getspecific, each coroutine with values of its own; outside a
 * coroutine they are the pthread functions. Keys come from pthread_key_create; its destructors are
 * not run for coroutines (see co_key_create). EINVAL: a key of 1,024 or more. ENOMEM. */
int co_setspecific(pthread_key_t key, const void *value);
void *co_getspecific(pthread_key_t key);

typedef unsigned co_key_t;
/* A key whose destructor runs, for each coroutine with a value that is not NULL, when the coroutine
 * ends or is released (up to 4 rounds, as with pthreads). From any thread. EAGAIN: no more keys
 * (1,024). */
int co_key_create(co_key_t *key, void (*destructor)(void *));
int co_key_delete(co_key_t key);
int co_key_set(co_key_t key, const void *value);
void *co_key_get(co_key_t key);

/* ---- Hooks: blocking calls wait in the loop instead of the kernel ----------------------------- */

void co_enable_hook_sys(void); /* for the running coroutine; outside one: no effect */
void co_disable_hook_sys(void);
bool co_is_enable_sys_hook(void);

/* accept(2) for a listening socket that the program made non-blocking: what libco's servers call. */
struct sockaddr;
int co_accept(int fd, struct sockaddr *addr, unsigned *len);

/* Environment variables of which each coroutine has its own copy (with hooks on). Call it once,
 * before the first coroutine; the array is copied. */
void co_set_env_list(const char *name[], size_t cnt);

/* One line on stderr, as printf. */
#if defined(__GNUC__)
__attribute__((format(printf, 1, 2)))
#endif
void co_log_err(const char *fmt, ...);

/* ---- Conditions, libco's --------------------------------------------------------------------- */

/* Waiters are woken first come, first served; nothing is remembered when nobody waits. */
stCoCond_t *co_cond_alloc(void);         /* NULL: no memory */
int co_cond_free(stCoCond_t *cond);      /* 0; EBUSY: somebody waits */
int co_cond_signal(stCoCond_t *cond);    /* wakes one; 0 */
int co_cond_broadcast(stCoCond_t *cond); /* wakes all; 0 */
/* [waits] for a signal, at most timeout_ms (0 or less: for ever, as in libco). 0, ETIMEDOUT,
 * ECANCELED. (libco always returned 0.) */
int co_cond_timedwait(stCoCond_t *cond, int timeout_ms);

/* ---- Locks, channels: between coroutines of one thread or of several -------------------------- */

/* Put these anywhere but on a shared stack; do not move or copy them. All zero is a valid, unlocked
 * or empty object, as after _init. timeout_ms < 0 is for ever; 0 does not wait (ETIMEDOUT). */

struct co_waitq { /* private: a spin lock and the first-come queue of those who wait */
    struct stCoRoutine_t *first, *last;
    unsigned lock;
};

typedef struct co_mutex { /* private */
    struct co_waitq waiters;
    struct stCoRoutine_t *owner;
} co_mutex_t;

/* First come, first served; unlock hands the lock to the first waiter.
 * EDEADLK: the caller holds it. EPERM: unlocked by one that does not. EBUSY: (try) held; (destroy)
 * in use. */
int co_mutex_init(co_mutex_t *m);
int co_mutex_destroy(co_mutex_t *m);
int co_mutex_lock(co_mutex_t *m); /* [waits] */
int co_mutex_trylock(co_mutex_t *m);
int co_mutex_timedlock(co_mutex_t *m, long timeout_ms); /* [waits] ETIMEDOUT */
int co_mutex_unlock(co_mutex_t *m);

typedef struct co_rwlock { /* private */
    struct co_waitq waiters;
    struct stCoRoutine_t *writer;
    unsigned readers;
} co_rwlock_t;

/* Many readers or one writer, first come, first served both ways: a reader that comes after a
 * waiting writer waits behind it. upgrade gives the read lock up and queues for the write lock (look
 * again at what you read); downgrade turns the write lock into a read lock and lets the readers at
 * the head of the queue in. */
int co_rwlock_init(co_rwlock_t *rw);
int co_rwlock_destroy(co_rwlock_t *rw);
int co_rwlock_rdlock(co_rwlock_t *rw); /* [waits] */
int co_rwlock_tryrdlock(co_rwlock_t *rw);
int co_rwlock_timedrdlock(co_rwlock_t *rw, long timeout_ms); /* [waits] */
int co_rwlock_wrlock(co_rwlock_t *rw);                       /* [waits] */
int co_rwlock_trywrlock(co_rwlock_t *rw);
int co_rwlock_timedwrlock(co_rwlock_t *rw, long timeout_ms); /* [waits] */
int co_rwlock_unlock(co_rwlock_t *rw);
int co_rwlock_upgrade(co_rwlock_t *rw); /* [waits] */
int co_rwlock_downgrade(co_rwlock_t *rw);

typedef struct co_sem { /* private */
    struct co_waitq waiters;
    unsigned count;
} co_sem_t;

int co_sem_init(co_sem_t *s, unsigned count);
int co_sem_destroy(co_sem_t *s);
int co_sem_wait(co_sem_t *s);                       /* [waits] */
int co_sem_trywait(co_sem_t *s);                    /* EAGAIN */
int co_sem_timedwait(co_sem_t *s, long timeout_ms); /* [waits] */
int co_sem_post(co_sem_t *s);                       /* EOVERFLOW */

typedef struct co_wg { /* private */
    struct co_waitq waiters;
    long count;
} co_wg_t;

/* Wait group: add before the work starts, done when a piece ends, wait until none is left. */
int co_wg_init(co_wg_t *wg);
int co_wg_destroy(co_wg_t *wg);
int co_wg_add(co_wg_t *wg, long n); /* EINVAL: the count would fall below 0; EOVERFLOW */
int co_wg_done(co_wg_t *wg);
int co_wg_wait(co_wg_t *wg);                       /* [waits] */
int co_wg_timedwait(co_wg_t *wg, long timeout_ms); /* [waits] */

typedef struct co_chan co_chan_t;

/* A channel of items of item_size bytes that holds capacity of them; with capacity 0 a sender waits
 * for its receiver. Items are copied. After close, send returns EPIPE and recv gives what is left,
 * then EPIPE. EINVAL, ENOMEM. */
int co_chan_create(co_chan_t **out, size_t item_size, size_t capacity);
int co_chan_destroy(co_chan_t *ch);                                      /* EBUSY: somebody waits */
int co_chan_send(co_chan_t *ch, const void *item);                       /* [waits] */
int co_chan_recv(co_chan_t *ch, void *item);                             /* [waits] */
int co_chan_trysend(co_chan_t *ch, const void *item);                    /* EAGAIN */
int co_chan_tryrecv(co_chan_t *ch, void *item);                          /* EAGAIN */
int co_chan_timedsend(co_chan_t *ch, const void *item, long timeout_ms); /* [waits] ETIMEDOUT */
int co_chan_timedrecv(co_chan_t *ch, void *item, long timeout_ms);       /* [waits] ETIMEDOUT */
int co_chan_close(co_chan_t *ch);                                        /* EPIPE: closed before */
size_t co_chan_len(co_chan_t *ch);                                       /* items held now */

/* ---- Seeing inside --------------------------------------------------------------------------- */

struct co_stats { /* of the calling thread; counts since its start unless "now" */
    uint64_t created, ended, cancelled, unwind_stopped;
    uint64_t now_fresh;        /* created, never run */
    uint64_t now_ready;        /* waiting for their turn */
    uint64_t now_running;      /* running, or waiting for one they resumed */
    uint64_t now_yielded;      /* suspended by co_yield */
    uint64_t now_parked;       /* in a [waits] function or a hooked call */
    uint64_t now_ended;        /* ended, not yet released */
    uint64_t stacks;           /* private stacks mapped now */
    uint64_t stacks_in_use;    /* of those, in use */
    uint64_t stacks_unguarded; /* of those, without a guard (no MADV_GUARD_INSTALL, VMAs used up) */
    uint64_t bytes_mapped;     /* address space of private and shared stacks, guards included */
    uint64_t bytes_saved;      /* bytes of shared stacks that are copied out now */
    uint64_t save_buffer_bytes; /* memory held for them */
    uint64_t copies;            /* shared stacks: bytes copied out or in, how often */
    uint64_t bytes_copied;      /* and how many */
    uint64_t switches;          /* from one stack to another */
    uint64_t wakeups;           /* returns from epoll_wait */
    uint64_t epoll_calls;       /* epoll_ctl */
    uint64_t cross_wakes;       /* wake-ups that came from other threads */
    uint64_t offloads;          /* calls given to helper threads or to io_uring */
};
int co_get_stats(struct co_stats *out); /* EINVAL: NULL */

/* The return addresses of co's frames, innermost first, at most max of them; returns how many. co:
 * the running coroutine or a suspended one of the calling thread, wherever its stack is. Uses
 * libunwind (loaded when first needed), else frame pointers. -1 with errno: EINVAL. */
int co_backtrace(stCoRoutine_t *co, void **pcs, int max);

enum {
    CO_DUMP_STACKS = 1, /* with backtraces */
    CO_DUMP_STRETCHES =
        2 /* and, with CORUN_DEBUG=blocked, the process's 8 longest stretches without a yield that
           * were over its limit; with CO_DUMP_STACKS too, with backtraces of that time */
};
/* Writes a line for each coroutine of the calling thread to fd: id, name, state, what it waits for,
 * stack; then the deadlocks among them. Returns how many coroutines, or -1 with errno. */
int co_dump(int fd, unsigned flags);

/* Debugging aids, also by the environment: CORUN_DEBUG=stacks,blocked (a comma list; an unknown
 * word is an error). blocked:100 is another limit in milliseconds. Set before the first coroutine.
 * Returns 0, EINVAL for unknown bits, EBUSY when coroutines exist. */
enum {
    CO_DEBUG_STACKS = 1,   /* a touch of a shared stack that is out faults; the report has both
                              coroutines, their backtraces and the frame of the variable */
    CO_DEBUG_OVERFLOW = 2, /* a stack overflow is reported with name and size before the crash */
    CO_DEBUG_HOOKS = 4,    /* co_hook_report on stderr when hooks are first enabled */
    CO_DEBUG_BLOCKED = 8,  /* who keeps the loop from turning for longer than 50 ms, on stderr */
    CO_DEBUG_PRIVATE = 16  /* as CO_DEBUG_STACKS, and after the report the program goes on: that
                              stack stays accessible, and coroutines that are made with the same
                              entry function from then on get private stacks */
};
int co_set_debug(unsigned flags);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif
