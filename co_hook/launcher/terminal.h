// SPDX-License-Identifier: Apache-2.0
// The terminal of corun top: a screen of its own, keys as they are pressed. It is as it was when
// the launcher ends by itself, or by SIGINT, SIGTERM, SIGHUP or SIGQUIT, and while SIGTSTP stops it; not after other
// signals. One that takes no output holds the screen, but none of these signals.
#ifndef CORUN_HOOK_LAUNCHER_TERMINAL_H
#define CORUN_HOOK_LAUNCHER_TERMINAL_H

#include <cstddef>
#include <cstdint>

namespace corun::launcher {

struct window {
    int rows, columns;
};

bool has_terminal();   // stdin and stdout
void begin_terminal(); // until the end of the process, or before it:
void end_terminal();

window window_now();
// The key, or no_key: that moment (now_ns) has come, or the window has another size; or no_more_keys.
// Signals come here alone: those that end a process end it, and ^Z gives the terminal back meanwhile.
constexpr int no_key = -1, no_more_keys = -2;
int key_until(int64_t ns);

// A line of it, cut to the window, and then whole screens at once.
class screen {
  public:
    void begin(window w);
    void line(const char *text, bool is_head = false);
    bool is_full() const { return lines_ >= window_.rows; }
    void show();

  private:
    void add(const char *bytes, size_t length);

    window window_{};
    int lines_ = 0;
    char *bytes_ = nullptr;
    size_t length_ = 0, room_ = 0;
};

} // namespace corun::launcher

#endif
