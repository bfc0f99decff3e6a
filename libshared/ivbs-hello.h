/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What blockstore adds to IVBS, in an op range of its own. A server advertises its capabilities in GREETING's payload, which classic
 * clients read and ignore; a client that understands them sends HELLO before it logs in. Nothing here is ever sent to a peer that did not
 * offer it. Layouts stand in docs/protocol.md; every decoder accepts a longer payload and ignores the rest, so that fields can be added.
 *
 * Pure, like ivbs.h. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ivbs.h"

#define IVBS_UUID_SIZE          16U
#define IVBS_CAPS_MAGIC         "IVBSCAP1"
#define IVBS_PROXIES_MAGIC      "IVBSPRX1"
#define IVBS_GREETING_SIZE      64U
#define IVBS_HELLO_SIZE         80U
#define IVBS_HELLO_REPLY_SIZE   16U
#define IVBS_HOST_SIZE          32U /* a host's name, zero padded, cut */
#define IVBS_NOTICE_LENGTH      16U
#define IVBS_NOTICE_SIZE_LENGTH 24U /* of a NOTICE SIZE to whom RESIZE was granted */
#define IVBS_IDENTITY_SIZE      48U
#define IVBS_LEASE_SIZE         264U
#define IVBS_RESUME_SIZE        296U
#define IVBS_LEASE_REPLY_SIZE   112U
#define IVBS_FENCE_SIZE         24U
#define IVBS_FENCE_REPLY_SIZE   8U
#define IVBS_HOLDER_SIZE        72U
#define IVBS_LIST_IMAGES_SIZE   264U
#define IVBS_CREATE_IMAGE_SIZE  272U
#define IVBS_REMOVE_IMAGE_SIZE  280U
#define IVBS_RESIZE_IMAGE_SIZE  288U
#define IVBS_RESIZE_REPLY_SIZE  16U
#define IVBS_ZEROES_SIZE        24U
#define IVBS_DRAIN_SIZE         8U
#define IVBS_TICKET_MAX         256U /* bytes of a ticket, at least 1 */
#define IVBS_PROXIES_MAX        64U  /* entries of a list that are looked at */
#define IVBS_PROXY_ADDRESS_MAX  255U
#define IVBS_PROXIES_SIZE_MAX   (16U + IVBS_PROXIES_MAX * (8U + IVBS_PROXY_ADDRESS_MAX))
#define IVBS_IMAGES_PER_LIST    256U

/* Capability bits. */
#define IVBS_CAP_FLUSH        (UINT64_C(1) << 0) /* FLUSH */
#define IVBS_CAP_FUA          (UINT64_C(1) << 1) /* WRITE_FUA */
#define IVBS_CAP_TRIM         (UINT64_C(1) << 2) /* TRIM */
#define IVBS_CAP_WRITE_ZEROES (UINT64_C(1) << 3) /* WRITE_ZEROES */
#define IVBS_CAP_IMAGES       (UINT64_C(1) << 4) /* LIST_IMAGES, CREATE_IMAGE, REMOVE_IMAGE, LIST_PROXIES on request */
#define IVBS_CAP_LEASE        (UINT64_C(1) << 5) /* ATTACH_LEASE, RESUME, DETACH */
#define IVBS_CAP_FENCE        (UINT64_C(1) << 6) /* FENCE */
#define IVBS_CAP_DURABILITY \
        (UINT64_C(1) << 7)                  /* FLUSH's reply proves what is durable, under the identity it carries */
#define IVBS_CAP_NOTICE (UINT64_C(1) << 8)  /* NOTICE */
#define IVBS_CAP_TICKET (UINT64_C(1) << 9)  /* LOGIN_TICKET; the OK reply to it and to LOGIN carries a fresh ticket */
#define IVBS_CAP_DRAIN  (UINT64_C(1) << 10) /* DRAIN */
#define IVBS_CAP_RESIZE (UINT64_C(1) << 11) /* RESIZE_IMAGE, size epochs, status RESIZED */
#define IVBS_CAP_SNAPSHOTS \
        (UINT64_C(1)       \
                << 12) /* RENAME_IMAGE, snapshots, clones, jobs, see ivbs-lifecycle.h; the flags of CREATE_IMAGE and REMOVE_IMAGE */
