// SPDX-License-Identifier: Apache-2.0
// cancel - a coroutine that waits is asked to end: its stack is unwound, destructors run, and who
// joins it is told. One that wants to go on cleaning up asks for an error instead.
#include <co_routine.hpp>

#include <cstdio>

struct lamp {
    const char *room;
    explicit lamp(const char *r) : room(r) { std::printf("light on in the %s\n", room); }
    ~lamp() { std::printf("light off in the %s\n", room); }
};

static void read_by(const char *room) {
    lamp light(room);
    co::sleep_for(std::chrono::hours(1));
    std::printf("nobody gets here\n");
}

static void *careful(void *) {
    co_cancel_mode(CO_CANCEL_ERRNO);
    lamp light("cellar");
    if (co_sleep_ms(3600 * 1000) == ECANCELED)
        std::printf("so I close the tap\n");
    return nullptr;
}

int main() {
    auto reader = co::go([] { read_by("library"); }, co::name("reader"));
    stCoRoutine_t *plumber;
    co_go(&plumber, nullptr, careful, nullptr);
    co::yield(); // both run up to their sleep

    reader.cancel();
    co_cancel(plumber);
    try {
        reader.join();
    } catch (const std::system_error &e) {
        std::printf("the reader: %s\n", e.code().message().c_str());
    }
    void *result;
    co_join(plumber, &result);
    std::printf("the plumber %s\n", result == CO_CANCELED ? "was cut off" : "has finished");
    co_release(plumber);
}
