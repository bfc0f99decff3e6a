/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The classic IVBS protocol: packets of a 48-byte header and a payload, all integers big-endian. docs/protocol.md has the tables.
 *
 * Everything here is pure: bytes in, values out, no descriptor, clock or allocation. Decoders never read past the n they are
 * given and accept any bytes. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IVBS_PORT              11417
#define IVBS_HEADER_SIZE       48U
#define IVBS_SESSION_ID_SIZE   32U
#define IVBS_USER_SIZE         32U  /* zero padded, no terminator when full */
#define IVBS_PASSWORD_SIZE     128U /* lower-case hex of SHA-512(password), see ivbs_hash_password() */
#define IVBS_LOGIN_SIZE        (IVBS_USER_SIZE + IVBS_PASSWORD_SIZE)
#define IVBS_IMAGE_NAME_SIZE   256U /* zero padded; a name has 1-255 bytes */
#define IVBS_ATTACH_REPLY_SIZE (IVBS_IMAGE_NAME_SIZE + 8U)
#define IVBS_READ_SIZE         16U
#define IVBS_WRITE_PREFIX_SIZE 8U
#define IVBS_DATA_MAX          (32U * 1024U * 1024U)                    /* data bytes of one read or write */
#define IVBS_LENGTH_MAX        (IVBS_DATA_MAX + IVBS_WRITE_PREFIX_SIZE) /* largest header length we take or send */
#define IVBS_IMAGE_SIZE_MAX    ((UINT64_C(1) << 63) - 1)

enum ivbs_op {
        IVBS_OP_GREETING = 1,
        IVBS_OP_KEEPALIVE = 2,
        IVBS_OP_LOGIN = 100,
        IVBS_OP_ATTACH_TO_IMAGE = 200,
        IVBS_OP_LIST_PROXIES = 211,
        IVBS_OP_READ = 300,
        IVBS_OP_WRITE = 301,

        /* Ours, see ivbs-hello.h. Only after HELLO. */
        IVBS_OP_HELLO = 1001,
        IVBS_OP_NOTICE = 1002,
        IVBS_OP_LOGIN_TICKET = 1100,
        IVBS_OP_ATTACH_LEASE = 1200,
        IVBS_OP_RESUME = 1201,
        IVBS_OP_FENCE = 1202,
        IVBS_OP_DETACH = 1203,
        IVBS_OP_LIST_IMAGES = 1210,
        IVBS_OP_CREATE_IMAGE = 1211,
        IVBS_OP_REMOVE_IMAGE = 1212,
        IVBS_OP_RESIZE_IMAGE = 1213,
        IVBS_OP_DRAIN = 1220,
        IVBS_OP_RENAME_IMAGE = 1240,
        IVBS_OP_SNAPSHOT = 1241,
        IVBS_OP_LIST_SNAPSHOTS = 1242,
        IVBS_OP_REMOVE_SNAPSHOT = 1243,
        IVBS_OP_CLONE_IMAGE = 1244,
        IVBS_OP_ROLL_BACK = 1245,
        IVBS_OP_JOB_STATUS = 1246,
        IVBS_OP_JOB_CANCEL = 1247,
        IVBS_OP_SCRAM_FIRST = 1250,
        IVBS_OP_SCRAM_FINAL = 1251,
        IVBS_OP_SCRAM_TICKET = 1252,
        IVBS_OP_STORE_STATUS = 1265,
        IVBS_OP_SCRUB = 1260,
        IVBS_OP_GET_CARE = 1261,
        IVBS_OP_SET_LIMITS = 1262,
        IVBS_OP_FLUSH = 1300,
        IVBS_OP_TRIM = 1301,
        IVBS_OP_WRITE_ZEROES = 1302,
        IVBS_OP_WRITE_FUA = 1303,
};

enum ivbs_status {
        IVBS_STATUS_OK = 0,
        IVBS_STATUS_NOT_FOUND = 1,
        IVBS_STATUS_ALREADY_EXISTS = 2,
        IVBS_STATUS_NOT_LOGGEDIN = 3,
        IVBS_STATUS_PERMISSION_DENIED = 4,
        IVBS_STATUS_READ_ONLY = 5,
        IVBS_STATUS_NOT_READY = 6,
        IVBS_STATUS_TEMPORARY_ERROR = 10,
        IVBS_STATUS_PERMANENT_ERROR = 11,
        IVBS_STATUS_USE_ANOTHER_PROXY = 12,
        IVBS_STATUS_INVALID_REQUEST = 13,
        IVBS_STATUS_EXPIRED = 14,

