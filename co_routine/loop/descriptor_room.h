// SPDX-License-Identifier: Apache-2.0
// Room for descriptors of our own where the program is at its limit (RLIMIT_NOFILE), or has set that as
// low as it needs itself: while this object lives the limit is higher, as far as it may be. What is
// opened meanwhile stays open.
#pragma once

#include "co_routine/base/raw_sys.h"

#include <sys/resource.h>

namespace corun {

class descriptor_room {
  public:
    descriptor_room() {
        constexpr uint64_t usual = 1024, more = 64;
        sys::call(SYS_prlimit64, 0, RLIMIT_NOFILE, nullptr, &former_);
        uint64_t wanted = former_.soft < usual ? usual : former_.soft + more;
        bool is_allowed = wanted <= former_.hard;
        is_raised_ =
            raise({wanted, is_allowed ? former_.hard : wanted}) ||
            (!is_allowed && former_.soft < former_.hard && raise({former_.hard, former_.hard}));
    }
    ~descriptor_room() {
        if (is_raised_)
            raise(former_);
    }
    descriptor_room(const descriptor_room &) = delete;
    descriptor_room &operator=(const descriptor_room &) = delete;

  private:
    struct limits { // of 64 bits everywhere
        uint64_t soft, hard;
    };
    static bool raise(const limits &to) {
        return !sys::failed(sys::call(SYS_prlimit64, 0, RLIMIT_NOFILE, &to, nullptr));
    }

    limits former_{};
    bool is_raised_;
};

} // namespace corun
