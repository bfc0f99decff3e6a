/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The part of IVBS by which administrators see how a store is doing (capability ADMIN). Layouts stand in docs/protocol.md. Pure, as ivbs-hello.h, and with its rules: a longer payload is accepted, and the rest of it ignored. */

#include "ivbs-hello.h"

#define IVBS_STORE_STATUS_SIZE   40U /* of the reply's beginning */
#define IVBS_STORE_SESSION_SIZE  40U /* ... of a session's, before its texts */
#define IVBS_STORE_SESSIONS_MAX  1024U
#define IVBS_SESSION_ADDRESS_MAX 64U
#define IVBS_STORE_SESSION_SIZE_MAX \
        (IVBS_STORE_SESSION_SIZE + IVBS_IMAGE_NAME_SIZE + IVBS_USER_SIZE + IVBS_SESSION_ADDRESS_MAX + IVBS_HOST_SIZE)
#define IVBS_STORE_STATUS_SIZE_MAX (IVBS_STORE_STATUS_SIZE + IVBS_STORE_SESSIONS_MAX * IVBS_STORE_SESSION_SIZE_MAX)

/* The beginning of the reply to STORE_STATUS: 0 total u64, 8 available u64, 16 clients u32, 20 sessions listed u32, 24 reserved u32, 28 header size u32 (40 or more: where the sessions begin), 32 reserved u64. */
struct ivbs_store_status {
        uint64_t total, available; /* bytes of the store's file system */
        uint32_t clients;          /* connections to this proxy */
        uint32_t sessions;         /* those with an image, listed below: at most IVBS_STORE_SESSIONS_MAX */
};

#define IVBS_SESSION_WRITES (UINT32_C(1) << 0)
#define IVBS_SESSION_LEASED (UINT32_C(1) << 1) /* under a lease: no other host writes */
#define IVBS_SESSION_MOVED  (UINT32_C(1) << 2) /* the image has gone to another proxy, the session is about to follow */

/* A session that has an image: 0 size u32 (of all of this), 4 flags u32, 8 generation u64, 16 image length u16, 18 user length u16, 20 address length u16, 22 host length u16, 24 reserved[16], 40 image, user, address, host. */
struct ivbs_store_session {
        uint32_t flags;
        uint64_t generation; /* of the lease */
        char image[IVBS_IMAGE_NAME_SIZE];
        char user[IVBS_USER_SIZE + 1];
        char address[IVBS_SESSION_ADDRESS_MAX + 1]; /* of the client, for people */
        char host[IVBS_HOST_SIZE + 1];              /* as the client calls it; "" of a classic one */
};

void ivbs_store_status_encode(const struct ivbs_store_status *status, uint8_t ret[static IVBS_STORE_STATUS_SIZE]);
/* *ret_offset: where the first session begins. Returns 0 or -EBADMSG. */
int ivbs_store_status_decode(const uint8_t *data, size_t n, struct ivbs_store_status *ret, size_t *ret_offset);
/* Returns the bytes written, at most IVBS_STORE_SESSION_SIZE_MAX. */
size_t ivbs_store_session_encode(const struct ivbs_store_session *session, uint8_t *ret);
/* Decodes the session at *offset and moves it on. Returns 0 or -EBADMSG: cut, or a text that cannot be. */
int ivbs_store_session_decode(const uint8_t *data, size_t n, size_t *offset, struct ivbs_store_session *ret);
