/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The added payloads: each against bytes written out by hand from the layouts, each cut at every length, longer ones accepted. */

#include "guarded.h"
#include "hex.h"
#include "ivbs-hello.h"
#include "test.h"

#define UUID_A "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"
#define UUID_B "b0b1b2b3b4b5b6b7b8b9babbbcbdbebf"

static void fill(uint8_t *uuid, uint8_t start) {
        for (unsigned i = 0; i < IVBS_UUID_SIZE; i++)
                uuid[i] = (uint8_t) (start + i);
}

static size_t put_name(uint8_t *p, const char *name) {
        memset(p, 0, IVBS_IMAGE_NAME_SIZE);
        memcpy(p, name, strlen(name));
        return IVBS_IMAGE_NAME_SIZE;
}

/* Asserts that call, an expression in data and n, returns -EBADMSG for each length below full, and success at full and a bit beyond. */
#define ASSERT_NEEDS(bytes, full, call)                                 \
        do {                                                            \
                uint8_t _longer[2048] = {};                             \
                memcpy(_longer, bytes, full);                           \
                for (size_t n = 0; n < (full); n++) {                   \
                        const uint8_t *data = guarded_copy(bytes, n);   \
                        ASSERT_ERROR(call, EBADMSG);                    \
                }                                                       \
                for (size_t n = (full); n < (full) + 9; n++) {          \
                        const uint8_t *data = guarded_copy(_longer, n); \
                        ASSERT_OK(call);                                \
                }                                                       \
        } while (0)

static void greeting(void) {
        struct ivbs_greeting greeting = { .caps = IVBS_CAP_FLUSH | IVBS_CAP_NOTICE,
                .max_length = IVBS_LENGTH_MAX,
                .idle_limit_ms = 30000 },
                             decoded;
        uint8_t bytes[IVBS_GREETING_SIZE + 8] = {};

        fill(greeting.boot_id, 0xa0);
        fill(greeting.instance_id, 0xb0);
        ivbs_greeting_encode(&greeting, bytes);
        ASSERT_HEX(bytes, IVBS_GREETING_SIZE,
                "4956425343415031 0000000000000101 02000008 00007530 00000040 00000000" UUID_A UUID_B);

        /* Anything else is a classic server's, not an error. */
        for (size_t n = 0; n < IVBS_GREETING_SIZE; n++)
                ASSERT_EQ(ivbs_greeting_decode(guarded_copy(bytes, n), n, &decoded), 0);
        for (size_t n = IVBS_GREETING_SIZE; n < sizeof(bytes); n++)
                ASSERT_EQ(ivbs_greeting_decode(guarded_copy(bytes, n), n, &decoded), 1);
        ASSERT_EQ(decoded.caps, greeting.caps);
        ASSERT_EQ(decoded.max_length, IVBS_LENGTH_MAX);
        ASSERT_EQ(decoded.idle_limit_ms, 30000);
        ASSERT_MEMEQ(decoded.boot_id, greeting.boot_id, IVBS_UUID_SIZE);
        ASSERT_MEMEQ(decoded.instance_id, greeting.instance_id, IVBS_UUID_SIZE);

        bytes[0] = 'i';
        ASSERT_EQ(ivbs_greeting_decode(bytes, IVBS_GREETING_SIZE, &decoded), 0);
}

static void capability_bits(void) {
        ASSERT_EQ(IVBS_CAP_FENCE, 0x40);
        ASSERT_EQ(IVBS_CAP_DURABILITY, 0x80);
        ASSERT_EQ(IVBS_CAP_NOTICE, 0x100);
        ASSERT_EQ(IVBS_CAP_TICKET, 0x200);
        ASSERT_EQ(IVBS_CAP_DRAIN, 0x400);
}

