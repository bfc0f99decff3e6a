/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Configuration files: every complaint names file, line, key and expectation, so the messages are tested to the letter. */

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "config.h"
#include "test.h"

struct inner {
        char *path;
        unsigned depth;
};

struct settings {
        char *name;
        bool on;
        unsigned count;
        uint64_t wait, size;
        struct inner store;
        unsigned numbers[3], n_numbers;
};

static int handle_store(struct config_context *context, struct json_object *value, void *userdata) {
        static const struct config_key keys[] = {
                { "path", config_handle_string, offsetof(struct inner, path), true },
                { "depth", config_handle_unsigned, offsetof(struct inner, depth), false },
                {},
        };

        return config_apply_object(context, value, keys, userdata);
}

static int handle_number(struct config_context *context, struct json_object *value, void *userdata) {
        struct settings *settings = userdata;
        int r = config_handle_unsigned(context, value, settings->numbers + settings->n_numbers);

        if (r < 0)
                return r;
        settings->n_numbers++;
        return 0;
}

static int handle_numbers(struct config_context *context, struct json_object *value, void *userdata) {
        return config_apply_array(context, value, 3, handle_number, userdata);
}

#define FIELD(f) offsetof(struct settings, f)

static const struct config_key keys[] = {
        { "name", config_handle_string, FIELD(name), false },
        { "on", config_handle_bool, FIELD(on), false },
        { "count", config_handle_unsigned, FIELD(count), false },
        { "wait", config_handle_time, FIELD(wait), false },
        { "size", config_handle_size, FIELD(size), false },
        { "store", handle_store, FIELD(store), false },
        { "numbers", handle_numbers, 0, false },
        {},
};

static void settings_done(struct settings *settings) {
        free(settings->name);
        free(settings->store.path);
}

/* Parses and applies; the result is that of the step that failed. */
static int apply(
        const char *text, size_t n, const struct config_key *table, struct settings *ret, char **ret_message) {
        _cleanup_(config_file_freep) struct config_file *file = NULL;
        int r;

        r = config_file_parse("FILE", text, n, &file, ret_message);
        if (r < 0)
                return r;
        ASSERT_STREQ(config_file_path(file), "FILE");
        return config_apply(file, table, ret, ret_message);
}

static void expect_refusal_n(const char *text, size_t n, int error, const char *expected) {
        _cleanup_(settings_done) struct settings settings = {};
        _cleanup_free_ char *message = NULL;
        int r;

        r = apply(text, n, keys, &settings, &message);
        if (r != error || !message || strcmp(message, expected) != 0)
                TEST_FAIL("%.60s: got %d \"%s\", expected %d \"%s\"", text, r, message ? message : "(none)", error,
                        expected);
}

static void expect_refusal(const char *text, const char *expected) {
        expect_refusal_n(text, strlen(text), -EINVAL, expected);
}

static void a_good_file(void) {
        static const char text[] =
                "\n{\n\t\"name\": \"a b\",\r\n \"on\": true, \"count\": 7,\n"
                "\"wait\": \"1min 30s\", \"size\": \"1.5G\",\n"
                "\"store\": { \"path\": \"/x\\/y\", \"depth\": 4294967295 }, \"numbers\": [1,\n2 ,3]\n}\n\n";
        _cleanup_(settings_done) struct settings settings = {};
        _cleanup_free_ char *message = NULL;

        ASSERT_OK(apply(text, strlen(text), keys, &settings, &message));
        ASSERT_TRUE(!message);
        ASSERT_STREQ(settings.name, "a b");
        ASSERT_TRUE(settings.on);
        ASSERT_EQ(settings.count, 7);
        ASSERT_EQ(settings.wait, 90000000);
        ASSERT_EQ(settings.size, UINT64_C(3) << 29);
        ASSERT_STREQ(settings.store.path, "/x/y");
        ASSERT_EQ(settings.store.depth, UINT_MAX);
        ASSERT_EQ(settings.n_numbers, 3);
        ASSERT_EQ(settings.numbers[2], 3);
}

