// SPDX-License-Identifier: Apache-2.0
/*
 * co_routine_sync.hpp - the part of co_routine.hpp with locks, conditions and channels. The rules
 * stand there; include that one.
 */
#ifndef CORUN_CO_ROUTINE_SYNC_HPP
#define CORUN_CO_ROUTINE_SYNC_HPP

#include "co_routine.hpp"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <iterator>
#include <memory>
#include <mutex>
#include <new>
#include <type_traits>
#include <utility>

namespace co {

/* ---- Locks: for std::lock_guard, std::unique_lock, std::scoped_lock, std::shared_lock ----------- */

/* First come, first served. EDEADLK: the caller holds it. EPERM: unlocked by one that does not. */
class mutex {
  public:
    mutex() : m_() {}
    ~mutex() { detail::check_destroyed(co_mutex_destroy(&m_), "co::mutex"); }
    mutex(const mutex &) = delete;
    mutex &operator=(const mutex &) = delete;

    void lock() { detail::check(co_mutex_lock(&m_), "co::mutex::lock"); } /* [waits] */
    bool try_lock() { return detail::tried(co_mutex_trylock(&m_), "co::mutex::try_lock"); }
    template <class Rep, class Period> /* [waits] */
    bool try_lock_for(const std::chrono::duration<Rep, Period> &d) {
        return detail::tried(co_mutex_timedlock(&m_, detail::ms_of(d)), "co::mutex::try_lock_for");
    }
    template <class Clock, class Duration> /* [waits] */
    bool try_lock_until(const std::chrono::time_point<Clock, Duration> &when) {
        return try_lock_for(when - Clock::now());
    }
    void unlock() { detail::check(co_mutex_unlock(&m_), "co::mutex::unlock"); }
    co_mutex_t *native_handle() { return &m_; }

  private:
    co_mutex_t m_;
};

/* Many readers or one writer; a reader that comes after a waiting writer waits behind it. */
class shared_mutex {
  public:
    shared_mutex() : rw_() {}
    ~shared_mutex() { detail::check_destroyed(co_rwlock_destroy(&rw_), "co::shared_mutex"); }
    shared_mutex(const shared_mutex &) = delete;
    shared_mutex &operator=(const shared_mutex &) = delete;

    void lock() { check(co_rwlock_wrlock(&rw_)); } /* [waits] */
    bool try_lock() { return tried(co_rwlock_trywrlock(&rw_)); }
    template <class Rep, class Period> /* [waits] */
    bool try_lock_for(const std::chrono::duration<Rep, Period> &d) {
        return tried(co_rwlock_timedwrlock(&rw_, detail::ms_of(d)));
    }
    void unlock() { check(co_rwlock_unlock(&rw_)); }

    void lock_shared() { check(co_rwlock_rdlock(&rw_)); } /* [waits] */
    bool try_lock_shared() { return tried(co_rwlock_tryrdlock(&rw_)); }
    template <class Rep, class Period> /* [waits] */
    bool try_lock_shared_for(const std::chrono::duration<Rep, Period> &d) {
        return tried(co_rwlock_timedrdlock(&rw_, detail::ms_of(d)));
    }
    void unlock_shared() { check(co_rwlock_unlock(&rw_)); }

    /* [waits] From reader to writer, giving the read lock up meanwhile: look again at what was read. */
    void upgrade() { check(co_rwlock_upgrade(&rw_)); }
    /* From writer to reader, without a gap. */
    void downgrade() { check(co_rwlock_downgrade(&rw_)); }
    co_rwlock_t *native_handle() { return &rw_; }

  private:
    static void check(int error) { detail::check(error, "co::shared_mutex"); }
    static bool tried(int error) { return detail::tried(error, "co::shared_mutex"); }
    co_rwlock_t rw_;
};

class semaphore {
  public:
    explicit semaphore(unsigned count) { detail::check(co_sem_init(&s_, count), "co::semaphore"); }
    ~semaphore() { detail::check_destroyed(co_sem_destroy(&s_), "co::semaphore"); }
    semaphore(const semaphore &) = delete;
    semaphore &operator=(const semaphore &) = delete;

