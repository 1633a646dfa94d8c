// SPDX-License-Identifier: Apache-2.0
// Channel: a ring of items, those who wait to send and those who wait to receive.
//
//     receivers wait  =>  the ring is empty and nobody waits to send
//     senders wait    =>  the ring is full (with capacity 0: always) and nobody waits to receive
//
// Where the bytes of a waiting coroutine's item stand: on a shared stack nobody may touch them while
// it is out, so there they stand in a block of its thread's slab pool, and the owner copies them
// once it is back. On any other stack they are used where the caller has them.
#include "co_routine/base/spinlock.h"
#include "co_routine/core/cancel.h"
#include "co_routine/sync/wait_queue.h"

#include <cstdlib>
#include <cstring>
#include <initializer_list>

using namespace corun;

struct co_chan {
    co_waitq senders; // its lock is the channel's
    co_waitq receivers;
    size_t item_size, capacity;
    size_t count, head; // the oldest item stands at head
    bool closed;

    char *ring() { return reinterpret_cast<char *>(this + 1); } // capacity items
};

namespace {

// What a waiting coroutine's wait_slot points to: on its own stack, or before the item's bytes.
struct alignas(8) chan_wait {
    co_waitq *queue;
    void *item;
};

chan_wait *wait_of(const coroutine *co) { return reinterpret_cast<chan_wait *>(payload_of(co)); }
void *item_of(const coroutine *co) { return wait_of(co)->item; }

bool needs_block(const coroutine *co) { return co->shared_home() != nullptr; }
size_t block_bytes(const co_chan *ch) { return sizeof(chan_wait) + ch->item_size; }

char *ring_at(co_chan *ch, size_t n) {
    size_t at = ch->head + n;
    return ch->ring() + (at < ch->capacity ? at : at - ch->capacity) * ch->item_size;
}

void push_item(co_chan *ch, const void *item) {
    memcpy(ring_at(ch, ch->count++), item, ch->item_size);
}

void pop_item(co_chan *ch, void *item) {
    memcpy(item, ring_at(ch, 0), ch->item_size);
    ch->head = ch->head + 1 == ch->capacity ? 0 : ch->head + 1;
    --ch->count;
}

// 0, EPIPE, or EAGAIN: it must wait.
int send_now(co_chan *ch, const void *item, grants *out) {
    if (ch->closed)
        return EPIPE;
    if (coroutine *receiver = ch->receivers.first) {
        memcpy(item_of(receiver), item, ch->item_size);
        out->take(&ch->receivers, receiver);
        return 0;
    }
    if (ch->count == ch->capacity)
        return EAGAIN;
    push_item(ch, item);
    return 0;
}

int recv_now(co_chan *ch, void *item, grants *out) {
    coroutine *sender = ch->senders.first;
    if (ch->count > 0) {
        pop_item(ch, item);
        if (sender)
            push_item(ch, item_of(sender));
    } else if (sender) {
        memcpy(item, item_of(sender), ch->item_size);
    } else {
        return ch->closed ? EPIPE : EAGAIN;
    }
    if (sender)
        out->take(&ch->senders, sender);
    return 0;
}

// A receiver that is released after an item was handed to it: the item is the next one's, or goes
// back to where it came from. Where there is no room it is gone with its receiver.
void give_back(void *object, coroutine *co, wait_mark how, grants *out) {
    co_chan *ch = static_cast<co_chan *>(object);
    if (how != mark_granted || wait_of(co)->queue != &ch->receivers)
        return;
    if (coroutine *receiver = ch->receivers.first) {
        memcpy(item_of(receiver), item_of(co), ch->item_size);
        out->take(&ch->receivers, receiver);
    } else if (ch->count < ch->capacity) {
        ch->head = (ch->head == 0 ? ch->capacity : ch->head) - 1;
        ++ch->count;
        memcpy(ring_at(ch, 0), item_of(co), ch->item_size);
    }
}

// An item that has changed hands is sent and received whatever comes after: a cancel that finds the
// wait granted acts at the next one, so no item is lost and none is sent twice.
void abandon(coroutine *co);
constexpr queue_rules send_rules{
    {"channel send", false, abandon, nullptr, ended_by::program}, nullptr, give_back, true, EPIPE};
constexpr queue_rules recv_rules{
    {"channel recv", false, abandon, nullptr, ended_by::program}, nullptr, give_back, true, EPIPE};

void abandon(coroutine *co) {
    co_chan *ch = static_cast<co_chan *>(waited_object(co));
    chan_wait *wait = wait_of(co);
    abandon_wait(send_rules, wait->queue, ch, co);
    if (needs_block(co))
        co->env->slab.release(wait, block_bytes(ch));
}

using attempt = int (*)(co_chan *ch, void *item, grants *out);

// Tries once more under the lock, and queues if it is still to wait. *error: what became of it.
bool try_or_enqueue(co_chan *ch, attempt now, void *item, coroutine *self, chan_wait *wait,
                    int *error) {
    grants out;
    {
        spin_guard guard(&ch->senders.lock);
        *error = now(ch, item, &out);
        if (*error == EAGAIN)
            enqueue(wait->queue, self, reinterpret_cast<uintptr_t>(wait));
    }
    out.wake();
    return *error == EAGAIN;
}

int try_once(co_chan *ch, attempt now, void *item) {
    grants out;
    int error;
    {
        spin_guard guard(&ch->senders.lock);
        error = now(ch, item, &out);
    }
    out.wake();
    return error;
}

// With the item in a block of the slab pool: self is on a shared stack.
int wait_with_block(co_chan *ch, attempt now, co_waitq *queue, void *item, coroutine *self,
                    int64_t deadline_ns) {
    const size_t bytes = block_bytes(ch), item_size = ch->item_size;
    const bool sends = queue == &ch->senders;
    chan_wait *wait = static_cast<chan_wait *>(self->env->slab.allocate(bytes));
    if (!wait)
        return ENOMEM;
    wait->queue = queue;
    wait->item = wait + 1;
    if (sends)
        memcpy(wait->item, item, item_size);
    int error;
    if (try_or_enqueue(ch, now, item, self, wait, &error)) {
        // ch may be destroyed from here on, by the one who grants: see wait_queue.h, rule 2.
        error = wait_in(sends ? send_rules : recv_rules, queue, ch, self, deadline_ns);
        if (error == 0 && !sends)
            memcpy(item, wait->item, item_size);
    }
    self->env->slab.release(wait, bytes);
    return error;
}

int transfer(co_chan *ch, attempt now, co_waitq *queue, void *item, long timeout_ms) {
    int error = try_once(ch, now, item);
    if (error != EAGAIN)
        return error;
    if (timeout_ms == 0)
        return ETIMEDOUT;
    coroutine *self = self_for_waiting();
    if (CO_UNLIKELY(!self))
        return ENOMEM;
    int64_t deadline_ns = deadline_in_ms(timeout_ms);
    if (needs_block(self))
        return wait_with_block(ch, now, queue, item, self, deadline_ns);
    chan_wait wait{queue, item};
    if (!try_or_enqueue(ch, now, item, self, &wait, &error))
        return error;
    return wait_in(queue == &ch->senders ? send_rules : recv_rules, queue, ch, self, deadline_ns);
}

int send_attempt(co_chan *ch, void *item, grants *out) { return send_now(ch, item, out); }

int send_within(co_chan *ch, const void *item, long timeout_ms) {
    return transfer(ch, send_attempt, &ch->senders, const_cast<void *>(item), timeout_ms);
}

int recv_within(co_chan *ch, void *item, long timeout_ms) {
    return transfer(ch, recv_now, &ch->receivers, item, timeout_ms);
}

} // namespace