#define IVBS_CAP_SCRAM (UINT64_C(1) << 13) /* SCRAM_FIRST, SCRAM_FINAL, SCRAM_TICKET, see ivbs-scram.h */
#define IVBS_CAP_CARE  (UINT64_C(1) << 14) /* checksums and limits of images, see ivbs-care.h; status DAMAGED */
#define IVBS_CAP_ADMIN (UINT64_C(1) << 15) /* STORE_STATUS, see ivbs-admin.h */

/* Layout of GREETING's payload: 0 magic[8], 8 caps u64, 16 max_length u32, 20 idle_limit_ms u32, 24 layout size u32, 28 reserved u32,
 * 32 boot_id[16], 48 instance_id[16]. */
struct ivbs_greeting {
        uint64_t caps;
        uint32_t max_length;    /* largest header length that the server accepts, bytes */
        uint32_t idle_limit_ms; /* a client silent for so long is dropped; 0: never */
        uint8_t boot_id[IVBS_UUID_SIZE];
        uint8_t instance_id[IVBS_UUID_SIZE]; /* random, of this run of the proxy */
};

/* 0 caps u64, 8 max_length u32, 12 reserved u32, 16 machine_id[16], 32 boot_id[16], 48 host[32]. */
struct ivbs_hello {
        uint64_t caps; /* what the client understands; the reply grants the intersection */
        uint32_t max_length;
        uint8_t machine_id[IVBS_UUID_SIZE]; /* derived from the machine id, never the id itself */
        uint8_t boot_id[IVBS_UUID_SIZE];
        char host[IVBS_HOST_SIZE + 1];
};

#define IVBS_HELLO_DRAINED (UINT32_C(1) << 0) /* DRAIN is in effect: nothing can be attached here */

/* HELLO's reply: 0 caps u64, 8 flags u32, 12 reserved u32. */
struct ivbs_hello_reply {
        uint64_t caps; /* granted */
        uint32_t flags;
};

/* What must be unchanged between a write's acknowledgement and the flush that is to cover it. 0 boot_id[16], 16 store_uuid[16],
 * 32 mount_instance u64, 40 error_epoch u64. */
struct ivbs_identity {
        uint8_t boot_id[IVBS_UUID_SIZE];
        uint8_t store_uuid[IVBS_UUID_SIZE];
        uint64_t mount_instance;
        uint64_t error_epoch;
};

#define IVBS_LEASE_READ_ONLY (UINT32_C(1) << 0)
#define IVBS_LEASE_STEAL     (UINT32_C(1) << 1)

/* ATTACH_LEASE: 0 flags u32, 4 reserved u32, 8 name[256]. Takes the lease: new token, generation + 1. */
struct ivbs_lease {
        uint32_t flags;
        char name[IVBS_IMAGE_NAME_SIZE];
};

/* RESUME: 0 flags u32, 4 reserved u32, 8 token[16], 24 generation u64, 32 reserved u64, 40 name[256]. */
struct ivbs_resume {
        uint32_t flags;
        uint8_t token[IVBS_UUID_SIZE];
        uint64_t generation;
        char name[IVBS_IMAGE_NAME_SIZE];
};

#define IVBS_IMAGE_READ_ONLY    (UINT32_C(1) << 0)
#define IVBS_IMAGE_DURABLE_ACKS (UINT32_C(1) << 1) /* an acknowledged write is durable */

/* The reply to both: 0 size u64, 8 flags u32, 12 block_size u32, 16 uuid[16], 32 token[16], 48 generation u64, 56 size epoch u64,
 * 64 identity[48]. */
struct ivbs_lease_reply {
        uint64_t size;
        uint32_t flags;
        uint32_t block_size; /* preferred, a power of two, 512-65536 */
        uint8_t uuid[IVBS_UUID_SIZE];
        uint8_t token[IVBS_UUID_SIZE];
        uint64_t generation;
        uint64_t
                size_epoch; /* one higher with each change of the size; 0 where RESIZE was not granted, and before the first */
        struct ivbs_identity identity;
};

