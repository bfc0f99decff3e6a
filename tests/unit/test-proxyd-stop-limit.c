/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <sys/wait.h>
#include <unistd.h>

#include "error-table.h"
#include "stop-limit.h"
#include "test.h"

static int status_of(uint64_t usec, int status) {
        pid_t pid = fork();
        int found;

        ASSERT_TRUE(pid >= 0);
        if (pid == 0) {
                ASSERT_OK(stop_limit_begin(usec));
                /* What never comes back, or is done before. */
                if (status < 0)
                        (void) pause();
                _exit(status);
        }
        ASSERT_EQ(waitpid(pid, &found, 0), pid);
        ASSERT_TRUE(WIFEXITED(found));
        return WEXITSTATUS(found);
}

static void ends_what_hangs(void) {
        ASSERT_EQ(status_of(1, -1), FAILURE_IO);
        ASSERT_EQ(status_of(0, -1), FAILURE_IO);
}

static void leaves_what_ends(void) {
        ASSERT_EQ(status_of(3600 * UINT64_C(1000000), 3), 3);
}

TEST_MAIN(TEST(ends_what_hangs), TEST(leaves_what_ends));