static void an_empty_object_is_fine(void) {
        _cleanup_(settings_done) struct settings settings = { .count = 7 };
        char *message = (char *) "untouched";

        ASSERT_OK(apply("{}", 2, keys, &settings, &message));
        ASSERT_OK(apply(" {\n}\n", 5, keys, &settings, &message));
        ASSERT_STREQ(message, "untouched");
        ASSERT_EQ(settings.count, 7);
}

static void files_that_are_not_json(void) {
        char *huge;

        expect_refusal("", "FILE:1: expected a JSON object, at least {}, found an empty file");
        expect_refusal(" \n\n ", "FILE:1: expected a JSON object, at least {}, found an empty file");
        expect_refusal("\xef\xbb\xbf{}",
                "FILE:1: expected UTF-8 without a byte order mark, found one; save the file without it");
        expect_refusal_n("\xff\xfe{\0}\0", 6, -EINVAL, "FILE:1: expected UTF-8, found UTF-16; save the file as UTF-8");
        expect_refusal_n("\xfe\xff\0{\0}", 6, -EINVAL, "FILE:1: expected UTF-8, found UTF-16; save the file as UTF-8");
        expect_refusal_n("{\n\0}", 4, -EINVAL, "FILE:2: expected text, found a NUL byte");
        expect_refusal_n("{}\0", 3, -EINVAL, "FILE:1: expected text, found a NUL byte");

        expect_refusal(
                "{\n\"name\": \"x\",\n", "FILE:3: expected the rest of a JSON object, found the end of the file");
        expect_refusal("{\"name\": \"x", "FILE:1: expected the rest of a JSON object, found the end of the file");
        expect_refusal("{ \"name\": \"\xff\" }", "FILE:1: expected JSON, found a syntax error: invalid utf-8 string");

        expect_refusal("[]", "FILE:1: expected a JSON object in braces");
        expect_refusal("\n\n\"x\"", "FILE:3: expected a JSON object in braces");
        expect_refusal("true", "FILE:1: expected a JSON object in braces");
        expect_refusal("null", "FILE:1: expected a JSON object in braces");

        huge = malloc(CONFIG_FILE_MAX + 1);
        ASSERT_TRUE(huge);
        memset(huge, ' ', CONFIG_FILE_MAX + 1);
        huge[0] = '{';
        huge[1] = '}';
        expect_refusal_n(huge, CONFIG_FILE_MAX + 1, -EFBIG, "FILE: expected at most 1048576 bytes, found more");
        {
                struct settings settings = {};
                char *message = NULL;

                ASSERT_OK(apply(huge, CONFIG_FILE_MAX, keys, &settings, &message));
        }
        free(huge);
}

/* The words behind the colon are json-c's; what matters is that it is refused, and the line. */
static void syntax_errors(void) {
        static const struct {
                const char *text;
                unsigned line;
        } cases[] = {
                { "{\n\"name\": \"x\",\n}", 3 }, /* comma at the end */
                { "{\n\n\"name\" \"x\" }", 3 },
                { "{ 'name': 'x' }", 1 },
                { "{ name: 1 }", 1 },
                { "{ // comment\n}", 1 },
                { "{ /* comment */ }", 1 },
                { "# comment\n{}", 1 },
                { "{}\n}", 2 },
                { "{}\n{}", 2 },
                { "{} x", 1 },
                { "{}\n\n,", 3 },
                { "{ \"numbers\": [1,] }", 1 },
                { "{ \"count\": 01 }", 1 },
                { "{ \"count\": +1 }", 1 },
                { "{ \"count\": 0x10 }", 1 },
                { "{ \"on\": True }", 1 },
                { "{ \"on\": yes }", 1 },
                { "{ \"name\": \"\\x\" }", 1 },
                { "{ \"name\": \"\\u12\" }", 1 },
                { "\"\\", 1 },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                _cleanup_(settings_done) struct settings settings = {};
                _cleanup_free_ char *message = NULL;
                char prefix[32];
                int r;

                r = apply(cases[i].text, strlen(cases[i].text), keys, &settings, &message);
                snprintf(prefix, sizeof(prefix), "FILE:%u: expected ", cases[i].line);
                if (r != -EINVAL || !message || strncmp(message, prefix, strlen(prefix)) != 0)
                        TEST_FAIL("%s: got %d \"%s\", expected \"%s...\"", cases[i].text, r,
                                message ? message : "(none)", prefix);
        }
}

