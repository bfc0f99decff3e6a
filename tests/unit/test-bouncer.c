/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The table of who may do what, held against the interfaces and the polkit policy that are installed. */

#include <stdbool.h>

#include "bouncer.h"
#include "cleanup.h"
#include "test.h"

static char *read_source(const char *path) {
        char *text = calloc(1, 65536);
        FILE *file = fopen(path, "re");

        ASSERT_TRUE(text && file);
        ASSERT_TRUE(fread(text, 1, 65535, file) > 0);
        (void) fclose(file);
        return text;
}

static bool is_free(const char *method) {
        return strcmp(method, "GetImage") == 0 || strcmp(method, "ProbeProxies") == 0 ||
               strcmp(method, "GetStoreJob") == 0 || strcmp(method, "FollowStoreJob") == 0 ||
               strcmp(method, "GetImageCare") == 0 || strcmp(method, "Holders") == 0 ||
               strcmp(method, "HeatMap") == 0 || strncmp(method, "List", 4) == 0;
}

static unsigned check_methods(const char *path, const char *policy) {
        static const char begin[] = "<method name=\"";
        _cleanup_free_ char *text = read_source(path);
        unsigned n = 0;

        for (char *at = text; (at = strstr(at, begin)); n++) {
                char method[64], action[128];

                at += strlen(begin);
                ASSERT_EQ(sscanf(at, "%63[A-Za-z]", method), 1);
                if (is_free(method)) {
                        ASSERT_TRUE(!bouncer_action(method, false));
                        continue;
                }
                ASSERT_TRUE(bouncer_action(method, false) != NULL);
                (void) snprintf(action, sizeof(action), "<action id=\"%s\">", bouncer_action(method, false));
                if (!strstr(policy, action))
                        TEST_FAIL(
                                "%s needs %s, which the policy does not have", method, bouncer_action(method, false));
        }
        return n;
}

static void table_and_files_agree(void) {
        _cleanup_free_ char *policy = read_source(SOURCE_ROOT "/dbus/org.blockstore.policy");

        ASSERT_TRUE(check_methods(SOURCE_ROOT "/dbus/org.blockstore.Manager.xml", policy) >= 8);
        ASSERT_TRUE(check_methods(SOURCE_ROOT "/dbus/org.blockstore.Image.xml", policy) >= 2);
}

static void unknown_methods_need_the_strictest(void) {
        ASSERT_STREQ(bouncer_action("FormatEverything", true), bouncer_action("RemoveImage", true));
        ASSERT_TRUE(bouncer_action(NULL, true) != NULL);
}

static void what_others_have_attached_needs_more(void) {
        _cleanup_free_ char *policy = read_source(SOURCE_ROOT "/dbus/org.blockstore.policy");

        ASSERT_STREQ(bouncer_action("Detach", false), bouncer_action("DetachImage", false));
        ASSERT_STREQ(bouncer_action("Detach", true), bouncer_action("DetachImage", true));
        ASSERT_TRUE(strcmp(bouncer_action("Detach", false), bouncer_action("Detach", true)) != 0);
        ASSERT_STREQ(bouncer_action("Attach", false), bouncer_action("Attach", true));
        ASSERT_TRUE(strstr(policy, "<action id=\"org.blockstore.detach-image\">") != NULL);
}

TEST_MAIN(TEST(what_others_have_attached_needs_more), TEST(table_and_files_agree),
        TEST(unknown_methods_need_the_strictest));
