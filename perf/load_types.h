// SPDX-License-Identifier: Apache-2.0
/*
 * load_types.h - what is asked of the load generator (load_engine.h), and what it answers.
 */
#ifndef CORUN_PERF_LOAD_TYPES_H
#define CORUN_PERF_LOAD_TYPES_H

#include <cstddef>
#include <cstdint>

namespace perf {

// What a request is. echo: random bytes, and the same come back. table: lines for
// example/legacy_server; each connection puts a random text under a key of its own, and gets it back.
enum class load_protocol { echo, table };

struct load_options {
    load_protocol protocol = load_protocol::echo;
    int port = 0;
    size_t connections = 10000;
    size_t active = 0; // requests under way at a time; 0: one on every connection
    size_t size_min = 1, size_max = 1024; // of the payload
    double seconds = 10;
    double warmup = 0;         // seconds before the measured ones
    uint64_t requests = 0;     // ends after so many, if that comes first; 0: by time alone
    double setup_timeout = 30; // seconds to connect
    double answer_timeout = 5; // seconds to wait at the end for answers under way
    uint64_t seed = 1;
    bool allow_fewer = false; // a connection closed before its first answer is no error
};

struct load_progress {
    bool connecting;
    double elapsed, seconds; // of the measured time
    size_t connected;
    uint64_t requests, requests_per_s, bytes, errors;
};

struct load_result {
    size_t connections; // that were made
    size_t refused;     // closed or reset by the server before their first answer
    double setup_seconds, seconds;
    uint64_t requests;        // within the measured time
    uint64_t requests_in_all; // warm-up and those under way at the end included
    double requests_per_s;
    uint64_t p50_ns, p99_ns, p999_ns, max_ns;
    uint64_t bytes_verified; // came back and were compared, setup and warm-up included
    uint64_t wrong_bytes;    // of those, differed or were surplus
    uint64_t errors;         // wrong payloads, connections lost, requests without an answer
};

} // namespace perf

#endif
