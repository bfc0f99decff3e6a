/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Fields are written and read one by one at their offset, never by laying a struct over the bytes: alignment and padding are then nobody's
 * concern, and each line can be held against the specification.
 *
 * Two limits are ours, not the protocol's: an option's payload (the client decides how much we must buffer) and a write's payload. What is
 * above them cannot be answered without swallowing it first, so the decoders say so by an error of its own. Everything else that is wrong
 * gets an answer, and the connection lives. */

#include <errno.h>
#include <string.h>

#include "bytes.h"
#include "cleanup.h"
#include "nbd.h"

/* How much of the text is sent: whole UTF-8 characters only, for clients show it. */
static size_t text_length(const char *text) {
        size_t n;

        if (!text)
                return 0;

        n = strnlen(text, NBD_TEXT_MAX + 1);
        if (n <= NBD_TEXT_MAX)
                return n;

        n = NBD_TEXT_MAX;
        while (n > 0 && ((uint8_t) text[n] & 0xc0) == 0x80)
                n--;
        return n;
}

static size_t put_text(uint8_t *p, const char *text) {
        size_t n = text_length(text);

        if (n > 0)
                memcpy(p, text, n);
        return n;
}

const char *nbd_option_to_string(uint32_t option) {
        static const char *const names[] = {
                [NBD_OPT_EXPORT_NAME] = "EXPORT_NAME",
                [NBD_OPT_ABORT] = "ABORT",
                [NBD_OPT_LIST] = "LIST",
                [NBD_OPT_STARTTLS] = "STARTTLS",
                [NBD_OPT_INFO] = "INFO",
                [NBD_OPT_GO] = "GO",
                [NBD_OPT_STRUCTURED_REPLY] = "STRUCTURED_REPLY",
                [NBD_OPT_LIST_META_CONTEXT] = "LIST_META_CONTEXT",
                [NBD_OPT_SET_META_CONTEXT] = "SET_META_CONTEXT",
                [NBD_OPT_EXTENDED_HEADERS] = "EXTENDED_HEADERS",
        };

        return option < ELEMENTSOF(names) && names[option] ? names[option] : "unknown";
}

const char *nbd_command_to_string(uint16_t type) {
        static const char *const names[] = {
                [NBD_CMD_READ] = "READ",
                [NBD_CMD_WRITE] = "WRITE",
                [NBD_CMD_DISC] = "DISC",
                [NBD_CMD_FLUSH] = "FLUSH",
                [NBD_CMD_TRIM] = "TRIM",
                [NBD_CMD_CACHE] = "CACHE",
                [NBD_CMD_WRITE_ZEROES] = "WRITE_ZEROES",
                [NBD_CMD_BLOCK_STATUS] = "BLOCK_STATUS",
                [NBD_CMD_RESIZE] = "RESIZE",
        };

        return type < ELEMENTSOF(names) ? names[type] : "unknown";
}

