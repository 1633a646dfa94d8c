// SPDX-License-Identifier: Apache-2.0
// Streams in coroutines that wait: the others go on, and each has a stream to itself.
#include "tests/hooks/stdio_fixture.h"

#include <atomic>
#include <cstdio>
#include <cwchar>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

using StdioWaiting = Stdio;

// contract 26
TEST_F(StdioWaiting, OthersTickWhileOneWaits) {
    struct wait {
        const char *name;
        std::function<void(FILE *)> f;
        bool writes;
    };
    std::string large(100000, 'x');
    const wait waits[] = {
        {"fgets",
         [](FILE *f) {
             char l[9];
             (void)!fgets(l, sizeof l, f);
         },
         false},
        {"fread",
         [](FILE *f) {
             char l[9];
             (void)!fread(l, 1, sizeof l, f);
         },
         false},
        {"getc",
         [](FILE *f) {
             getc(f);
             getc(f);
             getc(f);
         },
         false},
        {"getc_unlocked",
         [](FILE *f) {
             getc_unlocked(f);
             getc_unlocked(f);
             getc_unlocked(f);
         },
         false},
        {"fscanf",
         [](FILE *f) {
             int n;
             (void)!fscanf(f, "%d", &n);
         },
         false},
        {"getline",
         [](FILE *f) {
             char *l = nullptr;
             size_t n;
             (void)!getline(&l, &n, f);
             free(l);
         },
         false},
        {"fgetwc",
         [](FILE *f) {
             fgetwc(f);
             fgetwc(f);
             fgetwc(f);
         },
         false},
        {"fwrite", [&](FILE *f) { fwrite(large.data(), 1, large.size(), f); }, true},
        {"fprintf", [&](FILE *f) { fprintf(f, "%s", large.c_str()); }, true},
        {"fputs", [&](FILE *f) { fputs(large.c_str(), f); }, true},
        {"fclose",
         [&](FILE *f) {
             setvbuf(f, nullptr, _IOFBF, 200000);
             fputs(large.c_str(), f);
         },
         true},
    };
    for (const wait &w : waits) {
        ends e = make_pipe();
        int ticks = 0;
        bool over = false;
        stCoRoutine_t *waiting = go([&] {
            FILE *f = fdopen(w.writes ? e.writer : e.reader, w.writes ? "w" : "r");
            w.f(f);
            fclose(f);
            over = true;
        });
        stCoRoutine_t *ticking = go([&] {
            if (!w.writes)
                write_all(e.writer, "12"); // not enough
            for (; ticks < 20; ++ticks)
                usleep(500);
            EXPECT_FALSE(over) << w.name;
            if (w.writes)
                read_all(e.reader);
            close(w.writes ? e.reader : e.writer);
        });
        co_run();
        co_release(waiting);
        co_release(ticking);
        EXPECT_TRUE(over) << w.name;
        EXPECT_EQ(ticks, 20) << w.name;
    }
}

TEST_F(StdioWaiting, FopenOfAFifoWaitsForItsPartner) {
    char name[] = "/tmp/corun-fifo-XXXXXX";
    close(mkstemp(name));
    unlink(name);
    ASSERT_EQ(mkfifo(name, 0600), 0);
    std::string got;
    int ticks = 0;
    stCoRoutine_t *reading = go([&] {
        FILE *f = fopen(name, "r");
        char line[64];
        if (fgets(line, sizeof line, f))
            got = line;
        fclose(f);
    });
    stCoRoutine_t *writing = go([&] {
        for (; ticks < 20; ++ticks)
            usleep(500);
        FILE *f = fopen(name, "w");
        fputs("through a FIFO\n", f);
        fclose(f);
    });
    co_run();
    co_release(reading);
    co_release(writing);
    unlink(name);
    EXPECT_EQ(got, "through a FIFO\n");
}

