// SPDX-License-Identifier: Apache-2.0
/*
 * co_comm.h - libco's mutex for coroutines and its scoped lock; C++11 and later, all inline.
 *
 *     clsCoMutex mutex;
 *     {
 *         clsSmartLock lock(&mutex);    // waits; the other coroutines run
 *         ...
 *     }
 *
 * They are co_mutex_lock and co_mutex_unlock (co_routine.h) behind libco's names, so they also work
 * between threads. Unlike libco's, the mutex belongs to the coroutine that locked it: another one
 * cannot unlock it. CoLock and CoUnLock cannot tell an error, so one ends the process with one line:
 * locking twice (in libco: waits for ever), unlocking what is not held, and a cancel in the mode
 * CO_CANCEL_ERRNO, which leaves the caller without the lock; use co_mutex_lock there.
 */
#ifndef CORUN_CO_COMM_H
#define CORUN_CO_COMM_H

#include "co_routine.h"

#ifdef __cplusplus

#include <stdlib.h>

class clsCoMutex {
  public:
    clsCoMutex() : m_() {}
    ~clsCoMutex() {}
    clsCoMutex(const clsCoMutex &) = delete;
    clsCoMutex &operator=(const clsCoMutex &) = delete;

    void CoLock() { check("CoLock", co_mutex_lock(&m_)); }
    void CoUnLock() { check("CoUnLock", co_mutex_unlock(&m_)); }

  private:
    static void check(const char *function, int error) {
        if (error == 0)
            return;
        const stCoRoutine_t *self = co_self();
        const char *name = self ? co_get_name(self) : 0;
        co_log_err("corun: coroutine '%s': clsCoMutex::%s failed with errno %d",
                   name ? name : "(unnamed)", function, error);
        abort();
    }

    co_mutex_t m_;
};

class clsSmartLock {
  public:
    explicit clsSmartLock(clsCoMutex *mutex) : mutex_(mutex) { mutex_->CoLock(); }
    ~clsSmartLock() { mutex_->CoUnLock(); }
    clsSmartLock(const clsSmartLock &) = delete;
    clsSmartLock &operator=(const clsSmartLock &) = delete;

  private:
    clsCoMutex *mutex_;
};

#endif
#endif
