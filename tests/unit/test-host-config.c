/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The settings of a host and an image: what is built in, what each file may say, and which of them wins. */

#include <ftw.h>
#include <limits.h>
#include <stdarg.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "host-config.h"
#include "test.h"

static char directory[] = "/tmp/test-host-config-XXXXXX";

/* content NULL: no such file. */
static void put(const char *name, const char *content) {
        _cleanup_free_ char *path = NULL;
        FILE *f;

        ASSERT_OK(asprintf(&path, "%s/%s", directory, name));
        if (!content) {
                ASSERT_TRUE(unlink(path) >= 0 || errno == ENOENT);
                return;
        }

        f = fopen(path, "we");
        ASSERT_TRUE(f);
        fputs(content, f);
        ASSERT_TRUE(fclose(f) == 0);
}

static void put_all(const char *host, const char *image, const char *options) {
        put("blockstore.json", host);
        put("images.d/vm1.json", image);
        put("options/vm1.json", options);
}

static struct host_config *load(const char *name) {
        _cleanup_free_ char *message = NULL;
        struct host_config *config;

        if (host_config_load(name, &config, &message) < 0)
                TEST_FAIL("refused: %s", message);
        return config;
}

static void expect_refusal(const char *file, const char *content, const char *expected) {
        _cleanup_free_ char *message = NULL, *wanted = NULL;
        struct host_config *config = (struct host_config *) directory;
        int r;

        put_all(NULL, NULL, NULL);
        put(file, content);
        ASSERT_OK(asprintf(&wanted, "%s/%s:%s", directory, file, expected));
        r = host_config_load("vm1", &config, &message);
        if (r != -EINVAL || !message || strcmp(message, wanted) != 0)
                TEST_FAIL("%s: got %d \"%s\", expected \"%s\"", content, r, message ? message : "(none)", wanted);
        ASSERT_TRUE(config == (struct host_config *) directory);
        put(file, NULL);
}

static void built_in(void) {
        _cleanup_(host_config_freep) struct host_config *config = NULL;

        put_all(NULL, NULL, NULL);
        config = load("vm1");
        ASSERT_EQ(config->n_proxies, 0);
        ASSERT_TRUE(!config->user && !config->image);
        ASSERT_FALSE(config->read_only);
        ASSERT_FALSE(config->steal);
        ASSERT_EQ(config->device, DEVICE_NBD);
        ASSERT_EQ(config->nbd_access, NBD_ACCESS_EXCLUSIVE);
        ASSERT_EQ(config->connections, 4);
        ASSERT_EQ(config->attach_timeout_usec, 90000000);
        ASSERT_EQ(config->connect_timeout_usec, 5000000);
        ASSERT_EQ(config->login_timeout_usec, 10000000);
        ASSERT_EQ(config->dead_time_usec, 3000000);
        ASSERT_EQ(config->io_timeout_usec, UINT64_MAX);
        ASSERT_EQ(config->retain, RETAIN_AUTO);
        ASSERT_EQ(config->retain_limit, 64U << 20);
        ASSERT_EQ(config->busy_poll_usec, 100);
        ASSERT_TRUE(config->classic_replay);
        ASSERT_EQ(config->classic_login, HOST_CLASSIC_LOGIN_SECURE);
}

