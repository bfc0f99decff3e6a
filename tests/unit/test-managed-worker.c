/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What is left of a worker that is gone must not be done in the name of the next one. What waits for its turn is put there by the test. And who has asked for an attach is answered
 * when the worker, and not systemd alone, has said how it is. */

#include <fcntl.h>

#include "managed-rig.h"

/* As worker_connect_device() leaves it that meets a busy device. Returns the descriptor. */
static int queue_connect(void) {
        int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

        ASSERT_OK(fd);
        managed->device_queued = MANAGED_DEVICE_CONNECT;
        managed->device_socket = fd;
        return fd;
}

static void check_dropped(int fd) {
        ASSERT_TRUE(managed->device_queued == MANAGED_DEVICE_NONE);
        ASSERT_EQ(managed->device_socket, -EBADF);
        ASSERT_TRUE(fcntl(fd, F_GETFD) < 0);
}

static void one_goes(void) {
        struct worker_link first = { .name = (char *) "vm1", .pid = 11, .heat_fd = -EBADF };
        int fd;

        begin();
        ASSERT_OK(managed_worker_ops.hello(&first, manager));
        ASSERT_TRUE(managed->link == &first);
        fd = queue_connect();
        managed_worker_ops.lost(&first, manager);
        ASSERT_TRUE(!managed->link);
        check_dropped(fd);
        end();
}

static void one_takes_its_place(void) {
        struct worker_link first = { .name = (char *) "vm1", .pid = 11, .heat_fd = -EBADF }, second = first;
        int fd;

        begin();
        second.pid = 12;
        ASSERT_OK(managed_worker_ops.hello(&first, manager));
        fd = queue_connect();
        ASSERT_OK(managed_worker_ops.hello(&second, manager));
        ASSERT_TRUE(managed->link == &second);
        check_dropped(fd);

        /* What the newer one waits for is not the older one's to take away. */
        fd = queue_connect();
        managed_worker_ops.lost(&first, manager);
        ASSERT_TRUE(managed->link == &second);
        ASSERT_TRUE(managed->device_queued == MANAGED_DEVICE_CONNECT);
        ASSERT_EQ(managed->device_socket, fd);
        managed_worker_ops.lost(&second, manager);
        check_dropped(fd);
        end();
}

static unsigned n_answers;

static void answered(enum failure failure, const char *message, void *userdata) {
        ASSERT_TRUE(failure == FAILURE_NONE);
        n_answers++;
}

static void never(struct operation *operation, void *userdata) {
        TEST_FAIL("%s", "nobody's time is up");
}

/* The job of the start is done; who asked for it waits. */
static void begin_started(struct worker_link *link) {
        sd_bus_error error = SD_BUS_ERROR_NULL;

        begin();
        n_answers = 0;
        ASSERT_OK(managed_worker_ops.hello(link, manager));
        (void) image_handle_event(managed->image, IMAGE_EVENT_START, NULL);
        managed->work = MANAGED_STARTING;
        ASSERT_OK(operation_new_internal(
                manager, &managed->operations, answered, NULL, UINT64_C(3600) * 1000000U, never, NULL, &error));
        managed_attach_told(managed);
        ASSERT_EQ(n_answers, 0U);
}

static void attach_is_told_by_the_worker(void) {
        struct worker_link link = { .name = (char *) "vm1", .pid = 11, .heat_fd = -EBADF };

        begin_started(&link);
        ASSERT_OK(managed_worker_ops.update(&link, &(const struct image_status){ .state = IMAGE_ATTACHING }));
        ASSERT_EQ(n_answers, 0U);
        ASSERT_OK(managed_worker_ops.update(&link, &(const struct image_status){ .state = IMAGE_ATTACHED }));
        ASSERT_EQ(n_answers, 1U);
        ASSERT_TRUE(managed->work == MANAGED_IDLE);
        managed_worker_ops.lost(&link, manager);
        end();
}

static void attach_ends_with_its_worker(void) {
        struct worker_link link = { .name = (char *) "vm1", .pid = 11, .heat_fd = -EBADF };

        begin_started(&link);
        managed_worker_ops.lost(&link, manager);
        ASSERT_EQ(n_answers, 1U);
        ASSERT_TRUE(managed->work == MANAGED_IDLE);
        end();
}

TEST_MAIN(TEST(one_goes), TEST(one_takes_its_place), TEST(attach_is_told_by_the_worker),
        TEST(attach_ends_with_its_worker));
