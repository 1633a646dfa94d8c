// SPDX-License-Identifier: Apache-2.0
// How often a test does what it counts: plain builds keep the numbers of the contract; under a
// sanitizer, or with every check on, a round costs twenty times as much.
#pragma once

#include "co_routine/base/check.h"
#include "co_routine/base/sanitizer.h"

constexpr bool is_plain_build = !CO_SANITIZED && CO_CHECK_LEVEL < 2;
template <class N> constexpr N rounds(N plain) { return is_plain_build ? plain : plain / 20; }
