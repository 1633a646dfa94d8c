// SPDX-License-Identifier: Apache-2.0
// A signal that the thread blocks, and that comes while it waits with a mask that lets it in.
//
//     expect_a_signal_let_in([](side &s, const sigset_t *none) {
//         s.says("ppoll", ppoll(nullptr, 0, &limit, none));
//     });
#pragma once

#include "tests/hooks/both.h"

#include <csignal>
#include <unistd.h>

inline void expect_a_signal_let_in(const std::function<void(side &, const sigset_t *)> &wait) {
    static volatile int handled;
    struct sigaction act {};
    act.sa_handler = [](int) { handled = handled + 1; };
    sigaction(SIGUSR2, &act, nullptr);
    expect_same([&wait](side &s) {
        handled = 0;
        sigset_t block, none, before;
        sigemptyset(&block);
        sigaddset(&block, SIGUSR2);
        sigemptyset(&none);
        pthread_sigmask(SIG_BLOCK, &block, &before);
        pthread_t self = pthread_self();
        std::thread other([self] {
            ::usleep(20000);
            pthread_kill(self, SIGUSR2);
        });
        wait(s, &none);
        s.says("handled", static_cast<int>(handled));
        other.join();
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
    });
}
