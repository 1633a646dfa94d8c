// SPDX-License-Identifier: Apache-2.0
#include "co_hook/launcher/terminal.h"

#include "co_hook/launcher/text.h"

#include "co_routine/base/clock.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

namespace corun::launcher {

namespace {

// Another screen without a cursor, where long lines are cut; and back.
constexpr char enter[] = "\033[?1049h\033[?25l\033[?7l", leave[] = "\033[?7h\033[?25h\033[?1049l";
constexpr int watched[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH};

termios before;
bool is_ours;
sigset_t ours;                   // those that are not ignored
sigset_t mask_before, open_mask; // while keys are waited for, or room for a screen
volatile sig_atomic_t came[NSIG];

int output = STDOUT_FILENO;
constexpr timespec a_moment = {1, 0};

bool is_news(int s) { return s == SIGWINCH || s == SIGCONT; } // for the next screen
bool is_to_be_obeyed(int s) { return came[s] != 0 && !is_news(s); }

// A terminal may take nothing for a long time (^S, a connection that is dead). Signals come meanwhile; with one that
// is to be obeyed the rest is left out. at_most: nullptr: however long it takes.
void write_all(const char *bytes, size_t length, const timespec *at_most = nullptr) {
    while (length > 0) {
        for (int s : watched)
            if (is_to_be_obeyed(s))
                return;
        pollfd room{output, POLLOUT, 0};
        int r = ppoll(&room, 1, at_most, &open_mask);
        if (r == 0 || (r < 0 && errno != EINTR))
            return;
        ssize_t n = r < 0 ? 0 : write(output, bytes, length);
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return;
        bytes += n > 0 ? n : 0;
        length -= n > 0 ? static_cast<size_t>(n) : 0;
    }
}

// The terminal once more, where a write may fail instead of waiting: stdout's own flags are shared with the shell.
// Another user's terminal (su) cannot be opened: a write there may still wait for the rest of a screen.
void open_output() {
    int again =
        open(text("/proc/self/fd/%d", STDOUT_FILENO), O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (again >= 0)
        output = again;
}

void take_terminal() {
    termios by_keys = before;
    by_keys.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    by_keys.c_cc[VMIN] = 1;
    by_keys.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSANOW, &by_keys);
    write_all(enter, sizeof enter - 1);
    is_ours = true;
}

void give_back(const timespec *at_most) {
    if (!is_ours)
        return;
    is_ours = false;
    write_all(leave, sizeof leave - 1, at_most);
    tcsetattr(STDIN_FILENO, TCSANOW, &before);
}

void handle(int s, void (*handler)(int)) {
    struct sigaction a {};
    a.sa_handler = handler;
    sigfillset(&a.sa_mask);
    sigaction(s, &a, nullptr);
}

void note_signal(int s) { came[s] = 1; }

// As if nobody had caught it: it ends or stops the process here.
void obey(int s) {
    sigset_t only;
    give_back(&a_moment);
    handle(s, SIG_DFL);
    raise(s);
    sigemptyset(&only);
    sigaddset(&only, s);
    sigprocmask(SIG_UNBLOCK, &only, nullptr);
    sigprocmask(SIG_BLOCK, &only, nullptr); // stopped, and continued
    handle(s, note_signal);
    take_terminal();
}

} // namespace

bool has_terminal() { return isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1; }

void begin_terminal() {
    open_output();
    tcgetattr(STDIN_FILENO, &before);
    sigemptyset(&ours);
    for (int s : watched) {
        struct sigaction now {};
        sigaction(s, nullptr, &now);
        if (now.sa_handler == SIG_IGN) // nohup, and shells without job control
            continue;
        sigaddset(&ours, s);
        handle(s, note_signal);
    }
    sigprocmask(SIG_BLOCK, &ours, &mask_before);
    open_mask = mask_before;
    before_last_words = end_terminal;
    atexit(end_terminal);
    take_terminal();
}

void end_terminal() {
    if (!is_ours)
        return;
    give_back(nullptr);
    for (int s : watched) // the last words may wait, too
        if (sigismember(&ours, s) == 1)
            handle(s, SIG_DFL);
    sigprocmask(SIG_SETMASK, &mask_before, nullptr);
}

window window_now() {
    winsize size{};
    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    return {size.ws_row == 0 ? 24 : size.ws_row, size.ws_col == 0 ? 80 : size.ws_col};
}

int key_until(int64_t ns) {
    for (;;) {
        for (int s : watched) {
            if (came[s] == 0)
                continue;
            came[s] = 0;
            if (s == SIGCONT) // a shell may have taken the terminal meanwhile
                take_terminal();
            else if (!is_news(s))
                obey(s);
            return no_key;
        }
        // Asked at least once, also where it is too late: else nothing would end a screen that takes too long.
        int64_t left = std::max<int64_t>(ns - now_ns(), 0);
        timespec t{left / ns_per_s, left % ns_per_s};
        pollfd input{STDIN_FILENO, POLLIN, 0};
        int ready = ppoll(&input, 1, &t, &open_mask);
        if (ready == 0)
            return no_key;
        if (ready < 0)
            continue;
        unsigned char c = 0;
        ssize_t n = read(STDIN_FILENO, &c, 1);
        if (n == 1)
            return c;
        if (n == 0 || errno != EINTR)
            return no_more_keys;
    }
}

void screen::begin(window w) {
    window_ = w;
    lines_ = 0;
    length_ = 0;
    add("\033[H", 3);
}

void screen::add(const char *bytes, size_t length) {
    if (length_ + length > room_) {
        room_ = (length_ + length) * 2;
        bytes_ = static_cast<char *>(realloc(bytes_, room_));
        if (bytes_ == nullptr)
            fail(exit_cannot, "out of memory");
    }
    memcpy(bytes_ + length_, bytes, length);
    length_ += length;
}

void screen::line(const char *text, bool is_head) {
    constexpr char reverse[] = "\033[7m", plain[] = "\033[0m", rest_of_line[] = "\033[K",
                   next[] = "\n";
    if (is_full())
        return;
    if (lines_++ > 0)
        add(next, sizeof next - 1);
    size_t length = 0;
    auto is_inside = [](char c) { return (c & 0xC0) == 0x80; }; // of a character of UTF-8
    int columns = 0;
    for (; text[length] != '\0' && (is_inside(text[length]) || columns < window_.columns); length++)
        columns += !is_inside(text[length]);
    if (is_head)
        add(reverse, sizeof reverse - 1);
    add(text, length);
    if (is_head)
        add(plain, sizeof plain - 1);
    if (columns < window_.columns) // else the cursor stands on the last character
        add(rest_of_line, sizeof rest_of_line - 1);
}

void screen::show() {
    add("\033[J", 3);
    write_all(bytes_, length_);
}

} // namespace corun::launcher