/* Payload of a reply with status HELD: 0 machine_id[16], 16 boot_id[16], 32 since_usec u64 (CLOCK_REALTIME), 40 host[32]. */
struct ivbs_holder {
        uint8_t machine_id[IVBS_UUID_SIZE];
        uint8_t boot_id[IVBS_UUID_SIZE];
        uint64_t since_usec;
        char host[IVBS_HOST_SIZE + 1];
};

/* LIST_IMAGES: 0 limit u32 (1-256), 4 reserved u32, 8 after[256] (list names after this one in byte order; all zero: from the start).
 * Reply: 0 count u32, 4 more u32 (0 or 1), then per image: 0 uuid[16], 16 size u64, 24 used u64, 32 flags u32, 36 name length u16,
 * 38 reserved u16, 40 name. */
#define IVBS_LISTED_ATTACHED (UINT32_C(1) << 0)
struct ivbs_listed_image {
        uint8_t uuid[IVBS_UUID_SIZE];
        uint64_t size; /* bytes */
        uint64_t used; /* bytes of storage */
        uint32_t flags;
        char name[IVBS_IMAGE_NAME_SIZE];
};

#define IVBS_LISTED_IMAGE_SIZE_MAX (40U + IVBS_IMAGE_NAME_SIZE)
#define IVBS_LIST_REPLY_SIZE_MAX   (8U + IVBS_IMAGES_PER_LIST * IVBS_LISTED_IMAGE_SIZE_MAX)

#define IVBS_CREATE_PREALLOCATE    (UINT32_C(1) << 0) /* all its storage is had at once */
#define IVBS_CREATE_CHECKSUMS      (UINT32_C(1) << 1) /* it has checksums of its blocks; only where CARE was granted */

#define IVBS_CREATE_AS_JOB         (UINT32_C(1) << 2) /* the reply is that of SNAPSHOT; only where SNAPSHOTS was granted */

/* CREATE_IMAGE: 0 size u64, 8 flags u32, 12 reserved u32, 16 name[256]. Reply: uuid[16]; to IVBS_CREATE_AS_JOB struct ivbs_change_reply, from those who know that flag. */
struct ivbs_create_image {
        uint64_t size;
        uint32_t flags;
        char name[IVBS_IMAGE_NAME_SIZE];
};

#define IVBS_REMOVE_SNAPSHOTS_TOO (UINT32_C(1) << 0) /* else an image with snapshots is refused */

/* REMOVE_IMAGE: 0 flags u32, 4 reserved u32, 8 uuid[16] (all zero: whichever has the name), 24 name[256]. */
struct ivbs_remove_image {
        uint32_t flags;
        uint8_t uuid[IVBS_UUID_SIZE];
        char name[IVBS_IMAGE_NAME_SIZE];
};

#define IVBS_RESIZE_SHRINK (UINT32_C(1) << 0) /* a smaller size is meant */

/* RESIZE_IMAGE: 0 size u64, 8 flags u32, 12 reserved u32, 16 uuid[16] (all zero: whichever has the name), 32 name[256]. Reply: 0 size u64,
 * 8 size epoch u64. */
struct ivbs_resize_image {
        uint64_t size;
        uint32_t flags;
        uint8_t uuid[IVBS_UUID_SIZE];
        char name[IVBS_IMAGE_NAME_SIZE];
};

struct ivbs_resize_reply {
        uint64_t size; /* bytes */
        uint64_t size_epoch;
};

#define IVBS_ZEROES_FUA     (UINT32_C(1) << 0)
#define IVBS_ZEROES_NO_HOLE (UINT32_C(1) << 1)

/* WRITE_ZEROES: 0 offset u64, 8 length u64, 16 flags u32, 20 reserved u32. TRIM is a plain range, as READ. */
struct ivbs_zeroes {
        uint64_t offset, length;
        uint32_t flags;
};

