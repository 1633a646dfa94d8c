// SPDX-License-Identifier: Apache-2.0
#include "co_routine/debug/deadlock.h"

#include "co_routine/base/check.h"
#include "co_routine/base/clock.h"
#include "co_routine/loop/loop.h"

namespace corun {

namespace {

constexpr size_t most_looked_at = 16384;        // unless all are asleep
constexpr uint64_t cycles_between = 2500000000; // about a second
constexpr uint64_t share_of_time = 1000;        // one part in so many
constexpr size_t shown_of_cycle = 8;
constexpr size_t in_a_cycle = SIZE_MAX; // as wait_cycles::waiter::walk

bool waits_for_event(const coroutine *co) {
    return co->state == co_state::parked && (!co->waiting || co->waiting->end == ended_by::event);
}

holder_key holder_of(const coroutine *co) {
    return is_asleep(co) && co->waiting->holder ? co->waiting->holder(co) : 0;
}

// Multiplied, its upper bits are as good as any.
size_t mixed(holder_key key) {
    constexpr uint64_t golden_ratio = 0x9E3779B97F4A7C15;
    return static_cast<size_t>(key * golden_ratio >> 32);
}

template <class F> void each_parked(const co_env *env, F f) {
    if (env->root.state == co_state::parked)
        f(&env->root);
    for (size_t i = 0; i < env->all.size(); ++i)
        if (env->all[i]->state == co_state::parked && !env->all[i]->has(flag_doomed))
            f(static_cast<const coroutine *>(env->all[i]));
}

// What a look over all of them finds.
struct census {
    size_t asleep = 0, awake = 0; // that wait for coroutines, or for something else
    size_t awake_at = 0;          // the place of one
    size_t held_up = 0;           // that wait for a holder, perhaps
};

census count(const co_env *env, bool for_ever) {
    census c;
    size_t n = env->all.size();
    if (n > most_looked_at && !for_ever)
        return c;
    if (env->root.state == co_state::parked) {
        ++(is_asleep(&env->root) ? c.asleep : c.awake);
    }
    for (size_t i = 0; i < n; ++i) {
        const coroutine *co = env->all[i];
        if (is_asleep(co)) {
            ++c.asleep;
            c.held_up += co->waiting->holder != nullptr;
        } else if (waits_for_event(co)) {
            ++c.awake;
            c.awake_at = i;
            if (n > most_looked_at)
                break;
        }
    }
    c.held_up += env->root.state == co_state::parked;
    return c;
}

bool still_awake(const co_env *env, size_t at) {
    return waits_for_event(&env->root) || (at < env->all.size() && waits_for_event(env->all[at]));
}

bool is_said; // that all are asleep

// Apart, so that the question before it needs no frame.
__attribute__((noinline, cold)) void look(co_env *env, bool for_ever) {
    loop *l = env->event_loop;
    uint64_t began = cycles();
    census c = count(env, for_ever);
    l->awake_at_look = c.awake_at;
    bool all_asleep = for_ever && c.awake == 0 && c.asleep > 0;
    l->may_be_woken = all_asleep && (is_said || deadlocks.may_be_woken(env));
    if (all_asleep && !l->may_be_woken) {
        is_said = l->may_be_woken = true;
        deadlocks.report(env, true);
    } else if (c.held_up > 0 && env->all.size() <= most_looked_at) {
        wait_cycles found(env);
        bool is_new = false;
        for (size_t i = 0; i < found.count(); ++i)
            is_new |= !was_reported(found, i);
        if (is_new)
            deadlocks.report(env, false);
    }
    // Who may wake them all may be gone a moment later.
    uint64_t now = cycles(), pause = (now - began) * share_of_time;
    uint64_t least = all_asleep ? cycles_between / 100 : cycles_between;
    l->look_at_cycles = now + (pause > least ? pause : least);
}

} // namespace

bool is_asleep(const coroutine *co) {
    return co->state == co_state::parked && co->waiting && co->waiting->end == ended_by::program &&
           co->deadline_ns == no_deadline;
}

void look_for_deadlock(co_env *env, bool for_ever) {
    const loop *l = env->event_loop;
    bool is_due = l->turn_at_cycles >= l->look_at_cycles;
    if (!is_due && (!for_ever || l->may_be_woken || still_awake(env, l->awake_at_look)))
        return;
    look(env, for_ever);
}

// ---- Cycles

wait_cycles::wait_cycles(const co_env *env, bool all_asleep) {
    size_t waiters = 0;
    each_parked(env, [&](const coroutine *co) { waiters += holder_of(co) != 0; });
    size_t places = 8;
    while (places < waiters * 4) // two keys each, and half of them free
        places *= 2;
    if (waiters == 0 || !table_.reserve(places))
        return;
    for (; places_ < places; ++places_)
        table_.push_back({});
    each_parked(env, [&](const coroutine *co) {
        holder_key holder = holder_of(co);
        if (holder == 0 || waiters == 0) // another thread may end a wait meanwhile, and begin none
            return;
        --waiters;
        add(co, key_of(co), holder);
        if (!co->has(flag_root)) // which has no number
            add(co, key_of_number(co->id), holder);
    });
    for (size_t at = 0; at < places_; ++at)
        if (table_[at].co)
            walk_from(place_of(table_[at].key), all_asleep);
}

void wait_cycles::add(const coroutine *co, holder_key key, holder_key holder) {
    size_t at = mixed(key) % places_;
    while (table_[at].co)
        at = (at + 1) % places_;
    table_[at] = {key, holder, co, 0};
}

size_t wait_cycles::find(holder_key key) const {
    if (places_ == 0)
        return places_;
    for (size_t at = mixed(key) % places_; table_[at].co; at = (at + 1) % places_)
        if (table_[at].key == key)
            return at;
    return places_;
}

// That of its address.
size_t wait_cycles::place_of(holder_key key) const {
    size_t at = find(key);
    return at < places_ && table_[at].key != key_of(table_[at].co) ? find(key_of(table_[at].co))
                                                                   : at;
}

// As far as nobody has been.
void wait_cycles::walk_from(size_t from, bool counts_itself) {
    size_t at = from, walk = from + 1;
    if (table_[from].walk != 0)
        return;
    for (; at < places_ && table_[at].walk == 0; at = place_of(table_[at].holder))
        table_[at].walk = walk;
    if (at == places_ || table_[at].walk != walk)
        return;
    if (place_of(table_[at].holder) == at && !counts_itself)
        return;
    const coroutine *first = table_[at].co;
    for (; table_[at].walk == walk; at = place_of(table_[at].holder)) {
        table_[at].walk = in_a_cycle;
        if (table_[at].co->id < first->id)
            first = table_[at].co;
    }
    first_.push_back(first);
}

const coroutine *wait_cycles::next(const coroutine *co) const {
    return table_[place_of(table_[find(key_of(co))].holder)].co;
}

bool wait_cycles::has(const coroutine *co) const {
    size_t at = find(key_of(co));
    return at < places_ && table_[at].walk == in_a_cycle;
}

unsigned format_cycle(char *out, unsigned size, const wait_cycles &cycles, size_t cycle,
                      name_of_coroutine name) {
    const coroutine *first = cycles.first(cycle), *co = first;
    char who[description_bytes];
    name(who, sizeof who, co);
    unsigned n = format_line(out, size, "deadlock: %s", who);
    size_t length = 0;
    do {
        co = cycles.next(co);
        if (++length > shown_of_cycle)
            continue;
        name(who, sizeof who, co);
        n += format_line(out + n, size - n, "%s waits for %s", length == 1 ? "" : ", which", who);
    } while (co != first);
    if (length > shown_of_cycle)
        n += format_line(out + n, size - n, ", and so on: %zu in all", length);
    return n;
}

namespace {

constexpr unsigned most_reported = 16;
holder_key reported[most_reported];
unsigned reported_count;

// The lowest number in it. The thread's own stack has none, and may be in many: then of whom it waits for.
holder_key key_of_cycle(const wait_cycles &cycles, size_t cycle) {
    const coroutine *co = cycles.first(cycle);
    if (co->has(flag_root))
        co = cycles.next(co);
    return co->has(flag_root) ? key_of(co) : key_of_number(co->id);
}

} // namespace

bool was_reported(const wait_cycles &cycles, size_t cycle) {
    unsigned count = __atomic_load_n(&reported_count, __ATOMIC_ACQUIRE);
    holder_key key = key_of_cycle(cycles, cycle);
    for (unsigned i = 0; i < count && i < most_reported; ++i)
        if (__atomic_load_n(&reported[i], __ATOMIC_RELAXED) == key)
            return true;
    return count >= most_reported;
}

void note_reported(const wait_cycles &cycles, size_t cycle) {
    unsigned i = __atomic_fetch_add(&reported_count, 1U, __ATOMIC_ACQ_REL);
    if (i < most_reported)
        __atomic_store_n(&reported[i], key_of_cycle(cycles, cycle), __ATOMIC_RELAXED);
}

void deadlocks_after_fork_in_child() {
    is_said = false;
    reported_count = 0;
    if (loop *l = tls_env ? tls_env->event_loop : nullptr) {
        l->look_at_cycles = 0;
        l->may_be_woken = false; // the parent's other threads are not here
    }
}

} // namespace corun
