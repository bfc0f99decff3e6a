/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The one table of failures: complete in itself, found from either side, and told to users as it is. */

#include "cleanup.h"
#include "error-table.h"
#include "test.h"

static void rows_are_unique(void) {
        ASSERT_TRUE(failure_table_size > 0);
        for (unsigned i = 0; i < failure_table_size; i++) {
                ASSERT_TRUE(strncmp(failure_table[i].bus_name, "org.blockstore.Error.", 21) == 0);
                ASSERT_TRUE(failure_table[i].description[0] != 0);
                /* Below stands what a shell and sysexits.h leave free, above what a signal looks like. */
                ASSERT_TRUE(failure_table[i].failure >= 64 && failure_table[i].failure < 126);

                for (unsigned k = 0; k < i; k++) {
                        ASSERT_TRUE(failure_table[i].failure > failure_table[k].failure);
                        ASSERT_TRUE(strcmp(failure_table[i].bus_name, failure_table[k].bus_name) != 0);
                }
        }
}

static void found_from_either_side(void) {
        for (unsigned i = 0; i < failure_table_size; i++) {
                ASSERT_TRUE(failure_lookup(failure_table[i].failure) == failure_table + i);
                ASSERT_EQ(failure_from_bus_name(failure_table[i].bus_name), failure_table[i].failure);
        }

        ASSERT_EQ(failure_lookup((enum failure) 1)->failure, FAILURE_INTERNAL);
        ASSERT_EQ(failure_lookup(FAILURE_NONE)->failure, FAILURE_INTERNAL);
}

static void errors_of_the_bus(void) {
        ASSERT_EQ(failure_from_bus_name("org.freedesktop.DBus.Error.AccessDenied"), FAILURE_ACCESS_DENIED);
        ASSERT_EQ(failure_from_bus_name("org.freedesktop.DBus.Error.ServiceUnknown"), FAILURE_SYSTEM);
        ASSERT_EQ(failure_from_bus_name("org.freedesktop.DBus.Error.NoReply"), FAILURE_TIMEOUT);
        ASSERT_EQ(failure_from_bus_name("org.freedesktop.DBus.Error.NoReplyAtAll"), FAILURE_INTERNAL);
        ASSERT_EQ(failure_from_bus_name("org.freedesktop.systemd1.UnitMasked"), FAILURE_SYSTEM);
        ASSERT_EQ(failure_from_bus_name("org.freedesktop.DBus.Error.Spawn.ChildExited"), FAILURE_SYSTEM);
        ASSERT_EQ(failure_from_bus_name("org.freedesktop.DBus.Error.UnknownMethod"), FAILURE_SYSTEM);
        ASSERT_EQ(failure_from_bus_name("org.blockstore.Error.NeverHeardOf"), FAILURE_INTERNAL);
        ASSERT_EQ(failure_from_bus_name(""), FAILURE_INTERNAL);
        ASSERT_EQ(failure_from_bus_name(NULL), FAILURE_INTERNAL);
}

/* Rows of docs/dbus.md look like "| 66 | `org.blockstore.Error.NoSuchImage` | there is no image of that name | ...":
 * every row of ours is there, and no other. */
static void documented(void) {
        _cleanup_fclose_ FILE *f = fopen(SOURCE_ROOT "/docs/dbus.md", "re");
        unsigned n_rows = 0;
        char line[1024];

        ASSERT_TRUE(f);
        while (fgets(line, sizeof line, f)) {
                const struct failure_entry *entry;
                char expected[512];

                if (strncmp(line, "| ", 2) != 0 || !strstr(line, " | `org.blockstore.Error."))
                        continue;

                ASSERT_TRUE(n_rows < failure_table_size);
                entry = failure_table + n_rows++;
                snprintf(expected, sizeof expected, "| %u | `%s` | %s |", (unsigned) entry->failure, entry->bus_name,
                        entry->description);
                if (strncmp(line, expected, strlen(expected)) != 0)
                        TEST_FAIL("docs/dbus.md has \"%s\", expected \"%s\"", line, expected);
        }

        ASSERT_EQ(n_rows, failure_table_size);
}

TEST_MAIN(TEST(rows_are_unique), TEST(found_from_either_side), TEST(errors_of_the_bus), TEST(documented));
