// SPDX-License-Identifier: Apache-2.0
// Names of functions while others forget them.
#include "co_routine/debug/symbol_names.h"
#include "co_routine/debug/unwinder.h"

#include "tests/debug/child.h"

#include <atomic>
#include <dlfcn.h>
#include <filesystem>
#include <gtest/gtest.h>
#include <thread>

namespace {

using namespace corun;

__attribute__((noinline)) int function_of_no_dynamic_symbol(int i) {
    __asm__ volatile("" : "+r"(i));
    return i + 1;
}

#define SIXTY_FOUR "_of_sixty_four_characters_of_which_four_are_more_than_there_are_"
__attribute__((noinline)) int
function_of_a_long_name(int i) __asm__("long_name" SIXTY_FOUR SIXTY_FOUR SIXTY_FOUR SIXTY_FOUR);
int function_of_a_long_name(int i) {
    __asm__ volatile("" : "+r"(i));
    return i + 2;
}

std::string frame_of(void *pc) {
    char line[512];
    format_frame(line, sizeof line, 0, pc, true);
    return line;
}
std::string frame_of(int (*function)(int)) { return frame_of(reinterpret_cast<void *>(function)); }

bool is_named() {
    return frame_of(function_of_no_dynamic_symbol).find("function_of_no_dynamic_symbol") !=
           std::string::npos;
}

TEST(SymbolNames, ThatAreLongerThanTheRoomAreCut) {
    code_name name;
    ASSERT_TRUE(name_code(reinterpret_cast<uintptr_t>(&function_of_a_long_name), &name));
    std::string whole = "long_name" SIXTY_FOUR SIXTY_FOUR SIXTY_FOUR SIXTY_FOUR;
    EXPECT_EQ(whole.substr(0, sizeof name.function - 1), name.function);
    EXPECT_NE(std::string::npos, frame_of(function_of_a_long_name).find("+0x0 ("));
    EXPECT_EQ(2, function_of_a_long_name(0));
}

TEST(SymbolNames, OfAFileHaveNothingThatATerminalObeys) {
    Dl_info info;
    void *library = dlopen("libm.so.6", RTLD_NOW | RTLD_LOCAL);
    ASSERT_TRUE(library && dladdr(dlsym(library, "cbrt"), &info) != 0);
    std::string copied = testing::TempDir() + "corun-\x1b[2J-" + std::to_string(getpid());
    std::filesystem::copy_file(info.dli_fname, copied);
    void *copy = dlopen(copied.c_str(), RTLD_NOW | RTLD_LOCAL);
    std::filesystem::remove(copied);
    ASSERT_NE(nullptr, copy) << dlerror();
    std::string frame = frame_of(dlsym(copy, "cbrt"));
    EXPECT_NE(std::string::npos, frame.find("corun-?[2J-")) << frame;
    EXPECT_EQ(std::string::npos, frame.find('\x1b'));
    forget_names();
    dlclose(copy);
    dlclose(library);
}

TEST(SymbolNames, StayWholeWhileAnotherThreadForgets) {
    if (under_tsan)
        GTEST_SKIP() << "ThreadSanitizer starts no threads in the child of a fork";
    child_result r = in_child([] {
        std::atomic<bool> ends{false};
        std::thread forgetter([&] {
            while (!ends)
                forget_names();
        });
        int named = 0; // else by the dynamic linker alone, which does not know it
        for (int i = 0; i < 20000 || named < 20; ++i)
            named += is_named();
        ends = true;
        forgetter.join();
        forget_names();
        if (!is_named())
            dprintf(2, "it has no name\n");
    });
    EXPECT_TRUE(r.exited_with(0)) << r.status;
    EXPECT_EQ("", r.text);
    EXPECT_EQ(1, function_of_no_dynamic_symbol(0));
}

} // namespace
