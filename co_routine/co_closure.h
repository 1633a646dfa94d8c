// SPDX-License-Identifier: Apache-2.0
/*
 * co_closure.h - libco's closures: a block of code and the variables it captures, as an object with
 * a virtual exec(). C++11 and later; in new code a lambda does the same.
 *
 *     int total = 0;
 *     std::vector<int> seen;
 *     co_ref(shared, total, seen);           // `shared` refers to both: shared.total, shared.seen
 *     for (int i = 0; i < 10; i++) {
 *         co_func(job, shared, i) {          // `job` is a class; its objects copy shared and i
 *             shared.total += i;
 *             shared.seen.push_back(i);
 *         }
 *         co_func_end;
 *         run_somewhere(new job(shared, i)); // somebody calls exec() and deletes it
 *     }
 *
 * Rules
 *  - Both stand in a function and take 0 to 10 variables.
 *  - co_ref(name, variables...) defines an object whose members refer to the variables, under the
 *    variables' names. It must not outlive them.
 *  - co_func(name, variables...) { body } co_func_end; defines a class, derived from stCoClosure_t,
 *    whose exec() is the body. Its constructor is given the variables in that order and copies them. A
 *    variable that is itself a reference stays one. Arrays cannot be captured.
 */
#ifndef CORUN_CO_CLOSURE_H
#define CORUN_CO_CLOSURE_H

#ifdef __cplusplus

struct stCoClosure_t {
    virtual void exec() = 0;
    virtual ~stCoClosure_t() {}
};

/* The name comes with the variables: before C++20 the dots of a macro may not be empty. */
#define co_ref(...)                                                                                \
    CO_CLOSURE_DEFINE_REF(CO_CLOSURE_NAME(__VA_ARGS__, 0), CO_CLOSURE_EACH(__VA_ARGS__),           \
                          __VA_ARGS__)
#define co_func(...)                                                                               \
    CO_CLOSURE_DEFINE_FUNC(CO_CLOSURE_NAME(__VA_ARGS__, 0), CO_CLOSURE_EACH(__VA_ARGS__),          \
                           __VA_ARGS__)
#define co_func_end }

/* The types get their names outside of the class: inside it, a member has the variable's name. */
#define CO_CLOSURE_DEFINE_REF(name, each, ...)                                                     \
    each(CO_CLOSURE_DECLARE, __VA_ARGS__) struct CO_CLOSURE_JOIN(type_, name) {                    \
        each(CO_CLOSURE_REFERENCE, __VA_ARGS__)                                                    \
    } name __attribute__((unused)) = {each(CO_CLOSURE_ITEM, __VA_ARGS__)}

/* What a copy is made from; for a reference, the same reference. */
template <class T> using co_closure_source = const T &;
/* The last parameter takes the comma after the variables; nobody gives it. */
struct co_closure_end_t {};
// clang-format off
#define CO_CLOSURE_DEFINE_FUNC(name, each, ...)                                                    \
    each(CO_CLOSURE_DECLARE, __VA_ARGS__) struct name : public stCoClosure_t {                     \
        each(CO_CLOSURE_COPY, __VA_ARGS__)                                                         \
        explicit name(each(CO_CLOSURE_PARAMETER, __VA_ARGS__)                                      \
                      co_closure_end_t = co_closure_end_t())                                       \
            : stCoClosure_t() each(CO_CLOSURE_INITIALIZE, __VA_ARGS__) {}                          \
        void exec() override
// clang-format on

#define CO_CLOSURE_TYPE(name, v) co_closure_##name##_##v
#define CO_CLOSURE_DECLARE(name, v) typedef decltype(v) CO_CLOSURE_TYPE(name, v);
#define CO_CLOSURE_REFERENCE(name, v) CO_CLOSURE_TYPE(name, v) & v;
#define CO_CLOSURE_ITEM(name, v) v,
#define CO_CLOSURE_COPY(name, v) CO_CLOSURE_TYPE(name, v) v;
#define CO_CLOSURE_PARAMETER(name, v) co_closure_source<CO_CLOSURE_TYPE(name, v)> from_##v,
#define CO_CLOSURE_INITIALIZE(name, v) , v(from_##v)

#define CO_CLOSURE_NAME(name, ...) name
#define CO_CLOSURE_JOIN(a, b) CO_CLOSURE_JOIN_EXPANDED(a, b)
#define CO_CLOSURE_JOIN_EXPANDED(a, b) a##b

/* CO_CLOSURE_EACH(name, variables...): the macro that does something for that many variables. */
#define CO_CLOSURE_EACH(...)                                                                       \
    CO_CLOSURE_PICK(__VA_ARGS__, CO_CLOSURE_EACH_10, CO_CLOSURE_EACH_9, CO_CLOSURE_EACH_8,         \
                    CO_CLOSURE_EACH_7, CO_CLOSURE_EACH_6, CO_CLOSURE_EACH_5, CO_CLOSURE_EACH_4,    \
                    CO_CLOSURE_EACH_3, CO_CLOSURE_EACH_2, CO_CLOSURE_EACH_1, CO_CLOSURE_EACH_0, 0)
#define CO_CLOSURE_PICK(name, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, each, ...) each
#define CO_CLOSURE_EACH_0(what, name)
#define CO_CLOSURE_EACH_1(what, name, v) what(name, v)
#define CO_CLOSURE_EACH_2(what, name, v, ...)                                                      \
    what(name, v) CO_CLOSURE_EACH_1(what, name, __VA_ARGS__)
#define CO_CLOSURE_EACH_3(what, name, v, ...)                                                      \
    what(name, v) CO_CLOSURE_EACH_2(what, name, __VA_ARGS__)
#define CO_CLOSURE_EACH_4(what, name, v, ...)                                                      \
    what(name, v) CO_CLOSURE_EACH_3(what, name, __VA_ARGS__)
#define CO_CLOSURE_EACH_5(what, name, v, ...)                                                      \
    what(name, v) CO_CLOSURE_EACH_4(what, name, __VA_ARGS__)
#define CO_CLOSURE_EACH_6(what, name, v, ...)                                                      \
    what(name, v) CO_CLOSURE_EACH_5(what, name, __VA_ARGS__)
#define CO_CLOSURE_EACH_7(what, name, v, ...)                                                      \
    what(name, v) CO_CLOSURE_EACH_6(what, name, __VA_ARGS__)
#define CO_CLOSURE_EACH_8(what, name, v, ...)                                                      \
    what(name, v) CO_CLOSURE_EACH_7(what, name, __VA_ARGS__)
#define CO_CLOSURE_EACH_9(what, name, v, ...)                                                      \
    what(name, v) CO_CLOSURE_EACH_8(what, name, __VA_ARGS__)
#define CO_CLOSURE_EACH_10(what, name, v, ...)                                                     \
    what(name, v) CO_CLOSURE_EACH_9(what, name, __VA_ARGS__)

#endif
#endif
