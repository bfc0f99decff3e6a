/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A detach that is refused has not been asked for. */

#include "managed-rig.h"

static struct worker_link worker = { .name = (char *) "vm1", .pid = 11, .heat_fd = -EBADF };

static void attach(void) {
        begin();
        ASSERT_OK(managed_worker_ops.hello(&worker, manager));
}

static void go(void) {
        managed_worker_ops.lost(&worker, manager);
        end();
}

static void no_room_for_a_lazy_one(void) {
        const struct detach_options lazy = { .lazy = true };
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;

        attach();
        manager->n_operations = OPERATIONS_MAX;
        ASSERT_TRUE(managed_detach(managed, &lazy, NULL, &error) < 0);
        ASSERT_TRUE(!managed->image->detach_pending);
        ASSERT_TRUE(!managed->lazy_timer);
        ASSERT_TRUE(managed->work == MANAGED_IDLE);
        manager->n_operations = 0;
        go();
}

/* One that is under way stays as patient as it was. */
static void no_room_beside_a_lazy_one(void) {
        const struct detach_options impatient = {};
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;

        attach();
        managed->work = MANAGED_STOPPING;
        managed->detach_is_lazy = true;
        manager->n_operations = OPERATIONS_MAX;
        ASSERT_TRUE(managed_detach(managed, &impatient, NULL, &error) < 0);
        ASSERT_TRUE(managed->detach_is_lazy);
        manager->n_operations = 0;
        managed->work = MANAGED_IDLE;
        go();
}

TEST_MAIN(TEST(no_room_for_a_lazy_one), TEST(no_room_beside_a_lazy_one));