static void hello(void) {
        struct ivbs_hello hello = { .caps = IVBS_CAP_LEASE, .max_length = 65536, .host = "host-1" }, decoded;
        uint8_t bytes[IVBS_HELLO_SIZE];
        struct ivbs_hello_reply reply;

        fill(hello.machine_id, 0xa0);
        fill(hello.boot_id, 0xb0);
        ivbs_hello_encode(&hello, bytes);
        ASSERT_HEX(bytes, IVBS_HELLO_SIZE,
                "0000000000000020 00010000 00000000" UUID_A UUID_B
                "686f73742d310000000000000000000000000000000000000000000000000000");
        ASSERT_NEEDS(bytes, IVBS_HELLO_SIZE, ivbs_hello_decode(data, n, &decoded));
        ASSERT_EQ(decoded.caps, IVBS_CAP_LEASE);
        ASSERT_EQ(decoded.max_length, 65536);
        ASSERT_STREQ(decoded.host, "host-1");

        /* A host name that fills its field, one that would play with a terminal, and one cut at the field's end. */
        memset(bytes + 48, 'x', IVBS_HOST_SIZE);
        ASSERT_OK(ivbs_hello_decode(bytes, sizeof(bytes), &decoded));
        ASSERT_EQ(strlen(decoded.host), IVBS_HOST_SIZE);
        memcpy(bytes + 48, "\x1b[2J\nx\x80", 8);
        ASSERT_OK(ivbs_hello_decode(bytes, sizeof(bytes), &decoded));
        ASSERT_STREQ(decoded.host, "?[2J?x?");
        memset(hello.host, 'y', IVBS_HOST_SIZE);
        hello.host[IVBS_HOST_SIZE] = '\0';
        ivbs_hello_encode(&hello, bytes);
        ASSERT_OK(ivbs_hello_decode(bytes, sizeof(bytes), &decoded));
        ASSERT_STREQ(decoded.host, hello.host);

        ivbs_hello_reply_encode(&(struct ivbs_hello_reply){ IVBS_CAP_TRIM | IVBS_CAP_FUA, IVBS_HELLO_DRAINED }, bytes);
        ASSERT_HEX(bytes, IVBS_HELLO_REPLY_SIZE, "0000000000000006 00000001 00000000");
        ASSERT_NEEDS(bytes, IVBS_HELLO_REPLY_SIZE, ivbs_hello_reply_decode(data, n, &reply));
        ASSERT_EQ(reply.caps, 6);
        ASSERT_EQ(reply.flags, IVBS_HELLO_DRAINED);
}

static void identity(void) {
        struct ivbs_identity identity = { .mount_instance = 7, .error_epoch = UINT64_MAX }, decoded;
        uint8_t bytes[IVBS_IDENTITY_SIZE];

        fill(identity.boot_id, 0xa0);
        fill(identity.store_uuid, 0xb0);
        ivbs_identity_encode(&identity, bytes);
        ASSERT_HEX(bytes, IVBS_IDENTITY_SIZE, UUID_A UUID_B "0000000000000007 ffffffffffffffff");
        ASSERT_NEEDS(bytes, IVBS_IDENTITY_SIZE, ivbs_identity_decode(data, n, &decoded));
        ASSERT_MEMEQ(decoded.store_uuid, identity.store_uuid, IVBS_UUID_SIZE);
        ASSERT_EQ(decoded.mount_instance, 7);
        ASSERT_EQ(decoded.error_epoch, UINT64_MAX);
}