int co_chan_create(co_chan_t **out, size_t item_size, size_t capacity) {
    size_t ring_bytes, bytes, block;
    if (!out || item_size == 0 || __builtin_mul_overflow(item_size, capacity, &ring_bytes) ||
        __builtin_add_overflow(ring_bytes, sizeof(co_chan), &bytes) ||
        __builtin_add_overflow(item_size, sizeof(chan_wait), &block))
        return EINVAL;
    co_chan *ch = static_cast<co_chan *>(malloc(bytes));
    if (!ch)
        return ENOMEM;
    memset(ch, 0, sizeof(co_chan));
    ch->item_size = item_size;
    ch->capacity = capacity;
    *out = ch;
    return 0;
}

int co_chan_destroy(co_chan_t *ch) {
    if (!ch)
        return 0;
    {
        spin_guard guard(&ch->senders.lock);
        if (ch->senders.first || ch->receivers.first)
            return EBUSY;
    }
    free(ch);
    return 0;
}

int co_chan_send(co_chan_t *ch, const void *item) { return leave_wait(send_within(ch, item, -1)); }
int co_chan_recv(co_chan_t *ch, void *item) { return leave_wait(recv_within(ch, item, -1)); }

int co_chan_timedsend(co_chan_t *ch, const void *item, long timeout_ms) {
    return leave_wait(send_within(ch, item, timeout_ms));
}

int co_chan_timedrecv(co_chan_t *ch, void *item, long timeout_ms) {
    return leave_wait(recv_within(ch, item, timeout_ms));
}

int co_chan_trysend(co_chan_t *ch, const void *item) {
    return try_once(ch, send_attempt, const_cast<void *>(item));
}

int co_chan_tryrecv(co_chan_t *ch, void *item) { return try_once(ch, recv_now, item); }

int co_chan_close(co_chan_t *ch) {
    grants out;
    {
        spin_guard guard(&ch->senders.lock);
        if (ch->closed)
            return EPIPE;
        ch->closed = true;
        for (co_waitq *q : {&ch->senders, &ch->receivers})
            while (q->first)
                out.take(q, q->first);
    }
    out.wake(mark_refused);
    return 0;
}

size_t co_chan_len(co_chan_t *ch) {
    spin_guard guard(&ch->senders.lock);
    return ch->count;
}
