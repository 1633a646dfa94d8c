// SPDX-License-Identifier: Apache-2.0
// The rewriting, with libnative_waist.so behind the slots: every system call of a program goes through
// them and is made natively, so the program is what it was.
#include "tests/waist/programs.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace programs;

namespace {

// A shell command whose programs, and theirs, all come with the library.
std::string preloaded(const std::string &command, const std::string &report = "") {
    return "env LD_PRELOAD=" + built("libnative_waist.so") +
           (report.empty() ? "" : " NATIVE_WAIST_REPORT=" + report) + " timeout 60 sh -c " +
           quoted(command);
}

// The file where libnative_waist.so counts, for one test.
struct counts {
    counts() : file(directory() + "/waist/report." + std::to_string(getpid())) {
        unlink(file.c_str());
    }
    ~counts() { unlink(file.c_str()); }
    // The values of "what=N", added up over all processes.
    long sum(const std::string &what) const {
        std::ifstream in(file);
        std::string word;
        long total = 0;
        while (in >> word)
            if (word.compare(0, what.size() + 1, what + "=") == 0)
                total += atol(word.c_str() + what.size() + 1);
        return total;
    }
    std::string file;
};

bool installed(const std::string &program) {
    return system(("command -v " + program + " >/dev/null 2>&1").c_str()) == 0;
}

void expect_the_same(const std::string &command) {
    SCOPED_TRACE(command);
    counts c;
    outcome native = run("timeout 60 sh -c " + quoted(command));
    outcome waist = run(preloaded(command, c.file));
    EXPECT_EQ(native.text, waist.text);
    EXPECT_EQ(native.status, waist.status);
    EXPECT_FALSE(native.text.empty());
    EXPECT_GE(c.sum("calls"), 10);
    EXPECT_EQ(c.sum("unseen"), 0);
}

TEST(NativeWaist, ProgramsDoWhatTheyDoWithout) {
    expect_the_same("ls -la /usr/lib /etc");
    expect_the_same("find /etc -type f 2>/dev/null | sort | md5sum");
    expect_the_same("echo $((6 * 7)); exit 5");
}

TEST(NativeWaist, ProcessesAreMadeAndReplaced) {
    expect_the_same("date +%Y | cat; (echo child; exit 3); echo $?");
    expect_the_same("for i in 1 2 3 4 5; do echo $i & wait; done; kill -0 $$ && echo alive");
    if (installed("perl"))
        expect_the_same(
            "perl -e '$| = 1; if (!fork) { print \"child\\n\"; exit 7 } wait; print $? >> 8,"
            " \"\\n\"; system(\"echo spawned\"); print `date +%Y`;"
            " $SIG{ALRM} = sub { print \"alarm\\n\" }; alarm 1; sleep 5;'");
}

TEST(NativeWaist, ThreadsSignalsAndSubprocessesOfPython) {
    if (!installed("/usr/bin/python3"))
        GTEST_SKIP() << "python3 is not installed";
    expect_the_same("/usr/bin/python3 -c 'import sys; print(sys.version)'");
    expect_the_same(R"(/usr/bin/python3 -c '
import os, queue, signal, socket, subprocess, threading
print(subprocess.check_output(["echo", "spawned"]).decode(), end="", flush=True)
q = queue.Queue()
t = [threading.Thread(target=lambda i=i: q.put(i)) for i in range(20)]
[x.start() for x in t]; [x.join() for x in t]
print(sorted(q.get() for _ in t))
a, b = socket.socketpair()
threading.Timer(0.05, lambda: b.send(b"late")).start()
print(a.recv(10))
signal.signal(signal.SIGALRM, lambda *_: print("alarm"))
signal.setitimer(signal.ITIMER_REAL, 0.05)
signal.pause()
os.kill(os.getpid(), signal.SIGTERM)
')");
}

// All of libc's and ld.so's sites, and the program's other libraries'.
TEST(NativeWaist, CountsWhatItHasPatched) {
    counts c;
    outcome o = run(preloaded("exec ls /", c.file));
    EXPECT_EQ(o.status, 0);
    // Two programs: sh, which becomes ls.
    EXPECT_GE(c.sum("patched"), 600);
    EXPECT_EQ(c.sum("patched") + c.sum("native"), c.sum("sites"));
    EXPECT_LE(c.sum("native") * 20, c.sum("sites"));
    EXPECT_EQ(c.sum("unseen"), 0);
    long us = c.sum("us") / 2;
    printf("patching libc, ld.so and the program took %ld.%ld ms of processor time\n", us / 1000,
           us / 100 % 10);
    RecordProperty("microseconds", static_cast<int>(us));
}

// Each shape of code is patched and run; a library that comes later, too.
TEST(NativeWaist, CodeOfEveryShapeDoesTheSameFromASlot) {
    outcome o = run(preloaded("exec " + built("shapes_prog") + " " + built("libshapes.so")));
    EXPECT_EQ(o.text, "0 failures\n");
    EXPECT_EQ(o.status, 0);
}

// More than 2 GiB lie between a program and its libraries, wherever the kernel puts it.
TEST(NativeWaist, TheProgramsOwnCallsAreLedOverIslands) {
    for (const char *where : {"", "setarch -R "}) {
        outcome o = run(preloaded(std::string("exec ") + where + built("inline_prog")));
        EXPECT_EQ(o.text, "0 wrong, 50 seen\n") << where;
        EXPECT_EQ(o.status, 0);
    }
}

// contract 42
void expect_whole_stacks(const std::string &arguments, int least_samples, int least_in_slots) {
    SCOPED_TRACE(arguments);
    samples s = unwound(run(preloaded("exec " + built("unwind_prog") + " " + arguments)));
    EXPECT_GE(s.taken, least_samples);
    EXPECT_EQ(s.truncated, 0);
    EXPECT_GE(s.in_slots, least_in_slots);
}

TEST(NativeWaist, ProfilersSeeTheWholeStackInALoopOfSystemCalls) {
    expect_whole_stacks("libgcc 3000", 3000, 0);
    expect_whole_stacks("libunwind 1000", 1000, 0);
    expect_whole_stacks("libgcc 1000 thread", 1000, 0);
}
// The processor's trap flag, five instructions of a slot for each call: nothing is left to chance.
TEST(NativeWaist, LibgccSeesTheWholeStackFromEveryInstruction) {
    expect_whole_stacks("libgcc step", 1000, 400);
}
TEST(NativeWaist, LibunwindSeesTheWholeStackFromEveryInstruction) {
    expect_whole_stacks("libunwind step", 1000, 400);
}

// contract 42
TEST(NativeWaist, GdbSeesTheWholeStackAtEachInstructionOfASlot) {
    if (!installed("gdb"))
        GTEST_SKIP() << "gdb is not installed";
    outcome o = run("timeout 60 gdb -batch -nx -x tests/waist/step_through_slots.gdb --args env "
                    "LD_BIND_NOW=1 LD_PRELOAD=" +
                    built("libnative_waist.so") + " " + built("unwind_prog") + " 2>&1");
    EXPECT_NE(o.text.find("all stacks whole"), std::string::npos)
        << o.text.substr(o.text.size() < 2000 ? 0 : o.text.size() - 2000);
}

TEST(NativeWaist, ExceptionsAndCancellationPassThrough) {
    std::string command = "exec " + built("cancel_prog");
    expect_the_same(command);
    outcome o = run(preloaded(command));
    EXPECT_NE(o.text.find("read: unwound\nread: cancelled\n"), std::string::npos) << o.text;
    EXPECT_NE(o.text.find("caught: from a handler\n"), std::string::npos);
}

TEST(NativeWaist, NoPageIsEverWritableAndExecutable) {
    outcome maps = run(preloaded("exec cat /proc/self/maps"));
    std::istringstream lines(maps.text);
    std::string line;
    int executable = 0;
    while (std::getline(lines, line)) {
        std::string rights = line.substr(line.find(' ') + 1, 4);
        executable += rights.find('x') != std::string::npos;
        EXPECT_FALSE(rights.find('w') != std::string::npos && rights.find('x') != std::string::npos)
            << line;
    }
    EXPECT_GE(executable, 4);
    if (!installed("strace"))
        GTEST_SKIP() << "strace is not installed";
    outcome calls = run("strace -f -e trace=mmap,mprotect,pkey_mprotect,mremap " +
                        preloaded("exec cat /dev/null") + " 2>&1");
    EXPECT_NE(calls.text.find("MREMAP_FIXED"), std::string::npos);
    EXPECT_EQ(calls.text.find("PROT_WRITE|PROT_EXEC"), std::string::npos);
}

// PR_SET_MDWE, which is what MemoryDenyWriteExecute= comes down to: refused, by name, and before
// anything is changed.
TEST(NativeWaist, IsRefusedWhereMemoryMayNotBecomeExecutable) {
    constexpr int pr_set_mdwe = 65, refuse_exec_gain = 1;
    int pipe_ends[2];
    ASSERT_EQ(pipe(pipe_ends), 0);
    std::string library = "LD_PRELOAD=" + built("libnative_waist.so");
    pid_t child = fork();
    if (child == 0) {
        dup2(pipe_ends[1], 2);
        if (prctl(pr_set_mdwe, refuse_exec_gain, 0, 0, 0) != 0)
            _exit(77);
        execl("/usr/bin/env", "env", library.c_str(), "/bin/true", nullptr);
        _exit(78);
    }
    close(pipe_ends[1]);
    char text[1024] = "";
    ssize_t n, length = 0;
    while ((n = read(pipe_ends[0], text + length, sizeof text - 1 - static_cast<size_t>(length))) >
           0)
        length += n;
    close(pipe_ends[0]);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        GTEST_SKIP() << "this kernel has no PR_SET_MDWE";
    EXPECT_TRUE(WIFSIGNALED(status)) << "libnative_waist.so ends a program that it cannot patch";
    EXPECT_TRUE(strstr(text, "MemoryDenyWriteExecute")) << text;
}

} // namespace
