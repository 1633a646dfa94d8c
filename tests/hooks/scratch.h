// SPDX-License-Identifier: Apache-2.0
// What tests of files share: a directory that goes away, and an address where nothing is.
#pragma once

#include <cstdlib>
#include <cstring>
#include <string>

#include <sys/mman.h>
#include <unistd.h>

#include <gtest/gtest.h>

struct scratch {
    char path[40] = "/var/tmp/corun-names-XXXXXX";
    scratch() { EXPECT_NE(nullptr, mkdtemp(path)); }
    ~scratch() { rmdir(path); }
    scratch(const scratch &) = delete;
    scratch &operator=(const scratch &) = delete;
    std::string operator/(const char *name) const { return std::string(path) + "/" + name; }
};

inline const char *bad_address() {
    static void *page =
        mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(page, 'x', 4096); // a string that runs into what is not there
    mprotect(static_cast<char *>(page) + 4096, 4096, PROT_NONE);
    return static_cast<char *>(page);
}
