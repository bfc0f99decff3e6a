/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The classic codec, and the table of what each op may carry in which direction, ours included: the table is what stands between a length field from
 * the network and any allocation. */

#include <errno.h>
#include <string.h>

#include <openssl/evp.h>

#include "bytes.h"
#include "cleanup.h"
#include "ivbs-admin.h"
#include "ivbs-care.h"
#include "ivbs-lifecycle.h"
#include "ivbs-scram.h"

#define ERROR_PAYLOAD_MAX 4096U

struct bounds {
        uint32_t min, max;
        bool or_none; /* 0 as well */
};

/* clang-format off */
#define NEVER               { 1, 0, false }
#define EXACTLY(n)          { (n), (n), false }
#define UP_TO(n)            { 0, (n), false }
#define BETWEEN(m, n)       { (m), (n), false }
/* A later version may append fields. */
#define AT_LEAST(n)         { (n), (n) + ERROR_PAYLOAD_MAX, false }
#define NONE_OR_AT_LEAST(n) { (n), (n) + ERROR_PAYLOAD_MAX, true }
/* clang-format on */

static const struct op_entry {
        uint32_t op;
        const char *name;
        struct bounds to_server, to_client;
} op_table[] = {
        { IVBS_OP_GREETING, "GREETING", NEVER, UP_TO(ERROR_PAYLOAD_MAX) },
        { IVBS_OP_KEEPALIVE, "KEEPALIVE", UP_TO(ERROR_PAYLOAD_MAX), UP_TO(ERROR_PAYLOAD_MAX) },
        { IVBS_OP_LOGIN, "LOGIN", EXACTLY(IVBS_LOGIN_SIZE), UP_TO(ERROR_PAYLOAD_MAX) },
        { IVBS_OP_ATTACH_TO_IMAGE, "ATTACH_TO_IMAGE", EXACTLY(IVBS_IMAGE_NAME_SIZE),
                AT_LEAST(IVBS_ATTACH_REPLY_SIZE) },
        { IVBS_OP_LIST_PROXIES, "LIST_PROXIES", UP_TO(ERROR_PAYLOAD_MAX), UP_TO(1024 * 1024) },
        { IVBS_OP_READ, "READ", EXACTLY(IVBS_READ_SIZE), UP_TO(IVBS_DATA_MAX) },
        { IVBS_OP_WRITE, "WRITE", BETWEEN(IVBS_WRITE_PREFIX_SIZE + 1, IVBS_LENGTH_MAX), UP_TO(ERROR_PAYLOAD_MAX) },
        { IVBS_OP_HELLO, "HELLO", AT_LEAST(IVBS_HELLO_SIZE), AT_LEAST(IVBS_HELLO_REPLY_SIZE) },
        { IVBS_OP_NOTICE, "NOTICE", NEVER, AT_LEAST(IVBS_NOTICE_LENGTH) },
        { IVBS_OP_LOGIN_TICKET, "LOGIN_TICKET", BETWEEN(1, IVBS_TICKET_MAX), UP_TO(ERROR_PAYLOAD_MAX) },
        { IVBS_OP_ATTACH_LEASE, "ATTACH_LEASE", AT_LEAST(IVBS_LEASE_SIZE), AT_LEAST(IVBS_LEASE_REPLY_SIZE) },
        { IVBS_OP_RESUME, "RESUME", AT_LEAST(IVBS_RESUME_SIZE), AT_LEAST(IVBS_LEASE_REPLY_SIZE) },
        { IVBS_OP_FENCE, "FENCE", AT_LEAST(IVBS_FENCE_SIZE), AT_LEAST(IVBS_FENCE_REPLY_SIZE) },
        { IVBS_OP_DETACH, "DETACH", UP_TO(ERROR_PAYLOAD_MAX), UP_TO(ERROR_PAYLOAD_MAX) },
        { IVBS_OP_LIST_IMAGES, "LIST_IMAGES", AT_LEAST(IVBS_LIST_IMAGES_SIZE), BETWEEN(8, IVBS_LIST_REPLY_SIZE_MAX) },
        { IVBS_OP_CREATE_IMAGE, "CREATE_IMAGE", AT_LEAST(IVBS_CREATE_IMAGE_SIZE), AT_LEAST(IVBS_UUID_SIZE) },
        { IVBS_OP_REMOVE_IMAGE, "REMOVE_IMAGE", AT_LEAST(IVBS_REMOVE_IMAGE_SIZE), UP_TO(ERROR_PAYLOAD_MAX) },
        { IVBS_OP_RESIZE_IMAGE, "RESIZE_IMAGE", AT_LEAST(IVBS_RESIZE_IMAGE_SIZE), AT_LEAST(IVBS_RESIZE_REPLY_SIZE) },
        { IVBS_OP_DRAIN, "DRAIN", AT_LEAST(IVBS_DRAIN_SIZE), UP_TO(ERROR_PAYLOAD_MAX) },
        { IVBS_OP_RENAME_IMAGE, "RENAME_IMAGE", AT_LEAST(IVBS_IMAGE_CHANGE_SIZE), UP_TO(ERROR_PAYLOAD_MAX) },
        { IVBS_OP_SNAPSHOT, "SNAPSHOT", AT_LEAST(IVBS_IMAGE_CHANGE_SIZE), AT_LEAST(IVBS_CHANGE_REPLY_SIZE) },
        { IVBS_OP_LIST_SNAPSHOTS, "LIST_SNAPSHOTS", AT_LEAST(IVBS_LIST_SNAPSHOTS_SIZE),
                BETWEEN(8, IVBS_SNAPSHOTS_REPLY_SIZE_MAX) },
        { IVBS_OP_REMOVE_SNAPSHOT, "REMOVE_SNAPSHOT", AT_LEAST(IVBS_IMAGE_CHANGE_SIZE), UP_TO(ERROR_PAYLOAD_MAX) },
        { IVBS_OP_CLONE_IMAGE, "CLONE_IMAGE", AT_LEAST(IVBS_IMAGE_CHANGE_SIZE), AT_LEAST(IVBS_CHANGE_REPLY_SIZE) },
        { IVBS_OP_ROLL_BACK, "ROLL_BACK", AT_LEAST(IVBS_IMAGE_CHANGE_SIZE), AT_LEAST(IVBS_CHANGE_REPLY_SIZE) },
        { IVBS_OP_JOB_STATUS, "JOB_STATUS", AT_LEAST(IVBS_JOB_SIZE), AT_LEAST(IVBS_JOB_REPLY_SIZE) },
        { IVBS_OP_JOB_CANCEL, "JOB_CANCEL", AT_LEAST(IVBS_JOB_SIZE), UP_TO(ERROR_PAYLOAD_MAX) },
        { IVBS_OP_SCRAM_FIRST, "SCRAM_FIRST", BETWEEN(IVBS_SCRAM_PREFIX_SIZE + 1, IVBS_SCRAM_SIZE_MAX),
                BETWEEN(IVBS_SCRAM_PREFIX_SIZE + 1, IVBS_SCRAM_SIZE_MAX) },
        { IVBS_OP_SCRAM_FINAL, "SCRAM_FINAL", BETWEEN(1, SCRAM_MESSAGE_MAX), AT_LEAST(IVBS_SCRAM_PREFIX_SIZE + 1) },
        { IVBS_OP_SCRAM_TICKET, "SCRAM_TICKET", AT_LEAST(IVBS_SCRAM_TICKET_PREFIX + 1),
                AT_LEAST(IVBS_TICKET_PROOF_SIZE) },
        { IVBS_OP_STORE_STATUS, "STORE_STATUS", UP_TO(ERROR_PAYLOAD_MAX),
                BETWEEN(IVBS_STORE_STATUS_SIZE, IVBS_STORE_STATUS_SIZE_MAX) },
        { IVBS_OP_SCRUB, "SCRUB", AT_LEAST(IVBS_SCRUB_SIZE), AT_LEAST(IVBS_CHANGE_REPLY_SIZE) },
        { IVBS_OP_GET_CARE, "GET_CARE", AT_LEAST(IVBS_GET_CARE_SIZE), AT_LEAST(IVBS_CARE_REPLY_SIZE) },
        { IVBS_OP_SET_LIMITS, "SET_LIMITS", AT_LEAST(IVBS_SET_LIMITS_SIZE), UP_TO(ERROR_PAYLOAD_MAX) },
        /* A part of an identity is none. */
        { IVBS_OP_FLUSH, "FLUSH", UP_TO(ERROR_PAYLOAD_MAX), NONE_OR_AT_LEAST(IVBS_IDENTITY_SIZE) },
        { IVBS_OP_TRIM, "TRIM", AT_LEAST(IVBS_READ_SIZE), UP_TO(ERROR_PAYLOAD_MAX) },
        { IVBS_OP_WRITE_ZEROES, "WRITE_ZEROES", AT_LEAST(IVBS_ZEROES_SIZE), UP_TO(ERROR_PAYLOAD_MAX) },
        { IVBS_OP_WRITE_FUA, "WRITE_FUA", BETWEEN(IVBS_WRITE_PREFIX_SIZE + 1, IVBS_LENGTH_MAX),
                UP_TO(ERROR_PAYLOAD_MAX) },
};

