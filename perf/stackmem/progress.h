// SPDX-License-Identifier: Apache-2.0
/*
 * progress.h - how far a run is, on stderr: a bar on a terminal, elsewhere a line every five seconds.
 *
 *     progress bar(12);                     // measurements in all
 *     bar.at(plan, measurement);            // as often as wanted
 *     bar.next();                           // one is over; nothing of the bar is left on the line
 */
#ifndef CORUN_PERF_STACKMEM_PROGRESS_H
#define CORUN_PERF_STACKMEM_PROGRESS_H

#include "perf/stackmem/kinds.h"

namespace stackmem {

class progress {
  public:
    explicit progress(long all);
    void at(const plan &p, const measurement &m);
    void next();
    void skip(long measurements) { over_ += measurements; }

  private:
    long all_, over_ = 0;
    bool terminal_, shown_ = false;
    uint64_t next_ns_;
};

} // namespace stackmem

#endif
