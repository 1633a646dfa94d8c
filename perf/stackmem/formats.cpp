// SPDX-License-Identifier: Apache-2.0
#include "perf/stackmem/formats.h"

#include "perf/process.h"
#include "perf/stackmem/options.h"

#include <sys/utsname.h>

namespace stackmem {
namespace {

struct field {
    const char *name;
    std::string value;
    bool is_text;
};

std::string tenths(double ns) {
    if (ns < 0)
        return ""; // not measured
    char text[32];
    snprintf(text, sizeof text, "%.1f", ns);
    return text;
}

std::vector<field> fields_of(const result &r) {
    const plan &p = r.made_by;
    const measurement &m = r.m;
    auto n = [](int64_t value) { return std::to_string(value); };
    return {
        {"kind", p.what.name, true},
        {"count", n(p.count), false},
        {"made", n(m.made), false},
        {"live_bytes", n(p.live_bytes), false},
        {"depth", n(p.depth), false},
        {"touch", word_of(p.touched), true},
        {"stack", n(p.stack_bytes), false},
        {"rss", n(m.rss), false},
        {"page_tables", n(m.page_tables), false},
        {"kernel_stacks", n(m.kernel_stacks), false},
        {"slab_of_machine", n(m.slab), false},
        {"saved", n(m.saved), false},
        {"save_buffers", n(m.save_buffers), false},
        {"control_blocks", n(m.control_block * m.made), false},
        {"virtual", n(m.virtual_bytes), false},
        {"unguarded", n(m.unguarded), false},
        {"create_ns", tenths(m.create_ns), false},
        {"two_in_turn_ns", tenths(m.two_ns), false},
        {"in_order_ns", tenths(m.order_ns), false},
        {"shuffled_ns", tenths(m.shuffled_ns), false},
        {"end_ns", tenths(m.end_ns), false},
        {"stopped_by", m.stopped_by, true},
        {"raise", m.raise, true},
    };
}

std::string csv_text(const std::string &text) {
    std::string out = "\"";
    for (char c : text)
        out += c == '"' ? std::string("\"\"") : std::string(1, c);
    return out + "\"";
}

std::string json_text(const std::string &text) {
    std::string out = "\"";
    for (char c : text) {
        char escaped[8];
        if (c == '"' || c == '\\')
            out.push_back('\\');
        if (static_cast<unsigned char>(c) < 0x20) {
            snprintf(escaped, sizeof escaped, "\\u%04x", static_cast<unsigned>(c));
            out += escaped;
        } else {
            out.push_back(c);
        }
    }
    return out + "\"";
}

} // namespace

std::string as_csv(const std::vector<result> &all) {
    std::string text;
    const result names = {{kinds[0], 0, 0, 0, touch::all, 0, false}, {}};
    for (const field &f : fields_of(names))
        text += std::string(text.empty() ? "" : ",") + f.name;
    text += '\n';
    for (const result &r : all) {
        std::string line;
        for (const field &f : fields_of(r))
            line += (line.empty() ? "" : ",") + (f.is_text ? csv_text(f.value) : f.value);
        text += line + '\n';
    }
    return text;
}

std::string as_json(const std::vector<result> &all) {
    utsname machine;
    std::string kernel =
        uname(&machine) == 0 ? std::string(machine.release) + " " + machine.machine : "";
    std::string text = "{\"kernel\": " + json_text(kernel) +
                       ", \"processors\": " + std::to_string(perf::usable_cpus().size()) +
                       ", \"measurements\": [";
    const char *before = "\n";
    for (const result &r : all) {
        text += before;
        before = ",\n";
        std::string line;
        for (const field &f : fields_of(r)) {
            line += line.empty() ? "  {" : ", ";
            line += json_text(f.name) + ": ";
            line += f.is_text ? json_text(f.value) : f.value.empty() ? "null" : f.value;
        }
        text += line + "}";
    }
    return text + "\n]}\n";
}

bool write_text(const std::string &file, const std::string &text) {
    FILE *to = file == "-" ? stdout : fopen(file.c_str(), "we");
    if (to == nullptr)
        return false;
    bool good = fwrite(text.data(), 1, text.size(), to) == text.size() && fflush(to) == 0;
    int error = errno;
    if (to != stdout && fclose(to) != 0 && good) {
        error = errno;
        good = false;
    }
    errno = error;
    return good;
}

} // namespace stackmem
