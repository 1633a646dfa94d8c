// SPDX-License-Identifier: Apache-2.0
// Names of stdio that no other test calls.
#include "tests/hooks/named_calls.h"

#include <cstdarg>
#include <cstdio>
#include <cwchar>
#include <fcntl.h>
#include <unistd.h>

extern "C" {
int __vprintf_chk(int, const char *, va_list);
int __vfprintf_chk(FILE *, int, const char *, va_list);
int __vdprintf_chk(int, int, const char *, va_list);
int __vwprintf_chk(int, const wchar_t *, va_list);
int __vfwprintf_chk(FILE *, int, const wchar_t *, va_list);
int __wprintf_chk(int, const wchar_t *, ...);
int plain_vscanf(const char *, va_list) __asm__("vscanf");
int plain_vfscanf(FILE *, const char *, va_list) __asm__("vfscanf");
int __isoc99_vscanf(const char *, va_list);
int __isoc99_vfscanf(FILE *, const char *, va_list);
char *__fgets_unlocked_chk(char *, size_t, int, FILE *);
wchar_t *__fgetws_unlocked_chk(wchar_t *, size_t, int, FILE *);
size_t __fread_unlocked_chk(void *, size_t, size_t, size_t, FILE *);
int __underflow(FILE *);
}

namespace {

// stdout or stdin is another stream meanwhile.
class instead_of {
  public:
    instead_of(FILE *&standard, const char *content = "")
        : standard_(standard), was_(standard), stream_(tmpfile()) {
        fputs(content, stream_);
        rewind(stream_);
        standard = fdopen(dup(fileno(stream_)), "r+"); // of no orientation
    }
    ~instead_of() { restore(); }
    instead_of(const instead_of &) = delete;
    instead_of &operator=(const instead_of &) = delete;
    FILE *stream() const { return standard_; }
    void restore() {
        if (stream_) {
            fclose(standard_);
            standard_ = was_;
            fclose(stream_);
        }
        stream_ = nullptr;
    }
    void says_content(side &s) {
        fflush(standard_);
        char text[200];
        s.text("wrote", text, pread(fileno(stream_), text, sizeof text, 0));
    }

  private:
    FILE *&standard_, *was_, *stream_;
};

template <class F> void writes(side &s, F f) {
    instead_of out(stdout);
    f();
    out.says_content(s);
}

// f gets a list of what follows.
template <class F> int with_list(F f, ...) {
    va_list list;
    va_start(list, f);
    int r = f(list);
    va_end(list);
    return r;
}

#define PRINTS(name, call)                                                                         \
    {                                                                                              \
#name, [](side &s) {                                                                       \
            writes(s, [&] {                                                                        \
                s.says(#name, with_list([](va_list l) { return name call; }, 42, L"wide", "s"));   \
            });                                                                                    \
        }       \
    }
#define WRITES(name, call)                                                                         \
    {                                                                                              \
#name, [](side & s) { writes(s, [&] { s.says(#name, name call); }); }                      \
    }

const named_call writing[] = {
    PRINTS(vprintf, ("%d %ls %s\n", l)),
    PRINTS(__vprintf_chk, (1, "%d %ls %s\n", l)),
    PRINTS(vfprintf, (stdout, "%d %ls\n", l)),
    PRINTS(__vfprintf_chk, (stdout, 1, "%d %ls\n", l)),
    PRINTS(vdprintf, (fileno(stdout), "%d %ls\n", l)),
    PRINTS(__vdprintf_chk, (fileno(stdout), 1, "%d %ls\n", l)),
    PRINTS(vwprintf, (L"%d %ls %s\n", l)),
    PRINTS(__vwprintf_chk, (1, L"%d %ls\n", l)),
    PRINTS(vfwprintf, (stdout, L"%d %ls\n", l)),
    PRINTS(__vfwprintf_chk, (stdout, 1, L"%d\n", l)),
    WRITES(wprintf, (L"%d %ls %c", 7, L"x", 'y')),
    WRITES(__wprintf_chk, (1, L"%d", 7)),
    WRITES(putwc, (L'a', stdout)),
    WRITES(putwc_unlocked, (L'b', stdout)),
    WRITES(putwchar, (L'c')),
    WRITES(putwchar_unlocked, (L'd')),
};

TEST(EveryName, Writing) { run_all(writing); }

// Twice: with content, and at the end of the file.
template <class F> void reads(side &s, const char *name, F f) {
    for (const char *content : {"12 word\nnext line\n", ""}) {
        instead_of in(stdin, content);
        s.says(name, f(s));
        s.says("ftell", ftell(stdin));
        s.says("feof", feof(stdin));
    }
}

#define SCANS(name, call)                                                                          \
    {                                                                                              \
#name, [](side &s) {                                                                       \
            reads(s, #name, [](side &) {                                                           \
                int n = 0;                                                                         \
                char word[20] = "";                                                                \
                return with_list([](va_list l) { return name call; }, &n, word) + 100 * n +        \
                       1000 * word[0];                                                             \
            });                                                                                    \
        }       \
    }
#define READS(name, call)                                                                          \
    {                                                                                              \
#name, [](side &s) {                                                                       \
            reads(s, #name, [](side &t) {                                                          \
                char bytes[40] = "";                                                               \
                wchar_t wide[40] = L"";                                                            \
                auto r = static_cast<long>(name call);                                             \
                t.text("bytes", bytes, static_cast<long>(strlen(bytes)));                          \
                t.says("wide", static_cast<long>(wcslen(wide)));                                   \
                return r;                                                                          \
            });                                                                                    \
        }       \
    }

template <class T> bool is_there(T *p) { return p != nullptr; }

const named_call reading[] = {
    SCANS(plain_vscanf, ("%d %19s", l)),
    SCANS(__isoc99_vscanf, ("%d %19s", l)),
    SCANS(plain_vfscanf, (stdin, "%d %19s", l)),
    SCANS(__isoc99_vfscanf, (stdin, "%d %19s", l)),
    READS(getwchar, ()),
    READS(getwchar_unlocked, ()),
    READS(getw, (stdin)),
    READS(__uflow, (stdin)),
    READS(__underflow, (stdin)),
    READS(is_there, (__fgets_unlocked_chk(bytes, sizeof bytes, 30, stdin))),
    READS(is_there, (__fgetws_unlocked_chk(wide, 40, 30, stdin))),
    READS(__fread_unlocked_chk, (bytes, sizeof bytes - 1, 1, 9, stdin)),
    READS(fseeko, (stdin, 4, SEEK_SET)),
    READS(fseeko64, (stdin, -3, SEEK_END)),
};

TEST(EveryName, Reading) { run_all(reading); }

} // namespace