static void lease(void) {
        struct ivbs_lease lease = { .flags = IVBS_LEASE_READ_ONLY | IVBS_LEASE_STEAL, .name = "disk1" }, decoded;
        uint8_t bytes[IVBS_LEASE_SIZE], expected[IVBS_LEASE_SIZE] = { 0, 0, 0, 3 };

        put_name(expected + 8, "disk1");
        ASSERT_OK(ivbs_lease_encode(&lease, bytes));
        ASSERT_MEMEQ(bytes, expected, sizeof(bytes));
        ASSERT_NEEDS(bytes, IVBS_LEASE_SIZE, ivbs_lease_decode(data, n, &decoded));
        ASSERT_EQ(decoded.flags, 3);
        ASSERT_STREQ(decoded.name, "disk1");

        strcpy(lease.name, "a/b");
        ASSERT_ERROR(ivbs_lease_encode(&lease, bytes), EINVAL);
        put_name(bytes + 8, "..");
        ASSERT_ERROR(ivbs_lease_decode(bytes, sizeof(bytes), &decoded), EBADMSG);
        put_name(bytes + 8, "");
        ASSERT_ERROR(ivbs_lease_decode(bytes, sizeof(bytes), &decoded), EBADMSG);
        memset(bytes + 8, 'x', IVBS_IMAGE_NAME_SIZE);
        ASSERT_ERROR(ivbs_lease_decode(bytes, sizeof(bytes), &decoded), EBADMSG);
        ASSERT_STREQ(decoded.name, "disk1");
}

static void resume(void) {
        struct ivbs_resume resume = { .flags = IVBS_LEASE_READ_ONLY,
                .generation = 0x0102030405060708,
                .name = "disk1" },
                           decoded;
        uint8_t bytes[IVBS_RESUME_SIZE];

        fill(resume.token, 0xb0);
        ASSERT_OK(ivbs_resume_encode(&resume, bytes));
        ASSERT_HEX(bytes, 48, "00000001 00000000" UUID_B "0102030405060708 0000000000000000 6469736b31000000");
        ASSERT_NEEDS(bytes, IVBS_RESUME_SIZE, ivbs_resume_decode(data, n, &decoded));
        ASSERT_EQ(decoded.generation, resume.generation);
        ASSERT_MEMEQ(decoded.token, resume.token, IVBS_UUID_SIZE);
        ASSERT_STREQ(decoded.name, "disk1");

        put_name(bytes + 40, "x\n");
        ASSERT_ERROR(ivbs_resume_decode(bytes, sizeof(bytes), &decoded), EBADMSG);
        strcpy(resume.name, "");
        ASSERT_ERROR(ivbs_resume_encode(&resume, bytes), EINVAL);
}

static void lease_reply(void) {
        struct ivbs_lease_reply reply = { .size = UINT64_C(1) << 30,
                .flags = IVBS_IMAGE_DURABLE_ACKS,
                .block_size = 4096,
                .generation = 9,
                .size_epoch = 5 },
                                decoded = { .size = 4711 };
        static const uint64_t sizes[] = { 0, UINT64_C(1) << 63, UINT64_MAX };
        static const uint32_t block_sizes[] = { 0, 1, 256, 513, 4095, 131072, UINT32_MAX };
        uint8_t bytes[IVBS_LEASE_REPLY_SIZE];

        fill(reply.uuid, 0xa0);
        fill(reply.token, 0xb0);
        reply.identity.error_epoch = 1;
        ivbs_lease_reply_encode(&reply, bytes);
        ASSERT_HEX(bytes, IVBS_LEASE_REPLY_SIZE,
                "0000000040000000 00000002 00001000" UUID_A UUID_B "0000000000000009 0000000000000005"
                "00000000000000000000000000000000 00000000000000000000000000000000 0000000000000000 0000000000000001");

        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                struct ivbs_lease_reply bad = reply;

                bad.size = sizes[i];
                ivbs_lease_reply_encode(&bad, bytes);
                ASSERT_ERROR(ivbs_lease_reply_decode(bytes, sizeof(bytes), &decoded), ERANGE);
        }
        for (size_t i = 0; i < sizeof(block_sizes) / sizeof(block_sizes[0]); i++) {
                struct ivbs_lease_reply bad = reply;

                bad.block_size = block_sizes[i];
                ivbs_lease_reply_encode(&bad, bytes);
                ASSERT_ERROR(ivbs_lease_reply_decode(bytes, sizeof(bytes), &decoded), ERANGE);
        }
        ASSERT_EQ(decoded.size, 4711);

        ivbs_lease_reply_encode(&reply, bytes);
        ASSERT_NEEDS(bytes, IVBS_LEASE_REPLY_SIZE, ivbs_lease_reply_decode(data, n, &decoded));
        ASSERT_EQ(decoded.size, reply.size);
        ASSERT_EQ(decoded.block_size, 4096);
        ASSERT_EQ(decoded.generation, 9);
        ASSERT_EQ(decoded.size_epoch, 5);
        ASSERT_EQ(decoded.identity.error_epoch, 1);
}

