// SPDX-License-Identifier: Apache-2.0
#include "perf/stackmem/progress.h"

#include "perf/process.h"

#include <algorithm>

namespace stackmem {
namespace {

constexpr uint64_t between_lines_ns = 5000000000u;
constexpr int bar_width = 20;

const char *words_of(phase p) {
    switch (p) {
    case phase::creating:
        return "creating";
    case phase::two_at_a_time:
        return "switching, two in turn";
    case phase::in_order:
        return "switching, in order";
    case phase::shuffled:
        return "switching, shuffled";
    case phase::ending:
        return "ending";
    case phase::over:
        break;
    }
    return "over";
}

} // namespace

progress::progress(long all)
    : all_(all), terminal_(isatty(STDERR_FILENO) != 0),
      next_ns_(perf::now_ns() + between_lines_ns) {}

void progress::at(const plan &p, const measurement &m) {
    if (!terminal_ && perf::now_ns() < next_ns_)
        return;
    next_ns_ = perf::now_ns() + between_lines_ns;
    // A measurement is its making, as far as the bar is concerned.
    double part = m.now == phase::creating
                      ? static_cast<double>(m.done) / static_cast<double>(std::max(1L, p.count))
                      : 1;
    double share = std::min(1.0, (static_cast<double>(over_) + part) / static_cast<double>(all_));
    std::string bar;
    if (terminal_) {
        auto full = static_cast<size_t>(share * bar_width);
        bar = "[" + std::string(full, '#') + std::string(bar_width - full, '.') + "] ";
    }
    fprintf(stderr, "%s%s%ld of %ld: %s, %s x %ld bytes, %s%s", terminal_ ? "\r" : "", bar.c_str(),
            over_ + 1, all_, p.what.name, perf::with_commas(p.count).c_str(), p.live_bytes,
            words_of(m.now), terminal_ ? "\033[K" : "\n");
    shown_ = true;
}

void progress::next() {
    over_++;
    if (terminal_ && shown_)
        fputs("\r\033[K", stderr);
    shown_ = false;
}

} // namespace stackmem
