/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What AttachImage is given: read from a message, refused when it cannot be, kept in a file, and spent or removed. */

#include <stdbool.h>

#include <json-c/json.h>

#include "options.h"
#include "peer-pair.h"
#include "scratch.h"

static struct peer_pair pair;

/* A sealed message with one a{sv}. */
static sd_bus_message *message_with(const char *types, ...) {
        sd_bus_message *message;
        va_list ap;

        ASSERT_OK(sd_bus_message_new_method_call(pair.client, &message, NULL, "/x", "x.Y", "Z"));
        va_start(ap, types);
        ASSERT_OK(sd_bus_message_appendv(message, types, ap));
        va_end(ap);
        ASSERT_OK(sd_bus_message_seal(message, 1, 0));
        return message;
}

static void check_refused(sd_bus_message *message, const char *word) {
        struct attach_options options = { .read_only = -1 };
        sd_bus_error error = SD_BUS_ERROR_NULL;

        ASSERT_TRUE(attach_options_read(message, &options, &error) < 0);
        ASSERT_EQ(peer_bus_error_failure(&error), FAILURE_USAGE);
        if (!strstr(error.message, word))
                TEST_FAIL("\"%s\" does not say \"%s\"", error.message, word);
        sd_bus_error_free(&error);
        attach_options_done(&options);
        sd_bus_message_unref(message);
}

static void refused(void) {
        static char long_text[OPTION_STRING_MAX + 2];

        memset(long_text, 'x', sizeof(long_text) - 1);
        peer_pair_make(&pair);
        check_refused(message_with("a{sv}", 1, "colour", "s", "red"), "colour");
        check_refused(message_with("a{sv}", 1, "read-only", "s", "yes"), "boolean");
        check_refused(message_with("a{sv}", 1, "device", "s", "floppy"), "nbd");
        check_refused(message_with("a{sv}", 1, "image", "s", ""), "bytes");
        check_refused(message_with("a{sv}", 1, "image", "s", long_text), "bytes");
        check_refused(message_with("a{sv}", 1, "user", "s", "a\nb"), "control");
        check_refused(message_with("a{sv}", 1, "user", "u", 7), "string");
        check_refused(message_with("a{sv}", 1, "proxies", "s", "127.0.0.1"), "list");
        check_refused(message_with("a{sv}", 1, "proxies", "as", 0), "proxies");
        check_refused(message_with("a{sv}", 1, "proxies", "as", 2, "a", ""), "address");
        check_refused(message_with("a{sv}", 2, "read-only", "b", 1, "steal", "u", 1), "steal");
        peer_pair_end(&pair);
}

static void kept(void) {
        struct attach_options options = { .read_only = -1 }, other = { .read_only = -1 };
        sd_bus_error error = SD_BUS_ERROR_NULL;
        struct json_object *object, *value;
        sd_bus_message *message;
        struct stat st;

        scratch_make();
        ASSERT_OK(setenv("BLOCKSTORE_RUNTIME_DIRECTORY", scratch, 1));
        peer_pair_make(&pair);

        message = message_with("a{sv}", 6, "read-only", "b", 0, "device", "s", "none", "image", "s", "disk \"1\"",
                "user", "s", "me", "proxies", "as", 2, "10.0.0.1", "[::1]:1", "steal", "b", 1);
        ASSERT_OK(attach_options_read(message, &options, &error));
        ASSERT_FALSE(attach_options_are_empty(&options));
        ASSERT_OK(options_write("vm1", &options));
        ASSERT_EQ(stat(scratch_path("options/vm1.json"), &st), 0);
        ASSERT_EQ(st.st_mode & 07777, 0640U);

        object = json_object_from_file(scratch_path("options/vm1.json"));
        ASSERT_TRUE(object != NULL);
        ASSERT_EQ(json_object_object_length(object), 6);
        ASSERT_TRUE(json_object_object_get_ex(object, "image", &value));
        ASSERT_STREQ(json_object_get_string(value), "disk \"1\"");
        ASSERT_TRUE(json_object_object_get_ex(object, "read-only", &value));
        ASSERT_TRUE(json_object_is_type(value, json_type_boolean) && !json_object_get_boolean(value));
        ASSERT_TRUE(json_object_object_get_ex(object, "proxies", &value));
        ASSERT_EQ(json_object_array_length(value), (size_t) 2);
        ASSERT_TRUE(json_object_object_get_ex(object, "steal", &value));
        json_object_put(object);

        /* Once it is attached the steal is spent; the rest stays. */
        ASSERT_OK(options_spend_steal("vm1"));
        object = json_object_from_file(scratch_path("options/vm1.json"));
        ASSERT_EQ(json_object_object_length(object), 5);
        ASSERT_FALSE(json_object_object_get_ex(object, "steal", &value));
        json_object_put(object);
        ASSERT_OK(options_spend_steal("vm1"));
        ASSERT_OK(options_spend_steal("never-heard-of"));

        /* Nothing given anew: nothing is kept from before. */
        ASSERT_TRUE(attach_options_are_empty(&other));
        ASSERT_FALSE(attach_options_equal(&options, &other));
        ASSERT_TRUE(attach_options_equal(&options, &options));
        ASSERT_OK(options_write("vm1", &other));
        ASSERT_TRUE(access(scratch_path("options/vm1.json"), F_OK) < 0);
        ASSERT_OK(options_remove("vm1"));

        attach_options_done(&options);
        sd_bus_message_unref(message);
        peer_pair_end(&pair);
        scratch_remove();
}

static void for_detaching(void) {
        sd_bus_error error = SD_BUS_ERROR_NULL;
        struct detach_options options;
        sd_bus_message *message;

        peer_pair_make(&pair);
        message = message_with("a{sv}", 0);
        ASSERT_OK(detach_options_read(message, &options, &error));
        ASSERT_FALSE(options.lazy || options.cancel);
        sd_bus_message_unref(message);
        message = message_with("a{sv}", 2, "lazy", "b", 1, "cancel", "b", 0);
        ASSERT_OK(detach_options_read(message, &options, &error));
        ASSERT_TRUE(options.lazy && !options.cancel);
        sd_bus_message_unref(message);
        message = message_with("a{sv}", 2, "lazy", "b", 1, "cancel", "b", 1);
        ASSERT_TRUE(detach_options_read(message, &options, &error) < 0);
        ASSERT_TRUE(strstr(error.message, "exclude") != NULL);
        sd_bus_error_free(&error);
        sd_bus_message_unref(message);
        message = message_with("a{sv}", 1, "lazy", "s", "yes");
        ASSERT_TRUE(detach_options_read(message, &options, &error) < 0);
        sd_bus_error_free(&error);
        sd_bus_message_unref(message);
        message = message_with("a{sv}", 1, "force", "b", 1);
        ASSERT_TRUE(detach_options_read(message, &options, &error) < 0);
        ASSERT_TRUE(strstr(error.message, "force") != NULL);
        sd_bus_error_free(&error);
        ASSERT_OK(sd_bus_message_rewind(message, true));
        ASSERT_TRUE(no_options_read(message, &error) < 0);
        ASSERT_TRUE(strstr(error.message, "force") != NULL);
        sd_bus_error_free(&error);
        sd_bus_message_unref(message);
        peer_pair_end(&pair);
}

TEST_MAIN(TEST(refused), TEST(kept), TEST(for_detaching));
