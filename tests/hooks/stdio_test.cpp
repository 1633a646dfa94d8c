// SPDX-License-Identifier: Apache-2.0
// Streams: libc's own semantics, whoever is slow at the other end.
#include "tests/hooks/stdio_fixture.h"

#include <clocale>
#include <cstdio>
#include <cwchar>
#include <fcntl.h>
#include <poll.h>

namespace {

void read_in_every_way(side &s, ends e) {
    std::string text = "first line\nsecond\n12 0x1f word 3.5x\nby characters|more|";
    text += std::string(10000, 'z') + "\nlast, with no end";
    s.partner([=](side &) { write_slowly(e.writer, text, 7 + text.size() / 40); });
    FILE *in = fdopen(e.reader, "r");
    char line[64];
    says_text(s, "fgets", fgets(line, sizeof line, in));
    says_text(s, "short fgets", fgets(line, 4, in));
    says_text(s, "its rest", fgets(line, sizeof line, in));
    int a = 0, b = 0;
    char word[32] = "";
    double d = 0;
    s.says("fscanf", fscanf(in, "%d %i %31s %lf", &a, &b, word, &d));
    s.says("a", a);
    s.says("b", b);
    s.says("d", static_cast<int>(d * 10));
    says_text(s, "word", word);
    s.says("no match", fscanf(in, "%d", &a));
    s.says("getc", getc(in));
    s.says("fgetc", fgetc(in));
    s.says("ungetc", ungetc('u', in));
    s.says("ungetc", ungetc('v', in));
    s.says("again", getc_unlocked(in));
    s.says("again", fgetc(in));
    char *grown = nullptr;
    size_t room = 0;
    s.says("getdelim", getdelim(&grown, &room, '|', in));
    says_text(s, "it", grown);
    s.says("fread", fread(line, 1, 3, in));
    s.text("it", line, 3);
    char blocks[5000];
    s.says("large fread", fread(blocks, 100, 50, in));
    says_text(s, "it", std::to_string(hash_of(std::string(blocks, sizeof blocks))));
    s.says("getline", getline(&grown, &room, in));
    s.says("last", getline(&grown, &room, in));
    says_text(s, "it", grown);
    s.says("feof", feof(in));
    s.says("end", getc(in));
    s.says("end", getline(&grown, &room, in));
    s.says("end", fscanf(in, "%d", &a));
    s.says("end", fread(line, 1, 1, in));
    s.says("none", fgets(line, sizeof line, in) ? 1 : 0);
    s.says("ferror", ferror(in));
    s.says("fclose", fclose(in));
    free(grown);
}

// What is written, in how many pieces (where the reader is faster), and what each call says.
void write_in_every_way(side &s, ends e, int mode, size_t room) {
    FILE *out = fdopen(e.writer, "w");
    s.says("setvbuf", setvbuf(out, nullptr, mode, room));
    auto seen = [&](const char *what, long result) {
        s.says(what, result);
        struct pollfd p = {e.reader, POLLIN, 0};
        char some[70000];
        if (poll(&p, 1, 0) == 1)
            says_text(s, "arrived", [&] {
                ssize_t n = read(e.reader, some, sizeof some);
                std::string t(some, n > 0 ? static_cast<size_t>(n) : 0U);
                return t.size() < 100 ? t
                                      : std::to_string(t.size()) + " " + std::to_string(hash_of(t));
            }());
    };
    seen("fputs", fputs("no line", out) >= 0);
    seen("fputs", fputs(" yet\nand more", out) >= 0);
    seen("fputc", fputc('c', out));
    seen("fputc", fputc('\n', out));
    seen("putc", putc_unlocked('d', out));
    seen("fprintf", fprintf(out, "%d %s %5.2f\n%s", 42, "text", 2.5, "rest"));
    seen("fprintf", fprintf(out, "%0*d|", 700, 7));
    seen("fwrite", static_cast<long>(fwrite("0123456789", 5, 2, out)));
    seen("fwrite none", static_cast<long>(fwrite("0123456789", 0, 2, out)));
    std::string large(20000, 'L');
    seen("large fwrite", static_cast<long>(fwrite(large.data(), 1, large.size(), out)));
    seen("fflush", fflush(out));
    large[9999] = '\n';
    seen("large fputs", fputs(large.c_str(), out) >= 0);
    seen("fflush(NULL)", fflush(nullptr));
    seen("putw", putw(0x41424344, out));
    seen("not for reading", getc(out));
    seen("ferror", ferror(out));
    clearerr(out);
    seen("fclose", fclose(out));
    char c;
    s.says("end", read(e.reader, &c, 1));
    close(e.reader);
}

} // namespace