static void nesting(void) {
        char text[64];
        unsigned n = 0;

        /* The object itself is the first level, the innermost list the last. */
        for (unsigned depth = 15; depth < 20; depth++) {
                n = (unsigned) snprintf(text, sizeof(text), "{ \"x\":\n");
                for (unsigned i = 1; i < depth; i++)
                        text[n++] = '[';
                for (unsigned i = 1; i < depth; i++)
                        text[n++] = ']';
                text[n++] = '}';
                text[n] = '\0';
                if (depth <= 16)
                        expect_refusal(
                                text, "FILE:1: x: expected a known key (the nearest is \"on\"), found this one");
                else
                        expect_refusal(text, "FILE:2: expected at most 16 levels of nesting, found more");
        }
}

static void deep_enough_to_exhaust_a_stack(void) {
        _cleanup_free_ char *text = malloc(CONFIG_FILE_MAX);

        ASSERT_TRUE(text);
        memset(text, '[', CONFIG_FILE_MAX);
        memcpy(text, "{\"x\":", 5);
        expect_refusal_n(text, CONFIG_FILE_MAX, -EINVAL, "FILE:1: expected at most 16 levels of nesting, found more");
}

static void unknown_keys(void) {
        expect_refusal(
                "{\n \"nmae\": 1 }", "FILE:2: nmae: expected a known key (the nearest is \"name\"), found this one");
        expect_refusal(
                "{ \"Count\": 1 }", "FILE:1: Count: expected a known key (the nearest is \"count\"), found this one");
        expect_refusal("{ \"\": 1 }", "FILE:1: : expected a known key (the nearest is \"on\"), found this one");
        expect_refusal("{ \"store\": {\n\"paht\": 1 } }",
                "FILE:2: store.paht: expected a known key (the nearest is \"path\"), found this one");
        expect_refusal("{ \"a\\u001b[2J\": 1 }",
                "FILE:1: a?[2J: expected a known key (the nearest is \"name\"), found this one");
        expect_refusal("{ \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\": 1 }",
                "FILE:1: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...: expected a known key "
                "(the nearest is \"name\"), found this one");
}

static void duplicate_keys(void) {
        expect_refusal("{ \"on\": true,\n\"on\": true }",
                "FILE:2: on: expected each key once, found it again (first on line 1)");
        expect_refusal("{ \"on\": true,\n\"count\": 1,\n\"o\\u006e\": true }",
                "FILE:3: on: expected each key once, found it again (first on line 1)");
        /* The values differ in kind: the walk over the text must survive that json-c kept the other one. */
        expect_refusal("{ \"store\": { \"path\": [1, {\"a\": 2}] },\n\"store\": 3 }",
                "FILE:2: store: expected each key once, found it again (first on line 1)");
        expect_refusal("{ \"store\": 3, \"store\": [{}, {\"a\": 1,\n\"a\": 2}] }",
                "FILE:1: store: expected each key once, found it again (first on line 1)");
        expect_refusal("{ \"numbers\": [ 1, { \"a\": 1,\n\n\"a\": 2 } ] }",
                "FILE:3: numbers[1].a: expected each key once, found it again (first on line 1)");
        /* The same name in different objects is no duplicate. */
        expect_refusal("{ \"store\": { \"name\": 1 },\n\"name\": 2 }",
                "FILE:1: store.name: expected a known key (the nearest is \"path\"), found this one");
}

