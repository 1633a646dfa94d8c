// SPDX-License-Identifier: Apache-2.0
// The finder: on libc and ld.so as they are, on Debian 13's libc where it can be had, and on the
// shapes of shapes.S. What it finds is held against objdump's reading of the same file.
#include "co_hook/waist/decoder.h"
#include "co_hook/waist/sites.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <link.h>
#include <set>
#include <string>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

using namespace corun;
using namespace corun::waist;

namespace {

constexpr const char *libc_path = "/lib/x86_64-linux-gnu/libc.so.6";
constexpr const char *ld_so_path = "/lib64/ld-linux-x86-64.so.2";

// The directory of the test programs.
std::string built(const std::string &name) {
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path);
    std::string all(path, n > 0 ? static_cast<size_t>(n) : 0);
    return all.substr(0, all.rfind('/')) + "/waist/" + name;
}

// The sites of a file, with addresses as the file has them.
struct found {
    explicit found(const std::string &path) : name(path) {
        EXPECT_EQ(open_decoder(), 0);
        image img;
        error = image_from_file(&img, name.c_str());
        if (error)
            return;
        take(img);
        image_unmap(&img);
    }
    explicit found(const image &img) : name(img.name) { take(img); }

    void take(const image &img) {
        raw_vector<site> list;
        error = find_sites(img, &list);
        for (size_t i = 0; i < list.size(); ++i) {
            site s = list[i];
            uintptr_t distance = 0;
            const char *symbol = symbol_name(img, s.address, &distance);
            symbols.push_back(symbol ? symbol : "");
            s.address -= img.bias;
            sites.push_back(s);
        }
    }
    size_t patchable() const {
        return static_cast<size_t>(
            std::count_if(sites.begin(), sites.end(), [](const site &s) { return !s.reason; }));
    }
    const site *in(const std::string &symbol) const {
        for (size_t i = 0; i < sites.size(); ++i)
            if (symbols[i] == symbol)
                return &sites[i];
        return nullptr;
    }
    void expect_all_that_block() const {
        for (size_t i = 0; i < sites.size(); ++i)
            EXPECT_FALSE(sites[i].reason && must_be_seen(sites[i].number))
                << symbols[i] << ", system call " << sites[i].number << ": " << sites[i].reason;
    }

    std::string name;
    int error = 0;
    std::vector<site> sites;
    std::vector<std::string> symbols;
};

// objdump's reading: where instructions begin, where branches lead, which are syscalls.
struct disassembly {
    explicit disassembly(const std::string &path) {
        FILE *pipe = popen(("objdump -d --no-show-raw-insn " + path).c_str(), "r");
        char line[512];
        while (pipe && fgets(line, sizeof line, pipe)) {
            unsigned long address = 0, target = 0;
            char mnemonic[64] = "", operand[64] = "";
            if (sscanf(line, " %lx: %63s %63s", &address, mnemonic, operand) < 2)
                continue;
            starts.insert(address);
            if (!strcmp(mnemonic, "syscall"))
                syscalls.insert(address);
            bool is_branch = mnemonic[0] == 'j' || !strncmp(mnemonic, "call", 4) ||
                             !strncmp(mnemonic, "loop", 4) || !strncmp(mnemonic, "bnd", 3);
            if (is_branch && sscanf(operand, "%lx", &target) == 1)
                targets.insert(target);
        }
        EXPECT_TRUE(pipe && pclose(pipe) == 0) << "objdump " << path;
    }
    std::set<uintptr_t> starts, targets, syscalls;
};

void expect_agreement(const found &f) {
    disassembly d(f.name);
    std::set<uintptr_t> mine;
    for (const site &s : f.sites) {
        SCOPED_TRACE(testing::Message() << f.name << " at 0x" << std::hex << s.address);
        mine.insert(s.address);
        EXPECT_TRUE(d.syscalls.count(s.address));
        if (s.reason)
            continue;
        EXPECT_GE(s.before + s.after, 3);
        EXPECT_TRUE(d.starts.count(s.window())) << "the window begins inside an instruction";
        EXPECT_TRUE(d.starts.count(s.window_end())) << "the window ends inside an instruction";
        auto entered = d.targets.upper_bound(s.window());
        EXPECT_TRUE(entered == d.targets.end() || *entered >= s.window_end())
            << "a branch leads to 0x" << std::hex << *entered;
    }
    EXPECT_EQ(mine, d.syscalls);
}

void expect_numbers(const found &f, std::initializer_list<int> numbers) {
    for (int number : numbers)
        EXPECT_TRUE(std::any_of(f.sites.begin(), f.sites.end(),
                                [&](const site &s) { return s.number == number && !s.reason; }))
            << "system call " << number;
}

TEST(Sites, LibcsSystemCallsCanBePatched) {
    found f(libc_path);
    ASSERT_EQ(f.error, 0);
    EXPECT_GE(f.sites.size(), 300u);
    EXPECT_GE(f.patchable() * 100, f.sites.size() * 95);
    f.expect_all_that_block();
}

// A number is known from the constant that is loaded, near or far.
TEST(Sites, LibcsCallsThatBlockAreKnownByNumber) {
    found f(libc_path);
    expect_numbers(f, {SYS_futex, SYS_clone, SYS_clone3, SYS_exit, SYS_vfork, SYS_rt_sigreturn,
                       SYS_rt_sigprocmask, SYS_set_robust_list, SYS_tgkill});
    if (f.sites.size() > 500) // before glibc 2.41, which has one site for all of these
        expect_numbers(f, {SYS_read, SYS_write, SYS_poll, SYS_epoll_wait, SYS_accept, SYS_connect,
                           SYS_recvfrom, SYS_recvmsg, SYS_sendto, SYS_sendmsg, SYS_clock_nanosleep,
                           SYS_wait4, SYS_pause, SYS_openat, SYS_fsync, SYS_pselect6});
}