static void every_key(void) {
        _cleanup_(host_config_freep) struct host_config *config = NULL;

        put_all("{ \"proxies\": [ \"Storage1\", { \"address\": \"[2001:DB8::1]:1\", \"priority\": 7 }, { \"address\": "
                "\"10.0.0.1\" } ],\n"
                "  \"user\": \"host1\", \"attach-timeout\": \"infinity\", \"connect-timeout\": \"150ms\", "
                "\"login-timeout\": 1,\n"
                "  \"dead-time\": \"2s\", \"io-timeout\": \"10min\", \"connections\": 16, \"nbd-access\": "
                "\"shared\",\n"
                "  \"retain\": \"always\", \"retain-limit\": \"1G\", \"classic-replay\": false, \"classic-login\": "
                "\"never\", \"busy-poll\": \"1ms\",\n"
                "  \"tls-ca\": \"/ca\", \"tls-certificate\": \"/crt\", \"tls-key\": \"/key\", \"tls-name\": \"n\" }",
                "{ \"image\": \"store name\", \"read-only\": true, \"device\": \"none\" }", "{ \"steal\": true }");
        config = load("vm1");

        ASSERT_EQ(config->n_proxies, 3);
        ASSERT_STREQ(config->proxies[0].address, "storage1:11417");
        ASSERT_EQ(config->proxies[0].priority, 100);
        ASSERT_STREQ(config->proxies[1].address, "[2001:db8::1]:1");
        ASSERT_EQ(config->proxies[1].priority, 7);
        ASSERT_STREQ(config->proxies[2].address, "10.0.0.1:11417");
        ASSERT_EQ(config->proxies[2].priority, 100);
        ASSERT_STREQ(config->user, "host1");
        ASSERT_EQ(config->attach_timeout_usec, UINT64_MAX);
        ASSERT_EQ(config->connect_timeout_usec, 150000);
        ASSERT_EQ(config->login_timeout_usec, 1000000);
        ASSERT_EQ(config->dead_time_usec, 2000000);
        ASSERT_EQ(config->io_timeout_usec, 600000000);
        ASSERT_EQ(config->connections, 16);
        ASSERT_EQ(config->nbd_access, NBD_ACCESS_SHARED);
        ASSERT_EQ(config->retain, RETAIN_ALWAYS);
        ASSERT_EQ(config->retain_limit, 1U << 30);
        ASSERT_FALSE(config->classic_replay);
        ASSERT_EQ(config->busy_poll_usec, 1000);
        ASSERT_EQ(config->classic_login, HOST_CLASSIC_LOGIN_NEVER);
        ASSERT_STREQ(config->tls_ca, "/ca");
        ASSERT_STREQ(config->tls_certificate, "/crt");
        ASSERT_STREQ(config->tls_key, "/key");
        ASSERT_STREQ(config->tls_name, "n");
        ASSERT_STREQ(config->image, "store name");
        ASSERT_TRUE(config->read_only);
        ASSERT_EQ(config->device, DEVICE_NONE);
        ASSERT_TRUE(config->steal);
}

static void later_files_win(void) {
        struct host_config *config;

        put_all("{ \"proxies\": [ \"a\", \"b\" ], \"user\": \"host\", \"connections\": 2, \"io-timeout\": 5 }",
                "{ \"proxies\": [ \"c\" ], \"user\": \"image\", \"retain-limit\": 1048576, \"connections\": 3, "
                "\"image\": \"x\", \"read-only\": "
                "true }",
                "{ \"user\": \"options\", \"read-only\": false }");
        config = load("vm1");
        ASSERT_EQ(config->n_proxies, 1);
        ASSERT_STREQ(config->proxies[0].address, "c:11417");
        ASSERT_STREQ(config->user, "options");
        ASSERT_EQ(config->connections, 3);
        ASSERT_EQ(config->retain_limit, 1U << 20);
        ASSERT_EQ(config->io_timeout_usec, 5000000);
        ASSERT_STREQ(config->image, "x");
        ASSERT_FALSE(config->read_only);
        host_config_free(config);

        /* Another image, and no image at all, see the host's file only. */
        config = load("vm2");
        ASSERT_EQ(config->n_proxies, 2);
        ASSERT_STREQ(config->user, "host");
        ASSERT_TRUE(!config->image);
        host_config_free(config);
        config = load(NULL);
        ASSERT_EQ(config->n_proxies, 2);
        ASSERT_EQ(config->connections, 2);
        host_config_free(config);
}

