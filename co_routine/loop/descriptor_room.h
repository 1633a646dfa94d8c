// SPDX-License-Identifier: Apache-2.0
// Room for descriptors of our own where the program is at its limit (RLIMIT_NOFILE), or has set that as
// low as it needs itself: while this object lives the limit is higher, as far as it may be. What is
// opened meanwhile stays open.
//
// The limit is the whole process's, so it is raised only where it must be, by one thread at a time and
// with its signals blocked; a fork waits, and what the program sets meanwhile stays.
#pragma once

#include <cstdint>

namespace corun {

class descriptor_room {
  public:
    // Such a low limit that the program may count on every number below it.
    static bool is_needed_from_the_start();

    descriptor_room();
    ~descriptor_room();
    descriptor_room(const descriptor_room &) = delete;
    descriptor_room &operator=(const descriptor_room &) = delete;

  private:
    struct limits { // of 64 bits everywhere
        uint64_t soft, hard;
        bool operator==(const limits &) const = default;
    };
    bool raise(const limits &to);

    limits former_{}, raised_{};
    uint64_t mask_ = 0;
    bool is_raised_ = false;
};

} // namespace corun
