// SPDX-License-Identifier: Apache-2.0
// Who uses a stream. libc's own lock belongs to a thread, and lets all coroutines of the thread in;
// so one that keeps a stream while it waits is its owner here as well:
//
//     stream_lock lock(stream);
//     if (int e = lock.enter()) ...        // libc's lock is held; nobody else's coroutine owns it
//     lock.keep();                         // before a wait: now the coroutine owns the stream
//     lock.leave();
//
// Rules
//  - Whoever owns a stream holds libc's lock too, so that plain threads stay out; they wait for it as
//    they do for a thread. A coroutine never waits for libc's lock: it tries, and looks again later.
//  - An owner that ends or is released gives up what it owns.
//  - In a forked child nobody owns a stream, as with libc's locks.
#pragma once

#include <cstdio>

namespace corun::symbols {

class stream_lock {
  public:
    explicit stream_lock(FILE *stream) : stream_(stream) {}
    ~stream_lock() { leave(); }
    stream_lock(const stream_lock &) = delete;
    stream_lock &operator=(const stream_lock &) = delete;

    int enter(); // 0, or -ECANCELED
    int keep();  // 0, or -ENOMEM; more than once is once
    void leave();
    FILE *stream() const { return stream_; }

  private:
    FILE *stream_;
    bool entered_ = false, kept_ = false, waited_ = false;
};

// flockfile and its kin, for the running coroutine.
int own_stream(FILE *stream); // 0, -ECANCELED, -ENOMEM
bool try_own_stream(FILE *stream);
void disown_stream(FILE *stream);
void forget_stream(FILE *stream); // it is about to be closed

} // namespace corun::symbols
