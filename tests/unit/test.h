/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Assertions that say what was found, and a main() that runs a table of named tests. A test program exits 0, or aborts at the first failure. */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEST_FAIL(format, ...)                                                                         \
        do {                                                                                           \
                fprintf(stderr, "%s:%d: %s: " format "\n", __FILE__, __LINE__, __func__, __VA_ARGS__); \
                abort();                                                                               \
        } while (0)

#define ASSERT_TRUE(expr)                                   \
        do {                                                \
                if (!(expr))                                \
                        TEST_FAIL("%s is not true", #expr); \
        } while (0)

#define ASSERT_FALSE(expr)                                   \
        do {                                                 \
                if (expr)                                    \
                        TEST_FAIL("%s is not false", #expr); \
        } while (0)

/* The comma makes a value of what may be an atomic, whose type clang would keep. */
#define ASSERT_EQ(a, b)                                                                                  \
        do {                                                                                             \
                __typeof__(((void) 0, (a))) _a = (a);                                                    \
                __typeof__(((void) 0, (b))) _b = (b);                                                    \
                if (!(_a == (__typeof__(_a)) _b))                                                        \
                        TEST_FAIL("%s is %jd, expected %s = %jd", #a, (intmax_t) _a, #b, (intmax_t) _b); \
        } while (0)

/* A call that returns 0 or more on success, a negative errno on failure. */
#define ASSERT_OK(expr)                                                         \
        ({                                                                      \
                intmax_t _r = (intmax_t) (expr);                                \
                if (_r < 0)                                                     \
                        TEST_FAIL("%s failed: %s", #expr, strerror((int) -_r)); \
                _r;                                                             \
        })

#define ASSERT_ERROR(expr, error)                                                                                    \
        do {                                                                                                         \
                intmax_t _r = (intmax_t) (expr);                                                                     \
                if (_r != -(error))                                                                                  \
                        TEST_FAIL("%s returned %jd (%s), expected -%s", #expr, _r, strerror(_r < 0 ? (int) -_r : 0), \
                                #error);                                                                             \
        } while (0)

#define ASSERT_STREQ(a, b)                                                                                      \
        do {                                                                                                    \
                const char *_a = (a), *_b = (b);                                                                \
                if (!_a || !_b || strcmp(_a, _b) != 0)                                                          \
                        TEST_FAIL("%s is \"%s\", expected \"%s\"", #a, _a ? _a : "(null)", _b ? _b : "(null)"); \
        } while (0)

#define ASSERT_MEMEQ(a, b, n)                                                                                        \
        do {                                                                                                         \
                const unsigned char *_a = (const void *) (a), *_b = (const void *) (b);                              \
                for (size_t _i = 0; _i < (size_t) (n); _i++)                                                         \
                        if (_a[_i] != _b[_i])                                                                        \
                                TEST_FAIL("%s differs from %s at byte %zu: %02x, expected %02x", #a, #b, _i, _a[_i], \
                                        _b[_i]);                                                                     \
        } while (0)

struct test {
        const char *name;
        void (*run)(void);
};

#define TEST(name) \
        { #name, name }

static inline int test_run_all(const struct test *tests, size_t n) {
        for (size_t i = 0; i < n; i++) {
                printf("%s\n", tests[i].name);
                fflush(stdout);
                tests[i].run();
        }
        return EXIT_SUCCESS;
}

#define TEST_MAIN(...)                                                        \
        int main(void) {                                                      \
                static const struct test tests[] = { __VA_ARGS__ };           \
                return test_run_all(tests, sizeof(tests) / sizeof(tests[0])); \
        }                                                                     \
        struct _swallow_semicolon_
