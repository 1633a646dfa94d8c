// SPDX-License-Identifier: Apache-2.0
/*
 * co_routine_inner.h - libco's header of internals, for source that includes it.
 *
 * In libco it laid open the control block and the stacks. Here those are private: the types are
 * incomplete, and what the public interface offers instead stands in co_routine.h (co_get_stats,
 * co_backtrace, co_stack_high_water). What remains is what libco's own examples use of it: the public
 * interface and coctx.h in one include.
 */
#ifndef CORUN_CO_ROUTINE_INNER_H
#define CORUN_CO_ROUTINE_INNER_H

#include "co_routine.h"
#include "coctx.h"

#endif