static void wrong_values(void) {
        static const char time[] =
                "a time: seconds as a whole number, or a string as \"30s\", \"150ms\", \"2min\" or \"infinity\"";
        static const char size[] =
                "a size: bytes as a whole number, or a string as \"64M\" or \"10G\" (powers of 1024)";
        static const struct {
                const char *text, *before, *expected, *after;
        } cases[] = {
                { "{ \"name\": 1 }", "FILE:1: name: expected ",
                        "a string of at most 4096 bytes without control characters", ", found 1" },
                { "{ \"name\": null }", "FILE:1: name: expected ",
                        "a string of at most 4096 bytes without control characters", ", found null" },
                { "{ \"name\":\n[] }", "FILE:1: name: expected ",
                        "a string of at most 4096 bytes without control characters", ", found a list" },
                { "{ \"name\": \"a\\nb\" }", "FILE:1: name: expected ",
                        "a string of at most 4096 bytes without control characters", ", found \"a\\nb\"" },
                { "{ \"name\": \"a\\u0000b\" }", "FILE:1: name: expected ",
                        "a string of at most 4096 bytes without control characters", ", found \"a\\u0000b\"" },
                { "{ \"name\": \"a\x7f\xc2\x9b\" }", "FILE:1: name: expected ",
                        "a string of at most 4096 bytes without control characters", ", found \"a??\"" },
                { "{ \"on\": 1 }", "FILE:1: on: expected ", "true or false", ", found 1" },
                { "{ \"on\": \"true\" }", "FILE:1: on: expected ", "true or false", ", found \"true\"" },
                { "{\n\n\"count\": -1 }", "FILE:3: count: expected ", "a whole number from 0 to 4294967295",
                        ", found -1" },
                { "{ \"count\": 4294967296 }", "FILE:1: count: expected ", "a whole number from 0 to 4294967295",
                        ", found 4294967296" },
                { "{ \"count\": 1.0 }", "FILE:1: count: expected ", "a whole number from 0 to 4294967295",
                        ", found 1.0" },
                { "{ \"count\": \"1\" }", "FILE:1: count: expected ", "a whole number from 0 to 4294967295",
                        ", found \"1\"" },
                { "{ \"count\": {} }", "FILE:1: count: expected ", "a whole number from 0 to 4294967295",
                        ", found an object" },
                { "{ \"wait\": -1 }", "FILE:1: wait: expected ", time, ", found -1" },
                { "{ \"wait\": 1.5 }", "FILE:1: wait: expected ", time, ", found 1.5" },
                { "{ \"wait\": \"soon\" }", "FILE:1: wait: expected ", time, ", found \"soon\"" },
                { "{ \"wait\": 9223372036854775807 }", "FILE:1: wait: expected ", time,
                        ", found 9223372036854775807" },
                { "{ \"wait\": 18446744073709552 }", "FILE:1: wait: expected ", time, ", found 18446744073709552" },
                /* json-c clamps what does not fit; nobody meant the number that is left. */
                { "{ \"size\": 99999999999999999999 }", "FILE:1: size: expected ", size,
                        ", found 18446744073709551615" },
                { "{ \"size\": \"10GB\" }", "FILE:1: size: expected ", size, ", found \"10GB\"" },
                { "{ \"size\": true }", "FILE:1: size: expected ", size, ", found true" },
                { "{ \"size\": \"99999999T\" }", "FILE:1: size: expected ", size, ", found \"99999999T\"" },
                { "{ \"store\": 1 }", "FILE:1: store: expected ", "an object in braces", ", found 1" },
                { "{ \"store\":\n{ \"path\": 1 } }", "FILE:2: store.path: expected ",
                        "a string of at most 4096 bytes without control characters", ", found 1" },
                { "{ \"numbers\": 1 }", "FILE:1: numbers: expected ", "a list in brackets", ", found 1" },
                { "{ \"numbers\": [1,2,3,4] }", "FILE:1: numbers: expected ", "at most 3 elements", ", found a list" },
                { "{ \"numbers\": [1,\n2,\n\"x\"] }", "FILE:3: numbers[2]: expected ",
                        "a whole number from 0 to 4294967295", ", found \"x\"" },
                { "{ \"numbers\": [\nnull] }", "FILE:2: numbers[0]: expected ", "a whole number from 0 to 4294967295",
                        ", found null" },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                char expected[512];

                snprintf(expected, sizeof(expected), "%s%s%s", cases[i].before, cases[i].expected, cases[i].after);
                expect_refusal(cases[i].text, expected);
        }

        /* Long values are cut, between characters. */
        expect_refusal("{ \"on\": \"0123456789012345678901234567890123456789012345678901234567890123456789\" }",
                "FILE:1: on: expected true or false, found "
                "\"01234567890123456789012345678901234567890123456789012345678...\"");
        expect_refusal(
                "{ \"on\": \"0123456789012345678901234567890123456789012345678901234567\xc3\xa4\xc3\xa4\xc3\xa4\" }",
                "FILE:1: on: expected true or false, found "
                "\"0123456789012345678901234567890123456789012345678901234567...\"");
}

