/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* IVBS in both directions: the input is what came on a connection, after one byte whose lowest bit says to which side. Packets are taken as a
 * receiver takes them: header, check of the length, payload.
 *
 * The rule: what was decoded can be encoded, and that decodes to the same. Compared are two encodings, since reserved fields and what follows a known
 * payload are not kept. */

#include <errno.h>

#include "fuzz.h"
#include "ivbs-hello.h"

#define ROUND_TRIP(what, type, size, encode_result)                       \
        static void what##_round_trip(const uint8_t *data, size_t n) {    \
                struct type a, b;                                         \
                uint8_t first[size], second[size];                        \
                                                                          \
                if (ivbs_##what##_decode(data, n, &a) < 0)                \
                        return;                                           \
                REQUIRE(n >= (size));                                     \
                REQUIRE(encode_result(ivbs_##what##_encode(&a, first)));  \
                REQUIRE(ivbs_##what##_decode(first, (size), &b) >= 0);    \
                REQUIRE(encode_result(ivbs_##what##_encode(&b, second))); \
                REQUIRE(memcmp(first, second, (size)) == 0);              \
        }                                                                 \
        struct _swallow_semicolon_

#define NO_RESULT(call) ((call), 1)
#define IS_ZERO(call)   ((call) == 0)

ROUND_TRIP(hello, ivbs_hello, IVBS_HELLO_SIZE, NO_RESULT);
ROUND_TRIP(identity, ivbs_identity, IVBS_IDENTITY_SIZE, NO_RESULT);
ROUND_TRIP(lease, ivbs_lease, IVBS_LEASE_SIZE, IS_ZERO);
ROUND_TRIP(resume, ivbs_resume, IVBS_RESUME_SIZE, IS_ZERO);
ROUND_TRIP(lease_reply, ivbs_lease_reply, IVBS_LEASE_REPLY_SIZE, NO_RESULT);
ROUND_TRIP(holder, ivbs_holder, IVBS_HOLDER_SIZE, NO_RESULT);
ROUND_TRIP(create_image, ivbs_create_image, IVBS_CREATE_IMAGE_SIZE, IS_ZERO);
ROUND_TRIP(remove_image, ivbs_remove_image, IVBS_REMOVE_IMAGE_SIZE, IS_ZERO);
ROUND_TRIP(resize_image, ivbs_resize_image, IVBS_RESIZE_IMAGE_SIZE, IS_ZERO);
ROUND_TRIP(resize_reply, ivbs_resize_reply, IVBS_RESIZE_REPLY_SIZE, NO_RESULT);
ROUND_TRIP(zeroes, ivbs_zeroes, IVBS_ZEROES_SIZE, NO_RESULT);
ROUND_TRIP(notice, ivbs_notice, IVBS_NOTICE_LENGTH, NO_RESULT);

static void greeting_round_trip(const uint8_t *data, size_t n) {
        struct ivbs_greeting a, b;
        uint8_t first[IVBS_GREETING_SIZE];

        if (ivbs_greeting_decode(data, n, &a) == 0)
                return;
        REQUIRE(n >= IVBS_GREETING_SIZE);
        ivbs_greeting_encode(&a, first);
        REQUIRE(ivbs_greeting_decode(first, sizeof(first), &b) == 1);
        REQUIRE(a.caps == b.caps && a.max_length == b.max_length && a.idle_limit_ms == b.idle_limit_ms);
}

static void login_round_trip(const uint8_t *data, size_t n) {
        char user[IVBS_USER_SIZE + 1], password[IVBS_PASSWORD_SIZE];
        uint8_t again[IVBS_LOGIN_SIZE];

        if (n < IVBS_LOGIN_SIZE || ivbs_login_decode(data, user, password) < 0)
                return;
        REQUIRE(strlen(user) > 0 && strlen(user) <= IVBS_USER_SIZE);
        REQUIRE(ivbs_login_encode(user, password, again) == 0);
        REQUIRE(memcmp(data, again, IVBS_LOGIN_SIZE) == 0);
}

static void require_name(const char *name) {
        REQUIRE(image_store_name_is_valid(name));
        REQUIRE(strlen(name) > 0 && strlen(name) < IVBS_IMAGE_NAME_SIZE);
        REQUIRE(!strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0);
}

static void image_name_round_trip(const uint8_t *data, size_t n) {
        char name[IVBS_IMAGE_NAME_SIZE];
        uint8_t again[IVBS_IMAGE_NAME_SIZE];

        if (n < IVBS_IMAGE_NAME_SIZE || ivbs_image_name_decode(data, name) < 0)
                return;
        require_name(name);
        REQUIRE(ivbs_image_name_encode(name, again) == 0);
        REQUIRE(memcmp(data, again, sizeof(again)) == 0);
}

static void attach_reply_round_trip(const uint8_t *data, size_t n) {
        char name[IVBS_IMAGE_NAME_SIZE];
        uint8_t again[IVBS_ATTACH_REPLY_SIZE];
        uint64_t size;

        if (ivbs_attach_reply_decode(data, n, name, &size) < 0)
                return;
        require_name(name);
        REQUIRE(size > 0 && size <= IVBS_IMAGE_SIZE_MAX);
        ivbs_attach_reply_encode(name, size, again);
        REQUIRE(memcmp(data, again, sizeof(again)) == 0);
}

static void range_round_trip(const uint8_t *data, size_t n) {
        uint64_t offset, length;
        uint8_t again[IVBS_READ_SIZE];

        if (n < IVBS_READ_SIZE)
                return;
        ivbs_range_decode(data, &offset, &length);
        if (ivbs_range_is_valid(offset, length, IVBS_IMAGE_SIZE_MAX))
                REQUIRE(offset + length > offset && offset + length <= IVBS_IMAGE_SIZE_MAX);
        ivbs_range_encode(offset, length, again);
        REQUIRE(memcmp(data, again, sizeof(again)) == 0);
}

static void fence_round_trip(const uint8_t *data, size_t n) {
        uint8_t token[IVBS_UUID_SIZE], again[IVBS_FENCE_SIZE];
        uint64_t generation;

        if (ivbs_fence_decode(data, n, token, &generation) < 0)
                return;
        ivbs_fence_encode(token, generation, again);
        REQUIRE(memcmp(data, again, sizeof(again)) == 0);
}

static void fence_reply_round_trip(const uint8_t *data, size_t n) {
        uint8_t again[IVBS_FENCE_REPLY_SIZE];
        uint64_t generation;

        if (ivbs_fence_reply_decode(data, n, &generation) < 0)
                return;
        REQUIRE(generation > 0);
        ivbs_fence_reply_encode(generation, again);
        REQUIRE(memcmp(data, again, sizeof(again)) == 0);
}

static void drain_round_trip(const uint8_t *data, size_t n) {
        uint8_t first[IVBS_DRAIN_SIZE];
        uint32_t a, b;

        if (ivbs_drain_decode(data, n, &a) < 0)
                return;
        ivbs_drain_encode(a, first);
        REQUIRE(ivbs_drain_decode(first, sizeof(first), &b) == 0 && a == b);
}

static void list_images_round_trip(const uint8_t *data, size_t n) {
        char after[IVBS_IMAGE_NAME_SIZE];
        uint8_t again[IVBS_LIST_IMAGES_SIZE];
        uint32_t limit;

        if (ivbs_list_images_decode(data, n, after, &limit) < 0)
                return;
        REQUIRE(limit > 0 && limit <= IVBS_IMAGES_PER_LIST);
        if (*after)
                require_name(after);
        REQUIRE(ivbs_list_images_encode(*after ? after : NULL, limit, again) == 0);
}

static void image_list_round_trip(const uint8_t *data, size_t n) {
        size_t offset = 8;
        uint32_t count;
        bool more;

        if (ivbs_list_reply_start_decode(data, n, &count, &more) < 0)
                return;
        for (uint32_t i = 0; i < count; i++) {
                struct ivbs_listed_image image;
                uint8_t again[IVBS_LISTED_IMAGE_SIZE_MAX];
                size_t before = offset;

                if (ivbs_listed_image_decode(data, n, &offset, &image) < 0) {
                        REQUIRE(offset == before);
                        return;
                }
                require_name(image.name);
                REQUIRE(offset > before && offset <= n);
                REQUIRE(ivbs_listed_image_encode(&image, again) == offset - before);
        }
}

static void proxies_round_trip(const uint8_t *data, size_t n) {
        static struct ivbs_proxy a[IVBS_PROXIES_MAX], b[IVBS_PROXIES_MAX];
        static uint8_t again[IVBS_PROXIES_SIZE_MAX];
        size_t found, length;

        found = ivbs_proxies_decode(data, n, a, IVBS_PROXIES_MAX);
        REQUIRE(found <= IVBS_PROXIES_MAX);
        length = ivbs_proxies_encode(a, found, again);
        REQUIRE(length <= sizeof(again));
        REQUIRE(ivbs_proxies_decode(again, length, b, IVBS_PROXIES_MAX) == found);
        for (size_t i = 0; i < found; i++)
                REQUIRE(strcmp(a[i].address, b[i].address) == 0 && a[i].priority == b[i].priority &&
                        a[i].flags == b[i].flags);
}

static void hello_reply(const uint8_t *data, size_t n) {
        struct ivbs_hello_reply reply;

        if (ivbs_hello_reply_decode(data, n, &reply) >= 0)
                REQUIRE(n >= IVBS_HELLO_REPLY_SIZE);
}

/* What each side makes of a payload. NULL: bytes that are not looked at. */
static const struct payload {
        uint32_t op;
        void (*to_server)(const uint8_t *data, size_t n);
        void (*to_client)(const uint8_t *data, size_t n);
} payloads[] = {
        { IVBS_OP_GREETING, NULL, greeting_round_trip },
        { IVBS_OP_LOGIN, login_round_trip, NULL },
        { IVBS_OP_ATTACH_TO_IMAGE, image_name_round_trip, attach_reply_round_trip },
        { IVBS_OP_LIST_PROXIES, NULL, proxies_round_trip },
        { IVBS_OP_READ, range_round_trip, NULL },
        { IVBS_OP_HELLO, hello_round_trip, hello_reply },
        { IVBS_OP_NOTICE, NULL, notice_round_trip },
        { IVBS_OP_ATTACH_LEASE, lease_round_trip, lease_reply_round_trip },
        { IVBS_OP_RESUME, resume_round_trip, lease_reply_round_trip },
        { IVBS_OP_FENCE, fence_round_trip, fence_reply_round_trip },
        { IVBS_OP_LIST_IMAGES, list_images_round_trip, image_list_round_trip },
        { IVBS_OP_CREATE_IMAGE, create_image_round_trip, NULL },
        { IVBS_OP_REMOVE_IMAGE, remove_image_round_trip, NULL },
        { IVBS_OP_RESIZE_IMAGE, resize_image_round_trip, resize_reply_round_trip },
        { IVBS_OP_DRAIN, drain_round_trip, NULL },
        { IVBS_OP_FLUSH, NULL, identity_round_trip },
        { IVBS_OP_TRIM, range_round_trip, NULL },
        { IVBS_OP_WRITE_ZEROES, zeroes_round_trip, NULL },
};

static void take_payload(
        const struct ivbs_header *header, enum ivbs_direction direction, const uint8_t *data, size_t n) {
        uint8_t *copy = exact_copy(data, n);

        if (direction == IVBS_TO_CLIENT && header->status == IVBS_STATUS_HELD)
                holder_round_trip(copy, n);
        else if (direction == IVBS_TO_SERVER || header->status == IVBS_STATUS_OK)
                for (size_t i = 0; i < sizeof(payloads) / sizeof(payloads[0]); i++)
                        if (payloads[i].op == header->op) {
                                if (direction == IVBS_TO_SERVER && payloads[i].to_server)
                                        payloads[i].to_server(copy, n);
                                if (direction == IVBS_TO_CLIENT && payloads[i].to_client)
                                        payloads[i].to_client(copy, n);
                        }

        free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        enum ivbs_direction direction;
        const uint8_t *end = data + size;

        if (size == 0)
                return 0;
        direction = *data++ & 1 ? IVBS_TO_CLIENT : IVBS_TO_SERVER;

        while ((size_t) (end - data) >= IVBS_HEADER_SIZE) {
                struct ivbs_header header;
                uint8_t again[IVBS_HEADER_SIZE];
                int r;

                ivbs_header_decode(data, &header);
                ivbs_header_encode(&header, again);
                REQUIRE(memcmp(data, again, sizeof(again)) == 0);
                REQUIRE(ivbs_op_to_string(header.op) && ivbs_status_to_string(header.status));
                REQUIRE((ivbs_status_to_errno(header.status) == 0) == (header.status == IVBS_STATUS_OK));
                data += IVBS_HEADER_SIZE;

                r = ivbs_header_check(&header, direction);
                REQUIRE(r == 0 || r == -EOPNOTSUPP || r == -EMSGSIZE);
                if (r == -EMSGSIZE)
                        break;
                REQUIRE(header.length <= IVBS_LENGTH_MAX);
                if (header.length > (size_t) (end - data))
                        break;
                if (r == 0)
                        take_payload(&header, direction, data, header.length);
                data += header.length;
        }

        return 0;
}