void nbd_greeting_encode(uint8_t ret[static NBD_GREETING_SIZE]) {
        put_be64(ret, NBD_INIT_PASSWD);
        put_be64(ret + 8, NBD_OPTION_MAGIC);
        put_be16(ret + 16, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
}

int nbd_client_flags_decode(const uint8_t data[static NBD_CLIENT_FLAGS_SIZE], uint32_t *ret_flags) {
        uint32_t flags = get_be32(data);

        if (!(flags & NBD_FLAG_FIXED_NEWSTYLE) || (flags & ~(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES)))
                return -EPROTO;

        *ret_flags = flags;
        return 0;
}

int nbd_option_decode(const uint8_t *data, size_t n, struct nbd_option *ret) {
        uint32_t length;

        if (n < NBD_OPTION_SIZE)
                return 0;

        if (get_be64(data) != NBD_OPTION_MAGIC)
                return -EBADMSG;

        length = get_be32(data + 12);
        if (length > NBD_OPTION_LENGTH_MAX)
                return -EMSGSIZE;

        *ret = (struct nbd_option){
                .option = get_be32(data + 8),
                .length = length,
        };
        return NBD_OPTION_SIZE;
}

static bool name_is_valid(const uint8_t *name, size_t length) {
        return length <= NBD_STRING_MAX && (length == 0 || !memchr(name, 0, length));
}

int nbd_info_request_decode(const uint8_t *data, size_t n, struct nbd_info_request *ret) {
        uint32_t length, infos = 0;
        unsigned count;

        /* name length u32, name, count u16, then so many u16 and nothing behind them */
        if (n < 6)
                return -EINVAL;

        length = get_be32(data);
        if (length > n - 6 || !name_is_valid(data + 4, length))
                return -EINVAL;

        count = get_be16(data + 4 + length);
        if (n - 6 - length != count * 2U)
                return -EINVAL;

        for (unsigned i = 0; i < count; i++) {
                uint16_t type = get_be16(data + 6 + length + i * 2U);

                if (type < 32)
                        infos |= UINT32_C(1) << type;
        }

        *ret = (struct nbd_info_request){
                .name = (const char *) data + 4,
                .name_length = length,
                .infos = infos,
        };
        return 0;
}

int nbd_export_name_decode(const uint8_t *data, size_t n, const char **ret_name, size_t *ret_length) {
        if (!name_is_valid(data, n))
                return -EINVAL;

        *ret_name = (const char *) data;
        *ret_length = n;
        return 0;
}

bool nbd_name_equal(const char *name, size_t length, const char *wanted) {
        return strlen(wanted) == length && (length == 0 || memcmp(name, wanted, length) == 0);
}

static void option_reply_encode(uint32_t option, uint32_t type, size_t length, uint8_t *ret) {
        put_be64(ret, NBD_OPTION_REPLY_MAGIC);
        put_be32(ret + 8, option);
        put_be32(ret + 12, type);
        put_be32(ret + 16, (uint32_t) length);
}

void nbd_option_ack_encode(uint32_t option, uint8_t ret[static NBD_OPTION_REPLY_SIZE]) {
        option_reply_encode(option, NBD_REP_ACK, 0, ret);
}

size_t nbd_option_error_encode(
        uint32_t option, uint32_t error, const char *text, uint8_t ret[static NBD_TEXT_REPLY_SIZE_MAX]) {
        size_t n = put_text(ret + NBD_OPTION_REPLY_SIZE, text);

        option_reply_encode(option, error, n, ret);
        return NBD_OPTION_REPLY_SIZE + n;
}

size_t nbd_option_server_encode(const char *name, uint8_t ret[static NBD_TEXT_REPLY_SIZE_MAX]) {
        size_t n = put_text(ret + NBD_OPTION_REPLY_SIZE + 4, name);

        option_reply_encode(NBD_OPT_LIST, NBD_REP_SERVER, 4 + n, ret);
        put_be32(ret + NBD_OPTION_REPLY_SIZE, (uint32_t) n);
        return NBD_OPTION_REPLY_SIZE + 4 + n;
}

static size_t info_text_encode(uint32_t option, uint16_t info, const char *text, uint8_t *ret) {
        size_t n = put_text(ret + NBD_OPTION_REPLY_SIZE + 2, text);

        option_reply_encode(option, NBD_REP_INFO, 2 + n, ret);
        put_be16(ret + NBD_OPTION_REPLY_SIZE, info);
        return NBD_OPTION_REPLY_SIZE + 2 + n;
}

size_t nbd_option_go_encode(uint32_t option, const struct nbd_export *export, uint32_t infos, const char *name,
        const char *description, uint8_t ret[static NBD_GO_REPLY_SIZE_MAX]) {
        uint8_t *p = ret;

        option_reply_encode(option, NBD_REP_INFO, 12, p);
        p += NBD_OPTION_REPLY_SIZE;
        put_be16(p, NBD_INFO_EXPORT);
        put_be64(p + 2, export->size);
        put_be16(p + 10, export->flags);
        p += 12;

        /* Sent whether asked for or not: a client that does not know it passes it over, and one that does need not ask twice. */
        option_reply_encode(option, NBD_REP_INFO, 14, p);
        p += NBD_OPTION_REPLY_SIZE;
        put_be16(p, NBD_INFO_BLOCK_SIZE);
        put_be32(p + 2, export->block_size_min);
        put_be32(p + 6, export->block_size_preferred);
        put_be32(p + 10, export->payload_max);
        p += 14;

        if (infos & (UINT32_C(1) << NBD_INFO_NAME))
                p += info_text_encode(option, NBD_INFO_NAME, name, p);
        if (infos & (UINT32_C(1) << NBD_INFO_DESCRIPTION))
                p += info_text_encode(option, NBD_INFO_DESCRIPTION, description, p);

        nbd_option_ack_encode(option, p);
        return (size_t) (p - ret) + NBD_OPTION_REPLY_SIZE;
}

size_t nbd_export_reply_encode(
        const struct nbd_export *export, uint32_t client_flags, uint8_t ret[static NBD_EXPORT_REPLY_SIZE]) {
        put_be64(ret, export->size);
        put_be16(ret + 8, export->flags);
        if (client_flags & NBD_FLAG_NO_ZEROES)
                return 10;

        memset(ret + 10, 0, NBD_EXPORT_REPLY_SIZE - 10);
        return NBD_EXPORT_REPLY_SIZE;
}

int nbd_request_decode(const uint8_t data[static NBD_REQUEST_SIZE], struct nbd_request *ret) {
        struct nbd_request request;

        if (get_be32(data) != NBD_REQUEST_MAGIC)
                return -EBADMSG;

        request = (struct nbd_request){
                .flags = get_be16(data + 4),
                .type = get_be16(data + 6),
                .cookie = get_be64(data + 8),
                .offset = get_be64(data + 16),
                .length = get_be32(data + 24),
        };
        if (nbd_request_payload(&request) > NBD_PAYLOAD_MAX)
                return -EMSGSIZE;

        *ret = request;
        return 0;
}

void nbd_request_encode(const struct nbd_request *request, uint8_t ret[static NBD_REQUEST_SIZE]) {
        put_be32(ret, NBD_REQUEST_MAGIC);
        put_be16(ret + 4, request->flags);
        put_be16(ret + 6, request->type);
        put_be64(ret + 8, request->cookie);
        put_be64(ret + 16, request->offset);
        put_be32(ret + 24, request->length);
}

/* What a command needs, and what becomes of it beyond the end. FUA is not among the flags: where it is offered, it is allowed with every command
 * and means nothing with most. */
static const struct command {
        uint16_t needs; /* NBD_FLAG_* that must have been offered; 0 for none */
        uint16_t flags; /* NBD_CMD_FLAG_* that go with it */
        bool known;
        bool range;   /* has offset and length */
        bool changes; /* refused on a read-only export */
        bool data;    /* length is that of a payload */
        int beyond;   /* errno for a range that is not within the image */
} commands[] = {
        [NBD_CMD_READ] = {
                .known = true,
                .flags = NBD_CMD_FLAG_DF,
                .range = true,
                .data = true,
                .beyond = EINVAL,
        },
        [NBD_CMD_WRITE] = {
                .known = true,
                .range = true,
                .changes = true,
                .data = true,
                .beyond = ENOSPC,
        },
        [NBD_CMD_FLUSH] = {
                .known = true,
                .needs = NBD_FLAG_SEND_FLUSH,
        },
        [NBD_CMD_TRIM] = {
                .known = true,
                .needs = NBD_FLAG_SEND_TRIM,
                .range = true,
                .changes = true,
                .beyond = EINVAL,
        },
        [NBD_CMD_CACHE] = {
                .known = true,
                .needs = NBD_FLAG_SEND_CACHE,
                .range = true,
                .beyond = EINVAL,
        },
        [NBD_CMD_WRITE_ZEROES] = {
                .known = true,
                .needs = NBD_FLAG_SEND_WRITE_ZEROES,
                .flags = NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO,
                .range = true,
                .changes = true,
                .beyond = ENOSPC,
        },
};

int nbd_request_check(const struct nbd_request *request, const struct nbd_export *export) {
        const struct command *command;
        uint32_t mask = export->block_size_min - 1;

        if (request->type == NBD_CMD_DISC)
                return 0;

        if (request->type >= ELEMENTSOF(commands) || !commands[request->type].known)
                return -EINVAL;

        command = commands + request->type;

        /* Before the flag check, so that a client that tries to trim a read-only export hears of its true mistake. */
        if (command->changes && (export->flags & NBD_FLAG_READ_ONLY))
                return -EPERM;
        if ((export->flags & command->needs) != command->needs)
                return -EINVAL;

        if (request->flags & ~(command->flags | NBD_CMD_FLAG_FUA))
                return -EINVAL;
        if ((request->flags & NBD_CMD_FLAG_FUA) && !(export->flags & NBD_FLAG_SEND_FUA))
                return -EINVAL;
        if ((request->flags & NBD_CMD_FLAG_DF) && !(export->flags & NBD_FLAG_SEND_DF))
                return -EINVAL;
        if ((request->flags & NBD_CMD_FLAG_FAST_ZERO) && !(export->flags & NBD_FLAG_SEND_FAST_ZERO))
                return -EINVAL;

        if (!command->range)
                return 0;

        if (request->length == 0 || (request->length & mask) || (request->offset & mask))
                return -EINVAL;
        if (command->data && request->length > export->payload_max)
                return -EOVERFLOW;
        if (!ivbs_range_is_valid(request->offset, request->length, export->size))
                return -command->beyond;

        return 0;
}

uint32_t nbd_error_from_errno(int error) {
        switch (error < 0 ? 0U - (unsigned) error : (unsigned) error) {
        case 0:
                return NBD_SUCCESS;
        case EPERM:
        case EACCES:
        case EROFS:
                return NBD_EPERM;
        case ENOMEM:
                return NBD_ENOMEM;
        case EINVAL:
                return NBD_EINVAL;
        case ENOSPC:
        case EDQUOT:
        case EFBIG:
                return NBD_ENOSPC;
        case EOVERFLOW:
                return NBD_EOVERFLOW;
        case EOPNOTSUPP:
                return NBD_ENOTSUP;
        case ESHUTDOWN:
                return NBD_ESHUTDOWN;
        default:
                return NBD_EIO;
        }
}

int nbd_error_to_errno(uint32_t error) {
        switch (error) {
        case NBD_SUCCESS:
                return 0;
        case NBD_EPERM:
                return -EPERM;
        case NBD_ENOMEM:
                return -ENOMEM;
        case NBD_EINVAL:
                return -EINVAL;
        case NBD_ENOSPC:
                return -ENOSPC;
        case NBD_EOVERFLOW:
                return -EOVERFLOW;
        case NBD_ENOTSUP:
                return -EOPNOTSUPP;
        case NBD_ESHUTDOWN:
                return -ESHUTDOWN;
        default:
                return -EIO;
        }
}

void nbd_simple_reply_encode(uint64_t cookie, uint32_t error, uint8_t ret[static NBD_SIMPLE_REPLY_SIZE]) {
        put_be32(ret, NBD_SIMPLE_REPLY_MAGIC);
        put_be32(ret + 4, error);
        put_be64(ret + 8, cookie);
}

int nbd_simple_reply_decode(
        const uint8_t data[static NBD_SIMPLE_REPLY_SIZE], uint64_t *ret_cookie, uint32_t *ret_error) {
        if (get_be32(data) != NBD_SIMPLE_REPLY_MAGIC)
                return -EBADMSG;

        *ret_error = get_be32(data + 4);
        *ret_cookie = get_be64(data + 8);
        return 0;
}

static void chunk_encode(uint16_t type, uint64_t cookie, uint32_t length, uint8_t *ret) {
        put_be32(ret, NBD_STRUCTURED_MAGIC);
        put_be16(ret + 4, NBD_REPLY_FLAG_DONE);
        put_be16(ret + 6, type);
        put_be64(ret + 8, cookie);
        put_be32(ret + 16, length);
}

void nbd_data_chunk_encode(
        uint64_t cookie, uint64_t offset, uint32_t length, uint8_t ret[static NBD_DATA_CHUNK_SIZE]) {
        chunk_encode(NBD_REPLY_TYPE_OFFSET_DATA, cookie, 8 + length, ret);
        put_be64(ret + NBD_CHUNK_SIZE, offset);
}

size_t nbd_error_chunk_encode(
        uint64_t cookie, uint32_t error, const char *text, uint8_t ret[static NBD_ERROR_CHUNK_SIZE_MAX]) {
        size_t n = put_text(ret + NBD_CHUNK_SIZE + 6, text);

        chunk_encode(NBD_REPLY_TYPE_ERROR, cookie, (uint32_t) (6 + n), ret);
        put_be32(ret + NBD_CHUNK_SIZE, error);
        put_be16(ret + NBD_CHUNK_SIZE + 4, (uint16_t) n);
        return NBD_CHUNK_SIZE + 6 + n;
}
