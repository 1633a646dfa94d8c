// SPDX-License-Identifier: Apache-2.0
// What the programs here have in common: a crowd of coroutines on one thread, each with a client of
// its own. All connect; when the last one has, all do the same blocking thing. The report, one line:
//
//     count=50 at_once=50 seconds=1.012 connect=0.087 gap_ms=9 stack=6320
//
// at_once is how many were inside that call at the same time: with hooks all of them, without hooks
// one. It needs no clock. gap_ms is the longest time in which the thread's loop did not turn, stack
// the most bytes that a private stack had in use.
//
//     struct client {
//         client(int index, char **arguments);
//         void connect();                 // throws what went wrong
//         void work();                    // the same
//         static void conduct(crowd &c);  // may be missing: a further coroutine, see redis_client
//     };
//     int main(int argc, char **argv) { return crowd_main<client>(argc, argv); }
//     // ./program COUNT hooked|shared|quiet|blocking ARGUMENT...

#ifndef CORUN_TESTS_CLIENTS_CROWD_H
#define CORUN_TESTS_CLIENTS_CROWD_H

#include <algorithm>
#include <chrono>
#include <co_routine.h>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

inline void must(bool ok, const std::string &what) {
    if (!ok)
        throw std::runtime_error(what);
}

struct crowd {
    int count = 0;
    bool hooked = true, shared = false, conducted = true;
    int ready = 0, inside = 0, at_once = 0, finished = 0, errors = 0;

    using clock = std::chrono::steady_clock;
    static double since(clock::time_point begin) {
        return std::chrono::duration<double>(clock::now() - begin).count();
    }

    // Runs body() where an exception is a line on stderr and a count.
    template <class Body> void counted(const char *what, int index, Body body) {
        try {
            body();
        } catch (const std::exception &e) {
            fprintf(stderr, "%s %d: %s\n", what, index, e.what());
            ++errors;
        }
    }
};

template <class Client> struct crowd_run : crowd {
    struct member {
        crowd_run *all;
        int index;
        std::unique_ptr<Client> client;
        stCoRoutine_t *co;
    };
    std::vector<member> members;
    co_wg_t connected = {};
    clock::time_point begin, start;
    double connect_seconds = 0, seconds = 0, gap = 0;

    static void *one(void *p) {
        member &m = *static_cast<member *>(p);
        crowd_run &all = *m.all;
        if (all.hooked)
            co_enable_hook_sys();
        all.counted("connecting", m.index, [&] { m.client->connect(); });
        if (++all.ready == all.count) {
            all.connect_seconds = since(all.begin);
            all.start = clock::now();
        }
        co_wg_done(&all.connected);
        co_wg_wait(&all.connected);
        all.at_once = std::max(all.at_once, ++all.inside);
        if (all.errors == 0)
            all.counted("client", m.index, [&] { m.client->work(); });
        --all.inside;
        if (++all.finished == all.count)
            all.seconds = since(all.start);
        return nullptr;
    }

    static void *conductor(void *p) {
        crowd_run &all = *static_cast<crowd_run *>(p);
        co_enable_hook_sys();
        co_wg_wait(&all.connected);
        if constexpr (requires { Client::conduct(all); })
            all.counted("conductor", 0, [&] { Client::conduct(all); });
        return nullptr;
    }

    static void *ticker(void *p) {
        crowd_run &all = *static_cast<crowd_run *>(p);
        for (auto last = clock::now(); all.finished < all.count; last = clock::now()) {
            co_sleep_ms(5);
            all.gap = std::max(all.gap, since(last) - 0.005);
        }
        return nullptr;
    }

    int run(char **arguments) {
        stCoRoutineAttr_t attr;
        attr.share_stack = shared ? co_alloc_sharestack(4, 256 * 1024) : nullptr;
        co_wg_add(&connected, count);
        for (int i = 0; i < count; ++i)
            members.push_back({this, i, std::make_unique<Client>(i, arguments), nullptr});
        begin = clock::now();
        co_go(nullptr, nullptr, ticker, this);
        for (member &m : members)
            co_go(&m.co, &attr, one, &m);
        if (conducted)
            co_go(nullptr, nullptr, conductor, this);
        co_run();
        size_t stack = 0;
        for (member &m : members) {
            stack = std::max(stack, co_stack_high_water(m.co));
            co_release(m.co);
        }
        members.clear();
        printf("count=%d at_once=%d seconds=%.3f connect=%.3f gap_ms=%.0f stack=%zu\n", count,
               at_once, seconds, connect_seconds, 1000 * gap, stack);
        return errors == 0 && finished == count ? 0 : 1;
    }
};

template <class Client> int crowd_main(int argc, char **argv) {
    if (argc < 3)
        return fprintf(stderr, "%s COUNT hooked|shared|quiet|blocking ARGUMENT...\n", argv[0]), 2;
    crowd_run<Client> all;
    all.count = atoi(argv[1]);
    all.hooked = argv[2] != std::string("blocking");
    all.shared = argv[2] == std::string("shared");
    all.conducted = all.hooked && argv[2] != std::string("quiet");
    return all.run(argv + 3);
}

#endif
