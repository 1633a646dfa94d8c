// SPDX-License-Identifier: Apache-2.0
#include "perf/stackmem/options.h"

#include "perf/stackmem/live_bytes.h"

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace stackmem {
namespace {

// man/corun-stackmem.1 stands beside it; tests/api/man_page_test.sh compares the two.
constexpr char usage[] =
    R"(corun-stackmem: what a suspended coroutine holds and costs, by kind of stack, beside a thread
usage: corun-stackmem [option]...
  --count N[,N...]     how many at once (1000,10000,100000,1000000)
  --live BYTES[,...]   bytes of variables of each, 64 to 65536 (64,1024,16384)
  --depth FRAMES       frames that these are spread over, 1 to 1000 (1)
  --touch WORD         which of them are written: all, ends (the first and last of each frame), none
  --stack SIZE         the stack of each, 16K to 1G (128K)
  --kind WORD[,...]    private-64k, private-4k, shared-1, shared-16, shared-256, pthread, ucontext,
                       or how some of them begin: private, shared
  --csv FILE           the measurements as CSV; - is standard output, in place of the table
  --json FILE          the same as JSON
  --plot DIR           memory.png, switch.png and the same as .svg, by gnuplot
  --from-stats FILE    which stacks would serve the server that wrote FILE by corun --stats=FILE,
                       and what they cost at 1, 10 and 100 times its threads; with --kind alone
  --quick              fewer rounds; without --count and --live 1000,10000 and 64,4096
  -h, --help           this
)";

constexpr long most_count = 10000000;

[[noreturn]] __attribute__((format(printf, 1, 2))) void refuse(const char *format, ...) {
    va_list list;
    va_start(list, format);
    fputs("corun-stackmem: ", stderr);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
    exit(2);
}

std::vector<std::string> split(const std::string &list) {
    std::vector<std::string> words;
    for (size_t from = 0; from <= list.size();) {
        size_t comma = std::min(list.find(',', from), list.size());
        words.push_back(list.substr(from, comma - from));
        from = comma + 1;
    }
    return words;
}

long number(const char *option, const std::string &text, long low, long high) {
    char *end = nullptr;
    errno = 0;
    long value = strtol(text.c_str(), &end, 10);
    if (text.empty() || text.find_first_not_of("0123456789") != std::string::npos || errno != 0 ||
        value < low || value > high)
        refuse("%s: \"%s\" is not a number from %ld to %ld", option, text.c_str(), low, high);
    return value;
}

// Sorted, each once.
std::vector<long> numbers(const char *option, const std::string &list, long low, long high) {
    std::vector<long> all;
    for (const std::string &word : split(list))
        all.push_back(number(option, word, low, high));
    std::sort(all.begin(), all.end());
    all.erase(std::unique(all.begin(), all.end()), all.end());
    return all;
}

long stack_size(const std::string &text) {
    constexpr long least = 16 * 1024, most = 1024L * 1024 * 1024;
    std::string digits = text;
    long unit = 1;
    if (!digits.empty()) {
        const char *units = "KMG", *at = strchr(units, digits.back());
        if (at != nullptr && *at != '\0') {
            unit = 1L << (10 * (at - units + 1));
            digits.pop_back();
        }
    }
    if (digits.empty() || digits.size() > 10 ||
        digits.find_first_not_of("0123456789") != std::string::npos ||
        strtoll(digits.c_str(), nullptr, 10) > most / unit ||
        strtoll(digits.c_str(), nullptr, 10) * unit < least)
        refuse("--stack: \"%s\" is not a size from 16K to 1G", text.c_str());
    return static_cast<long>(page_up(static_cast<size_t>(strtol(digits.c_str(), nullptr, 10)) *
                                     static_cast<size_t>(unit)));
}

std::vector<kind> kinds_named(const std::string &list) {
    std::vector<std::string> words = split(list);
    bool chosen[std::size(kinds)] = {};
    for (const std::string &word : words) {
        bool exact = std::any_of(std::begin(kinds), std::end(kinds),
                                 [&](const kind &k) { return word == k.name; });
        bool known = false;
        for (size_t i = 0; i < std::size(kinds); i++) {
            std::string name = kinds[i].name;
            // "private" names all that begin with it; "shared-1" is one, not shared-16 as well.
            if (exact ? name != word : word.empty() || name.compare(0, word.size(), word) != 0)
                continue;
            chosen[i] = known = true;
        }
        if (!known)
            refuse("--kind: there is no \"%s\"; private-64k, private-4k, shared-1, shared-16, "
                   "shared-256, pthread and ucontext there are",
                   word.c_str());
    }
    std::vector<kind> result;
    for (size_t i = 0; i < std::size(kinds); i++)
        if (chosen[i])
            result.push_back(kinds[i]);
    return result;
}

touch touch_named(const std::string &word) {
    for (touch t : {touch::all, touch::ends, touch::none})
        if (word == word_of(t))
            return t;
    refuse("--touch: \"%s\" is not one of all, ends, none", word.c_str());
}

using taker = void (*)(options *, const std::string &);

// Those with a value.
constexpr struct {
    const char *name;
    taker take;
} valued[] = {
    {"--count",
     [](options *o, const std::string &v) { o->counts = numbers("--count", v, 1, most_count); }},
    {"--live", [](options *o, const std::string &v) { o->live = numbers("--live", v, 64, 65536); }},
    {"--depth", [](options *o, const std::string &v) { o->depth = number("--depth", v, 1, 1000); }},
    {"--touch", [](options *o, const std::string &v) { o->touched = touch_named(v); }},
    {"--stack", [](options *o, const std::string &v) { o->stack_bytes = stack_size(v); }},
    {"--kind", [](options *o, const std::string &v) { o->chosen = kinds_named(v); }},
    {"--csv", [](options *o, const std::string &v) { o->csv = v; }},
    {"--json", [](options *o, const std::string &v) { o->json = v; }},
    {"--plot", [](options *o, const std::string &v) { o->plot = v; }},
    {"--from-stats", [](options *o, const std::string &v) { o->from_stats = v; }},
};

taker taker_of(const std::string &name) {
    for (const auto &option : valued)
        if (name == option.name)
            return option.take;
    return nullptr;
}

void check_together(const options &o) {
    if (o.csv == "-" && o.json == "-")
        refuse("--csv and --json cannot both go to standard output; name a file for one of them");
    if (o.live.front() < o.depth)
        refuse("--depth %ld: more frames than the %ld bytes of --live; give each frame a byte",
               o.depth, o.live.front());
    long needed = stack_needed({o.live.back(), o.depth, o.touched});
    if (needed > o.stack_bytes)
        refuse("--stack %s: too small for %ld live bytes in %ld frames; give it %s at least",
               short_size(o.stack_bytes).c_str(), o.live.back(), o.depth,
               short_size(static_cast<int64_t>(page_up(static_cast<size_t>(needed)))).c_str());
}

} // namespace