static void required_keys(void) {
        static const struct config_key required[] = {
                { "count", config_handle_unsigned, FIELD(count), false },
                { "name", config_handle_string, FIELD(name), true },
                {},
        };
        _cleanup_(settings_done) struct settings settings = {};
        _cleanup_free_ char *message = NULL;

        ASSERT_ERROR(apply("\n{}", 3, required, &settings, &message), EINVAL);
        ASSERT_STREQ(message, "FILE:2: expected the key \"name\", found none");
        expect_refusal("{ \"on\": true,\n\"store\": {} }", "FILE:2: store: expected the key \"path\", found none");
}

static void a_string_is_replaced(void) {
        _cleanup_(settings_done) struct settings settings = { .name = strdup("before") };
        _cleanup_free_ char *message = NULL;

        ASSERT_ERROR(apply("{\"name\": 1}", 11, keys, &settings, &message), EINVAL);
        ASSERT_STREQ(settings.name, "before");
        ASSERT_OK(apply("{\"name\": \"\"}", 12, keys, &settings, &message));
        ASSERT_STREQ(settings.name, "");
}

static void files(void) {
        char directory[] = "/tmp/test-config-XXXXXX", path[64], missing[64], fifo[64], expected[256];
        _cleanup_free_ char *message = NULL;
        struct config_file *file = (struct config_file *) directory;
        FILE *f;

        ASSERT_TRUE(mkdtemp(directory));
        snprintf(path, sizeof(path), "%s/x.json", directory);
        snprintf(missing, sizeof(missing), "%s/none.json", directory);
        snprintf(fifo, sizeof(fifo), "%s/fifo", directory);

        ASSERT_ERROR(config_file_open(missing, &file, &message), ENOENT);
        snprintf(expected, sizeof(expected), "%s: cannot open: No such file or directory", missing);
        ASSERT_STREQ(message, expected);
        free(TAKE_PTR(message));

        ASSERT_ERROR(config_file_open(directory, &file, &message), EINVAL);
        snprintf(expected, sizeof(expected), "%s: expected a regular file", directory);
        ASSERT_STREQ(message, expected);
        free(TAKE_PTR(message));

        /* Nobody writes to it, and nobody is to wait for that. */
        ASSERT_OK(mkfifo(fifo, 0600));
        ASSERT_ERROR(config_file_open(fifo, &file, &message), EINVAL);
        free(TAKE_PTR(message));

        f = fopen(path, "we");
        ASSERT_TRUE(f);
        for (unsigned i = 0; i <= CONFIG_FILE_MAX; i++)
                fputc(' ', f);
        ASSERT_TRUE(fclose(f) == 0);
        ASSERT_ERROR(config_file_open(path, &file, &message), EFBIG);
        snprintf(expected, sizeof(expected), "%s: expected at most 1048576 bytes, found more", path);
        ASSERT_STREQ(message, expected);
        free(TAKE_PTR(message));
        ASSERT_TRUE(file == (struct config_file *) directory);

        f = fopen(path, "we");
        ASSERT_TRUE(f);
        /* More than one read's worth. */
        fputc('{', f);
        for (unsigned i = 0; i < 10000; i++)
                fputc('\n', f);
        fputs("\"x\": 1 }", f);
        ASSERT_TRUE(fclose(f) == 0);
        ASSERT_OK(config_file_open(path, &file, &message));
        ASSERT_STREQ(config_file_path(file), path);
        {
                struct settings settings = {};

                ASSERT_ERROR(config_apply(file, keys, &settings, &message), EINVAL);
        }
        snprintf(expected, sizeof(expected),
                "%s:10001: x: expected a known key (the nearest is \"on\"), found this one", path);
        ASSERT_STREQ(message, expected);
        config_file_free(file);

        ASSERT_OK(unlink(path));
        ASSERT_OK(unlink(fifo));
        ASSERT_OK(rmdir(directory));
}

