/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled, not run, in every C that the headers promise: each name of the public interface is used
 * with the type that it is documented to have. C99 comments only where C90 ones would do too. */
#include <co_hook.h>
#include <co_routine.h>
#include <co_routine_inner.h>
#include <coctx.h>

struct sockaddr;

struct every_function {
    int (*create)(stCoRoutine_t **, const stCoRoutineAttr_t *, void *(*)(void *), void *);
    void (*with_one[4])(stCoRoutine_t *);
    void (*yield_to_resumer)(stCoRoutine_t *);
    void (*with_none[5])(void);
    stCoRoutine_t *(*self)(void);
    int (*go)(stCoRoutine_t **, const stCoRoutineAttr_t *, pfn_co_routine_t, void *);
    int (*join)(stCoRoutine_t *, void **);
    int (*asked[2])(stCoRoutine_t *);
    int (*cancel_mode)(int);
    int (*sleep_ms)(long);
    int (*set_name)(stCoRoutine_t *, const char *);
    const char *(*get_name)(const stCoRoutine_t *);
    size_t (*high_water)(const stCoRoutine_t *);
    stShareStack_t *(*alloc_sharestack)(int, int);
    int (*release_sharestack)(stShareStack_t *);
    void (*eventloop)(stCoEpoll_t *, pfn_co_eventloop_t, void *);
    stCoEpoll_t *(*epoll_ct)(void);
    int (*poll)(stCoEpoll_t *, struct pollfd[], nfds_t, int);
    int (*setspecific)(pthread_key_t, const void *);
    void *(*getspecific)(pthread_key_t);
    int (*key_create)(co_key_t *, void (*)(void *));
    int (*key_delete)(co_key_t);
    int (*key_set)(co_key_t, const void *);
    void *(*key_get)(co_key_t);
    bool (*is_hooked)(void);
    int (*accept)(int, struct sockaddr *, unsigned *);
    void (*set_env_list)(const char *[], size_t);
    void (*log_err)(const char *, ...);
    stCoCond_t *(*cond_alloc)(void);
    int (*cond[3])(stCoCond_t *);
    int (*cond_timedwait)(stCoCond_t *, int);
    int (*mutex[5])(co_mutex_t *);
    int (*mutex_timedlock)(co_mutex_t *, long);
    int (*rwlock[9])(co_rwlock_t *);
    int (*rwlock_timed[2])(co_rwlock_t *, long);
    int (*sem_init)(co_sem_t *, unsigned);
    int (*sem[4])(co_sem_t *);
    int (*sem_timedwait)(co_sem_t *, long);
    int (*wg[4])(co_wg_t *);
    int (*wg_long[2])(co_wg_t *, long);
    int (*chan_create)(co_chan_t **, size_t, size_t);
    int (*chan[2])(co_chan_t *);
    int (*chan_send[2])(co_chan_t *, const void *);
    int (*chan_recv[2])(co_chan_t *, void *);
    int (*chan_timedsend)(co_chan_t *, const void *, long);
    int (*chan_timedrecv)(co_chan_t *, void *, long);
    size_t (*chan_len)(co_chan_t *);
    int (*get_stats)(struct co_stats *);
    int (*backtrace)(stCoRoutine_t *, void **, int);
    int (*dump)(int, unsigned);
    int (*set_debug)(unsigned);
    int (*hook_set[2])(unsigned);
    unsigned (*hook_get[2])(void);
    int (*hook_is_hooked)(const char *);
    int (*hook_report)(FILE *);
    int (*context_init)(coctx_t *);
    int (*context_make)(coctx_t *, coctx_pfn_t, const void *, const void *);
    void (*context_swap)(coctx_t *, coctx_t *);
};

extern const struct every_function every_function;
const struct every_function every_function = {
    co_create,
    {co_resume, co_yield, co_release, co_reset},
    co_yield_to_resumer,
    {co_yield_ct, co_yield_now, co_run, co_enable_hook_sys, co_disable_hook_sys},
    co_self,
    co_go,
    co_join,
    {co_cancel, co_wake},
    co_cancel_mode,
    co_sleep_ms,
    co_set_name,
    co_get_name,
    co_stack_high_water,
    co_alloc_sharestack,
    co_release_sharestack,
    co_eventloop,
    co_get_epoll_ct,
    co_poll,
    co_setspecific,
    co_getspecific,
    co_key_create,
    co_key_delete,
    co_key_set,
    co_key_get,
    co_is_enable_sys_hook,
    co_accept,
    co_set_env_list,
    co_log_err,
    co_cond_alloc,
    {co_cond_free, co_cond_signal, co_cond_broadcast},
    co_cond_timedwait,
    {co_mutex_init, co_mutex_destroy, co_mutex_lock, co_mutex_trylock, co_mutex_unlock},
    co_mutex_timedlock,
    {co_rwlock_init, co_rwlock_destroy, co_rwlock_rdlock, co_rwlock_tryrdlock, co_rwlock_wrlock,
     co_rwlock_trywrlock, co_rwlock_unlock, co_rwlock_upgrade, co_rwlock_downgrade},
    {co_rwlock_timedrdlock, co_rwlock_timedwrlock},
    co_sem_init,
    {co_sem_destroy, co_sem_wait, co_sem_trywait, co_sem_post},
    co_sem_timedwait,
    {co_wg_init, co_wg_destroy, co_wg_done, co_wg_wait},
    {co_wg_add, co_wg_timedwait},
    co_chan_create,
    {co_chan_destroy, co_chan_close},
    {co_chan_send, co_chan_trysend},
    {co_chan_recv, co_chan_tryrecv},
    co_chan_timedsend,
    co_chan_timedrecv,
    co_chan_len,
    co_get_stats,
    co_backtrace,
    co_dump,
    co_set_debug,
    {co_hook_set_families, co_hook_set_process_families},
    {co_hook_get_families, co_hook_get_process_families},
    co_hook_is_hooked,
    co_hook_report,
    coctx_init,
    coctx_make,
    coctx_swap};

/* What C programs write: all zero is a default, an unlocked lock, an empty semaphore. */
extern int zero_is_the_default(void);
int zero_is_the_default(void) {
    static const stCoRoutineAttr_t attr;
    static co_mutex_t m;
    static co_sem_t s;
    struct stCoRoutineAttr_t large = {0, NULL, 0};
    large.stack_size = 2 * CO_STACK_SIZE_DEFAULT + CO_GUARD_SIZE_DEFAULT;
    (void)m;
    (void)s;
    return attr.stack_size + attr.guard_size + CO_CANCEL_UNWIND + CO_CANCEL_ERRNO + CO_DUMP_STACKS +
           CO_DEBUG_STACKS + CO_DEBUG_OVERFLOW + CO_DEBUG_HOOKS + CO_DEBUG_BLOCKED +
           CO_DEBUG_PRIVATE + (CO_CANCELED == NULL) + large.guard_size;
}
