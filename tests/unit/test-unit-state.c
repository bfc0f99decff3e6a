/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What systemd says of a unit, and what a caller is told. */

#include "test.h"
#include "unit-state.h"

static struct unit_state failed(const char *result, int32_t status, const char *text) {
        struct unit_state state = { .exec_main_status = status };

        (void) snprintf(state.load_state, sizeof(state.load_state), "loaded");
        (void) snprintf(state.active_state, sizeof(state.active_state), "failed");
        (void) snprintf(state.result, sizeof(state.result), "%s", result);
        (void) snprintf(state.status_text, sizeof(state.status_text), "%s", text);
        return state;
}

static void every_status_of_the_table(void) {
        for (unsigned i = 0; i < failure_table_size; i++) {
                struct unit_state state = failed("exit-code", (int32_t) failure_table[i].failure, "");
                char message[256];

                ASSERT_EQ(unit_state_failure(&state, "image@x.service", message, sizeof(message)),
                        failure_table[i].failure);
                ASSERT_TRUE(strstr(message, failure_table[i].description) != NULL);
                ASSERT_TRUE(strstr(message, "image@x.service") != NULL);
        }
}

static void other_ends(void) {
        static const struct {
                const char *result;
                int32_t status;
                enum failure failure;
        } cases[] = {
                { "exit-code", 243, FAILURE_CONFIGURATION },
                { "exit-code", 203, FAILURE_SYSTEM },
                { "exit-code", 1, FAILURE_INTERNAL },
                { "timeout", 0, FAILURE_TIMEOUT },
                { "start-limit-hit", 0, FAILURE_BUSY },
                { "start-limit-hit", 66, FAILURE_NO_SUCH_IMAGE },
                { "signal", 11, FAILURE_INTERNAL },
                { "watchdog", 6, FAILURE_INTERNAL },
                { "resources", 0, FAILURE_SYSTEM },
                { "protocol", 0, FAILURE_SYSTEM },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                struct unit_state state = failed(cases[i].result, cases[i].status, "");

                ASSERT_EQ(unit_state_failure(&state, "u", NULL, 0), cases[i].failure);
        }
}

static void the_workers_words(void) {
        struct unit_state state = failed("exit-code", 77, "failed: the login was refused.");
        char message[256];

        ASSERT_EQ(unit_state_failure(&state, "u", message, sizeof(message)), FAILURE_ACCESS_DENIED);
        ASSERT_STREQ(message, "the login was refused.");

        /* The words of an earlier success say nothing about a missing unit. */
        state = failed("success", 0, "attached");
        (void) snprintf(state.load_state, sizeof(state.load_state), "not-found");
        ASSERT_EQ(unit_state_failure(&state, "u", message, sizeof(message)), FAILURE_SYSTEM);
        ASSERT_TRUE(strstr(message, "not installed") != NULL);
}

static void started_too_often(void) {
        struct unit_state state = failed("start-limit-hit", 77, "failed: the login was refused.");
        char message[512];

        ASSERT_TRUE(unit_state_is_limited(&state));
        ASSERT_FALSE(unit_state_is_worded(&state));
        ASSERT_EQ(unit_state_failure(&state, "u", message, sizeof(message)), FAILURE_ACCESS_DENIED);
        ASSERT_STREQ(message,
                "u was started too often in a row and is not started again by itself. Correct why it failed (the "
                "login was refused.). Then: systemctl reset-failed u && systemctl start u");

        /* What it said while it lived is no cause of its death. */
        state = failed("start-limit-hit", 0, "attached");
        ASSERT_EQ(unit_state_failure(&state, "u", message, sizeof(message)), FAILURE_BUSY);
        ASSERT_TRUE(!strstr(message, "attached") && strstr(message, "reset-failed u && systemctl start u"));

        /* systemd's result is that of the first crash when it is the limit that ends the restarts. */
        state = failed("signal", 9, "attached");
        ASSERT_EQ(unit_state_failure(&state, "u", message, sizeof(message)), FAILURE_INTERNAL);
        ASSERT_TRUE(!strstr(message, "attached") && strstr(message, "signal") && strstr(message, "not started again"));
}

static void gone_or_not(void) {
        struct unit_state state = {};

        (void) snprintf(state.active_state, sizeof(state.active_state), "inactive");
        ASSERT_TRUE(unit_state_is_gone(&state));
        state.job = 12; /* a restart is on its way */
        ASSERT_FALSE(unit_state_is_gone(&state));
        ASSERT_FALSE(unit_state_is_up(&state));
        (void) snprintf(state.active_state, sizeof(state.active_state), "activating");
        ASSERT_TRUE(unit_state_is_up(&state));
        state = failed("exit-code", 1, "");
        ASSERT_FALSE(unit_state_is_up(&state));
        ASSERT_TRUE(unit_state_is_failed(&state));
        ASSERT_FALSE(unit_state_is_gone(&state));
        state.job = 12;
        ASSERT_FALSE(unit_state_is_failed(&state));
}

TEST_MAIN(TEST(every_status_of_the_table), TEST(other_ends), TEST(the_workers_words), TEST(started_too_often),
        TEST(gone_or_not));