static void holder(void) {
        struct ivbs_holder holder = { .since_usec = 1, .host = "other" }, decoded;
        uint8_t bytes[IVBS_HOLDER_SIZE];

        fill(holder.machine_id, 0xa0);
        fill(holder.boot_id, 0xb0);
        ivbs_holder_encode(&holder, bytes);
        ASSERT_HEX(bytes, IVBS_HOLDER_SIZE,
                UUID_A UUID_B "0000000000000001 6f74686572000000000000000000000000000000000000000000000000000000");
        ASSERT_NEEDS(bytes, IVBS_HOLDER_SIZE, ivbs_holder_decode(data, n, &decoded));
        ASSERT_EQ(decoded.since_usec, 1);
        ASSERT_STREQ(decoded.host, "other");
}

static void list_images(void) {
        uint8_t bytes[IVBS_LIST_IMAGES_SIZE];
        char after[IVBS_IMAGE_NAME_SIZE];
        uint32_t limit;

        ASSERT_OK(ivbs_list_images_encode(NULL, 256, bytes));
        ASSERT_HEX(bytes, 16, "00000100 00000000 0000000000000000");
        ASSERT_NEEDS(bytes, IVBS_LIST_IMAGES_SIZE, ivbs_list_images_decode(data, n, after, &limit));
        ASSERT_STREQ(after, "");
        ASSERT_EQ(limit, 256);

        ASSERT_OK(ivbs_list_images_encode("disk1", 1, bytes));
        ASSERT_OK(ivbs_list_images_decode(bytes, sizeof(bytes), after, &limit));
        ASSERT_STREQ(after, "disk1");
        ASSERT_EQ(limit, 1);

        ASSERT_ERROR(ivbs_list_images_encode("a/b", 1, bytes), EINVAL);
        ASSERT_OK(ivbs_list_images_encode("disk2", 0, bytes));
        ASSERT_ERROR(ivbs_list_images_decode(bytes, sizeof(bytes), after, &limit), EBADMSG);
        ASSERT_OK(ivbs_list_images_encode("disk2", 257, bytes));
        ASSERT_ERROR(ivbs_list_images_decode(bytes, sizeof(bytes), after, &limit), EBADMSG);
        ASSERT_OK(ivbs_list_images_encode("disk2", 1, bytes));
        bytes[8] = '/';
        ASSERT_ERROR(ivbs_list_images_decode(bytes, sizeof(bytes), after, &limit), EBADMSG);
        ASSERT_STREQ(after, "disk1");
}

