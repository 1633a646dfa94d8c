// SPDX-License-Identifier: Apache-2.0
// channel - the sieve of Eratosthenes as a row of coroutines: each holds one prime and passes on what
// that prime does not divide. Where the row ends, a new prime has been found.
#include <co_routine.hpp>

#include <cstdio>
#include <list>

using numbers = co::channel<int>;

static void count_up(numbers &out, int last) {
    for (int n = 2; n <= last; n++)
        out.send(n); // waits until the next one takes it
    out.close();
}

static void sift(numbers &in, numbers &out, int prime) {
    for (int n : in) // until in is closed
        if (n % prime != 0)
            out.send(n);
    out.close();
}

int main() {
    std::list<numbers> row(1);
    co::go([&] { count_up(row.front(), 100); });

    auto found = co::go([&] {
        int primes = 0, prime;
        while (row.back().recv(prime)) { // false: closed
            std::printf("%d ", prime);
            primes++;
            numbers &in = row.back();
            numbers &out = *row.emplace(row.end());
            co::go([&in, &out, prime] { sift(in, out, prime); }, co::name("sieve"));
        }
        return primes;
    });
    std::printf("\n%d primes\n", found.join());
    co::run();
}
