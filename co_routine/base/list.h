// SPDX-License-Identifier: Apache-2.0
// Intrusive doubly linked list: the node lives in the object, so linking never allocates. An object
// that hangs in no list has next == nullptr.
#pragma once

#include <cstddef>

namespace corun {

struct list_node {
    list_node *next = nullptr;
    list_node *prev = nullptr;

    bool linked() const { return next != nullptr; }
    void unlink() {
        prev->next = next;
        next->prev = prev;
        next = prev = nullptr;
    }
};

// A ring through its own head: no special case for the first or the last.
struct list_head {
    list_node ring{&ring, &ring};

    list_head() = default;
    list_head(const list_head &) = delete;
    list_head &operator=(const list_head &) = delete;

    bool empty() const { return ring.next == &ring; }
    list_node *front() const { return empty() ? nullptr : ring.next; }
    void push_back(list_node *n) { insert_before(&ring, n); }
    void push_front(list_node *n) { insert_before(ring.next, n); }
    list_node *pop_front() {
        list_node *n = front();
        if (n)
            n->unlink();
        return n;
    }
    static void insert_before(list_node *at, list_node *n) {
        n->next = at;
        n->prev = at->prev;
        at->prev->next = n;
        at->prev = n;
    }
};

// The object that holds node as its member at the given offset: CO_CONTAINER(co, coroutine, link).
#define CO_CONTAINER(node, type, member)                                                           \
    (reinterpret_cast<type *>(reinterpret_cast<char *>(node) - offsetof(type, member)))

} // namespace corun