// Lines of several coroutines on one stream, whose reader is slow: none is torn.
TEST_F(StdioWaiting, CoroutinesOnOneStreamTakeTurns) {
    ends e = make_pipe();
    fcntl(e.writer, F_SETPIPE_SZ, 4096);
    FILE *out = fdopen(e.writer, "w");
    setvbuf(out, nullptr, _IOLBF, 256);
    constexpr int writers = 5, lines = 40;
    int left = writers;
    std::vector<stCoRoutine_t *> all;
    for (int i = 0; i < writers; ++i)
        all.push_back(go([&, i] {
            for (int k = 0; k < lines; ++k)
                fprintf(out, "%s\n", std::string(300, static_cast<char>('a' + i)).c_str());
            if (--left == 0)
                fclose(out);
        }));
    std::string text;
    all.push_back(go([&] { text = read_all(e.reader); }));
    co_run();
    for (stCoRoutine_t *co : all)
        co_release(co);
    close(e.reader);
    ASSERT_EQ(text.size(), static_cast<size_t>(writers * lines * 301));
    for (size_t at = 0; at < text.size(); at += 301)
        EXPECT_EQ(text.substr(at, 301), std::string(300, text[at]) + "\n");
}

TEST_F(StdioWaiting, FlockfileIsTheCoroutinesOwn) {
    ends e = make_pipe();
    FILE *out = fdopen(e.writer, "w");
    std::vector<stCoRoutine_t *> all;
    for (int i = 0; i < 3; ++i)
        all.push_back(go([&, i] {
            flockfile(out);
            flockfile(out); // it is recursive
            EXPECT_EQ(ftrylockfile(out), 0);
            fprintf(out, "%d(", i);
            usleep(2000);
            putc_unlocked(')', out);
            for (int k = 0; k < 3; ++k)
                funlockfile(out);
        }));
    all.push_back(go([&] {
        usleep(500);
        EXPECT_NE(ftrylockfile(out), 0);
        fputs("after", out);
    }));
    co_run();
    for (stCoRoutine_t *co : all)
        co_release(co);
    EXPECT_EQ(ftrylockfile(out), 0); // free for the thread too
    funlockfile(out);
    fclose(out);
    EXPECT_EQ(read_all(e.reader), "0()1()2()after");
    close(e.reader);
}

// One that owns a stream and is dropped gives it up.
TEST_F(StdioWaiting, AReleasedOwnerGivesTheStreamUp) {
    static FILE *in;
    ends e = make_pipe();
    in = fdopen(e.reader, "r");
    stCoRoutine_t *dropped = nullptr;
    auto wait = [](void *) -> void * {
        co_enable_hook_sys();
        getc(in);
        return nullptr;
    };
    ASSERT_EQ(co_go(&dropped, nullptr, wait, nullptr), 0);
    bool cancelled_went_on = false;
    int got = 0;
    stCoRoutine_t *cancelled = go([&] {
        getc(in);
        cancelled_went_on = true;
    });
    stCoRoutine_t *other = go([&] {
        usleep(1000);
        co_release(dropped);
        usleep(1000);
        co_cancel(cancelled);
        usleep(1000);
        write_all(e.writer, "x");
        got = getc(in);
    });
    co_run();
    co_release(cancelled);
    co_release(other);
    EXPECT_FALSE(cancelled_went_on);
    EXPECT_EQ(got, 'x');
    std::thread([] {
        EXPECT_EQ(ftrylockfile(in), 0);
        funlockfile(in);
    }).join();
    fclose(in);
    close(e.writer);
}

TEST_F(StdioWaiting, APlainThreadHoldsTheStream) {
    ends e = make_pipe();
    FILE *out = fdopen(e.writer, "w");
    setvbuf(out, nullptr, _IONBF, 0);
    std::atomic<int> step{0};
    std::thread holder([&] {
        flockfile(out);
        step = 1;
        while (step != 2)
            usleep(100);
        fputs("thread ", out);
        funlockfile(out);
    });
    while (step != 1)
        usleep(100);
    stCoRoutine_t *waiting = go([&] { fputs("coroutine", out); });
    stCoRoutine_t *other = go([&] {
        usleep(3000);
        step = 2;
    });
    co_run();
    holder.join();
    co_release(waiting);
    co_release(other);
    fclose(out);
    EXPECT_EQ(read_all(e.reader), "thread coroutine");
    close(e.reader);
}