/* DRAIN: 0 flags u32, 4 reserved u32. No payload in the reply. */
#define IVBS_DRAIN_UNDO (UINT32_C(1) << 0)

/* NOTICE, server to client, sequence 0: 0 kind u32, 4 reserved u32, 8 value u64, and for SIZE, where RESIZE was granted, 16 size epoch u64. Unknown
 * kinds are ignored. */
enum ivbs_notice_kind {
        IVBS_NOTICE_DRAIN = 1, /* go elsewhere; value: milliseconds until the server closes, 0: it does not */
        IVBS_NOTICE_SIZE = 2,  /* value: the image's new size, bytes */
};

struct ivbs_notice {
        uint32_t kind;
        uint64_t value;
        uint64_t size_epoch; /* of SIZE; 0: not told */
};

/* LIST_PROXIES: 0 magic[8], 8 count u32, 12 reserved u32, then per proxy: 0 address length u16 (1-255), 2 priority u16 (lower is
 * preferred), 4 flags u32, 8 address ("HOST:PORT", "[V6]:PORT"). */
#define IVBS_PROXY_TLS (UINT32_C(1) << 0) /* it speaks TLS at that address, and nothing else */
struct ivbs_proxy {
        uint16_t priority;
        uint32_t flags;
        char address[IVBS_PROXY_ADDRESS_MAX + 1];
};

/* Decoders return 0, or -EBADMSG for a short payload or an impossible value, unless said otherwise. */

void ivbs_greeting_encode(const struct ivbs_greeting *greeting, uint8_t ret[static IVBS_GREETING_SIZE]);
/* Returns 1 and fills ret when it is a modern greeting, 0 for anything else: a classic server's payload may hold any bytes. */
int ivbs_greeting_decode(const uint8_t *data, size_t n, struct ivbs_greeting *ret);

void ivbs_hello_encode(const struct ivbs_hello *hello, uint8_t ret[static IVBS_HELLO_SIZE]);
int ivbs_hello_decode(const uint8_t *data, size_t n, struct ivbs_hello *ret);
void ivbs_hello_reply_encode(const struct ivbs_hello_reply *reply, uint8_t ret[static IVBS_HELLO_REPLY_SIZE]);
int ivbs_hello_reply_decode(const uint8_t *data, size_t n, struct ivbs_hello_reply *ret);

void ivbs_identity_encode(const struct ivbs_identity *identity, uint8_t ret[static IVBS_IDENTITY_SIZE]);
int ivbs_identity_decode(const uint8_t *data, size_t n, struct ivbs_identity *ret);

int ivbs_lease_encode(const struct ivbs_lease *lease, uint8_t ret[static IVBS_LEASE_SIZE]); /* -EINVAL: the name */
int ivbs_lease_decode(const uint8_t *data, size_t n, struct ivbs_lease *ret);
int ivbs_resume_encode(const struct ivbs_resume *resume, uint8_t ret[static IVBS_RESUME_SIZE]); /* -EINVAL: the name */
int ivbs_resume_decode(const uint8_t *data, size_t n, struct ivbs_resume *ret);
void ivbs_lease_reply_encode(const struct ivbs_lease_reply *reply, uint8_t ret[static IVBS_LEASE_REPLY_SIZE]);
/* -ERANGE: size 0 or above IVBS_IMAGE_SIZE_MAX, block size not a power of two in 512-65536. */
int ivbs_lease_reply_decode(const uint8_t *data, size_t n, struct ivbs_lease_reply *ret);
void ivbs_holder_encode(const struct ivbs_holder *holder, uint8_t ret[static IVBS_HOLDER_SIZE]);
int ivbs_holder_decode(const uint8_t *data, size_t n, struct ivbs_holder *ret);

/* after: the name to go on behind, or NULL. */
int ivbs_list_images_encode(const char *after, uint32_t limit, uint8_t ret[static IVBS_LIST_IMAGES_SIZE]);
int ivbs_list_images_decode(
        const uint8_t *data, size_t n, char ret_after[static IVBS_IMAGE_NAME_SIZE], uint32_t *ret_limit);