static void times(void) {
        static const struct {
                const char *text;
                uint64_t usec;
        } good[] = {
                { "0", 0 },
                { "30", 30000000 },
                { "30s", 30000000 },
                { "30 s", 30000000 },
                { " 30sec ", 30000000 },
                { "150ms", 150000 },
                { "150msec", 150000 },
                { "1us", 1 },
                { "7usec", 7 },
                { "7\u00b5s", 7 },
                { "7\u03bcs", 7 },
                { "2min", 120000000 },
                { "2m", 120000000 },
                { "1min 30s", 90000000 },
                { "1min30s", 90000000 },
                { "1h 1m 1s 1ms 1us", 3661001001 },
                { "1.5s", 1500000 },
                { "0.5h", 1800000000 },
                { "1.0000009s", 1000000 },
                { "1d", 86400000000 },
                { "18446744073709551614us", UINT64_MAX - 1 },
                { "infinity", UINT64_MAX },
                { " infinity ", UINT64_MAX },
        };
        static const struct {
                const char *text;
                int error;
        } bad[] = {
                { "", -EINVAL },
                { " ", -EINVAL },
                { "s", -EINVAL },
                { "-1s", -EINVAL },
                { "+1s", -EINVAL },
                { "1 30", -EINVAL },
                { "1 30s", -EINVAL },
                { "30s 1", -EINVAL },
                { "1x", -EINVAL },
                { "1S", -EINVAL },
                { "1 year", -EINVAL },
                { "1.s", -EINVAL },
                { ".5s", -EINVAL },
                { "1.5.5s", -EINVAL },
                { "1,5s", -EINVAL },
                { "1e3s", -EINVAL },
                { "1.0123456789s", -EINVAL },
                { "infinity 1s", -EINVAL },
                { "infinit", -EINVAL },
                { "infinityx", -EINVAL },
                { "Infinity", -EINVAL },
                { "1s\n", -EINVAL },
                { "18446744073709551615us", -ERANGE },
                { "18446744073709551616us", -ERANGE },
                { "18446744073709551614us 1us", -ERANGE },
                { "18446744073709551614us 2us", -ERANGE },
                { "99999999999999999999999999999999s", -ERANGE },
                { "18446744073709s 999999us 999ms", -ERANGE },
        };

        for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
                uint64_t usec = 4711;

                if (time_parse(good[i].text, &usec) < 0)
                        TEST_FAIL("\"%s\" is refused", good[i].text);
                ASSERT_EQ(usec, good[i].usec);
        }
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                uint64_t usec = 4711;

                if (time_parse(bad[i].text, &usec) != bad[i].error)
                        TEST_FAIL("\"%s\" gives %d", bad[i].text, time_parse(bad[i].text, &usec));
                ASSERT_EQ(usec, 4711);
        }
}

