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
    "\n"
    "Runs a program whose threads block with its threads as coroutines of one kernel thread.\n"
    "\n"
    "  --stack=SIZE      stack of threads that ask for none: 16K to 1G\n"
    "  --stats[=FILE]    a table of what happened, at the end, on stderr or into FILE\n"
    "  --stats-signal=N  the same at each signal N (USR1, ...), while the program leaves it alone\n"
    "  --debug=LIST      as CORUN_DEBUG: stacks, overflow, hooks, blocked, blocked:MS, sites\n"
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

int signal_number(const char *value) {
    const char *name = begins(value, "SIG") ? value + 3 : value;
    for (int number = 1; number < SIGRTMIN; number++) {
        const char *known = sigabbrev_np(number);
        if (known == nullptr)
            continue;
        bool named = same(known, name) || same(value, text("%d", number));
        if (!named)
            continue;
        if (number == SIGKILL || number == SIGSTOP)
            break;
        return number;
    }
    fail(exit_cannot, "--stats-signal=%s: a signal that can be caught, as USR1 or %d", value,
         SIGUSR1);
}

void check_debug_word(const char *word) {
    static const char *const known[] = {"stacks", "overflow", "hooks", "blocked", "sites"};
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
    fail(exit_cannot,
         "--debug: unknown word '%s'; known: stacks, overflow, hooks, blocked, blocked:<ms>, sites",
         word);
}

const char *debug_list(const char *value) {
    const char *rest = value;
    while (char *word = next_part(&rest, ","))
        check_debug_word(word);
    return value;
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

// Options with a value, in both spellings: "--stack=64K" and "--stack 64K".
bool take_value(options *o, const char *word, const char *behind, bool *took_behind) {
    static const char *const names[] = {"--stack", "--debug", "--stats-signal"};
    for (const char *name : names) {
        const char *value = value_of(word, name);
        if (value == nullptr) {
            if (!same(word, name))
                continue;
            if (behind == nullptr)
                fail(exit_cannot, "%s: its value is missing", name);
            value = behind;
            *took_behind = true;
        }
        if (name == names[0])
            o->stack = stack_size(value);
        else if (name == names[1])
            o->debug = debug_list(value);
        else
            o->stats_signal = signal_number(value);
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
    if (o.inherit)
        add(text("inherit"));
    if (o.or_native)
        add(text("or_native"));
    return made;
}

} // namespace corun::launcher