static void what_each_file_may_say(void) {
        expect_refusal("blockstore.json", "{\n\"image\": \"x\" }",
                "2: image: expected a known key (the nearest is \"user\"), found this one");
        expect_refusal("blockstore.json", "{ \"proxy\": [] }",
                "1: proxy: expected a known key (the nearest is \"proxies\"), found this one");
        expect_refusal("images.d/vm1.json", "{ \"steal\": true }",
                "1: steal: expected a known key (the nearest is \"user\"), found this one");
        expect_refusal("images.d/vm1.json", "{ \"readonly\": true }",
                "1: readonly: expected a known key (the nearest is \"read-only\"), found this one");
        expect_refusal("options/vm1.json", "{ \"connections\": 1 }",
                "1: connections: expected a known key (the nearest is \"read-only\"), found this one");
        expect_refusal("options/vm1.json", "{ \"stael\": true }",
                "1: stael: expected a known key (the nearest is \"steal\"), found this one");
}

static void wrong_values(void) {
        static const char address[] = "expected an address as \"HOST\", \"HOST:PORT\" or \"[IPV6]:PORT\"";
        char expected[256];

        expect_refusal("blockstore.json", "{ \"proxies\": [] }",
                "1: proxies: expected a list of 1 to 64 proxies, found a list");
        expect_refusal("blockstore.json", "{ \"proxies\": \"a\" }",
                "1: proxies: expected a list of 1 to 64 proxies, found \"a\"");
        expect_refusal("blockstore.json", "{ \"proxies\": [1] }",
                "1: proxies[0]: expected an address as a string, or an object with \"address\" and \"priority\", "
                "found 1");
        expect_refusal("blockstore.json", "{ \"proxies\": [\n\"a\",\n\"A:11417\"] }",
                "3: proxies[1]: expected each proxy once, found \"A:11417\"");
        expect_refusal("blockstore.json", "{ \"proxies\": [{\n}] }",
                "1: proxies[0]: expected the key \"address\", found none");
        expect_refusal("blockstore.json", "{ \"proxies\": [\"a\", { \"address\": \"b\",\n\"priority\": 65536 }] }",
                "2: proxies[1].priority: expected a priority from 0 to 65535, found 65536");
        expect_refusal("blockstore.json", "{ \"proxies\": [\"a\", { \"address\": \"b\",\n\"weight\": 1 }] }",
                "2: proxies[1].weight: expected a known key (the nearest is \"priority\"), found this one");
        snprintf(expected, sizeof(expected), "1: proxies[0]: %s, found \"a:0\"", address);
        expect_refusal("blockstore.json", "{ \"proxies\": [\"a:0\"] }", expected);
        snprintf(expected, sizeof(expected), "1: proxies[0].address: %s, found \"a\\u0000b\"", address);
        expect_refusal("blockstore.json", "{ \"proxies\": [{ \"address\": \"a\\u0000b\" }] }", expected);

        expect_refusal(
                "blockstore.json", "{ \"user\": \"\" }", "1: user: expected a user name of 1 to 32 bytes, found \"\"");
        expect_refusal("blockstore.json", "{ \"user\": \"0123456789abcdef0123456789abcdefX\" }",
                "1: user: expected a user name of 1 to 32 bytes, found \"0123456789abcdef0123456789abcdefX\"");
        expect_refusal("blockstore.json", "{ \"attach-timeout\": 0 }",
                "1: attach-timeout: expected a time from 1s to infinity, found 0");
        expect_refusal("blockstore.json", "{ \"connect-timeout\": \"99ms\" }",
                "1: connect-timeout: expected a time from 100ms to 10min, found \"99ms\"");
        expect_refusal("blockstore.json", "{ \"dead-time\": \"infinity\" }",
                "1: dead-time: expected a time from 100ms to 10min, found \"infinity\"");
        expect_refusal("blockstore.json", "{ \"connections\": 0 }",
                "1: connections: expected a whole number from 1 to 16, found 0");
        expect_refusal("blockstore.json", "{ \"connections\": 17 }",
                "1: connections: expected a whole number from 1 to 16, found 17");
        expect_refusal("blockstore.json", "{ \"connections\": null }",
                "1: connections: expected a whole number from 1 to 16, found null");
        expect_refusal("blockstore.json", "{ \"nbd-access\": true }",
                "1: nbd-access: expected \"exclusive\" or \"shared\", found true");
        expect_refusal("blockstore.json", "{ \"retain\": \"never\" }",
                "1: retain: expected \"auto\" or \"always\", found \"never\"");
        expect_refusal(
                "blockstore.json", "{ \"retain\": false }", "1: retain: expected \"auto\" or \"always\", found false");
        expect_refusal(
                "blockstore.json", "{ \"busy-poll\": 1 }", "1: busy-poll: expected a time from 0 to 1ms, found 1");
        expect_refusal("blockstore.json", "{ \"retain-limit\": 1048575 }",
                "1: retain-limit: expected a size from 1M to 1G, found 1048575");
        expect_refusal("images.d/vm1.json", "{ \"retain-limit\": \"1025M\" }",
                "1: retain-limit: expected a size from 1M to 1G, found \"1025M\"");
        expect_refusal("blockstore.json", "{ \"tls-ca\": \"ca.crt\" }",
                "1: tls-ca: expected an absolute path, found \"ca.crt\"");
        expect_refusal("blockstore.json", "{ \"classic-login\": true }",
                "1: classic-login: expected \"secure\", \"always\" or \"never\", found true");
        expect_refusal("images.d/vm1.json", "{ \"classic-replay\": \"no\" }",
                "1: classic-replay: expected true or false, found \"no\"");
        expect_refusal("images.d/vm1.json", "{ \"device\": \"ublk\" }",
                "1: device: expected \"nbd\" or \"none\", found \"ublk\"");
        expect_refusal("images.d/vm1.json", "{ \"image\": \"a/b\" }",
                "1: image: expected the store's name of an image: 1 to 255 bytes without \"/\" and control "
                "characters, not beginning with \".\", found \"a/b\"");
        expect_refusal("images.d/vm1.json", "{ \"image\": \"..\" }",
                "1: image: expected the store's name of an image: 1 to 255 bytes without \"/\" and control "
                "characters, not beginning with \".\", found \"..\"");
        expect_refusal("options/vm1.json", "", "1: expected a JSON object, at least {}, found an empty file");
}