TEST_F(Stdio, ReadingFromASlowPipeAsNative) {
    expect_same([](side &s) { read_in_every_way(s, make_pipe()); });
}
TEST_F(Stdio, ReadingFromASlowSocketAsNative) {
    expect_same([](side &s) { read_in_every_way(s, make_sockets()); });
}
TEST_F(Stdio, FullyBufferedWritingAsNative) {
    expect_same([](side &s) { write_in_every_way(s, make_pipe(), _IOFBF, 4096); });
    expect_same([](side &s) { write_in_every_way(s, make_pipe(), _IOFBF, 300); });
    expect_same([](side &s) { write_in_every_way(s, make_pipe(), _IOFBF, 100); });
}
TEST_F(Stdio, LineBufferedWritingAsNative) {
    expect_same([](side &s) { write_in_every_way(s, make_pipe(), _IOLBF, 1024); });
    expect_same([](side &s) { write_in_every_way(s, make_sockets(), _IOLBF, 64); });
}
TEST_F(Stdio, UnbufferedWritingAsNative) {
    expect_same([](side &s) { write_in_every_way(s, make_pipe(), _IONBF, 0); });
}

TEST_F(Stdio, WritingToASlowReaderAsNative) {
    for (bool sockets : {false, true})
        expect_same([sockets](side &s) {
            ends e = sockets ? make_sockets() : make_pipe();
            s.partner([=](side &p) {
                usleep(2000);
                std::string all;
                char some[3000];
                for (ssize_t n; (n = read(e.reader, some, sizeof some)) > 0;) {
                    all.append(some, static_cast<size_t>(n));
                    if (all.size() % 7 == 0)
                        usleep(100);
                }
                p.says("bytes", all.size());
                says_text(p, "hash", std::to_string(hash_of(all)));
                close(e.reader);
            });
            FILE *out = fdopen(e.writer, "w");
            int64_t bytes = 0;
            for (int i = 0; i < 10000; ++i)
                bytes += fprintf(out, "line %d of some length, so that buffers fill up\n", i);
            s.says("fprintf", bytes);
            std::string large(300000, 'x');
            s.says("fwrite", fwrite(large.data(), 1, large.size(), out));
            s.says("fclose", fclose(out));
        });
}

TEST_F(Stdio, ErrorsAsNative) {
    expect_same([](side &s) {
        ends e = make_pipe();
        FILE *out = fdopen(e.writer, "w");
        close(e.reader);
        s.says("fputs", fputs("nobody reads this", out) >= 0);
        s.says("fflush", fflush(out));
        s.says("ferror", ferror(out));
        s.says("fwrite", fwrite(std::string(9000, 'x').c_str(), 1, 9000, out));
        s.says("fprintf", fprintf(out, "%05000d", 1));
        s.says("fclose", fclose(out));

        e = make_pipe();
        FILE *in = fdopen(e.reader, "r");
        fcntl(e.reader, F_SETFL, O_NONBLOCK);
        char line[64] = "untouched";
        s.says("non-blocking getc", getc(in));
        s.says("ferror", ferror(in));
        clearerr(in);
        write_all(e.writer, "half");
        s.says("half a line", fgets(line, sizeof line, in) ? 1 : 0);
        says_text(s, "is", line);
        s.says("ferror", ferror(in));
        s.says("putc", putc('x', in));
        int n = 7;
        s.says("fscanf", fscanf(in, "%d", &n));
        close(e.writer);
        clearerr(in);
        s.says("end", getc(in));
        s.says("fclose", fclose(in));

        e = make_pipe();
        in = fdopen(e.reader, "r");
        close(e.reader);
        s.says("closed", getc(in));
        s.says("fclose", fclose(in));
        close(e.writer);

        s.says("fopen", fopen("/no/such/file", "r") ? 1 : -1);
        s.says("bad mode", fopen("/dev/null", "?") ? 1 : -1);
        // Of a thread, libc's own loses its buffer there.
        s.says("dprintf", s.coroutines() ? dprintf(-1, "x") : write(-1, "x", 1));
        char *l = nullptr;
        in = fopen("/dev/null", "r");
        s.says("getline", getline(&l, nullptr, in));
        s.says("end", getline(&l, reinterpret_cast<size_t *>(line), in));
        free(l);
        fclose(in);
    });
}