// contract 37
TEST_F(StdioWaiting, TwoOnOneSharedStackKeepTheirFrames) {
    stShareStack_t *shared = co_alloc_sharestack(1, 256 * 1024);
    std::vector<stCoRoutine_t *> all;
    int whole = 0;
    for (int i = 0; i < 2; ++i) {
        ends in_ends = make_pipe(), out_ends = make_pipe();
        fcntl(out_ends.writer, F_SETPIPE_SZ, 4096);
        all.push_back(go(
            [&whole, i, in_ends, out_ends] {
                char canary[1024], own_buffer[512];
                memset(canary, 'a' + i, sizeof canary);
                FILE *in = fdopen(in_ends.reader, "r"), *out = fdopen(out_ends.writer, "w");
                setvbuf(in, own_buffer, _IOFBF, sizeof own_buffer);
                char line[128], block[700];
                int number = 0;
                bool right = true;
                for (int k = 0; k < 5; ++k) {
                    right = right && fgets(line, sizeof line, in) && atoi(line) == 100 * i + k;
                    right = right && fscanf(in, "%d", &number) == 1 && number == 7 * i + k;
                    right = right && getc(in) == '\n';
                    right = right && fread(block, 1, sizeof block, in) == sizeof block;
                    for (char c : block)
                        right = right && c == 'A' + i;
                    char text[2000];
                    memset(text, 'A' + i, sizeof text);
                    right = right && fwrite(text, 1, sizeof text, out) == sizeof text;
                    right = right && fprintf(out, "%.*s", 900, text) == 900;
                }
                for (char c : canary)
                    right = right && c == 'a' + i;
                fclose(in);
                fclose(out);
                whole += right;
            },
            shared));
        all.push_back(go([=] {
            std::string text;
            for (int k = 0; k < 5; ++k)
                text += std::to_string(100 * i + k) + "\n" + std::to_string(7 * i + k) + "\n" +
                        std::string(700, static_cast<char>('A' + i));
            write_slowly(in_ends.writer, text, 211);
        }));
        all.push_back(go([=] {
            EXPECT_EQ(read_all(out_ends.reader), std::string(5 * 2900, static_cast<char>('A' + i)));
            close(out_ends.reader);
        }));
    }
    co_run();
    for (stCoRoutine_t *co : all)
        co_release(co);
    co_release_sharestack(shared);
    EXPECT_EQ(whole, 2);
}

TEST_F(StdioWaiting, StandardStreamsInAChild) {
    ends in_ends = make_pipe(), out_ends = make_pipe();
    fflush(nullptr);
    pid_t child = fork();
    if (child == 0) {
        dup2(in_ends.reader, 0);
        dup2(out_ends.writer, 1);
        dup2(out_ends.writer, 2);
        for (int fd : {in_ends.reader, in_ends.writer, out_ends.reader, out_ends.writer})
            close(fd);
        in_coroutine([] {
            setvbuf(stdin, nullptr, _IONBF, 0);
            setvbuf(stdout, nullptr, _IOLBF, 1024);
            printf("prompt> "); // shown before the answer is waited for
            int n = 0;
            char word[20];
            (void)!scanf("%d", &n);
            (void)!scanf("%19s", word);
            getchar();
            puts("line");
            putchar('0' + n);
            putchar('\n');
            puts(word);
            errno = ENOENT;
            perror("why");
            dprintf(1, "%s", "direct");
        });
        fflush(stdout);
        _exit(0);
    }
    close(in_ends.reader);
    close(out_ends.writer);
    char prompt[9] = "";
    EXPECT_EQ(read(out_ends.reader, prompt, 8), 8);
    EXPECT_STREQ(prompt, "prompt> ");
    write_slowly(in_ends.writer, "7\nword\n", 1);
    EXPECT_EQ(read_all(out_ends.reader), "line\n7\nword\nwhy: No such file or directory\ndirect");
    close(out_ends.reader);
    int status = 1;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
}