static void too_many_proxies(void) {
        char *text = malloc(65 * 16), *p;
        struct host_config *config;

        ASSERT_TRUE(text);
        for (unsigned n = 64; n <= 65; n++) {
                p = text + sprintf(text, "{\"proxies\":[");
                for (unsigned i = 0; i < n; i++)
                        p += sprintf(p, "%s\"p%u\"", i > 0 ? "," : "", i);
                strcpy(p, "]}");
                if (n == 64) {
                        put_all(text, NULL, NULL);
                        config = load("vm1");
                        ASSERT_EQ(config->n_proxies, 64);
                        host_config_free(config);
                } else
                        expect_refusal("blockstore.json", text,
                                "1: proxies: expected a list of 1 to 64 proxies, found a list");
        }
        free(text);
}

static void an_unreadable_file_is_not_an_absent_one(void) {
        _cleanup_free_ char *message = NULL, *path = NULL;
        struct host_config *config;

        put_all(NULL, NULL, NULL);
        ASSERT_OK(asprintf(&path, "%s/blockstore.json", directory));
        ASSERT_OK(symlink("blockstore.json", path));
        ASSERT_ERROR(host_config_load("vm1", &config, &message), ELOOP);
        ASSERT_TRUE(strstr(message, "blockstore.json: cannot open: "));
        ASSERT_OK(unlink(path));
}

static void local_names(void) {
        static const char *const good[] = { "a", "Z", "0", "vm1", "a.b-c_d:e",
                "0123456789012345678901234567890123456789012345678901234567890123" };
        static const char *const bad[] = { "", "-a", ".", "..", ".a", "_a", ":a", "a/b", "a b", "a\n", "a@b", "a\\x2d",
                "\xc3\xa4", "a%", "01234567890123456789012345678901234567890123456789012345678901234" };

        for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
                ASSERT_TRUE(image_local_name_is_valid(good[i]));
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                _cleanup_free_ char *message = NULL;
                struct host_config *config;

                ASSERT_FALSE(image_local_name_is_valid(bad[i]));
                ASSERT_FALSE(host_config_image_exists(bad[i]));
                ASSERT_ERROR(host_config_load(bad[i], &config, &message), EINVAL);
                ASSERT_TRUE(message && strlen(message) > 0);
        }
        ASSERT_FALSE(image_local_name_is_valid(NULL));
}