static const struct status_entry {
        uint32_t status;
        const char *name;
        int error;
} status_table[] = {
        { IVBS_STATUS_OK, "OK", 0 },
        { IVBS_STATUS_NOT_FOUND, "NOT_FOUND", -ENOENT },
        { IVBS_STATUS_ALREADY_EXISTS, "ALREADY_EXISTS", -EEXIST },
        { IVBS_STATUS_NOT_LOGGEDIN, "NOT_LOGGEDIN", -EPERM },
        { IVBS_STATUS_PERMISSION_DENIED, "PERMISSION_DENIED", -EACCES },
        { IVBS_STATUS_READ_ONLY, "READ_ONLY", -EROFS },
        { IVBS_STATUS_NOT_READY, "NOT_READY", -EAGAIN },
        { IVBS_STATUS_TEMPORARY_ERROR, "TEMPORARY_ERROR", -EAGAIN },
        { IVBS_STATUS_PERMANENT_ERROR, "PERMANENT_ERROR", -EIO },
        { IVBS_STATUS_USE_ANOTHER_PROXY, "USE_ANOTHER_PROXY", -EHOSTDOWN },
        { IVBS_STATUS_INVALID_REQUEST, "INVALID_REQUEST", -EINVAL },
        { IVBS_STATUS_EXPIRED, "EXPIRED", -ESTALE },
        { IVBS_STATUS_HELD, "HELD", -EBUSY },
        { IVBS_STATUS_NO_SPACE, "NO_SPACE", -ENOSPC },
        { IVBS_STATUS_IN_USE, "IN_USE", -EBUSY },
        { IVBS_STATUS_HAS_SNAPSHOTS, "HAS_SNAPSHOTS", -ENOTEMPTY },
        { IVBS_STATUS_RESIZED, "RESIZED", -ENOSPC },
        { IVBS_STATUS_DAMAGED, "DAMAGED", -EIO },
        { IVBS_STATUS_NO_SCRAM, "NO_SCRAM", -ENOKEY },
        { IVBS_STATUS_LOGIN_OFF, "LOGIN_OFF", -EACCES },
        { IVBS_STATUS_NO_CHECKSUMS, "NO_CHECKSUMS", -EOPNOTSUPP },
        { IVBS_STATUS_NOT_SUPPORTED, "NOT_SUPPORTED", -EOPNOTSUPP },
};

