/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Whoever asks for it hears of a shutdown that has begun, or begins; once. */

#include <fcntl.h>
#include <sched.h>

#include "going-down.h"
#include "scratch.h"

static unsigned n_told;

static void told(void *userdata) {
        n_told++;
}

static void run_until_told(sd_event *event) {
        for (unsigned i = 0; i < 100 && n_told == 0; i++)
                ASSERT_OK(sd_event_run(event, 100000));
        ASSERT_EQ(n_told, 1U);
}

static sd_event *begin(struct going_down **ret) {
        sd_event *event;

        n_told = 0;
        ASSERT_EQ(setenv("BLOCKSTORE_RUNTIME_DIRECTORY", scratch, 1), 0);
        ASSERT_OK(sd_event_new(&event));
        ASSERT_OK(going_down_new(ret, event, told, NULL));
        return event;
}

static void begun_before(void) {
        struct going_down *g;
        sd_event *event;

        scratch_make();
        scratch_file("shutdown", "");
        event = begin(&g);
        run_until_told(event);
        going_down_free(g);
        sd_event_unref(event);
        scratch_remove();
}

static void begins_later(void) {
        struct going_down *g;
        sd_event *event;

        scratch_make();
        event = begin(&g);
        ASSERT_OK(sd_event_run(event, 0));
        scratch_file("other", "");
        while (ASSERT_OK(sd_event_run(event, 0)) > 0)
                ;
        ASSERT_EQ(n_told, 0U);
        scratch_file("shutdown", "");
        run_until_told(event);
        ASSERT_TRUE(going_down_is_announced(g));
        ASSERT_EQ(unlink(scratch_path("shutdown")), 0);
        ASSERT_FALSE(going_down_is_announced(g));
        scratch_file("shutdown", "");
        while (ASSERT_OK(sd_event_run(event, 0)) > 0)
                ;
        ASSERT_EQ(n_told, 1U);
        going_down_free(g);
        sd_event_unref(event);
        scratch_remove();
}

static void nothing_to_watch(void) {
        struct going_down *g;
        sd_event *event;

        memcpy(scratch, "/nonexistent", sizeof("/nonexistent"));
        event = begin(&g);
        ASSERT_EQ(ASSERT_OK(sd_event_run(event, 0)), 0);
        going_down_free(g);
        sd_event_unref(event);
}

/* The 129th worker of a host gets no watch. The last test: there is no way back. */
static void no_watch_left(void) {
        struct going_down *g;
        sd_event *event;
        int fd;

        if (unshare(CLONE_NEWUSER) < 0) {
                fprintf(stderr, "no namespace of users can be had here, so nothing is tested: %s\n", strerror(errno));
                return;
        }
        fd = open("/proc/sys/user/max_inotify_instances", O_WRONLY | O_CLOEXEC);
        ASSERT_TRUE(fd >= 0);
        ASSERT_EQ(write(fd, "0", 1), 1);
        close(fd);

        scratch_make();
        event = begin(&g);
        while (ASSERT_OK(sd_event_run(event, 0)) > 0)
                ;
        ASSERT_EQ(n_told, 0U);
        scratch_file("shutdown", "");
        run_until_told(event);
        going_down_free(g);
        sd_event_unref(event);
        scratch_remove();
}

TEST_MAIN(TEST(begun_before), TEST(begins_later), TEST(nothing_to_watch), TEST(no_watch_left));