const char *word_of(touch t) {
    return t == touch::all ? "all" : t == touch::ends ? "ends" : "none";
}

std::string short_size(int64_t bytes) {
    const char *unit = "";
    for (const char *next : {"K", "M", "G"}) {
        if (bytes == 0 || bytes % 1024 != 0)
            break;
        bytes /= 1024;
        unit = next;
    }
    return std::to_string(bytes) + unit;
}

options parse_options(int argc, char **argv) {
    options o;
    std::string other; // than --from-stats and --kind
    o.chosen.assign(std::begin(kinds), std::end(kinds));
    for (int i = 1; i < argc; i++) {
        std::string name = argv[i], value;
        if (name == "-h" || name == "--help") {
            fputs(usage, stdout);
            exit(0);
        }
        if (name == "--quick") {
            o.quick = true;
            other = name;
            continue;
        }
        size_t equals = name.find('=');
        bool joined = name.compare(0, 2, "--") == 0 && equals != std::string::npos;
        if (joined) {
            value = name.substr(equals + 1);
            name.resize(equals);
        }
        taker take = taker_of(name);
        if (take == nullptr)
            refuse("%s: there is no such option; corun-stackmem --help lists them", argv[i]);
        if (!joined && i + 1 < argc)
            value = argv[++i];
        if (value.empty())
            refuse("%s wants a value; corun-stackmem --help says which", name.c_str());
        take(&o, value);
        if (name != "--from-stats" && name != "--kind")
            other = name;
    }
    if (!o.from_stats.empty() && !other.empty())
        refuse("%s is nothing for --from-stats; leave it out", other.c_str());
    if (o.counts.empty())
        o.counts = o.quick ? std::vector<long>{1000, 10000}
                           : std::vector<long>{1000, 10000, 100000, 1000000};
    if (o.live.empty())
        o.live = o.quick ? std::vector<long>{64, 4096} : std::vector<long>{64, 1024, 16384};
    check_together(o);
    return o;
}

} // namespace stackmem