/* The reply is written by one call for its start (8 bytes) and one per image. Returns the bytes written, at most
 * IVBS_LISTED_IMAGE_SIZE_MAX. */
void ivbs_list_reply_start_encode(uint32_t count, bool more, uint8_t ret[static 8]);
size_t ivbs_listed_image_encode(const struct ivbs_listed_image *image, uint8_t *ret);
int ivbs_list_reply_start_decode(const uint8_t *data, size_t n, uint32_t *ret_count, bool *ret_more);
/* Decodes the image at *offset and moves it on; start at 8. */
int ivbs_listed_image_decode(const uint8_t *data, size_t n, size_t *offset, struct ivbs_listed_image *ret);

int ivbs_create_image_encode(const struct ivbs_create_image *create, uint8_t ret[static IVBS_CREATE_IMAGE_SIZE]);
int ivbs_create_image_decode(const uint8_t *data, size_t n, struct ivbs_create_image *ret); /* -ERANGE: size */
int ivbs_remove_image_encode(const struct ivbs_remove_image *remove, uint8_t ret[static IVBS_REMOVE_IMAGE_SIZE]);
int ivbs_remove_image_decode(const uint8_t *data, size_t n, struct ivbs_remove_image *ret);

/* Both decoders: -ERANGE for an impossible size. */
int ivbs_resize_image_encode(const struct ivbs_resize_image *resize, uint8_t ret[static IVBS_RESIZE_IMAGE_SIZE]);
int ivbs_resize_image_decode(const uint8_t *data, size_t n, struct ivbs_resize_image *ret);
void ivbs_resize_reply_encode(const struct ivbs_resize_reply *reply, uint8_t ret[static IVBS_RESIZE_REPLY_SIZE]);
int ivbs_resize_reply_decode(const uint8_t *data, size_t n, struct ivbs_resize_reply *ret);

void ivbs_zeroes_encode(const struct ivbs_zeroes *zeroes, uint8_t ret[static IVBS_ZEROES_SIZE]);
int ivbs_zeroes_decode(const uint8_t *data, size_t n, struct ivbs_zeroes *ret);

void ivbs_fence_encode(
        const uint8_t token[static IVBS_UUID_SIZE], uint64_t generation, uint8_t ret[static IVBS_FENCE_SIZE]);
int ivbs_fence_decode(
        const uint8_t *data, size_t n, uint8_t ret_token[static IVBS_UUID_SIZE], uint64_t *ret_generation);

void ivbs_fence_reply_encode(uint64_t generation, uint8_t ret[static IVBS_FENCE_REPLY_SIZE]);
/* -ERANGE: 0, which no lease ever has. */
int ivbs_fence_reply_decode(const uint8_t *data, size_t n, uint64_t *ret_generation);

void ivbs_drain_encode(uint32_t flags, uint8_t ret[static IVBS_DRAIN_SIZE]);
int ivbs_drain_decode(const uint8_t *data, size_t n, uint32_t *ret_flags);

void ivbs_notice_encode(const struct ivbs_notice *notice, uint8_t ret[static IVBS_NOTICE_LENGTH]);
/* The same with the size epoch. */
void ivbs_notice_size_encode(const struct ivbs_notice *notice, uint8_t ret[static IVBS_NOTICE_SIZE_LENGTH]);
int ivbs_notice_decode(const uint8_t *data, size_t n, struct ivbs_notice *ret);

/* Returns the bytes written to ret, which has room for IVBS_PROXIES_SIZE_MAX; entries beyond IVBS_PROXIES_MAX are left out. */
size_t ivbs_proxies_encode(const struct ivbs_proxy *proxies, size_t n_proxies, uint8_t *ret);
/* Lenient: returns how many entries (at most max) were understood; 0 for a list of another layout. A bad entry is passed over, a cut one
 * ends the list. */
size_t ivbs_proxies_decode(const uint8_t *data, size_t n, struct ivbs_proxy *ret, size_t max);