static void listed_images(void) {
        struct ivbs_listed_image image = { .size = 512, .used = 0, .flags = IVBS_LISTED_ATTACHED, .name = "disk1" },
                                 decoded = { .size = 4711 };
        uint8_t bytes[8 + 2 * IVBS_LISTED_IMAGE_SIZE_MAX];
        size_t end, offset;
        uint32_t count;
        bool more;

        fill(image.uuid, 0xa0);
        ivbs_list_reply_start_encode(2, true, bytes);
        end = 8 + ivbs_listed_image_encode(&image, bytes + 8);
        ASSERT_HEX(bytes, end,
                "00000002 00000001" UUID_A "0000000000000200 0000000000000000 00000001 0005 0000 6469736b31");

        memset(image.name, 'x', IVBS_IMAGE_NAME_SIZE - 1);
        end += ivbs_listed_image_encode(&image, bytes + end);
        ASSERT_EQ(end, 8 + 45 + 40 + 255);

        ASSERT_NEEDS(bytes, 8, ivbs_list_reply_start_decode(data, n, &count, &more));
        ASSERT_EQ(count, 2);
        ASSERT_TRUE(more);

        offset = 8;
        ASSERT_OK(ivbs_listed_image_decode(bytes, end, &offset, &decoded));
        ASSERT_STREQ(decoded.name, "disk1");
        ASSERT_EQ(decoded.size, 512);
        ASSERT_EQ(decoded.flags, IVBS_LISTED_ATTACHED);
        ASSERT_EQ(offset, 53);
        ASSERT_OK(ivbs_listed_image_decode(bytes, end, &offset, &decoded));
        ASSERT_EQ(strlen(decoded.name), 255);
        ASSERT_EQ(offset, end);

        /* At the end, beyond it, and at every cut: the offset stays. */
        ASSERT_ERROR(ivbs_listed_image_decode(bytes, end, &offset, &decoded), EBADMSG);
        ASSERT_EQ(offset, end);
        offset = end + 1;
        ASSERT_ERROR(ivbs_listed_image_decode(bytes, end, &offset, &decoded), EBADMSG);
        offset = SIZE_MAX;
        ASSERT_ERROR(ivbs_listed_image_decode(bytes, end, &offset, &decoded), EBADMSG);
        for (size_t cut = 8; cut < 53; cut++) {
                offset = 8;
                ASSERT_ERROR(ivbs_listed_image_decode(guarded_copy(bytes, cut), cut, &offset, &decoded), EBADMSG);
                ASSERT_EQ(offset, 8);
        }

        /* Names: NUL within, a slash, length 0, 256 and 65535. */
        offset = 8;
        bytes[8 + 40] = 0;
        ASSERT_ERROR(ivbs_listed_image_decode(bytes, end, &offset, &decoded), EBADMSG);
        bytes[8 + 40] = '/';
        ASSERT_ERROR(ivbs_listed_image_decode(bytes, end, &offset, &decoded), EBADMSG);
        bytes[8 + 40] = 'd';
        bytes[8 + 37] = 0;
        ASSERT_ERROR(ivbs_listed_image_decode(bytes, end, &offset, &decoded), EBADMSG);
        bytes[8 + 36] = 1;
        ASSERT_ERROR(ivbs_listed_image_decode(bytes, end, &offset, &decoded), EBADMSG);
        bytes[8 + 36] = bytes[8 + 37] = 0xff;
        ASSERT_ERROR(ivbs_listed_image_decode(bytes, end, &offset, &decoded), EBADMSG);

        ivbs_list_reply_start_encode(IVBS_IMAGES_PER_LIST + 1, false, bytes);
        ASSERT_ERROR(ivbs_list_reply_start_decode(bytes, 8, &count, &more), EBADMSG);
        ivbs_list_reply_start_encode(UINT32_MAX, false, bytes);
        ASSERT_ERROR(ivbs_list_reply_start_decode(bytes, 8, &count, &more), EBADMSG);
        ASSERT_EQ(count, 2);
}

