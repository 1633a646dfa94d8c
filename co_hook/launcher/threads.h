// SPDX-License-Identifier: Apache-2.0
// The threads of a process under corun, read from outside while it goes on: one that ends meanwhile is left
// out, and a line may be of two moments.
#ifndef CORUN_HOOK_LAUNCHER_THREADS_H
#define CORUN_HOOK_LAUNCHER_THREADS_H

#include "co_hook/launcher/attach.h"

namespace corun::launcher {

struct thread_row {
    const coroutine *at; // there
    int tid;
    char name[64]; // "": none
    co_state state;
    const char *call;   // what it waits in; nullptr: nothing
    int fd;             // and on; -1: no descriptor
    uintptr_t object;   // or on what; 0: nothing
    bool has_limit;     // of time
    uintptr_t ends_at;  // what is zeroed when it ends
    int64_t waited_ns;  // parked for so long, about; -1: not parked
    size_t stack_bytes; // 0: not known
    size_t stack_used;  // of them in memory, by whole pages
    uint32_t switches;  // to it, so far
    int holder; // the thread that it waits for: that holds the mutex, or that it joins; 0: not known
    bool joins;         // it waits for that one's end
    bool is_deadlocked; // and in the end for itself
    size_t walk;        // the number of the walk that came by first (holders.cpp)
};

struct thread_list {
    thread_row *rows; // by their numbers
    size_t count;
    uint64_t switches; // of the process, so far
};
thread_list read_threads(const attached &p);

// One of them at one moment, with what it is made of.
struct thread_now {
    copy_of<coroutine> co;
    copy_of<waist::thread> t;
    thread_row row;
};
// False: it has ended since it was listed.
bool read_again(const attached &p, const thread_row &listed, thread_now *out);

// holders.cpp: whom a thread waits for, by what stands at its futex; t: a copy of it. Then, of all rows, which
// numbers are threads, and who waits for himself in the end.
void read_holder(const attached &p, const waist::thread &t, thread_row *r);
void find_deadlocks(const thread_list &list);

// peers.cpp: who is at the other end of the descriptor, or where it listens; "": nobody, or not known. All
// sockets of its network are read for the first one that is not known, and again after expect_new_peers.
const char *peer_of(const attached &p, int fd);
void expect_new_peers();

} // namespace corun::launcher

#endif