    void acquire() { detail::check(co_sem_wait(&s_), "co::semaphore::acquire"); } /* [waits] */
    bool try_acquire() { return detail::tried(co_sem_trywait(&s_), "co::semaphore::try_acquire"); }
    template <class Rep, class Period> /* [waits] */
    bool try_acquire_for(const std::chrono::duration<Rep, Period> &d) {
        return detail::tried(co_sem_timedwait(&s_, detail::ms_of(d)),
                             "co::semaphore::try_acquire_for");
    }
    void release() { detail::check(co_sem_post(&s_), "co::semaphore::release"); } /* EOVERFLOW */
    co_sem_t *native_handle() { return &s_; }

  private:
    co_sem_t s_;
};

/* add before the work starts, done when a piece of it ends, wait until none is left. */
class wait_group {
  public:
    explicit wait_group(long count = 0) : wg_() {
        if (count != 0)
            add(count);
    }
    ~wait_group() { detail::check_destroyed(co_wg_destroy(&wg_), "co::wait_group"); }
    wait_group(const wait_group &) = delete;
    wait_group &operator=(const wait_group &) = delete;

    void add(long n = 1) { detail::check(co_wg_add(&wg_, n), "co::wait_group::add"); } /* EINVAL */
    void done() { detail::check(co_wg_done(&wg_), "co::wait_group::done"); }
    void wait() { detail::check(co_wg_wait(&wg_), "co::wait_group::wait"); } /* [waits] */
    /* [waits] False: the time is over and some is left. */
    template <class Rep, class Period> bool wait_for(const std::chrono::duration<Rep, Period> &d) {
        return detail::tried(co_wg_timedwait(&wg_, detail::ms_of(d)), "co::wait_group::wait_for");
    }
    co_wg_t *native_handle() { return &wg_; }

  private:
    co_wg_t wg_;
};

/* ---- Conditions ------------------------------------------------------------------------------ */

/* Used as std::condition_variable, with std::unique_lock<co::mutex>. First come, first served; a wait
 * may return for nothing only when it is cancelled. After a cancel the lock is held again while
 * destructors run. ECANCELED (CO_CANCEL_ERRNO): the lock may then not be held (owns_lock). */
class cond {
  public:
    typedef std::unique_lock<mutex> lock_type;

    cond() : first_(nullptr), last_(nullptr) {}
    ~cond() { detail::check_destroyed(first_ ? EBUSY : 0, "co::cond"); }
    cond(const cond &) = delete;
    cond &operator=(const cond &) = delete;

    void wait(lock_type &lock) { wait_ms(lock, -1); } /* [waits] */
    template <class Predicate> void wait(lock_type &lock, Predicate is_true) {
        while (!is_true())
            wait_ms(lock, -1);
    }

    /* [waits] False: the time was over first. */
    template <class Rep, class Period>
    bool wait_for(lock_type &lock, const std::chrono::duration<Rep, Period> &d) {
        return wait_ms(lock, detail::ms_of(d));
    }
    /* [waits] Returns what the predicate says at the end. */
    template <class Rep, class Period, class Predicate>
    bool wait_for(lock_type &lock, const std::chrono::duration<Rep, Period> &d, Predicate is_true) {
        const auto until = now() + d;
        while (!is_true())
            if (!wait_ms(lock, detail::ms_of(until - now())))
                return is_true();
        return true;
    }

    void notify_one() {
        spin_guard guard(*this);
        if (first_)
            wake_first();
    }
    void notify_all() {
        spin_guard guard(*this);
        while (first_)
            wake_first();
    }

  private:
    // A waiter's place in the queue. On the heap: others write to it while its stack may be away.
    struct waiter {
        co_sem_t woken;
        waiter *previous, *next;
        bool queued;
    };

    // Held for a few instructions and never across a wait.
    struct spin_guard {
        cond &c;
        explicit spin_guard(cond &of) : c(of) {
            while (c.spin_.test_and_set(std::memory_order_acquire)) {
            }
        }
        ~spin_guard() { c.spin_.clear(std::memory_order_release); }
    };

