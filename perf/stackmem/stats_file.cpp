// SPDX-License-Identifier: Apache-2.0
#include "perf/stackmem/stats_file.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace stackmem {
namespace {

constexpr long most_threads = 10000000, most_stack = 1024L * 1024 * 1024;
constexpr size_t longest_file = 64 * 1024 * 1024;

struct row {
    const char *label, *behind; // the number; nothing else, or blanks and a note
    long low, high;
};

enum : size_t { at_most, used_now, used_average, used_ended, rows };

constexpr row wanted[rows] = {
    {"threads at most", "", 1, most_threads},
    {"stack used at most, now", " bytes", 0, most_stack},
    {"stack used on average, now", " bytes", 0, most_stack},
    {"stack used at most, ended", " bytes", 0, most_stack},
};

struct table {
    long line = 0; // where it begins; 0: none has begun
    bool has_threads = true;
    long value[rows] = {-1, -1, -1, -1};
};

std::string read_all(const std::string &file, std::string *text) {
    FILE *from = fopen(file.c_str(), "re");
    if (from == nullptr)
        return strerror(errno);
    char part[65536];
    size_t n;
    while (text->size() <= longest_file && (n = fread(part, 1, sizeof part, from)) > 0)
        text->append(part, n);
    std::string wrong = ferror(from) != 0 ? strerror(errno) : "";
    fclose(from);
    if (text->size() > longest_file)
        return "it is too long for tables of corun --stats";
    return wrong;
}

// The number of a line "  label   123 bytes  note"; -1: the line is not like that.
long value_of(const std::string &line, const row &r) {
    size_t at = 2 + strlen(r.label), digits = line.find_first_not_of(' ', at);
    if (digits == std::string::npos || digits == at)
        return -1;
    size_t end = std::min(line.find_first_not_of("0123456789", digits), line.size());
    if (end == digits || end - digits > 12)
        return -1;
    long long value = 0;
    for (size_t i = digits; i < end; i++)
        value = value * 10 + (line[i] - '0');
    if (value < r.low || value > r.high)
        return -1;
    std::string rest = line.substr(end);
    size_t unit = strlen(r.behind);
    if (rest.compare(0, unit, r.behind) != 0 || (rest.size() > unit && rest[unit] != ' '))
        return -1;
    return static_cast<long>(value);
}

std::string at_line(long number, const std::string &what) {
    return "line " + std::to_string(number) + ": " + what;
}

std::string take_row(const std::string &line, long number, table *t) {
    for (size_t i = 0; i < rows; i++) {
        std::string begin = std::string("  ") + wanted[i].label;
        if (line.compare(0, begin.size(), begin) != 0)
            continue;
        std::string quoted = std::string("\"") + wanted[i].label + "\"";
        if (t->line == 0)
            return at_line(number, quoted + " before the first line of a table");
        if (t->value[i] >= 0)
            return at_line(number, quoted + " a second time in one table");
        t->value[i] = value_of(line, wanted[i]);
        if (t->value[i] < 0)
            return at_line(number, quoted + " without a number that can be");
    }
    return "";
}

std::string take_table(const table &t, server_marks *out) {
    if (t.line == 0 || !t.has_threads)
        return "";
    if (t.value[at_most] < 0)
        return at_line(t.line, "the table has no \"threads at most\": it is cut off");
    if (t.value[used_average] > std::max(t.value[used_now], 0L))
        return at_line(t.line, "the table's stacks are larger on average than at most");
    out->tables++;
    if (t.value[used_average] > out->average) // of several, the largest: nobody runs short
        out->average = t.value[used_average];
    out->threads = std::max(out->threads, t.value[at_most] - 1);
    out->deepest = std::max({out->deepest, t.value[used_now], t.value[used_ended]});
    return "";
}

// Only a process without threads says all in this line.
bool is_first_line(const std::string &line, table *t) {
    constexpr char begin[] = "corun: process ";
    if (line.compare(0, sizeof begin - 1, begin) != 0)
        return false;
    t->has_threads = line.find(": it never had a second thread") == std::string::npos;
    return true;
}

} // namespace

std::string read_stats_file(const std::string &file, server_marks *out) {
    *out = {};
    std::string text, wrong = read_all(file, &text);
    table t;
    long number = 0;
    bool begun = false;
    for (size_t from = 0; wrong.empty() && from < text.size();) {
        size_t end = std::min(text.find('\n', from), text.size());
        std::string line = text.substr(from, end - from);
        from = end + 1;
        number++;
        table next;
        if (is_first_line(line, &next)) {
            wrong = take_table(t, out);
            t = next;
            t.line = number;
            begun = true;
        } else {
            wrong = take_row(line, number, &t);
        }
    }
    if (wrong.empty())
        wrong = take_table(t, out);
    if (!wrong.empty())
        return wrong;
    if (!begun)
        return "there is no table of corun --stats in it; make one with corun --stats=FILE PROGRAM";
    if (out->threads == 0)
        return "its process never had a second thread, so there is nothing to advise";
    if (out->deepest == 0)
        return "no table in it says \"stack used\"; let threads end, or make one with "
               "--stats-signal";
    return "";
}

} // namespace stackmem
