/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "container-of.h"
#include "mailbox.h"

#define BATCH 32U

struct mailbox {
        int read_fd, write_fd;
        void *context;
        sd_event_source *source;
        struct ring *ring;
        struct ring_op op;
        struct mail *batch[BATCH];
};

int mailbox_new(struct mailbox **ret) {
        struct mailbox *mailbox;
        int fds[2], flags;

        mailbox = calloc(1, sizeof(*mailbox));
        if (!mailbox)
                return -ENOMEM;
        if (pipe2(fds, O_CLOEXEC) < 0) {
                free(mailbox);
                return -errno;
        }

        /* The sender must never wait. The reader's end stays as it is: a ring waits on it, and sd-event reads it only when it is readable. */
        flags = fcntl(fds[1], F_GETFL);
        (void) fcntl(fds[1], F_SETFL, flags | O_NONBLOCK);
        mailbox->read_fd = fds[0];
        mailbox->write_fd = fds[1];
        *ret = mailbox;
        return 0;
}

/* Whoever would have taken it is gone: only the memory of each mail is given back. */
static void drop_undelivered(struct mailbox *mailbox) {
        int flags = fcntl(mailbox->read_fd, F_GETFL);
        struct mail *mail;

        if (flags < 0 || fcntl(mailbox->read_fd, F_SETFL, flags | O_NONBLOCK) < 0)
                return;

        while (read(mailbox->read_fd, &mail, sizeof(mail)) == (ssize_t) sizeof(mail))
                free(mail);
}

struct mailbox *mailbox_free(struct mailbox *mailbox) {
        if (!mailbox)
                return NULL;

        sd_event_source_disable_unref(mailbox->source);
        drop_undelivered(mailbox);
        safe_close(mailbox->read_fd);
        safe_close(mailbox->write_fd);
        free(mailbox);
        return NULL;
}

int mailbox_send(struct mailbox *mailbox, struct mail *mail) {
        ssize_t n;

        do
                n = write(mailbox->write_fd, &mail, sizeof(mail));
        while (n < 0 && errno == EINTR);

        return n < 0 ? -errno : 0;
}

/* Writes of a pointer are atomic (PIPE_BUF), so reads are of whole pointers. */
static void deliver(struct mailbox *mailbox, ssize_t n) {
        for (size_t i = 0; i < (size_t) n / sizeof(struct mail *); i++)
                mailbox->batch[i]->deliver(mailbox->batch[i], mailbox->context);
}

static int on_readable(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        struct mailbox *mailbox = userdata;
        ssize_t n;

        n = read(fd, mailbox->batch, sizeof(mailbox->batch));
        if (n < 0)
                return errno == EINTR || errno == EAGAIN ? 0 : -errno;
        deliver(mailbox, n);
        return 0;
}

int mailbox_receive_event(struct mailbox *mailbox, sd_event *event, void *context) {
        mailbox->context = context;
        return sd_event_add_io(event, &mailbox->source, mailbox->read_fd, EPOLLIN, on_readable, mailbox);
}

static void arm(struct mailbox *mailbox) {
        struct io_uring_sqe *sqe = ring_get_sqe(mailbox->ring);

        io_uring_prep_read(sqe, mailbox->read_fd, mailbox->batch, sizeof(mailbox->batch), 0);
        ring_sqe_set_op(sqe, &mailbox->op);
}

static void read_done(struct ring_op *op, int32_t res, uint32_t flags) {
        struct mailbox *mailbox = CONTAINER_OF(op, struct mailbox, op);

        if (res > 0)
                deliver(mailbox, res);
        if (res > 0 || res == -EINTR || res == -EAGAIN)
                arm(mailbox);
}

void mailbox_receive_ring(struct mailbox *mailbox, struct ring *ring, void *context) {
        mailbox->context = context;
        mailbox->ring = ring;
        mailbox->op.done = read_done;
        arm(mailbox);
}
