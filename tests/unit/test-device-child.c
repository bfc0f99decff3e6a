/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Work in a child with a deadline: its result, its death, its silence, what it inherits, and that nothing of it is left. */

#include <signal.h>
#include <sys/socket.h>

#include "device-child.h"
#include "scratch.h"

#define SECOND (1000U * 1000U)

struct outcome {
        sd_event *event;
        unsigned n_done;
        struct device_result result;
};

static void on_done(const struct device_result *result, void *userdata) {
        struct outcome *outcome = userdata;

        outcome->n_done++;
        outcome->result = *result;
}

/* Turns the loop until every child has been reaped. */
static void reap(sd_event *event) {
        while (device_child_count() > 0)
                ASSERT_TRUE(sd_event_run(event, 30 * SECOND) > 0);
}

static void run(struct outcome *outcome, device_work_t work, const void *argument, int keep_fd, uint64_t usec) {
        struct device_child *child;

        *outcome = (struct outcome){};
        ASSERT_OK(sd_event_new(&outcome->event));
        ASSERT_OK(device_child_start(outcome->event, work, argument, keep_fd, usec, on_done, outcome, &child));
        reap(outcome->event);
        ASSERT_EQ(outcome->n_done, 1U);
        outcome->event = sd_event_unref(outcome->event);
}

static void work_answer(const void *argument, struct device_result *result) {
        result->error = -EBUSY;
        result->index = *(const uint32_t *) argument;
        (void) snprintf(result->text, sizeof(result->text), "mounted on /mnt");
}

static void answer(void) {
        struct outcome outcome;
        uint32_t index = 7;

        run(&outcome, work_answer, &index, -EBADF, 30 * SECOND);
        ASSERT_EQ(outcome.result.error, -EBUSY);
        ASSERT_EQ(outcome.result.index, 7U);
        ASSERT_STREQ(outcome.result.text, "mounted on /mnt");
}

static void work_die(const void *argument, struct device_result *result) {
        (void) raise(SIGKILL);
}

static void death(void) {
        struct outcome outcome;

        run(&outcome, work_die, NULL, -EBADF, 30 * SECOND);
        ASSERT_EQ(outcome.result.error, -ECHILD);
}

static void work_hang(const void *argument, struct device_result *result) {
        for (;;)
                (void) pause();
}

static void deadline(void) {
        struct outcome outcome;

        run(&outcome, work_hang, NULL, -EBADF, 1000);
        ASSERT_EQ(outcome.result.error, -ETIMEDOUT);
}

struct late {
        struct device_child **child; /* of the outcome that comes in time */
        struct device_result result;
        unsigned n_late;
};

static void on_late(void *userdata) {
        struct late *late = userdata;

        late->n_late++;
        /* It has been reaped. */
        ASSERT_EQ(device_child_count(), 0U);
}

static void on_deadline_watched(const struct device_result *result, void *userdata) {
        struct late *late = userdata;

        late->result = *result;
        ASSERT_EQ(late->n_late, 0U);
        device_child_watch(*late->child, on_late, late);
}

/* The end of one that was given up on is told, once, unless it is forgotten. */
static void lateness(void) {
        struct device_child *child;
        struct late late = { .child = &child };
        sd_event *event;

        ASSERT_OK(sd_event_new(&event));
        ASSERT_OK(device_child_start(event, work_hang, NULL, -EBADF, 1000, on_deadline_watched, &late, &child));
        reap(event);
        ASSERT_EQ(late.result.error, -ETIMEDOUT);
        ASSERT_EQ(late.n_late, 1U);

        late = (struct late){ .child = &child };
        ASSERT_OK(device_child_start(event, work_hang, NULL, -EBADF, 1000, on_deadline_watched, &late, &child));
        while (late.result.error == 0)
                ASSERT_TRUE(sd_event_run(event, 30 * SECOND) > 0);
        device_child_free(child);
        reap(event);
        ASSERT_EQ(late.n_late, 0U);
        sd_event_unref(event);
}

/* Counts what it has open; keep_fd must be among it. */
static void work_count(const void *argument, struct device_result *result) {
        int keep_fd = *(const int *) argument;

        for (int fd = 0; fd < 1024; fd++)
                if (fcntl(fd, F_GETFD) >= 0)
                        result->index++;
        result->error = keep_fd >= 0 && fcntl(keep_fd, F_GETFD) < 0 ? -errno : 0;
}

static void inheritance(void) {
        struct outcome outcome;
        int low, high, none = -EBADF;
        uint32_t without;

        low = open("/dev/null", O_RDONLY | O_CLOEXEC);
        ASSERT_OK(low);
        high = fcntl(low, F_DUPFD_CLOEXEC, 900);
        ASSERT_OK(high);

        run(&outcome, work_count, &none, -EBADF, 30 * SECOND);
        ASSERT_OK(outcome.result.error);
        without = outcome.result.index;
        run(&outcome, work_count, &low, low, 30 * SECOND);
        ASSERT_OK(outcome.result.error);
        ASSERT_EQ(outcome.result.index, without + 1);
        run(&outcome, work_count, &high, high, 30 * SECOND);
        ASSERT_OK(outcome.result.error);
        ASSERT_EQ(outcome.result.index, without + 1);
        close(low);
        close(high);
}

/* A child that nobody cares about any more is killed: the socket it held hangs up. */
static void forgotten(void) {
        struct outcome outcome = {};
        struct device_child *child;
        int pair[2];
        char byte;

        ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        ASSERT_OK(sd_event_new(&outcome.event));
        ASSERT_OK(device_child_start(outcome.event, work_hang, NULL, pair[1], 30 * SECOND, on_done, &outcome, &child));
        close(pair[1]);

        ASSERT_TRUE(!device_child_free(child));
        ASSERT_EQ(recv(pair[0], &byte, 1, 0), 0);
        reap(outcome.event);
        ASSERT_EQ(outcome.n_done, 0U);
        ASSERT_TRUE(!device_child_free(NULL));
        close(pair[0]);
        sd_event_unref(outcome.event);
}

static void bound(void) {
        struct device_child *children[DEVICE_CHILDREN_MAX], *one_more;
        struct outcome outcome = {};

        ASSERT_OK(sd_event_new(&outcome.event));
        for (unsigned i = 0; i < DEVICE_CHILDREN_MAX; i++)
                ASSERT_OK(device_child_start(
                        outcome.event, work_hang, NULL, -EBADF, 30 * SECOND, on_done, &outcome, children + i));
        ASSERT_ERROR(
                device_child_start(outcome.event, work_hang, NULL, -EBADF, 30 * SECOND, on_done, &outcome, &one_more),
                EAGAIN);
        ASSERT_EQ(device_child_count(), DEVICE_CHILDREN_MAX);

        for (unsigned i = 0; i < DEVICE_CHILDREN_MAX; i++)
                device_child_free(children[i]);
        reap(outcome.event);
        ASSERT_EQ(outcome.n_done, 0U);
        sd_event_unref(outcome.event);
}

TEST_MAIN(TEST(answer), TEST(death), TEST(deadline), TEST(lateness), TEST(inheritance), TEST(forgotten), TEST(bound));
