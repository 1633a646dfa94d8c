// SPDX-License-Identifier: Apache-2.0
// What is pending for one thread alone stands in its queue (signal_queue.h), where the kernel's signalfd
// does not find it. So before that thread makes a call that may look at one, its signals are lent to the
// kernel, which looks without waiting, and those that nobody has read are taken back:
//
//     loan l(t, t->signals.pending & t->signals.blocked);
//     ...a call of the kernel that does not wait...
//
// One that comes while the thread waits in such a call ends the wait, as for a handler; the call is made
// again and looks.
//
// Rules
//  - While signals are lent nobody else has a turn: they would be everybody's. And no memory of the
//    program is touched: a fault would be a blocked one if SIGSEGV is lent.
//  - Only of signals for which the program has made a signalfd; one that it has inherited is not known.
#pragma once

#include "co_hook/waist/worker.h"

namespace corun::waist {

extern signal_set of_signalfds __attribute__((visibility("hidden")));

// The program's call, and what it says of signals.
word make_signalfd(long nr, const word (&a)[6]);

// A look with the thread's own signals in the kernel. True: it has found something, *result is the call's.
bool look_at_signalfds(thread *self, long nr, const word (&a)[6], word *result);
inline bool finds_at_signalfds(thread *self, long nr, const word (&a)[6], word *result) {
    return CO_UNLIKELY((self->signals.pending | self->home->signals.kept) & of_signalfds) &&
           look_at_signalfds(self, nr, a, result);
}
// A signal that t blocks has come for it.
void show_to_signalfds(thread *t, int signal);

class loan {
  public:
    loan(thread *t, signal_set which); // which: pending, and blocked
    ~loan();
    void was_read(int signal); // by the program: one of this number, lent or the process's
    loan(const loan &) = delete;
    loan &operator=(const loan &) = delete;

  private:
    thread *t_;
    signal_set which_;
};

} // namespace corun::waist
