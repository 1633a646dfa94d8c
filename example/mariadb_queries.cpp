// SPDX-License-Identifier: Apache-2.0
// needs: libmariadb
// Many queries at once on one thread, with MariaDB's blocking client library as it is installed:
//     mariadb_queries 127.0.0.1 3306 user password
// Twenty connections, each of which asks the server to wait for half a second.
#include <chrono>
#include <co_routine.hpp>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mysql.h>
#include <stdexcept>
#include <string>
#include <vector>

using db_ptr = std::unique_ptr<MYSQL, decltype(&mysql_close)>;
using result_ptr = std::unique_ptr<MYSQL_RES, decltype(&mysql_free_result)>;

static char **server; // host port user password

static long query(const std::string &sql) {
    db_ptr db(mysql_init(nullptr), mysql_close);
    auto port = static_cast<unsigned>(std::atoi(server[1]));
    if (!mysql_real_connect(db.get(), server[0], server[2], server[3], nullptr, port, nullptr, 0) ||
        mysql_query(db.get(), sql.c_str()) != 0)
        throw std::runtime_error(mysql_error(db.get()));
    result_ptr result(mysql_store_result(db.get()), mysql_free_result);
    MYSQL_ROW row = result ? mysql_fetch_row(result.get()) : nullptr;
    return row && row[0] ? std::atol(row[0]) : -1;
}

int main(int argc, char **argv) {
    if (argc != 5)
        return std::fprintf(stderr, "%s HOST PORT USER PASSWORD\n", argv[0]), 2;
    server = argv + 1;
    mysql_library_init(0, nullptr, nullptr);
    auto begin = co::now();
    std::vector<co::join_handle<long>> answers;
    for (int i = 1; i <= 20; ++i)
        answers.push_back(co::go([i] {
            co_enable_hook_sys(); // from here on, the library's calls wait in the loop
            return query("SELECT " + std::to_string(i * i) + " + SLEEP(0.5)");
        }));
    long sum = 0;
    try {
        for (auto &answer : answers)
            sum += answer.join();
    } catch (const std::exception &e) {
        return std::fprintf(stderr, "%s\n", e.what()), 1;
    }
    std::printf("20 answers, their sum is %ld\n", sum);
    bool together = co::now() - begin < std::chrono::seconds(5);
    std::printf("20 waits of half a second took %s\n", together ? "less than 5 s" : "too long");
}
