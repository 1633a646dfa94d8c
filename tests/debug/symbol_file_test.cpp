// SPDX-License-Identifier: Apache-2.0
// Names of functions from files, whole ones and broken ones.
#include "co_routine/debug/symbol_file.h"

#include <cstring>
#include <dlfcn.h>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <unistd.h>

namespace {

using namespace corun;

__attribute__((noinline)) int function_that_nobody_exports(int i) {
    __asm__ volatile("" : "+r"(i));
    return i + 1;
}

uintptr_t offset_of(const void *address) {
    Dl_info info;
    EXPECT_NE(0, dladdr(address, &info));
    return reinterpret_cast<uintptr_t>(address) - reinterpret_cast<uintptr_t>(info.dli_fbase);
}

TEST(SymbolFile, KnowsFunctionsThatAreNotExported) {
    symbol_file f;
    ASSERT_TRUE(f.open("/proc/self/exe"));
    uintptr_t at = offset_of(reinterpret_cast<void *>(&function_that_nobody_exports)), distance = 0;
    for (uintptr_t i = 0; i < 3; ++i) {
        const char *name = f.name_of(at + i, &distance);
        ASSERT_NE(nullptr, name);
        EXPECT_NE(nullptr, strstr(name, "function_that_nobody_exports")) << name;
        EXPECT_EQ(i, distance);
    }
    EXPECT_EQ(nullptr, f.name_of(0, &distance)); // the headers
    f.close();
    EXPECT_EQ(nullptr, f.name_of(at, &distance));
    EXPECT_EQ(1, function_that_nobody_exports(0));
}

TEST(SymbolFile, SaysNoToWhatIsNone) {
    symbol_file f;
    EXPECT_FALSE(f.open("/nonexistent"));
    EXPECT_FALSE(f.open("/dev/null"));
    EXPECT_FALSE(f.open("/etc/passwd"));
    EXPECT_FALSE(f.open("/"));
}

// A file that ends, or lies, anywhere: nothing outside of it is read.
TEST(SymbolFile, BelievesNoOffset) {
    Dl_info info;
    ASSERT_NE(0,
              dladdr(reinterpret_cast<void *>(&strlen), &info)); // libc, and beside it a small one
    std::string of_libc = info.dli_fname;
    std::ifstream small(of_libc.substr(0, of_libc.rfind('/')) + "/libdl.so.2", std::ios::binary);
    std::string whole((std::istreambuf_iterator<char>(small)), {});
    ASSERT_GT(whole.size(), 8192U);
    char path[] = "/tmp/corun-symbols-XXXXXX";
    close(mkstemp(path));
    unsigned seed = 1, opened = 0;
    for (int i = 0; i < 600; ++i) {
        std::string broken = whole;
        if (i > 0 && i < 100)
            broken.resize(whole.size() / 100 * static_cast<size_t>(i));
        for (int change = 0; i >= 100 && change < 4; ++change) { // the header, the section headers
            seed = seed * 1103515245 + 12345;
            size_t at = seed / 65536 % (change == 0 ? 64 : 2048);
            broken[change == 0 ? at : whole.size() - 1 - at] = static_cast<char>(seed >> 8);
        }
        std::ofstream(path, std::ios::binary | std::ios::trunc) << broken;
        symbol_file f;
        bool good = f.open(path);
        EXPECT_TRUE(good || i > 0);
        opened += good;
        uintptr_t distance;
        for (uintptr_t at = 0; good && at < 65536; at += 64)
            f.name_of(at, &distance);
        f.close();
    }
    unlink(path);
    EXPECT_GT(opened, 10U);
    EXPECT_LT(opened, 600U);
}

} // namespace
