/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The Network Block Device protocol, the server's side: the fixed newstyle handshake that NBD clients speak on the worker's socket, and
 * the transmission phase, which the kernel's driver speaks too (it is configured by netlink and skips the handshake). All integers are
 * big-endian. Names and values are those of the NBD project's protocol document (doc/proto.md); <linux/nbd.h> has some of the same names, so
 * a file includes one or the other.
 *
 * Everything here is pure: bytes in, values out, no descriptor, clock or allocation. Decoders never read past the n they are given, accept
 * any bytes, and leave their outputs alone when they fail. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ivbs.h"

#define NBD_STRING_MAX           4096U /* bytes of any string, by the specification */
#define NBD_TEXT_MAX             255U  /* bytes of a name or message that we send; longer ones are cut */
#define NBD_GREETING_SIZE        18U
#define NBD_CLIENT_FLAGS_SIZE    4U
#define NBD_OPTION_SIZE          16U
#define NBD_OPTION_LENGTH_MAX    16384U /* payload of an option: a name, and some lists */
#define NBD_EXPORT_REPLY_SIZE    134U
#define NBD_OPTION_REPLY_SIZE    20U
#define NBD_TEXT_REPLY_SIZE_MAX  (NBD_OPTION_REPLY_SIZE + 4U + NBD_TEXT_MAX)
#define NBD_GO_REPLY_SIZE_MAX    (32U + 34U + 2U * (NBD_OPTION_REPLY_SIZE + 2U + NBD_TEXT_MAX) + NBD_OPTION_REPLY_SIZE)
#define NBD_REQUEST_SIZE         28U
#define NBD_SIMPLE_REPLY_SIZE    16U
#define NBD_CHUNK_SIZE           20U
#define NBD_DATA_CHUNK_SIZE      (NBD_CHUNK_SIZE + 8U)
#define NBD_ERROR_CHUNK_SIZE_MAX (NBD_CHUNK_SIZE + 6U + NBD_TEXT_MAX)
#define NBD_PAYLOAD_MAX          IVBS_DATA_MAX /* data bytes of one read or write */
#define NBD_BLOCK_SIZE_MAX       65536U        /* largest minimum block size that the specification allows */

#define NBD_INIT_PASSWD          UINT64_C(0x4e42444d41474943) /* "NBDMAGIC" */
#define NBD_OPTION_MAGIC         UINT64_C(0x49484156454f5054) /* "IHAVEOPT" */
#define NBD_OPTION_REPLY_MAGIC   UINT64_C(0x0003e889045565a9)
#define NBD_REQUEST_MAGIC        UINT32_C(0x25609513)
#define NBD_SIMPLE_REPLY_MAGIC   UINT32_C(0x67446698)
#define NBD_STRUCTURED_MAGIC     UINT32_C(0x668e33ef)

/* Handshake flags, and the client's answer to them: the bits are the same. */
#define NBD_FLAG_FIXED_NEWSTYLE (1U << 0)
#define NBD_FLAG_NO_ZEROES      (1U << 1)

/* Transmission flags: what an export can do. */
#define NBD_FLAG_HAS_FLAGS         (1U << 0)
#define NBD_FLAG_READ_ONLY         (1U << 1)
#define NBD_FLAG_SEND_FLUSH        (1U << 2)
#define NBD_FLAG_SEND_FUA          (1U << 3)
#define NBD_FLAG_ROTATIONAL        (1U << 4)
#define NBD_FLAG_SEND_TRIM         (1U << 5)
#define NBD_FLAG_SEND_WRITE_ZEROES (1U << 6)
#define NBD_FLAG_SEND_DF           (1U << 7) /* only together with structured replies */
#define NBD_FLAG_CAN_MULTI_CONN    (1U << 8)
#define NBD_FLAG_SEND_RESIZE       (1U << 9)
#define NBD_FLAG_SEND_CACHE        (1U << 10)
#define NBD_FLAG_SEND_FAST_ZERO    (1U << 11)

enum nbd_option_type {
        NBD_OPT_EXPORT_NAME = 1,
        NBD_OPT_ABORT = 2,
        NBD_OPT_LIST = 3,
        NBD_OPT_STARTTLS = 5,
        NBD_OPT_INFO = 6,
        NBD_OPT_GO = 7,
        NBD_OPT_STRUCTURED_REPLY = 8,
        NBD_OPT_LIST_META_CONTEXT = 9,
        NBD_OPT_SET_META_CONTEXT = 10,
        NBD_OPT_EXTENDED_HEADERS = 11,
};