static const struct op_entry *find_op(uint32_t op) {
        for (size_t i = 0; i < ELEMENTSOF(op_table); i++)
                if (op_table[i].op == op)
                        return op_table + i;
        return NULL;
}

const char *ivbs_op_to_string(uint32_t op) {
        const struct op_entry *e = find_op(op);

        return e ? e->name : "unknown";
}

const char *ivbs_status_to_string(uint32_t status) {
        for (size_t i = 0; i < ELEMENTSOF(status_table); i++)
                if (status_table[i].status == status)
                        return status_table[i].name;
        return "unknown";
}

int ivbs_status_to_errno(uint32_t status) {
        for (size_t i = 0; i < ELEMENTSOF(status_table); i++)
                if (status_table[i].status == status)
                        return status_table[i].error;
        return -EIO;
}

void ivbs_header_encode(const struct ivbs_header *header, uint8_t ret[static IVBS_HEADER_SIZE]) {
        memcpy(ret, header->session_id, IVBS_SESSION_ID_SIZE);
        put_be32(ret + 32, header->op);
        put_be32(ret + 36, header->status);
        put_be32(ret + 40, header->length);
        put_be32(ret + 44, header->sequence);
}

void ivbs_header_decode(const uint8_t data[static IVBS_HEADER_SIZE], struct ivbs_header *ret) {
        memcpy(ret->session_id, data, IVBS_SESSION_ID_SIZE);
        ret->op = get_be32(data + 32);
        ret->status = get_be32(data + 36);
        ret->length = get_be32(data + 40);
        ret->sequence = get_be32(data + 44);
}