        /* Ours: sent only to clients that said HELLO. */
        IVBS_STATUS_HELD = 100,     /* another host has the image attached read-write */
        IVBS_STATUS_NO_SPACE = 101, /* the store is full; the image is unchanged where the request did not reach */
        IVBS_STATUS_IN_USE = 102,   /* the image is attached and cannot be removed, or made smaller */
        IVBS_STATUS_HAS_SNAPSHOTS = 103, /* the image has snapshots and cannot be removed without them */
        IVBS_STATUS_RESIZED = 104,       /* not executed: beyond the image's end as it is now, or has been since */
        IVBS_STATUS_DAMAGED = 115,       /* the data do not agree with their checksum; nothing was executed */
        IVBS_STATUS_NO_SCRAM = 110,      /* nothing is stored by which that user could log in with SCRAM */
        IVBS_STATUS_LOGIN_OFF = 111,     /* LOGIN and LOGIN_TICKET are not taken on this connection */
        IVBS_STATUS_NO_CHECKSUMS = 116,  /* the image has none */
        IVBS_STATUS_NOT_SUPPORTED = 117, /* a store of this kind does not do that */
};

struct ivbs_header {
        uint8_t session_id[IVBS_SESSION_ID_SIZE];
        uint32_t op;
        uint32_t status;
        uint32_t length; /* payload bytes that follow */
        uint32_t sequence;
};

enum ivbs_direction {
        IVBS_TO_SERVER,
        IVBS_TO_CLIENT,
};

/* "READ", "ATTACH_TO_IMAGE" ...; "unknown" for any other value. Never NULL. */
const char *ivbs_op_to_string(uint32_t op);
const char *ivbs_status_to_string(uint32_t status);

/* A status as negative errno; 0 for OK. Unknown values are -EIO: never success. */
int ivbs_status_to_errno(uint32_t status);

void ivbs_header_encode(const struct ivbs_header *header, uint8_t ret[static IVBS_HEADER_SIZE]);

/* Takes any 48 bytes. */
void ivbs_header_decode(const uint8_t data[static IVBS_HEADER_SIZE], struct ivbs_header *ret);

/* Whether the length is possible for the op in that direction, before a byte of payload is read or allocated. A reply whose status is not
 * OK may carry up to 4096 bytes, whatever its op. Returns 0, -EOPNOTSUPP (op unknown in that direction; the payload can be skipped when
 * the length is at most IVBS_LENGTH_MAX), or -EMSGSIZE. */
int ivbs_header_check(const struct ivbs_header *header, enum ivbs_direction direction);

/* Lower-case hex of SHA-512(password), no terminator: what LOGIN carries. It is equivalent to the password: wipe it. Returns 0 or -ENOMEM. */
int ivbs_hash_password(const char *password, size_t n, char ret[static IVBS_PASSWORD_SIZE]);

/* user: 1-32 bytes. Returns 0 or -EINVAL. */
int ivbs_login_encode(
        const char *user, const char password[static IVBS_PASSWORD_SIZE], uint8_t ret[static IVBS_LOGIN_SIZE]);

/* ret_user is terminated. ret_password is not. Returns 0 or -EBADMSG (no user name, control characters in it,
 * bytes after its end, not lower-case hex). */
int ivbs_login_decode(const uint8_t data[static IVBS_LOGIN_SIZE], char ret_user[static IVBS_USER_SIZE + 1],
        char ret_password[static IVBS_PASSWORD_SIZE]);

/* Zero padded names of 256 bytes, as in ATTACH. encode: -EINVAL unless image_store_name_is_valid(). decode: -EBADMSG unless valid; ret is
 * terminated. */
int ivbs_image_name_encode(const char *name, uint8_t ret[static IVBS_IMAGE_NAME_SIZE]);
int ivbs_image_name_decode(const uint8_t data[static IVBS_IMAGE_NAME_SIZE], char ret[static IVBS_IMAGE_NAME_SIZE]);

/* What a store may call an image: 1-255 bytes of UTF-8 without control characters or '/', not beginning with '.'. */
bool image_store_name_is_valid(const char *name);

/* name must be valid. */
void ivbs_attach_reply_encode(const char *name, uint64_t size, uint8_t ret[static IVBS_ATTACH_REPLY_SIZE]);

/* n may be larger: what follows is ignored. Returns 0, -EBADMSG (short, or the name is not one) or -ERANGE (size 0 or above
 * IVBS_IMAGE_SIZE_MAX). */
int ivbs_attach_reply_decode(
        const uint8_t *data, size_t n, char ret_name[static IVBS_IMAGE_NAME_SIZE], uint64_t *ret_size);

void ivbs_range_encode(uint64_t offset, uint64_t length, uint8_t ret[static IVBS_READ_SIZE]);
void ivbs_range_decode(const uint8_t data[static IVBS_READ_SIZE], uint64_t *ret_offset, uint64_t *ret_length);
void ivbs_offset_encode(uint64_t offset, uint8_t ret[static IVBS_WRITE_PREFIX_SIZE]);
uint64_t ivbs_offset_decode(const uint8_t data[static IVBS_WRITE_PREFIX_SIZE]);

/* Whether [offset, offset + length) is not empty and lies within size; no overflow. */
static inline bool ivbs_range_is_valid(uint64_t offset, uint64_t length, uint64_t size) {
        return length > 0 && length <= size && offset <= size - length;
}