static void create_and_remove(void) {
        struct ivbs_create_image create = { .size = 4096, .name = "disk1" }, created;
        struct ivbs_remove_image remove_image = { .name = "disk1" }, removed;
        static const uint64_t sizes[] = { 0, UINT64_C(1) << 63, UINT64_MAX };
        uint8_t bytes[IVBS_REMOVE_IMAGE_SIZE];

        ASSERT_OK(ivbs_create_image_encode(&create, bytes));
        ASSERT_HEX(bytes, 24, "0000000000001000 00000000 00000000 6469736b31000000");
        ASSERT_NEEDS(bytes, IVBS_CREATE_IMAGE_SIZE, ivbs_create_image_decode(data, n, &created));
        ASSERT_EQ(created.size, 4096);
        ASSERT_STREQ(created.name, "disk1");

        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                create.size = sizes[i];
                ASSERT_OK(ivbs_create_image_encode(&create, bytes));
                ASSERT_ERROR(ivbs_create_image_decode(bytes, IVBS_CREATE_IMAGE_SIZE, &created), ERANGE);
        }
        strcpy(create.name, "../x");
        ASSERT_ERROR(ivbs_create_image_encode(&create, bytes), EINVAL);

        fill(remove_image.uuid, 0xa0);
        ASSERT_OK(ivbs_remove_image_encode(&remove_image, bytes));
        ASSERT_HEX(bytes, 32, "00000000 00000000" UUID_A "6469736b31000000");
        ASSERT_NEEDS(bytes, IVBS_REMOVE_IMAGE_SIZE, ivbs_remove_image_decode(data, n, &removed));
        ASSERT_MEMEQ(removed.uuid, remove_image.uuid, IVBS_UUID_SIZE);
        put_name(bytes + 24, "/");
        ASSERT_ERROR(ivbs_remove_image_decode(bytes, IVBS_REMOVE_IMAGE_SIZE, &removed), EBADMSG);
        ASSERT_STREQ(removed.name, "disk1");
}

static void zeroes_fence_drain_notice(void) {
        struct ivbs_zeroes zeroes = { .offset = 512,
                .length = UINT64_MAX,
                .flags = IVBS_ZEROES_FUA | IVBS_ZEROES_NO_HOLE },
                           decoded;
        struct ivbs_notice notice = { .kind = IVBS_NOTICE_DRAIN, .value = 2000 }, noticed;
        uint8_t bytes[IVBS_ZEROES_SIZE], token[IVBS_UUID_SIZE], decoded_token[IVBS_UUID_SIZE];
        uint64_t generation;
        uint32_t flags;

        ivbs_zeroes_encode(&zeroes, bytes);
        ASSERT_HEX(bytes, IVBS_ZEROES_SIZE, "0000000000000200 ffffffffffffffff 00000003 00000000");
        ASSERT_NEEDS(bytes, IVBS_ZEROES_SIZE, ivbs_zeroes_decode(data, n, &decoded));
        ASSERT_EQ(decoded.offset, 512);
        ASSERT_EQ(decoded.length, UINT64_MAX);
        ASSERT_EQ(decoded.flags, 3);

        fill(token, 0xb0);
        ivbs_fence_encode(token, 3, bytes);
        ASSERT_HEX(bytes, IVBS_FENCE_SIZE, UUID_B "0000000000000003");
        ASSERT_NEEDS(bytes, IVBS_FENCE_SIZE, ivbs_fence_decode(data, n, decoded_token, &generation));
        ASSERT_MEMEQ(decoded_token, token, IVBS_UUID_SIZE);
        ASSERT_EQ(generation, 3);

        ivbs_fence_reply_encode(0x0102030405060708, bytes);
        ASSERT_HEX(bytes, IVBS_FENCE_REPLY_SIZE, "0102030405060708");
        ASSERT_NEEDS(bytes, IVBS_FENCE_REPLY_SIZE, ivbs_fence_reply_decode(data, n, &generation));
        ASSERT_EQ(generation, 0x0102030405060708);
        ivbs_fence_reply_encode(0, bytes);
        ASSERT_ERROR(ivbs_fence_reply_decode(bytes, IVBS_FENCE_REPLY_SIZE, &generation), ERANGE);
        ASSERT_EQ(generation, 0x0102030405060708);

        ivbs_drain_encode(IVBS_DRAIN_UNDO, bytes);
        ASSERT_HEX(bytes, IVBS_DRAIN_SIZE, "00000001 00000000");
        ASSERT_NEEDS(bytes, IVBS_DRAIN_SIZE, ivbs_drain_decode(data, n, &flags));
        ASSERT_EQ(flags, 1);

        ivbs_notice_encode(&notice, bytes);
        ASSERT_HEX(bytes, IVBS_NOTICE_LENGTH, "00000001 00000000 00000000000007d0");
        ASSERT_NEEDS(bytes, IVBS_NOTICE_LENGTH, ivbs_notice_decode(data, n, &noticed));
        ASSERT_EQ(noticed.kind, IVBS_NOTICE_DRAIN);
        ASSERT_EQ(noticed.value, 2000);
}

