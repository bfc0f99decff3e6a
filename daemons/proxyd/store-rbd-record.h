/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the RBD store keeps beside an image, and what its proxies tell each other: two small binary formats. Pure: bytes in, bytes out. */

#include <stddef.h>
#include <stdint.h>

#include <systemd/sd-id128.h>

#include "lease.h"
#include "store.h"

/* The record of an image, numbers in network order:
 *
 *       0  "BSIMAGE1"
 *       8  size, bytes; 0: that which RBD knows
 *      16  size epoch
 *      24  generation
 *      32  1 when the lease is live, else 0, and what follows of it, too
 *      40  since, CLOCK_REALTIME, µs
 *      48  SHA-256 of the token
 *      80  machine id of the lease's holder
 *      96  its boot id
 *     112  its name, zero padded, at most 32 bytes
 *     144  the number of the snapshot that the image is being rolled back to; 0: none
 *     152  in all; of an image with limits more follows, so that older proxies refuse it instead of forgetting them:
 *     152  requests a second; 0: no limit
 *     160  bytes a second; 0: no limit
 *     168  burst, µs
 *     176  in all */
#define RBD_RECORD_SIZE     152U
#define RBD_RECORD_SIZE_MAX 176U

struct rbd_record {
        uint64_t size;
        uint64_t size_epoch;
        uint64_t rolling_back;
        struct lease lease;
        struct store_limits limits;
};

/* Returns how long it is. */
size_t rbd_record_encode(const struct rbd_record *record, uint8_t ret[static RBD_RECORD_SIZE_MAX]);
/* n 0: there is none yet, which is the record of an image that nobody has leased. Returns 0 or -EUCLEAN. */
int rbd_record_decode(const uint8_t *data, size_t n, struct rbd_record *ret);

/* A message between proxies:
 *
 *       0  "BSP1"
 *       4  type, then why (enum hand_over_why), then two zero bytes
 *       8  UUID of the image or snapshot
 *      24  the sender: a random id of its run
 *      40  the question: a number that is random enough to be nobody else's
 *      48  in all */
#define RBD_MESSAGE_SIZE 48U

enum rbd_message_type {
        RBD_MESSAGE_CHANGED,  /* the image's record */
        RBD_MESSAGE_ASK,      /* who holds the image shall let go of it */
        RBD_MESSAGE_ACK,      /* the holder has heard that, and is about it */
        RBD_MESSAGE_RELEASED, /* it has let go */
        RBD_MESSAGE_REFUSED,
        RBD_MESSAGE_IS_OPEN, /* answered with the acknowledgement: one byte, 1 when the sender has it open */
        _RBD_MESSAGE_TYPE_MAX,
};

struct rbd_message {
        enum rbd_message_type type;
        unsigned why;
        sd_id128_t uuid, sender;
        uint64_t question;
};

void rbd_message_encode(const struct rbd_message *message, uint8_t ret[static RBD_MESSAGE_SIZE]);
/* Returns 0 or -EBADMSG. */
int rbd_message_decode(const uint8_t *data, size_t n, struct rbd_message *ret);

/* Ceph shows a client's address as "127.0.0.1:0/4711", "v1:127.0.0.1:0/4711" or "[v2:127.0.0.1:0/4711,v1:...]", depending on who is asked: in the first form, which is also what can be shut out. */
void rbd_address_normalise(const char *address, char *ret, size_t size);
