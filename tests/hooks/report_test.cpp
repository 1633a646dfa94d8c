// SPDX-License-Identifier: Apache-2.0
// co_hook_is_hooked and co_hook_report in this program, which has the hooks linked in. How other ways
// of linking are reported: report_test.sh.
#include "co_hook.h"

#include "tests/hooks/both.h"

#include <cstdio>
#include <dlfcn.h>

namespace {

std::string report(int *lost) {
    char *text = nullptr;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    *lost = co_hook_report(out);
    fclose(out);
    std::string all(text, length);
    free(text);
    return all;
}

std::string line_of(const std::string &text, const std::string &name) {
    size_t at = text.find("\n" + name + " ");
    return at == std::string::npos ? "" : text.substr(at + 1, text.find('\n', at + 1) - at - 1);
}

TEST(HookReport, IsHookedTellsTheThreeAnswers) {
    EXPECT_EQ(co_hook_is_hooked("read"), 1);
    EXPECT_EQ(co_hook_is_hooked("__poll_chk"), 1);
    EXPECT_EQ(co_hook_is_hooked("strlen"), -1);
    EXPECT_EQ(co_hook_is_hooked(""), -1);
    EXPECT_EQ(co_hook_is_hooked(nullptr), -1);
}

TEST(HookReport, EveryNameHasItsTreatmentAndFamilyAndLeadsToUs) {
    int lost = -1;
    std::string text = report(&lost);
    EXPECT_EQ(lost, 0) << text;
    std::string accept_line = line_of(text, "accept");
    EXPECT_NE(accept_line.find(" waits "), std::string::npos) << text;
    EXPECT_NE(accept_line.find(" descriptors "), std::string::npos) << accept_line;
    EXPECT_NE(accept_line.find(" corun"), std::string::npos) << accept_line;
    EXPECT_NE(line_of(text, "dup").find(" noted "), std::string::npos);
    EXPECT_NE(line_of(text, "nanosleep").find(" sleeps "), std::string::npos);
}

// A coroutine's stack may be small: the report must not put its lists there.
TEST(HookReport, InACoroutine) {
    int lost = -1;
    stCoRoutine_t *co = go([&] { report(&lost); });
    co_run();
    EXPECT_EQ(lost, 0);
    co_release(co);
}

} // namespace