#define NBD_REP_ACK                 UINT32_C(1)
#define NBD_REP_SERVER              UINT32_C(2)
#define NBD_REP_INFO                UINT32_C(3)
#define NBD_REP_META_CONTEXT        UINT32_C(4)
#define NBD_REP_ERR_UNSUP           UINT32_C(0x80000001) /* this server does not know the option */
#define NBD_REP_ERR_POLICY          UINT32_C(0x80000002) /* known, but not allowed here */
#define NBD_REP_ERR_INVALID         UINT32_C(0x80000003) /* the option's payload makes no sense */
#define NBD_REP_ERR_PLATFORM        UINT32_C(0x80000004)
#define NBD_REP_ERR_TLS_REQD        UINT32_C(0x80000005)
#define NBD_REP_ERR_UNKNOWN         UINT32_C(0x80000006) /* no such export */
#define NBD_REP_ERR_SHUTDOWN        UINT32_C(0x80000007) /* the server is going, or has no image to serve */
#define NBD_REP_ERR_BLOCK_SIZE_REQD UINT32_C(0x80000008)
#define NBD_REP_ERR_TOO_BIG         UINT32_C(0x80000009)

enum nbd_info_type {
        NBD_INFO_EXPORT = 0,
        NBD_INFO_NAME = 1,
        NBD_INFO_DESCRIPTION = 2,
        NBD_INFO_BLOCK_SIZE = 3,
};

enum nbd_command {
        NBD_CMD_READ = 0,
        NBD_CMD_WRITE = 1,
        NBD_CMD_DISC = 2,
        NBD_CMD_FLUSH = 3,
        NBD_CMD_TRIM = 4,
        NBD_CMD_CACHE = 5,
        NBD_CMD_WRITE_ZEROES = 6,
        NBD_CMD_BLOCK_STATUS = 7,
        NBD_CMD_RESIZE = 8,
};

#define NBD_CMD_FLAG_FUA       (1U << 0)
#define NBD_CMD_FLAG_NO_HOLE   (1U << 1)
#define NBD_CMD_FLAG_DF        (1U << 2)
#define NBD_CMD_FLAG_REQ_ONE   (1U << 3)
#define NBD_CMD_FLAG_FAST_ZERO (1U << 4)

/* Error values on the wire. */
#define NBD_SUCCESS                0U
#define NBD_EPERM                  1U
#define NBD_EIO                    5U
#define NBD_ENOMEM                 12U
#define NBD_EINVAL                 22U
#define NBD_ENOSPC                 28U
#define NBD_EOVERFLOW              75U
#define NBD_ENOTSUP                95U
#define NBD_ESHUTDOWN              108U

#define NBD_REPLY_FLAG_DONE        (1U << 0)
#define NBD_REPLY_TYPE_NONE        0U
#define NBD_REPLY_TYPE_OFFSET_DATA 1U
#define NBD_REPLY_TYPE_OFFSET_HOLE 2U
#define NBD_REPLY_TYPE_ERROR       0x8001U

/* What a client is told of an image, and what its requests are checked against. */
struct nbd_export {
        uint64_t size;           /* bytes */
        uint16_t flags;          /* NBD_FLAG_* of the transmission phase */
        uint32_t block_size_min; /* power of two, 1 - NBD_BLOCK_SIZE_MAX: offsets and lengths are multiples of it */
        uint32_t block_size_preferred; /* power of two, at least 512 and block_size_min */
        uint32_t payload_max;          /* data bytes of a read or write, at most NBD_PAYLOAD_MAX */
};

struct nbd_option {
        uint32_t option; /* enum nbd_option_type, or any other value */
        uint32_t length; /* payload bytes that follow */
};

/* Payload of INFO and GO. */
struct nbd_info_request {
        const char *name; /* within the payload, not terminated; no NUL in it */
        size_t name_length;
        uint32_t infos; /* bit 1 << NBD_INFO_*: what was asked for; types above 31 are passed over */
};

struct nbd_request {
        uint16_t flags; /* NBD_CMD_FLAG_* */
        uint16_t type;  /* enum nbd_command, or any other value */
        uint64_t cookie;
        uint64_t offset;
        uint32_t length;
};

/* "GO", "WRITE_ZEROES" ...; "unknown" for any other value. Never NULL. */
const char *nbd_option_to_string(uint32_t option);
const char *nbd_command_to_string(uint16_t type);

/* The handshake. The server speaks first, the client answers with its flags, then sends options until GO, EXPORT_NAME or ABORT. */

void nbd_greeting_encode(uint8_t ret[static NBD_GREETING_SIZE]);

/* Returns 0, or -EPROTO when the client is not fixed newstyle or sets a flag that was not offered: such a client is to be dropped. */
int nbd_client_flags_decode(const uint8_t data[static NBD_CLIENT_FLAGS_SIZE], uint32_t *ret_flags);

/* The header of the option at data. Returns NBD_OPTION_SIZE, 0 when n is too small, -EBADMSG for a wrong magic or -EMSGSIZE for a length above
 * NBD_OPTION_LENGTH_MAX: with either error the client is to be dropped. */