int ivbs_header_check(const struct ivbs_header *header, enum ivbs_direction direction) {
        const struct op_entry *e = find_op(header->op);
        const struct bounds *b;

        if (!e)
                return header->length <= IVBS_LENGTH_MAX ? -EOPNOTSUPP : -EMSGSIZE;

        b = direction == IVBS_TO_SERVER ? &e->to_server : &e->to_client;
        if (b->min > b->max)
                return header->length <= IVBS_LENGTH_MAX ? -EOPNOTSUPP : -EMSGSIZE;
        if (direction == IVBS_TO_CLIENT && header->status != IVBS_STATUS_OK)
                return header->length <= ERROR_PAYLOAD_MAX ? 0 : -EMSGSIZE;

        if (b->or_none && header->length == 0)
                return 0;
        return header->length >= b->min && header->length <= b->max ? 0 : -EMSGSIZE;
}

int ivbs_hash_password(const char *password, size_t n, char ret[static IVBS_PASSWORD_SIZE]) {
        static const char digits[] = "0123456789abcdef";
        uint8_t digest[IVBS_PASSWORD_SIZE / 2];

        if (EVP_Digest(password, n, digest, NULL, EVP_sha512(), NULL) != 1)
                return -ENOMEM;

        for (size_t i = 0; i < sizeof(digest); i++) {
                ret[2 * i] = digits[digest[i] >> 4];
                ret[2 * i + 1] = digits[digest[i] & 15];
        }

        explicit_bzero(digest, sizeof(digest));
        return 0;
}

/* Bytes before the zero padding of a field of size bytes, or -EBADMSG when something stands behind a zero. */
static ssize_t padded_length(const uint8_t *data, size_t size) {
        size_t n = strnlen((const char *) data, size);

        for (size_t i = n; i < size; i++)
                if (data[i] != 0)
                        return -EBADMSG;
        return (ssize_t) n;
}

int ivbs_login_encode(
        const char *user, const char password[static IVBS_PASSWORD_SIZE], uint8_t ret[static IVBS_LOGIN_SIZE]) {
        size_t n = strlen(user);

        if (n == 0 || n > IVBS_USER_SIZE)
                return -EINVAL;

        memset(ret, 0, IVBS_USER_SIZE);
        memcpy(ret, user, n);
        memcpy(ret + IVBS_USER_SIZE, password, IVBS_PASSWORD_SIZE);
        return 0;
}

int ivbs_login_decode(const uint8_t data[static IVBS_LOGIN_SIZE], char ret_user[static IVBS_USER_SIZE + 1],
        char ret_password[static IVBS_PASSWORD_SIZE]) {
        ssize_t n;

        n = padded_length(data, IVBS_USER_SIZE);
        if (n <= 0)
                return -EBADMSG;

        for (ssize_t i = 0; i < n; i++)
                if (data[i] < 0x20 || data[i] == 0x7f)
                        return -EBADMSG;

        for (size_t i = 0; i < IVBS_PASSWORD_SIZE; i++) {
                uint8_t c = data[IVBS_USER_SIZE + i];

                if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
                        return -EBADMSG;
        }

        memcpy(ret_user, data, (size_t) n);
        ret_user[n] = 0;
        memcpy(ret_password, data + IVBS_USER_SIZE, IVBS_PASSWORD_SIZE);
        return 0;
}

