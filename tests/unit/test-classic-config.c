/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* config.txt of the classic driver, as people have it: other cases of keys, fewer users than images, names that cannot be a unit's, and what is no such file at all. */

#include "../../cli/classic-config.h"
#include "scratch.h"

static struct classic_config *config;
static char *message;

static int load(const char *text) {
        FILE *file;

        config = classic_config_free(config);
        free(message);
        message = NULL;
        file = fopen(scratch_path("config.txt"), "we");
        ASSERT_TRUE(file && fputs(text, file) >= 0);
        ASSERT_EQ(fclose(file), 0);
        return classic_config_read(scratch_path("config.txt"), &config, &message);
}

static void check_refused(const char *text, const char *word) {
        ASSERT_TRUE(load(text) < 0);
        ASSERT_TRUE(!config);
        if (!message || !strstr(message, word))
                TEST_FAIL("\"%s\" does not say \"%s\"", message ? message : "", word);
}

static void end(void) {
        config = classic_config_free(config);
        free(message);
        message = NULL;
        scratch_remove();
}

static void taken(void) {
        scratch_make();
        ASSERT_OK(load(
                "{\"Mounted\":[{\"NbdDevice\":\"/dev/nbd0\",\"ImageName\":\"img\"},{\"imagename\":\"my disk:/1\"},"
                "{\"ImageName\":\"-x\"},{\"ImageName\":\"third\"}],"
                "\"USER\":[{\"Username\":\"u\",\"Password\":\"p \\\"q\"},{\"username\":\"v\",\"more\":1}]}"));
        ASSERT_EQ(config->n_images, (size_t) 4);
        ASSERT_EQ(config->n_users, (size_t) 2);
        ASSERT_STREQ(config->images[0].image, "img");
        ASSERT_STREQ(config->images[0].local, "img");
        ASSERT_STREQ(config->images[0].device, "/dev/nbd0");
        ASSERT_STREQ(config->images[0].user, "u");
        ASSERT_STREQ(config->images[0].password, "p \"q");
        ASSERT_STREQ(config->images[1].image, "my disk:/1");
        ASSERT_STREQ(config->images[1].local, "my-disk--1");
        ASSERT_STREQ(config->images[1].device, "");
        ASSERT_STREQ(config->images[1].user, "v");
        ASSERT_STREQ(config->images[1].password, "");
        ASSERT_STREQ(config->images[2].local, "xx");
        /* Fewer users than images: the original crashed. */
        ASSERT_TRUE(!config->images[3].user && !config->images[3].password);

        ASSERT_OK(load("{}"));
        ASSERT_EQ(config->n_images, (size_t) 0);
        ASSERT_OK(load("{\"Mounted\":null,\"User\":[{}]}"));
        ASSERT_EQ(config->n_users, (size_t) 1);
        ASSERT_OK(load("{\"Mounted\":[{}]}"));
        ASSERT_STREQ(config->images[0].image, "");
        ASSERT_TRUE(!config->images[0].local);
        end();
}

static void refused(void) {
        scratch_make();
        check_refused("", "config.txt");
        check_refused("{\n\"Mounted\": [\n", "config.txt:");
        check_refused("[]", "config.txt");
        check_refused("{\"Mounted\":{}}", "Mounted must be a list");
        check_refused("{\"User\":\"root\"}", "User must be a list");
        check_refused("{\"Mounted\":[1]}", "Mounted[0] must be an object");
        check_refused("{\"Mounted\":[{\"ImageName\":\"a\"},{\"ImageName\":7}]}", "Mounted[1].ImageName must be text");
        check_refused("{\"Mounted\":[{\"ImageName\":\"a\"}],\"User\":[[]]}", "User[0] must be an object");
        check_refused("{\"Mounted\":[{\"ImageName\":\"a\\u0000b\"}]}", "must be text");
        free(message);
        ASSERT_ERROR(classic_config_read(scratch_path("none"), &config, &message), ENOENT);
        end();
}

TEST_MAIN(TEST(taken), TEST(refused));