TEST(Sites, LdSosSystemCallsCanBePatched) {
    found f(ld_so_path);
    ASSERT_EQ(f.error, 0);
    EXPECT_GE(f.patchable() * 100, f.sites.size() * 95);
    f.expect_all_that_block();
}

TEST(Sites, AgreeWithObjdump) {
    for (const char *path : {libc_path, ld_so_path})
        expect_agreement(found(path));
}

// tests/support/debian13_libc fetches the package where a source of it can be reached.
TEST(Sites, Debian13sLibc) {
    std::string path = built("debian13/libc.so.6");
    std::string fetch = "tests/support/debian13_libc " + built("debian13");
    if (system(fetch.c_str()) != 0)
        GTEST_SKIP() << "Debian 13's libc6 could not be fetched";
    found f(path);
    ASSERT_EQ(f.error, 0);
    EXPECT_GE(f.patchable() * 100, f.sites.size() * 95);
    f.expect_all_that_block();
    expect_agreement(f);
}

image libc_in_memory() {
    image img{};
    dl_iterate_phdr(
        [](dl_phdr_info *info, size_t, void *out) {
            if (strstr(info->dlpi_name, "libc.so.6"))
                image_from_headers(static_cast<image *>(out), info->dlpi_name, info->dlpi_addr,
                                   info->dlpi_phdr, info->dlpi_phnum);
            return 0;
        },
        &img);
    return img;
}

// What is said of a file (corun --check) is what is done once it is loaded.
TEST(Sites, AreTheSameInTheFileAndInMemory) {
    found file(libc_path);
    std::vector<site> memory = found(libc_in_memory()).sites;
    ASSERT_EQ(file.sites.size(), memory.size());
    for (size_t i = 0; i < memory.size(); ++i) {
        EXPECT_EQ(file.sites[i].address, memory[i].address);
        EXPECT_EQ(file.sites[i].before, memory[i].before);
        EXPECT_EQ(file.sites[i].after, memory[i].after);
        EXPECT_STREQ(file.sites[i].reason, memory[i].reason);
    }
}

// A variable may hold the number that an address has in the file: ld.so's, of cycles, did at times.
TEST(Sites, VariablesHoldNoAddendsOnceTheObjectIsRelocated) {
    image img = libc_in_memory();
    const site before = *found(img).in("getppid");
    ASSERT_EQ(before.reason, nullptr);
    uint64_t variable = before.window() + 1;
    for (uint64_t end = before.window_end(); variable < end; ++variable) {
        image with = img;
        auto at = reinterpret_cast<uintptr_t>(&variable);
        with.segments[with.segment_count++] = {at, at + sizeof variable, false, true};
        EXPECT_NE(found(with).in("getppid")->before, before.before);
        with.relocated = true;
        EXPECT_EQ(found(with).in("getppid")->before, before.before);
    }
}

TEST(Sites, FilesThatAreNoObjectsAreRefused) {
    EXPECT_EQ(found("/etc/passwd").error, -ENOEXEC);
    EXPECT_EQ(found("/dev/null").error, -ENOEXEC);
    EXPECT_EQ(found("/no/such/file").error, -ENOENT);
}

struct shape {
    const char *symbol;
    int number;
    int before, after;  // of the window; -1: native
    const char *reason; // a part of it
};

TEST(Sites, AreFoundInEveryShape) {
    static const shape shapes[] = {
        {"plain", SYS_getppid, 5, 0, nullptr},
        {"entered_at_syscall", SYS_getppid, 0, 6, nullptr},
        {"entered_on_both_sides", SYS_getppid, -1, -1, "a branch leads"},
        {"entered_by_table", SYS_getppid, 0, 3, nullptr},
        {"entered_by_neighbour", SYS_getppid, 0, 3, nullptr},
        {"between_push_and_pop", SYS_getppid, -1, -1, "changes rsp"},
        {"between_call_and_return", site::unknown, -1, -1, "is a call"},
        {"repeats", SYS_getppid, 2, 2, nullptr},
        {"branches_behind", SYS_getppid, 4, 0, nullptr},
        {"funnel", SYS_getppid, 5, 0, nullptr},
        {"relative_operand", SYS_getppid, 0, 7, nullptr},
        {"ends_early", SYS_getppid, 5, 0, nullptr},
        {"keeps_flags_and_red_zone", SYS_getppid, 3, 0, nullptr},
        {"with_breakpoint", site::unknown, -1, -1, "breakpoint"},
        {"undecodable", SYS_getppid, -1, -1, "decoder"},
    };
    found f(built("libshapes.so"));
    ASSERT_EQ(f.error, 0);
    for (const shape &expected : shapes) {
        SCOPED_TRACE(expected.symbol);
        const site *s = f.in(expected.symbol);
        ASSERT_TRUE(s);
        EXPECT_EQ(s->number, expected.number);
        if (expected.reason) {
            ASSERT_TRUE(s->reason);
            EXPECT_TRUE(strstr(s->reason, expected.reason)) << s->reason;
        } else {
            EXPECT_STREQ(s->reason, nullptr);
            EXPECT_EQ(s->before, expected.before);
            EXPECT_EQ(s->after, expected.after);
        }
    }
    EXPECT_EQ(f.sites.size(), std::size(shapes)) << "bytes inside a number were taken for a call";
}

} // namespace
