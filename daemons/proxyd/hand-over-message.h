/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What two proxies of one machine say to each other over a SOCK_SEQPACKET socket: packets of one size, in the machine's byte order. Additions get a new version; a packet that is
 * not understood ends the conversation, which counts as an answer (see hand-over-ask.c). Included by hand-over*.c only. */

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <systemd/sd-id128.h>

#include "hand-over.h"

#define HAND_OVER_MAGIC   0x31564f48U /* "HOV1" */
#define HAND_OVER_VERSION 1U

enum hand_over_kind {
        HAND_OVER_ASK = 1,
        HAND_OVER_ACKNOWLEDGED,
        HAND_OVER_ANSWER_RELEASED,
        HAND_OVER_ANSWER_REFUSED,
        HAND_OVER_SNAPSHOT,      /* struct hand_over_snapshot: make one of an image that you hold */
        HAND_OVER_SNAPSHOT_GOES, /* struct hand_over_progress, at intervals */
        HAND_OVER_SNAPSHOT_OVER, /* ..., the last word */
        _HAND_OVER_KIND_MAX,
};

struct hand_over_message {
        uint32_t magic, version, kind, why;
        sd_id128_t uuid; /* of the image */
};

/* Longer packets, told from the others by kind and size. Names are terminated. */
struct hand_over_snapshot {
        struct hand_over_message head;
        char name[IVBS_IMAGE_NAME_SIZE], snapshot[IVBS_IMAGE_NAME_SIZE], user[IVBS_USER_SIZE + 8];
};
struct hand_over_progress {
        struct hand_over_message head;
        int64_t error; /* of the last word: 0 or a negative errno */
        uint64_t done, total;
        sd_id128_t made;
};
#define HAND_OVER_PACKET_MAX (sizeof(struct hand_over_snapshot) + 32U) /* so that a longer one is seen to be one */

static inline struct hand_over_message hand_over_message(enum hand_over_kind kind, uint32_t why, sd_id128_t uuid) {
        return (struct hand_over_message){
                .magic = HAND_OVER_MAGIC, .version = HAND_OVER_VERSION, .kind = kind, .why = why, .uuid = uuid
        };
}

static inline size_t hand_over_packet_size(uint32_t kind) {
        if (kind == HAND_OVER_SNAPSHOT)
                return sizeof(struct hand_over_snapshot);
        return kind == HAND_OVER_SNAPSHOT_GOES || kind == HAND_OVER_SNAPSHOT_OVER ? sizeof(struct hand_over_progress)
                                                                                  : sizeof(struct hand_over_message);
}

/* n: bytes of the whole packet, at least those of *m. */
static inline bool hand_over_message_is_valid(const struct hand_over_message *m, size_t n) {
        return n == hand_over_packet_size(m->kind) && m->magic == HAND_OVER_MAGIC && m->version == HAND_OVER_VERSION &&
               m->kind > 0 && m->kind < _HAND_OVER_KIND_MAX;
}

/* A path by way of a descriptor, since one from the root may be longer than an address can be. name: less than STORE_SOCKET_NAME_SIZE bytes. */
static inline struct sockaddr_un hand_over_address(int directory_fd, const char *name) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        (void) snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", directory_fd, name);
        return address;
}

/* Never waits. Returns 0 or a negative errno. */
static inline int hand_over_send(int fd, const struct hand_over_message *message) {
        return send(fd, message, hand_over_packet_size(message->kind), MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Whether a connected socket's other end is under our own uid; its pid, then. */
static inline bool hand_over_is_one_of_us(int fd, uint64_t *ret_pid) {
        struct ucred credentials;
        socklen_t size = sizeof(credentials);

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0 || credentials.uid != geteuid())
                return false;
        *ret_pid = (uint64_t) credentials.pid;
        return true;
}

struct ring *hand_over_ring(const struct hand_over *hand_over);
int hand_over_directory(const struct hand_over *hand_over);
