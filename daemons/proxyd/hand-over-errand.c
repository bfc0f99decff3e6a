/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The side that has a snapshot made by the proxy that holds the image. Nothing has to be proved here, so there is no killing: a holder that has died hangs up, and one that says nothing for too long is
 * given up by whoever waits. */

#include "container-of.h"
#include "hand-over-message.h"

static void receive(struct hand_over_errand *errand) {
        struct io_uring_sqe *sqe = ring_get_sqe(errand->ring);

        io_uring_prep_recv(sqe, errand->fd, errand->buffer, sizeof(errand->buffer), 0);
        ring_sqe_set_op(sqe, &errand->op);
}

static void end(struct hand_over_errand *errand, int error, sd_id128_t made) {
        errand->fd = safe_close(errand->fd);
        errand->over(errand, error, made);
}

static void received(struct ring_op *op, int32_t res, uint32_t flags) {
        struct hand_over_errand *errand = CONTAINER_OF(op, struct hand_over_errand, op);
        struct hand_over_progress progress;

        if (res == -EINTR || res == -EAGAIN) {
                receive(errand);
                return;
        }
        if (errand->stopped) {
                end(errand, -ECANCELED, SD_ID128_NULL);
                return;
        }
        if (res != (int32_t) sizeof(progress)) {
                end(errand, -EREMOTE, SD_ID128_NULL);
                return;
        }

        memcpy(&progress, errand->buffer, sizeof(progress));
        if (!hand_over_message_is_valid(&progress.head, sizeof(progress)) ||
                !sd_id128_equal(progress.head.uuid, errand->uuid)) {
                end(errand, -EREMOTE, SD_ID128_NULL);
                return;
        }
        if (progress.head.kind == HAND_OVER_SNAPSHOT_OVER) {
                /* An errno of the same machine; anything else would be taken for success. */
                end(errand,
                        progress.error == 0                            ? 0
                        : progress.error < 0 && progress.error > -4096 ? (int) progress.error
                                                                       : -EREMOTE,
                        progress.made);
                return;
        }
        errand->done = progress.done;
        errand->total = progress.total;
        errand->heard_usec = ring_now_usec(errand->ring);
        receive(errand);
}

int hand_over_errand_start(struct hand_over_errand *errand, const struct hand_over *hand_over,
        const struct store_holder *holder, sd_id128_t uuid, const char *name, const char *snapshot, const char *user) {
        struct hand_over_snapshot order = { .head = hand_over_message(HAND_OVER_SNAPSHOT, 0, uuid) };
        struct sockaddr_un address = hand_over_address(hand_over_directory(hand_over), holder->socket);
        _cleanup_close_ int fd = -EBADF;
        uint64_t pid;
        int r;

        if (holder->pid == 0)
                return -EREMOTE;
        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        /* Whoever listens under that name must be the one who wrote it down. */
        if (connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0 || !hand_over_is_one_of_us(fd, &pid) ||
                pid != holder->pid)
                return -EREMOTE;

        (void) snprintf(order.name, sizeof(order.name), "%s", name);
        (void) snprintf(order.snapshot, sizeof(order.snapshot), "%s", snapshot);
        (void) snprintf(order.user, sizeof(order.user), "%s", user);
        r = hand_over_send(fd, &order.head);
        if (r < 0)
                return -EREMOTE;

        *errand = (struct hand_over_errand){
                .over = errand->over,
                .ring = hand_over_ring(hand_over),
                .heard_usec = ring_now_usec(hand_over_ring(hand_over)),
                .uuid = uuid,
                .fd = TAKE_FD(fd),
                .op.done = received,
        };
        receive(errand);
        return 0;
}

void hand_over_errand_stop(struct hand_over_errand *errand) {
        errand->stopped = true;
        (void) shutdown(errand->fd, SHUT_RDWR);
}

void hand_over_errand_abandon(struct hand_over_errand *errand) {
        errand->fd = safe_close(errand->fd);
}
