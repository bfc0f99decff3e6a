/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <sys/stat.h>

#include "classic.h"

#include "scratch.h"
#include "test.h"

static int parse(const char *text, struct classic_command **ret) {
        return classic_parse(text, strlen(text), ret);
}

static void commands(void) {
        _cleanup_(classic_command_freep) struct classic_command *mount = NULL, *check = NULL;

        ASSERT_OK(
                parse("{\"Command\":\"mount\",\"Device\":\"/dev/nbd0\",\"Image\":\"x\",\"User\":\"u\",\"Pass\":\"p\"}",
                        &mount));
        ASSERT_STREQ(mount->command, "mount");
        ASSERT_STREQ(mount->device, "/dev/nbd0");
        ASSERT_STREQ(mount->image, "x");
        ASSERT_STREQ(mount->user, "u");
        ASSERT_TRUE(mount->has_password);

        ASSERT_OK(parse("{\"command\":\"check\",\"More\":[1,2]}\r\n", &check));
        ASSERT_STREQ(check->command, "check");
        ASSERT_STREQ(check->device, "");
        ASSERT_FALSE(check->has_password);
}

static void malformed(void) {
        static const char *const bad[] = { "", " ", "{", "{}", "[]", "1", "\"check\"", "{\"Command\":\"\"}",
                "{\"Command\":7}", "{\"Command\":null}", "{\"Command\":\"check\"}x", "{\"Command\":\"che\\u0000ck\"}",
                "{\"Command\":{\"a\":{\"b\":{\"c\":{\"d\":1}}}}}", "{\"Command\":\"check\",\"Device\":[]}" };
        struct classic_command *command = NULL;
        char longest[1000] = "{\"Command\":\"";

        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
                ASSERT_ERROR(parse(bad[i], &command), EBADMSG);
        memset(longest + strlen(longest), 'a', 500);
        strcpy(longest + strlen(longest), "\"}");
        ASSERT_ERROR(parse(longest, &command), EBADMSG);
        /* Bytes behind the length do not count. */
        ASSERT_ERROR(classic_parse("{\"Command\":\"check\"}", 5, &command), EBADMSG);
        ASSERT_TRUE(command == NULL);
}

static void devices(void) {
        static const char *const bad[] = { "", "/dev/nbd", "/dev/nbd-1", "/dev/nbd01", "/dev/nbd1p1", "/dev/nbd10000",
                "nbd0", "/dev/sda", "/dev/nbd0/..", "/tmp/dev/nbd0" };
        unsigned index = 99;

        ASSERT_OK(classic_device_index("/dev/nbd0", &index));
        ASSERT_EQ(index, 0U);
        ASSERT_OK(classic_device_index("/dev/nbd9999", &index));
        ASSERT_EQ(index, 9999U);
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
                ASSERT_ERROR(classic_device_index(bad[i], &index), EINVAL);
}

static void sysfs(void) {
        static const char *const names[] = { "nbd0", "nbd1", "nbd2", "nbd10", "sda", "nbd0p1", "nbdx" };
        unsigned indices[8];

        scratch_make();
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
                ASSERT_EQ(mkdir(scratch_path(names[i]), 0700), 0);
        scratch_file("nbd0/size", "0\n");
        scratch_file("nbd1/size", "0\n");
        scratch_file("nbd1/pid", "123\n");
        scratch_file("nbd2/size", "8\n");
        scratch_file("nbd10/size", "0\n");

        ASSERT_EQ(classic_device_state(scratch, 0), CLASSIC_DEVICE_FREE);
        ASSERT_EQ(classic_device_state(scratch, 1), CLASSIC_DEVICE_BUSY);
        ASSERT_EQ(classic_device_state(scratch, 2), CLASSIC_DEVICE_BUSY);
        ASSERT_EQ(classic_device_state(scratch, 3), CLASSIC_DEVICE_MISSING);
        ASSERT_EQ(classic_devices_free(scratch, indices, 8), 2);
        ASSERT_EQ(indices[0], 0U);
        ASSERT_EQ(indices[1], 10U);
        ASSERT_EQ(classic_devices_free(scratch, indices, 1), 1);
        scratch_remove();
        ASSERT_ERROR(classic_devices_free(scratch, indices, 8), ENOENT);
}

static void lists(void) {
        _cleanup_(json_object_putp) struct json_object *images =
                json_tokener_parse("[{\"name\":\"a\",\"image_name\":\"store-a\",\"device\":\"/dev/"
                                   "nbd0\"},{\"name\":\"b\",\"image_name\":\"b\",\"device\":\"\"}]");
        _cleanup_(json_object_putp) struct json_object *status = classic_status(images),
                                                       *empty = json_object_new_array(),
                                                       *nothing = classic_status(empty);
        _cleanup_free_ char *text = classic_list(images);

        ASSERT_STREQ(text, "/dev/nbd0\tstore-a\n");
        ASSERT_STREQ(json_object_to_json_string_ext(status, JSON_C_TO_STRING_NOSLASHESCAPE),
                "{\"Mounted\":[{\"NbdDevice\":\"/dev/nbd0\",\"ImageName\":\"store-a\"}]}");
        ASSERT_STREQ(json_object_to_json_string_ext(nothing, JSON_C_TO_STRING_PLAIN), "{\"Mounted\":[]}");
}

int main(void) {
        static const struct test tests[] = { TEST(commands), TEST(malformed), TEST(devices), TEST(sysfs),
                TEST(lists) };

        return test_run_all(tests, sizeof tests / sizeof tests[0]);
}