/* Bytes of the UTF-8 sequence at s, or 0 when it is not one: overlong forms, surrogates and what lies beyond Unicode included. */
static size_t utf8_sequence(const uint8_t *s) {
        static const struct {
                uint8_t mask, lead;
                uint32_t first;
                size_t n;
        } forms[] = { { 0x80, 0x00, 0, 1 }, { 0xe0, 0xc0, 0x80, 2 }, { 0xf0, 0xe0, 0x800, 3 },
                { 0xf8, 0xf0, 0x10000, 4 } };

        for (size_t f = 0; f < ELEMENTSOF(forms); f++) {
                uint32_t c = s[0] & (uint8_t) ~forms[f].mask;

                if ((s[0] & forms[f].mask) != forms[f].lead)
                        continue;
                for (size_t i = 1; i < forms[f].n; i++) {
                        if ((s[i] & 0xc0) != 0x80)
                                return 0;
                        c = c << 6 | (s[i] & 0x3f);
                }
                return c >= forms[f].first && c <= 0x10ffff && !(c >= 0xd800 && c <= 0xdfff) ? forms[f].n : 0;
        }

        return 0;
}

bool image_store_name_is_valid(const char *name) {
        const uint8_t *s = (const uint8_t *) name;
        size_t n, step;

        if (!name)
                return false;

        n = strnlen(name, IVBS_IMAGE_NAME_SIZE);
        if (n == 0 || n >= IVBS_IMAGE_NAME_SIZE || name[0] == '.')
                return false;

        for (size_t i = 0; i < n; i += step) {
                step = utf8_sequence(s + i);
                if (step == 0 || s[i] < 0x20 || s[i] == 0x7f || s[i] == '/')
                        return false;
                /* C1 control characters */
                if (step == 2 && s[i] == 0xc2 && s[i + 1] < 0xa0)
                        return false;
        }

        return true;
}

int ivbs_image_name_encode(const char *name, uint8_t ret[static IVBS_IMAGE_NAME_SIZE]) {
        if (!image_store_name_is_valid(name))
                return -EINVAL;

        memset(ret, 0, IVBS_IMAGE_NAME_SIZE);
        memcpy(ret, name, strlen(name));
        return 0;
}

int ivbs_image_name_decode(const uint8_t data[static IVBS_IMAGE_NAME_SIZE], char ret[static IVBS_IMAGE_NAME_SIZE]) {
        ssize_t n;

        n = padded_length(data, IVBS_IMAGE_NAME_SIZE);
        if (n <= 0 || n >= (ssize_t) IVBS_IMAGE_NAME_SIZE || !image_store_name_is_valid((const char *) data))
                return -EBADMSG;

        memcpy(ret, data, IVBS_IMAGE_NAME_SIZE);
        return 0;
}

void ivbs_attach_reply_encode(const char *name, uint64_t size, uint8_t ret[static IVBS_ATTACH_REPLY_SIZE]) {
        memset(ret, 0, IVBS_IMAGE_NAME_SIZE);
        memcpy(ret, name, strnlen(name, IVBS_IMAGE_NAME_SIZE - 1));
        put_be64(ret + IVBS_IMAGE_NAME_SIZE, size);
}

int ivbs_attach_reply_decode(
        const uint8_t *data, size_t n, char ret_name[static IVBS_IMAGE_NAME_SIZE], uint64_t *ret_size) {
        char name[IVBS_IMAGE_NAME_SIZE];
        uint64_t size;
        int r;

        if (n < IVBS_ATTACH_REPLY_SIZE)
                return -EBADMSG;

        r = ivbs_image_name_decode(data, name);
        if (r < 0)
                return r;

        size = get_be64(data + IVBS_IMAGE_NAME_SIZE);
        if (size == 0 || size > IVBS_IMAGE_SIZE_MAX)
                return -ERANGE;

        memcpy(ret_name, name, sizeof(name));
        *ret_size = size;
        return 0;
}

void ivbs_range_encode(uint64_t offset, uint64_t length, uint8_t ret[static IVBS_READ_SIZE]) {
        put_be64(ret, offset);
        put_be64(ret + 8, length);
}

void ivbs_range_decode(const uint8_t data[static IVBS_READ_SIZE], uint64_t *ret_offset, uint64_t *ret_length) {
        *ret_offset = get_be64(data);
        *ret_length = get_be64(data + 8);
}

void ivbs_offset_encode(uint64_t offset, uint8_t ret[static IVBS_WRITE_PREFIX_SIZE]) {
        put_be64(ret, offset);
}

uint64_t ivbs_offset_decode(const uint8_t data[static IVBS_WRITE_PREFIX_SIZE]) {
        return get_be64(data);
}
