/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A supervisor with one image, vm1, which has a configuration and so stays, whoever goes. Without systemd, bus and kernel. */

#include "block-signals.h"
#include "manager.h"
#include "scratch.h"

static struct manager *manager;
static struct managed *managed;

static void begin(void) {
        scratch_make();
        ASSERT_OK(setenv("BLOCKSTORE_RUNTIME_DIRECTORY", scratch_path(""), 1));
        ASSERT_OK(setenv("BLOCKSTORE_SYSTEMD_SOCKET", scratch_path("no-systemd"), 1));
        (void) block_signals(SIGTERM, SIGINT, 0);
        ASSERT_OK(manager_new(&manager));
        ASSERT_OK(manager_get(manager, "vm1", &managed));
        ASSERT_OK(image_set_configuration(managed->image, true, "vm1", false));
}

static void end(void) {
        manager = manager_free(manager);
        scratch_remove();
}