int nbd_option_decode(const uint8_t *data, size_t n, struct nbd_option *ret);

/* The payload of INFO and GO; n is the option's length. Returns 0, or -EINVAL, to be answered with NBD_REP_ERR_INVALID. */
int nbd_info_request_decode(const uint8_t *data, size_t n, struct nbd_info_request *ret);

/* The payload of EXPORT_NAME: the name and nothing else. Returns 0 or -EINVAL: no answer is possible then. */
int nbd_export_name_decode(const uint8_t *data, size_t n, const char **ret_name, size_t *ret_length);

/* Whether a name as decoded is the given one. */
bool nbd_name_equal(const char *name, size_t length, const char *wanted);

/* Replies to options. Those with a size_t return the bytes written. Texts are cut at NBD_TEXT_MAX bytes, before a UTF-8 character that would not
 * fit; NULL counts as "". */

void nbd_option_ack_encode(uint32_t option, uint8_t ret[static NBD_OPTION_REPLY_SIZE]);
/* error: NBD_REP_ERR_*; text: a sentence for a user. */
size_t nbd_option_error_encode(
        uint32_t option, uint32_t error, const char *text, uint8_t ret[static NBD_TEXT_REPLY_SIZE_MAX]);
/* One entry of the answer to LIST; ACK ends the list. */
size_t nbd_option_server_encode(const char *name, uint8_t ret[static NBD_TEXT_REPLY_SIZE_MAX]);
/* The whole answer to INFO or GO (option says which): EXPORT, BLOCK_SIZE, NAME and DESCRIPTION where infos asks for them, ACK. */
size_t nbd_option_go_encode(uint32_t option, const struct nbd_export *export, uint32_t infos, const char *name,
        const char *description, uint8_t ret[static NBD_GO_REPLY_SIZE_MAX]);
/* The answer to EXPORT_NAME. client_flags: as decoded; the padding is left out with NBD_FLAG_NO_ZEROES. */
size_t nbd_export_reply_encode(
        const struct nbd_export *export, uint32_t client_flags, uint8_t ret[static NBD_EXPORT_REPLY_SIZE]);

/* Transmission. */

/* Returns 0, -EBADMSG for a wrong magic, or -EMSGSIZE for a WRITE of more than NBD_PAYLOAD_MAX bytes, which nobody would take from the socket:
 * with either error the stream is beyond repair. */
int nbd_request_decode(const uint8_t data[static NBD_REQUEST_SIZE], struct nbd_request *ret);
void nbd_request_encode(const struct nbd_request *request, uint8_t ret[static NBD_REQUEST_SIZE]);

/* Bytes that follow the request on the wire, whatever nbd_request_check() says of it. */
static inline uint32_t nbd_request_payload(const struct nbd_request *request) {
        return request->type == NBD_CMD_WRITE ? request->length : 0;
}

/* Whether the request may be done on the export. Returns 0, or the negative errno that it is to be answered with: -EINVAL (a command or flag that was
 * not offered, length 0, not aligned, a read or trim beyond the end), -EPERM (a change of a read-only export), -ENOSPC (a write beyond the
 * end), -EOVERFLOW (more data than payload_max). DISC always passes, and is never answered. */
int nbd_request_check(const struct nbd_request *request, const struct nbd_export *export);

/* An errno, positive or negative, as what the wire has for it; 0 is NBD_SUCCESS, and what has no counterpart is NBD_EIO: never success. */
uint32_t nbd_error_from_errno(int error);
/* The other way, a negative errno. Unknown values are -EIO. */
int nbd_error_to_errno(uint32_t error);

/* error: NBD_*. The data of a READ follows when it is NBD_SUCCESS. */
void nbd_simple_reply_encode(uint64_t cookie, uint32_t error, uint8_t ret[static NBD_SIMPLE_REPLY_SIZE]);
/* Returns 0 or -EBADMSG. */
int nbd_simple_reply_decode(
        const uint8_t data[static NBD_SIMPLE_REPLY_SIZE], uint64_t *ret_cookie, uint32_t *ret_error);

/* Structured replies, which a READ must be answered with once they are negotiated; other commands may be answered either way. Each of these is
 * the one and last chunk of its reply. */

/* length bytes of data follow, 1 - NBD_PAYLOAD_MAX. */
void nbd_data_chunk_encode(uint64_t cookie, uint64_t offset, uint32_t length, uint8_t ret[static NBD_DATA_CHUNK_SIZE]);
/* error: NBD_*, not NBD_SUCCESS. text may be NULL. Returns the bytes written. */
size_t nbd_error_chunk_encode(
        uint64_t cookie, uint32_t error, const char *text, uint8_t ret[static NBD_ERROR_CHUNK_SIZE_MAX]);