static void lists(void) {
        char **names = NULL;

        put_all(NULL, NULL, NULL);
        ASSERT_FALSE(host_config_image_exists("vm1"));
        ASSERT_OK(host_config_list_images(&names));
        ASSERT_TRUE(!names[0]);
        free(names);

        put("images.d/vm1.json", "broken");
        put("images.d/a.b.json", "{}");
        put("images.d/a.json", "{}");
        put("images.d/a-b.json", "{}");
        put("images.d/.hidden.json", "{}");
        put("images.d/.json", "{}");
        put("images.d/not valid.json", "{}");
        put("images.d/vm2.json~", "{}");
        put("images.d/vm3", "{}");
        ASSERT_TRUE(host_config_image_exists("vm1"));
        ASSERT_FALSE(host_config_image_exists("vm2"));
        ASSERT_OK(host_config_list_images(&names));
        ASSERT_STREQ(names[0], "a");
        ASSERT_STREQ(names[1], "a-b");
        ASSERT_STREQ(names[2], "a.b");
        ASSERT_STREQ(names[3], "vm1");
        ASSERT_TRUE(!names[4]);
        for (char **name = names; *name; name++)
                free(*name);
        free(names);

        ASSERT_OK(setenv("BLOCKSTORE_CONFIG_DIRECTORY", "/nonexistent/directory", 1));
        ASSERT_OK(host_config_list_images(&names));
        ASSERT_TRUE(!names[0]);
        free(names);
        ASSERT_OK(setenv("BLOCKSTORE_CONFIG_DIRECTORY", directory, 1));
}

/* What the documentation shows and what is installed must be taken. */
static void examples(void) {
        _cleanup_free_ char *message = NULL;
        struct host_config *config;

        put_all(NULL, NULL, NULL);
        for (unsigned i = 0; i < 2; i++) {
                static const char *const from[] = { SOURCE_ROOT "/docs/examples/blockstore.json",
                        SOURCE_ROOT "/docs/examples/image.json" };
                static const char *const to[] = { "blockstore.json", "images.d/vm1.json" };
                char path[256];

                snprintf(path, sizeof(path), "%s/%s", directory, to[i]);
                ASSERT_OK(access(from[i], R_OK));
                ASSERT_OK(symlink(from[i], path));
        }

        if (host_config_load("vm1", &config, &message) < 0)
                TEST_FAIL("refused: %s", message);
        ASSERT_TRUE(config->n_proxies > 0);
        ASSERT_TRUE(config->user && config->image);
        host_config_free(config);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return remove(path);
}

int main(void) {
        static const struct test tests[] = { TEST(built_in), TEST(every_key), TEST(later_files_win),
                TEST(what_each_file_may_say), TEST(wrong_values), TEST(too_many_proxies),
                TEST(an_unreadable_file_is_not_an_absent_one), TEST(local_names), TEST(lists), TEST(examples) };
        char path[64];
        int r;

        ASSERT_TRUE(mkdtemp(directory));
        snprintf(path, sizeof(path), "%s/images.d", directory);
        ASSERT_OK(mkdir(path, 0700));
        snprintf(path, sizeof(path), "%s/options", directory);
        ASSERT_OK(mkdir(path, 0700));
        ASSERT_OK(setenv("BLOCKSTORE_CONFIG_DIRECTORY", directory, 1));
        ASSERT_OK(setenv("BLOCKSTORE_RUNTIME_DIRECTORY", directory, 1));

        r = test_run_all(tests, sizeof(tests) / sizeof(tests[0]));
        ASSERT_OK(nftw(directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS));
        return r;
}