static void sizes(void) {
        static const struct {
                const char *text;
                uint64_t size;
        } good[] = {
                { "0", 0 },
                { "4096", 4096 },
                { "4096B", 4096 },
                { "64K", 65536 },
                { "64KiB", 65536 },
                { "64 M", 64 << 20 },
                { "10G", UINT64_C(10) << 30 },
                { "10GiB", UINT64_C(10) << 30 },
                { "1.5G", UINT64_C(3) << 29 },
                { "0.1G", 107374182 },
                { "0.5K", 512 },
                { "2T", UINT64_C(2) << 40 },
                { "3P", UINT64_C(3) << 50 },
                { "7.5E", UINT64_C(15) << 59 },
                { "18446744073709551614", UINT64_MAX - 1 },
        };
        static const struct {
                const char *text;
                int error;
        } bad[] = {
                { "", -EINVAL },
                { "G", -EINVAL },
                { "-1", -EINVAL },
                { "1.5", -EINVAL },
                { "1.5B", -EINVAL },
                { "10GB", -EINVAL },
                { "10kB", -EINVAL },
                { "10g", -EINVAL },
                { "10 G G", -EINVAL },
                { "10G1M", -EINVAL },
                { "0x10", -EINVAL },
                { "infinity", -EINVAL },
                { "16E", -ERANGE },
                { "18446744073709551615", -ERANGE },
                { "18446744073709551616", -ERANGE },
                { "999999999999999999999999", -ERANGE },
        };

        for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
                uint64_t size = 4711;

                if (size_parse(good[i].text, &size) < 0)
                        TEST_FAIL("\"%s\" is refused", good[i].text);
                ASSERT_EQ(size, good[i].size);
        }
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                uint64_t size = 4711;

                if (size_parse(bad[i].text, &size) != bad[i].error)
                        TEST_FAIL("\"%s\" gives %d", bad[i].text, size_parse(bad[i].text, &size));
                ASSERT_EQ(size, 4711);
        }
}

static void everything_that_is_wrong(void) {
        static const char text[] =
                "{ \"count\": \"x\",\n\"name\": 5, \"nmae\": 1,\n\"store\": { \"depth\": -1 },\n\"on\": true }";
        _cleanup_(config_file_freep) struct config_file *file = NULL;
        _cleanup_(settings_done) struct settings settings = {};
        _cleanup_free_ char *message = NULL, *first = NULL;
        char *many, *at;
        unsigned lines = 1;

        ASSERT_OK(config_file_parse("FILE", text, strlen(text), &file, &message));
        ASSERT_ERROR(config_apply_all(file, keys, &settings, &message), EINVAL);
        ASSERT_TRUE(strstr(message, "FILE:1: count: ") == message);
        ASSERT_TRUE(strstr(message, "\nFILE:2: name: ") != NULL);
        ASSERT_TRUE(strstr(message, "\nFILE:2: nmae: ") != NULL);
        ASSERT_TRUE(strstr(message, "\nFILE:3: store.depth: ") != NULL);
        ASSERT_TRUE(strstr(message, "\nFILE:3: store: expected the key \"path\"") != NULL);
        ASSERT_TRUE(settings.on); /* what is right is taken, so that more can be looked at */
        ASSERT_ERROR(config_apply(file, keys, &settings, &first), EINVAL);
        ASSERT_TRUE(strchr(first, '\n') == NULL);
        file = config_file_free(file);

        /* Not without end. */
        many = calloc(1, 20U * 100U + 3U);
        ASSERT_TRUE(many != NULL);
        at = stpcpy(many, "{");
        for (unsigned i = 0; i < 100; i++)
                at += sprintf(at, "%s\"u%u\": 0", i > 0 ? ", " : "", i);
        (void) strcpy(at, "}");
        free(TAKE_PTR(message));
        ASSERT_OK(config_file_parse("FILE", many, strlen(many), &file, &message));
        ASSERT_ERROR(config_apply_all(file, keys, &settings, &message), EINVAL);
        for (const char *c = message; *c; c++)
                lines += *c == '\n';
        ASSERT_EQ(lines, CONFIG_COMPLAINTS_MAX);
        free(many);
}

TEST_MAIN(TEST(a_good_file), TEST(everything_that_is_wrong), TEST(an_empty_object_is_fine),
        TEST(files_that_are_not_json), TEST(syntax_errors), TEST(nesting), TEST(deep_enough_to_exhaust_a_stack),
        TEST(unknown_keys), TEST(duplicate_keys), TEST(wrong_values), TEST(required_keys), TEST(a_string_is_replaced),
        TEST(files), TEST(times), TEST(sizes));
