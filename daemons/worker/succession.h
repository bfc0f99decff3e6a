/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a worker that is restarted leaves to the next one, in the form in which systemd keeps it between the two: descriptors, and a memfd that says what they are. */

#include "ivbs-hello.h"
#include "legacy.h"

#define SUCCESSION_NODE_MAX 64U

struct succession {
        char image[IVBS_IMAGE_NAME_SIZE]; /* the store's name */
        uint8_t uuid[IVBS_UUID_SIZE];
        uint64_t size;
        char node[SUCCESSION_NODE_MAX]; /* of the kernel's device; "" without one */
        struct legacies *legacies;
};

struct succession *succession_free(struct succession *succession);
DEFINE_CLEANUP(struct succession *, succession_free);

/* Everything but the descriptors, which are named by the number that their socket has, as a sealed memfd. Returns 0 or a negative errno. */
int succession_write(const struct succession *succession, int *ret_fd);

/* fds: n descriptors in any order; a connection whose own is not among them is left out (its peer has hung up meanwhile). Those that are taken are set to -EBADF. Returns 0, -EBADMSG for what is not understood,
 * -EPROTONOSUPPORT for a newer form, or another negative errno; then nothing was taken. */
int succession_read(int memfd, int *fds, size_t n, struct succession **ret);