static void resize(void) {
        struct ivbs_resize_image wish = { .size = 8192, .flags = IVBS_RESIZE_SHRINK, .name = "disk1" }, read;
        struct ivbs_notice notice = { IVBS_NOTICE_SIZE, 8192, 3 }, noticed;
        static const uint64_t sizes[] = { 0, UINT64_C(1) << 63, UINT64_MAX };
        struct ivbs_resize_reply reply = { 8192, 3 }, replied;
        uint8_t bytes[IVBS_RESIZE_IMAGE_SIZE];

        fill(wish.uuid, 0xa0);
        ASSERT_OK(ivbs_resize_image_encode(&wish, bytes));
        ASSERT_HEX(bytes, 40, "0000000000002000 00000001 00000000" UUID_A "6469736b31000000");
        ASSERT_NEEDS(bytes, IVBS_RESIZE_IMAGE_SIZE, ivbs_resize_image_decode(data, n, &read));
        ASSERT_EQ(read.size, 8192);
        ASSERT_EQ(read.flags, IVBS_RESIZE_SHRINK);
        ASSERT_MEMEQ(read.uuid, wish.uuid, IVBS_UUID_SIZE);
        ASSERT_STREQ(read.name, "disk1");
        put_name(bytes + 32, "/");
        ASSERT_ERROR(ivbs_resize_image_decode(bytes, IVBS_RESIZE_IMAGE_SIZE, &read), EBADMSG);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                wish.size = reply.size = sizes[i];
                ASSERT_OK(ivbs_resize_image_encode(&wish, bytes));
                ASSERT_ERROR(ivbs_resize_image_decode(bytes, IVBS_RESIZE_IMAGE_SIZE, &read), ERANGE);
                ivbs_resize_reply_encode(&reply, bytes);
                ASSERT_ERROR(ivbs_resize_reply_decode(bytes, IVBS_RESIZE_REPLY_SIZE, &replied), ERANGE);
        }
        ASSERT_EQ(read.size, 8192);
        strcpy(wish.name, "../x");
        ASSERT_ERROR(ivbs_resize_image_encode(&wish, bytes), EINVAL);

        reply.size = 8192;
        ivbs_resize_reply_encode(&reply, bytes);
        ASSERT_HEX(bytes, IVBS_RESIZE_REPLY_SIZE, "0000000000002000 0000000000000003");
        ASSERT_NEEDS(bytes, IVBS_RESIZE_REPLY_SIZE, ivbs_resize_reply_decode(data, n, &replied));
        ASSERT_EQ(replied.size, 8192);
        ASSERT_EQ(replied.size_epoch, 3);

        ivbs_notice_size_encode(&notice, bytes);
        ASSERT_HEX(bytes, IVBS_NOTICE_SIZE_LENGTH, "00000002 00000000 0000000000002000 0000000000000003");
        ASSERT_OK(ivbs_notice_decode(bytes, IVBS_NOTICE_SIZE_LENGTH, &noticed));
        ASSERT_EQ(noticed.size_epoch, 3);
        /* From who tells no epochs. */
        ASSERT_OK(ivbs_notice_decode(bytes, IVBS_NOTICE_SIZE_LENGTH - 1, &noticed));
        ASSERT_EQ(noticed.value, 8192);
        ASSERT_EQ(noticed.size_epoch, 0);
}