    // A wait, left by return or by unwinding: out of the queue, and the lock held again.
    struct stay {
        cond &c;
        lock_type &lock;
        waiter *w;
        stay(cond &of, lock_type &l) : c(of), lock(l), w(new waiter()) {
            spin_guard guard(c);
            c.push(w);
        }
        // True: it was woken. The spin lock also waits for a waker that has the waiter in hand.
        bool leave(bool cancelled) {
            bool woken;
            {
                spin_guard guard(c);
                woken = !w->queued;
                if (!woken)
                    c.remove(w);
            }
            delete w;
            w = nullptr;
            if (woken && cancelled)
                c.notify_one(); // this wake-up is somebody else's now
            return woken;
        }
        ~stay() {
            if (w)
                leave(true);
            try {
                if (!lock.owns_lock())
                    lock.lock();
            } catch (const std::system_error &) { // CO_CANCEL_ERRNO: waits are over
            }
        }
    };

    bool wait_ms(lock_type &lock, long ms) {
        detail::check(lock.owns_lock() ? 0 : EPERM, "co::cond::wait");
        stay here(*this, lock);
        lock.unlock();
        int error = co_sem_timedwait(&here.w->woken, ms);
        bool woken = here.leave(error == ECANCELED);
        lock.lock(); // not left to the destructor, where a cancel would be the end of the process
        return woken && error != ECANCELED ? true : detail::tried(error, "co::cond::wait");
    }

    void push(waiter *w) {
        w->queued = true;
        w->previous = last_;
        (last_ ? last_->next : first_) = w;
        last_ = w;
    }
    void remove(waiter *w) {
        w->queued = false;
        (w->previous ? w->previous->next : first_) = w->next;
        (w->next ? w->next->previous : last_) = w->previous;
    }
    void wake_first() {
        waiter *w = first_;
        remove(w);
        co_sem_post(&w->woken);
    }