// Tells whether it is at its first byte that a byte function on a wide stream fails, and so on.
TEST_F(Stdio, FilesAsNative) {
    expect_same([](side &s) {
        char name[] = "/tmp/corun-stdio-XXXXXX";
        close(mkstemp(name));
        FILE *f = fopen(name, "w+");
        s.says("fprintf", fprintf(f, "one\ntwo\nthree\n"));
        s.says("ftell", ftell(f));
        rewind(f);
        char line[16];
        says_text(s, "fgets", fgets(line, sizeof line, f));
        s.says("fseek", fseek(f, 0, SEEK_CUR));
        s.says("fputs", fputs("TWO", f) >= 0);
        s.says("fseek", fseek(f, 4, SEEK_SET));
        says_text(s, "fgets", fgets(line, sizeof line, f));
        s.says("getc", getc(f));
        fpos_t p;
        s.says("fgetpos", fgetpos(f, &p));
        s.says("seek end", fseek(f, 0, SEEK_END));
        s.says("fputc", fputc('!', f));
        s.says("fsetpos", fsetpos(f, &p));
        says_text(s, "fgets", fgets(line, sizeof line, f));
        s.says("getc", getc(f));
        s.says("end", getc(f));
        // From reading to writing with no seek between: libc allows it at the end.
        s.says("putc", putc('?', f));
        s.says("fflush", fflush(f));
        s.says("ftell", ftell(f));
        s.says("freopen", freopen(name, "a", f) ? 0 : -1);
        s.says("fputs", fputs("appended", f) >= 0);
        s.says("fclose", fclose(f));
        f = fopen(name, "rm");
        std::string all(100, '\0');
        all.resize(fread(all.data(), 1, all.size(), f));
        says_text(s, "all", all);
        // An offset that is read ahead goes back when it is flushed.
        rewind(f);
        getc(f);
        s.says("fflush", fflush(f));
        s.says("position", lseek(fileno(f), 0, SEEK_CUR));
        fclose(f);
        f = fopen(name, "r+");
        says_text(s, "fgets", fgets(line, sizeof line, f));
        s.says("fwrite behind", fwrite("xx", 1, 2, f));
        s.says("fclose", fclose(f));
        f = fopen(name, "r");
        all.assign(100, '\0');
        all.resize(fread(all.data(), 1, all.size(), f));
        says_text(s, "all", all);
        fclose(f);
        unlink(name);
    });
}

TEST_F(Stdio, StreamsWithoutDescriptorsAsNative) {
    expect_same([](side &s) {
        char text[] = "12 text\nmore";
        FILE *in = fmemopen(text, sizeof text - 1, "r");
        int n = 0;
        char line[32];
        s.says("fscanf", fscanf(in, "%d", &n));
        says_text(s, "fgets", fgets(line, sizeof line, in));
        s.says("getc", getc(in));
        fclose(in);
        char *made = nullptr;
        size_t bytes = 0;
        FILE *out = open_memstream(&made, &bytes);
        fprintf(out, "%s %d", "made", 5);
        putc('!', out);
        fclose(out);
        says_text(s, "memstream", made);
        free(made);
    });
}

TEST_F(Stdio, WideStreamsAsNative) {
    setlocale(LC_ALL, "C.UTF-8");
    expect_same([](side &s) {
        ends e = make_pipe();
        s.partner([=](side &) {
            FILE *out = fdopen(e.writer, "w");
            fwprintf(out, L"%ls %d\n", L"gr\u00fc\u00df", 7);
            fputws(L"\u20ac uro\n", out);
            fputwc(L'\u00e4', out);
            fclose(out);
        });
        FILE *in = fdopen(e.reader, "r");
        wchar_t line[64];
        s.says("fgetws", fgetws(line, 64, in) ? static_cast<int>(wcslen(line)) : -1);
        s.says("third", static_cast<int>(line[2]));
        s.says("fgetwc", static_cast<int>(fgetwc(in)));
        s.says("bytes", getc(in));
        s.says("fgetws", fgetws(line, 64, in) ? static_cast<int>(wcslen(line)) : -1);
        s.says("last", static_cast<int>(getwc(in)));
        s.says("end", static_cast<int>(getwc(in)));
        fclose(in);
        // A character that comes in halves.
        e = make_pipe();
        s.partner([=](side &) { write_slowly(e.writer, "\xe2\x82\xac\xc3\xa4z", 1); });
        in = fdopen(e.reader, "r");
        for (int i = 0; i < 4; ++i)
            s.says("fgetwc", static_cast<int>(fgetwc(in)));
        fclose(in);
    });
    setlocale(LC_ALL, "C");
}
