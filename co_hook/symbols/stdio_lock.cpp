// SPDX-License-Identifier: Apache-2.0
#include "co_hook/symbols/stdio_lock.h"

#include "co_hook/calls/address_wait.h"
#include "co_hook/calls/back_off.h"
#include "co_hook/symbols/hook.h"
#include "co_hook/symbols/late_key.h"
#include "co_routine/base/spinlock.h"
#include "co_routine/loop/fork_generation.h"

#include <new>

extern "C" {
void _IO_flockfile(FILE *) noexcept; // libc's by the names that nobody interposes
int _IO_ftrylockfile(FILE *) noexcept;
void _IO_funlockfile(FILE *) noexcept;
}

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_STDIO;
constexpr wait_kind stream_kind{"flockfile", false, calls::abandon_address_wait};
constexpr wait_kind thread_kind{"flockfile", false, nullptr};

// Memory of the owner's thread; in a bucket's list and in the owner's.
struct ownership {
    ownership *next;
    ownership *next_of_owner;
    FILE *stream;
    coroutine *owner;
    unsigned count; // of libc's lock, that the owner has taken
};

struct bucket {
    unsigned lock;
    ownership *first;
};

constexpr unsigned bucket_bits = 6;
bucket buckets[1U << bucket_bits];
size_t owned_count;          // atomic: most of the time nobody owns anything
uint32_t buckets_generation; // of the process

bucket *bucket_of(const FILE *stream) {
    auto mixed = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(stream) >> 4) * 0x9E3779B1U;
    return &buckets[mixed >> (32 - bucket_bits)];
}

// In a forked child libc's locks are free, and so are ours.
void begin_anew_if_forked() {
    uint32_t now = fork_generation(), then = __atomic_load_n(&buckets_generation, __ATOMIC_RELAXED);
    if (CO_LIKELY(now == then))
        return;
    if (!__atomic_compare_exchange_n(&buckets_generation, &then, now, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_RELAXED))
        return;
    for (bucket &b : buckets)
        b = {};
    __atomic_store_n(&owned_count, 0U, __ATOMIC_RELAXED);
}

ownership *find(bucket *b, const FILE *stream) {
    ownership *o = b->first;
    while (o && o->stream != stream)
        o = o->next;
    return o;
}

// The stream's owner; nullptr: none.
coroutine *owner_of(const FILE *stream) {
    begin_anew_if_forked();
    if (__atomic_load_n(&owned_count, __ATOMIC_ACQUIRE) == 0)
        return nullptr;
    bucket *b = bucket_of(stream);
    spin_acquire(&b->lock);
    ownership *o = find(b, stream);
    coroutine *owner = o ? o->owner : nullptr;
    spin_release(&b->lock);
    return owner;
}

bool has_other_owner(const FILE *stream) {
    coroutine *owner = owner_of(stream);
    return owner && owner != tls_env->running;
}

bool owner_left(const void *stream, uintptr_t former) {
    return owner_of(static_cast<const FILE *>(stream)) != reinterpret_cast<coroutine *>(former);
}

// ---- What a coroutine owns: a list behind a co_key, so that its end gives it up

void take_out(ownership *o) {
    bucket *b = bucket_of(o->stream);
    spin_acquire(&b->lock);
    for (ownership **at = &b->first; *at; at = &(*at)->next)
        if (*at == o) {
            *at = o->next;
            __atomic_sub_fetch(&owned_count, 1U, __ATOMIC_RELEASE);
            break;
        }
    spin_release(&b->lock);
}

// Libc's lock was taken by this thread, which is the owner's.
void give_up(ownership *o) {
    FILE *stream = o->stream;
    unsigned count = o->count;
    take_out(o);
    tls_env->slab.release(o, sizeof *o);
    for (unsigned i = 0; i < count; ++i)
        _IO_funlockfile(stream);
    calls::wake_at(stream, 1);
}

void give_up_all(void *list) {
    ownership *o = static_cast<ownership *>(list);
    while (o) {
        ownership *next = o->next_of_owner;
        give_up(o);
        o = next;
    }
}

constinit late_key owned_key{give_up_all};

ownership *first_owned() { return static_cast<ownership *>(owned_key.get()); }

ownership *mine(const FILE *stream) {
    ownership *o = first_owned();
    while (o && o->stream != stream)
        o = o->next_of_owner;
    return o;
}

