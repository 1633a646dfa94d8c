#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# OpenSSL, unmodified: 1,000 handshakes in 50 coroutines that share one SSL_CTX, on one thread and
# on two.
# sanitizers: address
source "$(dirname "$0")/servers.sh"
needs openssl_client openssl

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
    -keyout "$scratch/key.pem" -out "$scratch/certificate.pem" >"$scratch/openssl.log" 2>&1
handshakes() { # what, count, mode, rounds, threads, expected
    run_client openssl_client "$2" "$3" "$scratch/certificate.pem" "$scratch/key.pem" "$4" "$5" 0
    verdict "$1" "$([ $code = 0 ] || echo "exit status $code: $report"
        grep -qx "$6" <<<"$report" || echo "not: $6"
        [ "$at_once" = "$2" ] || echo "$at_once of $2 at once")"
}
# Half of the coroutines resume their session from the second handshake on.
handshakes '1,000 handshakes share one SSL_CTX on one thread' 50 hooked 20 1 'handshakes=1000 resumed=475'
handshakes 'the same on four shared stacks' 50 shared 20 1 'handshakes=1000 resumed=475'
handshakes 'the same on two threads' 25 hooked 20 2 'handshakes=1000 resumed=456'

run_client openssl_client 3 blocking "$scratch/certificate.pem" "$scratch/key.pem" 1 1 300
verdict 'without hooks a client waits in vain for the server on its own thread' \
    "$([ $code = 1 ] || echo "exit status $code"
    grep -qx 'handshakes=0 resumed=0' <<<"$report" || echo "$report")"
exit $status
