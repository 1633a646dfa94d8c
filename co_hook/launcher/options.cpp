// SPDX-License-Identifier: Apache-2.0
#include "co_hook/launcher/options.h"

#include "co_hook/launcher/text.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

namespace corun::launcher {

namespace {

constexpr unsigned long least_stack = 16UL << 10, most_stack = 1UL << 30;
constexpr unsigned long most_blocked_ms = 3600UL * 1000; // as core/debug_flags.cpp

constexpr char usage[] =
    "usage: corun [OPTION]... [--] COMMAND [ARGUMENT]...\n"
    "       corun --check COMMAND [ARGUMENT]...\n"
    "       corun dump PID      where each thread of a program under corun waits: to its stderr\n"
    "       corun ps PID        a line for each, without stopping it\n"
    "       corun stack PID [THREAD]  the frames of all threads, or of that one: to this stdout\n"
    "       corun top PID       the lines of ps again each second, sorted; see corun top -h\n"
    "\n"
    "Runs a program whose threads block with its threads as coroutines of one kernel thread.\n"
    "\n"
    "  --stack=SIZE      stack of threads that ask for none: 16K to 1G\n"
    "  --stats[=FILE]    a table of what happened, at the end, on stderr or into FILE\n"
    "  --stats-signal=N  the same at each signal N (USR1, ...), while the program leaves it alone\n"
    "  --dump-signal=N   what every thread waits for, and where, at each signal N (QUIT), while "
    "the\n"
    "                    program leaves it alone; or none\n"
    "  --debug=LIST      as CORUN_DEBUG, words with commas between them:\n"
    "           sites    lists the system call instructions, and those that stay native\n"
    "           blocked  names code that kept all others waiting for 50 ms; blocked:MS: for MS\n"
    "           no-overflow  says nothing of a thread that runs off its stack\n"
    "  --inherit         programs that it starts are run in the same way\n"
    "  --or-native       a program that cannot be run this way is run without corun\n"
    "  --check           says what would be covered and what not, and runs nothing\n"
    "  --help, --version\n"
    "\n"
    "Ends with what COMMAND ends with; 125: corun cannot run it; 126: COMMAND cannot be executed;\n"
    "127: there is no such COMMAND. corun(1) has the rest.\n";

[[noreturn]] void refuse(const char *why, const char *option) {
    fail(exit_cannot, "%s '%s'; corun --help lists the options", why, option);
}

unsigned long stack_size(const char *value) {
    char *end = nullptr;
    errno = 0;
    unsigned long long size = *value >= '0' && *value <= '9' ? strtoull(value, &end, 10) : 0;
    unsigned shift = 0;
    if (end != nullptr && (*end == 'K' || *end == 'k'))
        shift = 10;
    else if (end != nullptr && (*end == 'M' || *end == 'm'))
        shift = 20;
    else if (end != nullptr && (*end == 'G' || *end == 'g'))
        shift = 30;
    if (shift != 0)
        end++;
    bool right = end != nullptr && *end == '\0' && errno == 0 && size <= most_stack &&
                 (size << shift) >= least_stack && (size << shift) <= most_stack;
    if (!right)
        fail(exit_cannot, "--stack=%s: a size from 16K to 1G, in bytes or with K, M or G", value);
    return size << shift;
}

const char *file_name(const char *value) {
    if (*value == '\0')
        fail(exit_cannot, "--stats=: the name of a file is missing");
    char *here = *value == '/' ? nullptr : getcwd(nullptr, 0);
    const char *file = here == nullptr ? value : text("%s/%s", here, value);
    if (strchr(file, ',') != nullptr)
        fail(exit_cannot, "--stats=%s: no comma may stand in the name (%s)", value, file);
    return file;
}

// Not those that tell of a fault, nor CHLD and its like, which come unasked; nor TERM and INT: somebody
// wants the program to end.
int signal_number(const char *option, const char *value) {
    constexpr int some[] = {SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGPWR, SIGWINCH};
    const char *name = begins(value, "SIG") ? value + 3 : value;
    for (int number : some)
        if (same(sigabbrev_np(number), name) || same(value, text("%d", number)))
            return number;
    int first = SIGRTMIN, last = SIGRTMAX;
    for (int number = first; number <= last; number++)
        if (same(name, text("RTMIN+%d", number - first)) || same(value, text("%d", number)) ||
            same(name, text("RTMAX-%d", last - number)))
            return number;
    if (same(name, "RTMIN") || same(name, "RTMAX"))
        return same(name, "RTMIN") ? first : last;
    fail(exit_cannot,
         "%s=%s: it may be HUP, QUIT, USR1, USR2, PWR, WINCH, RTMIN, RTMIN+1 ... RTMAX, "
         "or a number of these",
         option, value);
}

// from: the option or the variable that it stands in.
void check_debug_word(const char *from, const char *word) {
    static const char *const known[] = {"stacks",  "private", "overflow",   "hooks",
                                        "blocked", "sites",   "no-overflow"};
    for (const char *k : known)
        if (same(k, word))
            return;
    if (begins(word, "blocked:")) {
        const char *digits = word + sizeof "blocked:" - 1;
        unsigned long ms = strspn(digits, "0123456789") == strlen(digits) && strlen(digits) < 9
                               ? strtoul(digits, nullptr, 10)
                               : 0;
        if (ms >= 1 && ms <= most_blocked_ms)
            return;
    }
    const char *what = begins(word, "blocked:") ? "no number from 1 to 3600000 in" : "unknown word";
    fail(exit_cannot,
         "%s: %s '%s'; known: sites, blocked, blocked:<ms>, no-overflow, and of linked programs "
         "stacks, private, overflow, hooks",
         from, what, word);
}

const char *debug_list(const char *from, const char *value) {
    const char *rest = value;
    while (char *word = next_part(&rest, ","))
        check_debug_word(from, word);
    return value;
}

// The library would see it too, but only when the first thread is made.
void check_debug_of_environment() {
    const char *value = getenv("CORUN_DEBUG");
    if (value != nullptr && *value != '\0')
        debug_list("CORUN_DEBUG", value);
}

[[noreturn]] void show(const char *what) {
    fputs(what, stdout);
    if (fflush(stdout) != 0)
        fail(exit_cannot, "stdout: %s", strerror(errno));
    exit(0);
}

// The text behind "--name="; nullptr when the word is another option.
const char *value_of(const char *word, const char *name) {
    size_t length = strlen(name);
    return begins(word, name) && word[length] == '=' ? word + length + 1 : nullptr;
}

bool is_in_path(const char *name) {
    const char *list = strchr(name, '/') == nullptr ? getenv("PATH") : nullptr;
    while (char *directory = next_part(&list, ":"))
        if (access(text("%s/%s", directory, name), X_OK) == 0)
            return true;
    return false;
}

// Options with a value, in both spellings: "--stack=64K" and "--stack 64K". A program in its place means
// that the value was forgotten.
bool take_value(options *o, const char *word, const char *behind, bool *took_behind) {
    static const char *const names[] = {"--stack", "--debug", "--stats-signal", "--dump-signal"};
    for (const char *name : names) {
        const char *value = value_of(word, name);
        if (value == nullptr) {
            if (!same(word, name))
                continue;
            if (behind == nullptr || is_in_path(behind))
                fail(exit_cannot, "%s: its value is missing%s", name,
                     behind == nullptr ? "" : text(" (%s is a program)", behind));
            value = behind;
            *took_behind = true;
        }
        if (name == names[0])
            o->stack = stack_size(value);
        else if (name == names[1])
            o->debug = debug_list(name, value);
        else if (name == names[2])
            o->stats_signal = signal_number(name, value);
        else
            o->dump_signal = same(value, "none") ? 0 : signal_number(name, value);
        return true;
    }
    return false;
}

} // namespace

options parse_options(char **arguments) {
    options o;
    char **at = arguments + 1;
    for (; *at != nullptr && (*at)[0] == '-' && (*at)[1] != '\0'; at++) {
        const char *word = *at;
        bool took_behind = false;
        if (same(word, "--")) {
            at++;
            break;
        }
        if (same(word, "--help") || same(word, "-h"))
            show(usage);
        if (same(word, "--version"))
            show("corun " CORUN_VERSION "\n");
        if (same(word, "--stats"))
            o.stats = true;
        else if (const char *file = value_of(word, "--stats"))
            o.stats = true, o.stats_file = file_name(file);
        else if (same(word, "--inherit"))
            o.inherit = true;
        else if (same(word, "--or-native"))
            o.or_native = true;
        else if (same(word, "--check"))
            o.check = true;
        else if (!take_value(&o, word, at[1], &took_behind))
            refuse("unknown option", word);
        if (took_behind)
            at++;
    }
    if (*at == nullptr)
        fail(exit_cannot, "no COMMAND; corun --help says how it is called");
    if (**at == '\0')
        fail(exit_not_found, "'': no such command");
    o.command = at;
    if (o.dump_signal != 0 && o.dump_signal != SIGQUIT && o.dump_signal == o.stats_signal)
        fail(exit_cannot, "--dump-signal and --stats-signal: one signal is not for both");
    if (o.dump_signal == SIGHUP && o.stats)
        fail(exit_cannot,
             "--dump-signal=HUP: with --stats that signal ends the program with a table");
    if (o.debug == nullptr)
        check_debug_of_environment();
    return o;
}

char *for_library(const options &o) {
    char *made = text("%s", "");
    auto add = [&made](char *word) { made = *made == '\0' ? word : text("%s,%s", made, word); };
    if (o.stack != 0)
        add(text("stack=%lu", o.stack));
    if (o.stats_file != nullptr)
        add(text("stats=%s", o.stats_file));
    else if (o.stats)
        add(text("stats"));
    if (o.stats_signal != 0)
        add(text("stats_signal=%d", o.stats_signal));
    if (o.dump_signal != SIGQUIT)
        add(text("dump_signal=%d", o.dump_signal));
    if (o.inherit)
        add(text("inherit"));
    if (o.or_native)
        add(text("or_native"));
    return made;
}

} // namespace corun::launcher
