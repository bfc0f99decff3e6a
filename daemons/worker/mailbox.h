/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Messages between two threads, one way, in order. No lock: a pipe carries the pointers, and with a pointer goes all that it points to. */

#include <systemd/sd-event.h>

#include "ring.h"

/* The first member of what is sent, which was allocated. deliver() runs on the receiving thread and owns the mail. */
struct mail {
        void (*deliver)(struct mail *mail, void *context);
};

struct mailbox;

int mailbox_new(struct mailbox **ret);
/* Mail that was not delivered is freed, what it refers to is not: the caller stops both threads first. */
struct mailbox *mailbox_free(struct mailbox *mailbox);
DEFINE_CLEANUP(struct mailbox *, mailbox_free);

/* Never blocks. Returns 0, or -EAGAIN when thousands wait undelivered; the mail stays the caller's then. */
int mailbox_send(struct mailbox *mailbox, struct mail *mail);

/* Who receives: a loop of sd-event, or a ring. Once. context is handed to deliver(). */
int mailbox_receive_event(struct mailbox *mailbox, sd_event *event, void *context);
void mailbox_receive_ring(struct mailbox *mailbox, struct ring *ring, void *context);
