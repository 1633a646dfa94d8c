// SPDX-License-Identifier: Apache-2.0
#include "co_hook/launcher/rows.h"

#include "co_hook/launcher/text.h"

#include "co_routine/base/clock.h"

namespace corun::launcher {

const char *word_of(co_state s) {
    return s == co_state::parked ? "parked" : s == co_state::ready ? "ready" : "running";
}

const char *duration(int64_t ns) {
    spoken_duration d = in_words(ns);
    return ns < 0 ? "-" : text("%lld %s", d.count, d.unit);
}

const char *kib(size_t bytes) { return bytes == 0 ? "-" : text("%zuK", bytes / 1024); }

const char *subject_of(const attached &p, const thread_row &r) {
    if (r.fd >= 0) {
        const char *peer = peer_of(p, r.fd);
        return *peer == '\0' ? text("fd %d", r.fd) : text("fd %d, %s", r.fd, peer);
    }
    if (r.object == 0)
        return "";
    auto object = static_cast<unsigned long>(r.object);
    if (r.holder == 0)
        return text("0x%lx", object);
    const char *how = r.joins ? "the end of" : "held by";
    return text("0x%lx, %s %d%s", object, how, r.holder, r.is_deadlocked ? ", deadlock" : "");
}

const char *head_of_rows(bool with_rates) {
    return text("%10s %-16s %-7s %-10s %8s %7s %8s%s %10s  %s", "THREAD", "NAME", "STATE", "CALL",
                "FOR", "USED", "STACK", with_rates ? text(" %8s", "SWITCH/S") : "", "SWITCHES",
                "ON");
}

const char *line_of(const attached &p, const thread_row &r, const char *rate) {
    return text("%10d %-16.16s %-7s %-10s %8s %7s %8s%s %10u  %s", r.tid,
                r.name[0] == '\0' ? "-" : r.name, word_of(r.state),
                r.call == nullptr ? "-" : r.call, duration(r.waited_ns), kib(r.stack_used),
                kib(r.stack_bytes), rate == nullptr ? "" : text(" %8s", rate), r.switches,
                subject_of(p, r));
}

} // namespace corun::launcher