    std::atomic_flag spin_ = ATOMIC_FLAG_INIT;
    waiter *first_, *last_;
};

/* ---- Channels -------------------------------------------------------------------------------- */

namespace detail {

// How a T goes through the C channel. A small plain one by itself:
template <class T, bool Plain> struct parcel {
    typedef typename std::aligned_storage<sizeof(T), alignof(T)>::type wire;
    static T *at(wire &w) { return reinterpret_cast<T *>(&w); }
    static void pack(wire &w, T &value) { new (&w) T(value); }
    static T unpack(wire &w) { return *at(w); }
    static void put_back(wire &, T &) {}
    static void drop(wire &) {}
    static void keep(wire &w, std::unique_ptr<T> &in) {
        in.reset(in ? new (in.release()) T(*at(w)) : new T(*at(w)));
    }
};
// Any other on the heap, by its address:
template <class T> struct parcel<T, false> {
    typedef T *wire;
    static void pack(wire &w, T &value) { w = new T(std::move(value)); }
    static T unpack(wire &w) {
        std::unique_ptr<T> own(w);
        return std::move(*own);
    }
    static void put_back(wire &w, T &value) { value = std::move(*w); }
    static void drop(wire &w) { delete w; }
    static void keep(wire &w, std::unique_ptr<T> &in) { in.reset(w); }
};

} // namespace detail

/* Values of type T from senders to receivers, in order; holds capacity of them, with 0 a sender waits
 * for its receiver. Values are moved. `for (T &v : channel)` receives until it is closed and empty.
 * EPIPE: sending on a closed channel, or recv() on a closed and empty one. */
template <class T> class channel {
    typedef detail::parcel<T, std::is_trivially_copyable<T>::value && sizeof(T) <= 128> parcel;
    typedef typename parcel::wire wire;

  public:
    explicit channel(size_t capacity = 0) : ch_(nullptr) {
        detail::check(co_chan_create(&ch_, sizeof(wire), capacity), "co::channel");
    }
    ~channel() {
        if (!ch_)
            return;
        for (size_t held; (held = co_chan_len(ch_)) != 0;) {
            wire left;
            if (co_chan_tryrecv(ch_, &left) == 0)
                parcel::drop(left);
            // As full as before: a sender was waiting for this place.
            detail::check_destroyed(co_chan_len(ch_) < held ? 0 : EBUSY, "co::channel");
        }
        detail::check_destroyed(co_chan_destroy(ch_), "co::channel");
    }
    channel(channel &&other) noexcept : ch_(other.ch_) { other.ch_ = nullptr; }
    channel &operator=(channel &&other) noexcept {
        std::swap(ch_, other.ch_);
        return *this;
    }

    /* [waits] for room. */
    void send(T value) { detail::check(give(value, -1), "co::channel::send"); }
    /* False: no room (now, in that time); then the value is as it was. */
    bool try_send(T &&value) { return detail::tried(give(value, 0), "co::channel::try_send"); }
    bool try_send(const T &value) { return try_send(T(value)); }
    template <class Rep, class Period> /* [waits] */
    bool send_for(T &&value, const std::chrono::duration<Rep, Period> &d) {
        return detail::tried(give(value, detail::ms_of(d)), "co::channel::send_for");
    }

    /* [waits] for a value. */
    T recv() {
        wire w;
        detail::check(co_chan_recv(ch_, &w), "co::channel::recv");
        return parcel::unpack(w);
    }
    /* [waits] False: closed and empty. */
    bool recv(T &out) {
        wire w;
        return got(co_chan_recv(ch_, &w), w, out);
    }
    /* False: nothing there (now, in that time), or closed and empty. */
    bool try_recv(T &out) {
        wire w;
        return got(co_chan_tryrecv(ch_, &w), w, out);
    }
    template <class Rep, class Period> /* [waits] */
    bool recv_for(T &out, const std::chrono::duration<Rep, Period> &d) {
        wire w;
        return got(co_chan_timedrecv(ch_, &w, detail::ms_of(d)), w, out);
    }

    /* Closes it; twice is once. */
    void close() {
        int error = co_chan_close(ch_);
        detail::check(error == EPIPE ? 0 : error, "co::channel::close");
    }
    size_t size() const { return co_chan_len(ch_); } /* values held now */
    co_chan_t *native_handle() const { return ch_; }

    /* Each step receives: [waits]. */
    class iterator {
      public:
        typedef std::input_iterator_tag iterator_category;
        typedef T value_type;
        typedef std::ptrdiff_t difference_type;
        typedef T *pointer;
        typedef T &reference;

        explicit iterator(channel *ch) : ch_(ch) {
            if (ch_)
                ++*this;
        }
        T &operator*() const { return *value_; }
        T *operator->() const { return value_.get(); }
        iterator &operator++() {
            wire w;
            int error = co_chan_recv(ch_->ch_, &w);
            if (error == EPIPE) {
                ch_ = nullptr;
                return *this;
            }
            detail::check(error, "co::channel::iterator");
            parcel::keep(w, value_);
            return *this;
        }
        bool operator==(const iterator &other) const { return ch_ == other.ch_; }
        bool operator!=(const iterator &other) const { return ch_ != other.ch_; }

      private:
        channel *ch_; // nullptr: the end
        std::unique_ptr<T> value_;
    };
    iterator begin() { return iterator(this); }
    iterator end() { return iterator(nullptr); }

  private:
    int give(T &value, long ms) {
        struct packet {
            wire w;
            bool sent;
            explicit packet(T &v) : sent(false) { parcel::pack(w, v); }
            ~packet() {
                if (!sent)
                    parcel::drop(w);
            }
        } p(value);
        int error = ms == 0 ? co_chan_trysend(ch_, &p.w) : co_chan_timedsend(ch_, &p.w, ms);
        p.sent = error == 0;
        if (!p.sent)
            parcel::put_back(p.w, value);
        return error;
    }
    static bool got(int error, wire &w, T &out) {
        if (error == EPIPE || !detail::tried(error, "co::channel::recv"))
            return false;
        out = parcel::unpack(w);
        return true;
    }

    co_chan_t *ch_;
};

} // namespace co

#endif