static void proxies(void) {
        struct ivbs_proxy list[3] = { { .priority = 1, .address = "10.0.0.1:11417" },
                { .priority = 65535, .flags = 7, .address = "[::1]:1" } };
        struct ivbs_proxy decoded[IVBS_PROXIES_MAX];
        uint8_t *bytes = malloc(IVBS_PROXIES_SIZE_MAX);
        size_t n;

        ASSERT_TRUE(bytes);
        n = ivbs_proxies_encode(list, 2, bytes);
        ASSERT_HEX(bytes, n,
                "4956425350525831 00000002 00000000"
                "000e 0001 00000000 31302e302e302e313a3131343137"
                "0007 ffff 00000007 5b3a3a315d3a31");

        ASSERT_EQ(ivbs_proxies_decode(bytes, n, decoded, IVBS_PROXIES_MAX), 2);
        ASSERT_STREQ(decoded[0].address, "10.0.0.1:11417");
        ASSERT_EQ(decoded[0].priority, 1);
        ASSERT_STREQ(decoded[1].address, "[::1]:1");
        ASSERT_EQ(decoded[1].flags, 7);
        ASSERT_EQ(ivbs_proxies_decode(bytes, n, decoded, 1), 1);
        ASSERT_EQ(ivbs_proxies_decode(bytes, n, decoded, 0), 0);

        /* Cut anywhere: what was whole is kept. */
        for (size_t cut = 0; cut < n; cut++)
                ASSERT_EQ(ivbs_proxies_decode(guarded_copy(bytes, cut), cut, decoded, IVBS_PROXIES_MAX),
                        (size_t) (cut >= 16 + 8 + 14));

        /* An entry that is no address is passed over; the next one is found. */
        bytes[16 + 8] = '\n';
        ASSERT_EQ(ivbs_proxies_decode(bytes, n, decoded, IVBS_PROXIES_MAX), 1);
        ASSERT_STREQ(decoded[0].address, "[::1]:1");

        /* More promised than there is, and another layout. */
        memset(bytes + 8, 0xff, 4);
        ASSERT_EQ(ivbs_proxies_decode(guarded_copy(bytes, n), n, decoded, IVBS_PROXIES_MAX), 1);
        bytes[7] = '2';
        ASSERT_EQ(ivbs_proxies_decode(bytes, n, decoded, IVBS_PROXIES_MAX), 0);
        free(bytes);
}

static void too_many_proxies(void) {
        struct ivbs_proxy *list = calloc(IVBS_PROXIES_MAX + 1, sizeof(*list)), decoded[IVBS_PROXIES_MAX];
        uint8_t *bytes = malloc(IVBS_PROXIES_SIZE_MAX);
        size_t n;

        ASSERT_TRUE(list && bytes);
        for (unsigned i = 0; i <= IVBS_PROXIES_MAX; i++)
                memset(list[i].address, 'a', IVBS_PROXY_ADDRESS_MAX);

        n = ivbs_proxies_encode(list, IVBS_PROXIES_MAX + 1, bytes);
        ASSERT_EQ(n, IVBS_PROXIES_SIZE_MAX);
        ASSERT_EQ(ivbs_proxies_decode(bytes, n, decoded, IVBS_PROXIES_MAX), IVBS_PROXIES_MAX);
        ASSERT_EQ(strlen(decoded[IVBS_PROXIES_MAX - 1].address), IVBS_PROXY_ADDRESS_MAX);
        free(list);
        free(bytes);
}

TEST_MAIN(TEST(greeting), TEST(capability_bits), TEST(hello), TEST(identity), TEST(lease), TEST(resume),
        TEST(lease_reply), TEST(holder), TEST(list_images), TEST(listed_images), TEST(create_and_remove), TEST(resize),
        TEST(zeroes_fence_drain_notice), TEST(proxies), TEST(too_many_proxies));