// Libc's lock is held once more than the ownership knows: that one is the ownership's from now on.
int become_owner(FILE *stream) {
    if (ownership *o = mine(stream)) {
        ++o->count;
        return 0;
    }
    void *block = owned_key.make() ? tls_env->slab.allocate(sizeof(ownership)) : nullptr;
    if (!block)
        return -ENOMEM;
    ownership *o = new (block) ownership{nullptr, first_owned(), stream, tls_env->running, 1};
    if (owned_key.set(o) != 0) {
        tls_env->slab.release(o, sizeof *o);
        return -ENOMEM;
    }
    begin_anew_if_forked();
    bucket *b = bucket_of(stream);
    spin_acquire(&b->lock);
    o->next = b->first;
    b->first = o;
    __atomic_add_fetch(&owned_count, 1U, __ATOMIC_RELEASE);
    spin_release(&b->lock);
    return 0;
}

// False: it is not the running coroutine's.
bool end_ownership(FILE *stream, bool wholly) {
    ownership *o = mine(stream);
    if (!o)
        return false;
    if (!wholly && --o->count > 0) {
        _IO_funlockfile(stream);
        return true;
    }
    ownership *first = first_owned();
    if (first == o) {
        owned_key.set(o->next_of_owner);
    } else {
        while (first->next_of_owner != o)
            first = first->next_of_owner;
        first->next_of_owner = o->next_of_owner;
    }
    if (!wholly)
        o->count = 1;
    give_up(o);
    return true;
}

// Libc's lock, with no other coroutine as owner. *waited: the owner's end may have woken us and nobody
// else, so whoever does not become an owner in turn wakes the next one.
int take_lock(FILE *stream, bool *waited) {
    calls::back_off pauses; // for a plain thread, which tells nobody when it leaves
    for (;;) {
        coroutine *owner = owner_of(stream);
        int e;
        if (owner && owner != tls_env->running) {
            e = calls::wait_at(stream_kind, stream, owner_left, reinterpret_cast<uintptr_t>(owner),
                               no_deadline);
            *waited = true;
        } else if (_IO_ftrylockfile(stream) == 0) {
            return 0;
        } else {
            e = pauses.wait(thread_kind, {}, no_deadline);
        }
        if (e == -ECANCELED) {
            if (*waited)
                calls::wake_at(stream, 1);
            return e;
        }
    }
}

} // namespace

int stream_lock::enter() {
    int e = take_lock(stream_, &waited_);
    entered_ = e == 0;
    return e;
}

int stream_lock::keep() {
    if (kept_)
        return 0;
    int e = become_owner(stream_);
    kept_ = e == 0;
    return e;
}

void stream_lock::leave() {
    if (!entered_)
        return;
    entered_ = false;
    if (kept_) {
        end_ownership(stream_, false);
        return;
    }
    _IO_funlockfile(stream_);
    if (waited_)
        calls::wake_at(stream_, 1);
}

int own_stream(FILE *stream) {
    bool waited = false;
    int e = take_lock(stream, &waited);
    if (e == 0 && (e = become_owner(stream)) != 0) {
        _IO_funlockfile(stream);
        if (waited)
            calls::wake_at(stream, 1);
    }
    return e;
}

bool try_own_stream(FILE *stream) {
    if (has_other_owner(stream) || _IO_ftrylockfile(stream) != 0)
        return false;
    if (become_owner(stream) == 0)
        return true;
    _IO_funlockfile(stream);
    return false;
}

void disown_stream(FILE *stream) {
    if (!end_ownership(stream, false))
        _IO_funlockfile(stream);
}

void forget_stream(FILE *stream) { end_ownership(stream, true); }

// ---- The names

CORUN_NATIVE(void, flockfile, (FILE * stream), _IO_flockfile(stream));
CORUN_NATIVE(void, funlockfile, (FILE * stream), _IO_funlockfile(stream));
CORUN_NATIVE(int, ftrylockfile, (FILE * stream), _IO_ftrylockfile(stream));

void hook_flockfile(FILE *stream) {
    if (!hooks_are_on(family))
        return native_flockfile(stream);
    int before = errno;
    if (int e = own_stream(stream)) // there is no way to say that it was cancelled
        leave_wait(-e);
    errno = before;
}
void hook_funlockfile(FILE *stream) {
    if (!hooks_are_on(family))
        return native_funlockfile(stream);
    disown_stream(stream);
}
int hook_ftrylockfile(FILE *stream) {
    if (!hooks_are_on(family))
        return native_ftrylockfile(stream);
    return try_own_stream(stream) ? 0 : EBUSY;
}

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(flockfile, P),
    CORUN_ENTRY(funlockfile, P),
    CORUN_ENTRY(ftrylockfile, P),
};

} // namespace

CORUN_TABLE(stdio_lock_table, entries);

} // namespace corun::symbols
