/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The classic codec against packets written out by hand from the protocol's tables, and against what a hostile peer would send. */

#include "guarded.h"
#include "hex.h"
#include "ivbs.h"
#include "test.h"

#define SESSION "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

static void make_header(struct ivbs_header *ret, uint32_t op, uint32_t status, uint32_t length, uint32_t sequence) {
        *ret = (struct ivbs_header){ .op = op, .status = status, .length = length, .sequence = sequence };
        for (unsigned i = 0; i < IVBS_SESSION_ID_SIZE; i++)
                ret->session_id[i] = (uint8_t) i;
}

static void headers(void) {
        static const struct {
                uint32_t op, status, length, sequence;
                const char *hex;
        } vectors[] = {
                { IVBS_OP_GREETING, 0, 0, 0, "00000001000000000000000000000000" },
                { IVBS_OP_KEEPALIVE, 0, 0, 5, "00000002000000000000000000000005" },
                { IVBS_OP_LOGIN, 0, 160, 1, "0000006400000000000000a000000001" },
                { IVBS_OP_LOGIN, IVBS_STATUS_OK, 0, 1, "00000064000000000000000000000001" },
                { IVBS_OP_LOGIN, IVBS_STATUS_PERMISSION_DENIED, 0, 1, "00000064000000040000000000000001" },
                { IVBS_OP_ATTACH_TO_IMAGE, 0, 256, 2, "000000c8000000000000010000000002" },
                { IVBS_OP_READ, 0, 16, 3, "0000012c000000000000001000000003" },
                { IVBS_OP_WRITE, 0, 12, 4, "0000012d000000000000000c00000004" },
                { IVBS_OP_WRITE, IVBS_STATUS_OK, 0, 4, "0000012d000000000000000000000004" },
                { IVBS_OP_READ, IVBS_STATUS_TEMPORARY_ERROR, 0, 3, "0000012c0000000a0000000000000003" },
                { UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, "ffffffffffffffffffffffffffffffff" },
        };

        for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
                struct ivbs_header header, decoded;
                uint8_t *data = guarded(IVBS_HEADER_SIZE);

                make_header(&header, vectors[i].op, vectors[i].status, vectors[i].length, vectors[i].sequence);
                ivbs_header_encode(&header, data);
                ASSERT_HEX(data, IVBS_SESSION_ID_SIZE, SESSION);
                ASSERT_HEX(data + IVBS_SESSION_ID_SIZE, 16, vectors[i].hex);

                ivbs_header_decode(data, &decoded);
                ASSERT_MEMEQ(decoded.session_id, header.session_id, IVBS_SESSION_ID_SIZE);
                ASSERT_EQ(decoded.op, vectors[i].op);
                ASSERT_EQ(decoded.status, vectors[i].status);
                ASSERT_EQ(decoded.length, vectors[i].length);
                ASSERT_EQ(decoded.sequence, vectors[i].sequence);
        }
}

static void lengths(void) {
        static const struct {
                uint32_t op, status, length;
                enum ivbs_direction direction;
                int result;
        } cases[] = {
                { IVBS_OP_LOGIN, 0, 160, IVBS_TO_SERVER, 0 },
                { IVBS_OP_LOGIN, 0, 159, IVBS_TO_SERVER, -EMSGSIZE },
                { IVBS_OP_LOGIN, 0, 161, IVBS_TO_SERVER, -EMSGSIZE },
                { IVBS_OP_LOGIN, 0, UINT32_MAX, IVBS_TO_SERVER, -EMSGSIZE },
                { IVBS_OP_ATTACH_TO_IMAGE, 0, 256, IVBS_TO_SERVER, 0 },
                { IVBS_OP_ATTACH_TO_IMAGE, 0, 255, IVBS_TO_SERVER, -EMSGSIZE },
                { IVBS_OP_ATTACH_TO_IMAGE, 0, 0, IVBS_TO_SERVER, -EMSGSIZE },
                { IVBS_OP_ATTACH_TO_IMAGE, 0, 264, IVBS_TO_CLIENT, 0 },
                { IVBS_OP_ATTACH_TO_IMAGE, 0, 265, IVBS_TO_CLIENT, 0 },
                { IVBS_OP_ATTACH_TO_IMAGE, 0, 263, IVBS_TO_CLIENT, -EMSGSIZE },
                { IVBS_OP_ATTACH_TO_IMAGE, IVBS_STATUS_NOT_FOUND, 0, IVBS_TO_CLIENT, 0 },
                { IVBS_OP_ATTACH_TO_IMAGE, IVBS_STATUS_NOT_FOUND, 4096, IVBS_TO_CLIENT, 0 },
                { IVBS_OP_ATTACH_TO_IMAGE, IVBS_STATUS_NOT_FOUND, 4097, IVBS_TO_CLIENT, -EMSGSIZE },
                { IVBS_OP_READ, 0, 16, IVBS_TO_SERVER, 0 },
                { IVBS_OP_READ, 0, 15, IVBS_TO_SERVER, -EMSGSIZE },
                { IVBS_OP_READ, 0, IVBS_DATA_MAX, IVBS_TO_CLIENT, 0 },
                { IVBS_OP_READ, 0, IVBS_DATA_MAX + 1, IVBS_TO_CLIENT, -EMSGSIZE },
                { IVBS_OP_READ, 0, UINT32_MAX, IVBS_TO_CLIENT, -EMSGSIZE },
                { IVBS_OP_READ, IVBS_STATUS_PERMANENT_ERROR, IVBS_DATA_MAX, IVBS_TO_CLIENT, -EMSGSIZE },
                { IVBS_OP_WRITE, 0, 8, IVBS_TO_SERVER, -EMSGSIZE },
                { IVBS_OP_WRITE, 0, 9, IVBS_TO_SERVER, 0 },
                { IVBS_OP_WRITE, 0, IVBS_LENGTH_MAX, IVBS_TO_SERVER, 0 },
                { IVBS_OP_WRITE, 0, IVBS_LENGTH_MAX + 1, IVBS_TO_SERVER, -EMSGSIZE },
                { IVBS_OP_WRITE, 0, UINT32_MAX, IVBS_TO_SERVER, -EMSGSIZE },
                { IVBS_OP_WRITE, 0, 0, IVBS_TO_CLIENT, 0 },
                { IVBS_OP_KEEPALIVE, 0, 0, IVBS_TO_SERVER, 0 },
                { IVBS_OP_KEEPALIVE, 0, 0, IVBS_TO_CLIENT, 0 },
                { IVBS_OP_KEEPALIVE, 0, UINT32_MAX, IVBS_TO_SERVER, -EMSGSIZE },
                { IVBS_OP_GREETING, 0, 0, IVBS_TO_CLIENT, 0 },
                { IVBS_OP_GREETING, 0, 100000, IVBS_TO_CLIENT, -EMSGSIZE },
                { IVBS_OP_GREETING, 0, 0, IVBS_TO_SERVER, -EOPNOTSUPP },
                { IVBS_OP_GREETING, 0, UINT32_MAX, IVBS_TO_SERVER, -EMSGSIZE },
                { IVBS_OP_LIST_PROXIES, 0, 5000, IVBS_TO_CLIENT, 0 },
                { IVBS_OP_LIST_PROXIES, 0, UINT32_MAX, IVBS_TO_CLIENT, -EMSGSIZE },
                { IVBS_OP_FLUSH, 0, 0, IVBS_TO_SERVER, 0 },
                { IVBS_OP_FLUSH, 0, 0, IVBS_TO_CLIENT, 0 },
                { IVBS_OP_FLUSH, 0, 1, IVBS_TO_CLIENT, -EMSGSIZE },
                { IVBS_OP_FLUSH, 0, 47, IVBS_TO_CLIENT, -EMSGSIZE },
                { IVBS_OP_FLUSH, 0, 48, IVBS_TO_CLIENT, 0 },
                { IVBS_OP_FLUSH, 0, 48 + 4096, IVBS_TO_CLIENT, 0 },
                { IVBS_OP_FLUSH, 0, 48 + 4097, IVBS_TO_CLIENT, -EMSGSIZE },
                { IVBS_OP_FLUSH, IVBS_STATUS_PERMANENT_ERROR, 0, IVBS_TO_CLIENT, 0 },
                { IVBS_OP_FLUSH, IVBS_STATUS_PERMANENT_ERROR, 48, IVBS_TO_CLIENT, 0 },
                { IVBS_OP_FENCE, 0, 23, IVBS_TO_SERVER, -EMSGSIZE },
                { IVBS_OP_FENCE, 0, 24, IVBS_TO_SERVER, 0 },
                { IVBS_OP_FENCE, 0, 7, IVBS_TO_CLIENT, -EMSGSIZE },
                { IVBS_OP_FENCE, 0, 8, IVBS_TO_CLIENT, 0 },
                { IVBS_OP_FENCE, IVBS_STATUS_EXPIRED, 0, IVBS_TO_CLIENT, 0 },
                { IVBS_OP_LOGIN, 0, 0, IVBS_TO_CLIENT, 0 },
                { IVBS_OP_LOGIN, 0, 256, IVBS_TO_CLIENT, 0 },
                { IVBS_OP_LOGIN_TICKET, 0, 0, IVBS_TO_SERVER, -EMSGSIZE },
                { IVBS_OP_LOGIN_TICKET, 0, 1, IVBS_TO_SERVER, 0 },
                { IVBS_OP_LOGIN_TICKET, 0, 256, IVBS_TO_SERVER, 0 },
                { IVBS_OP_LOGIN_TICKET, 0, 257, IVBS_TO_SERVER, -EMSGSIZE },
                { IVBS_OP_LOGIN_TICKET, 0, UINT32_MAX, IVBS_TO_SERVER, -EMSGSIZE },
                { IVBS_OP_LOGIN_TICKET, 0, 0, IVBS_TO_CLIENT, 0 },
                { IVBS_OP_LOGIN_TICKET, 0, 256, IVBS_TO_CLIENT, 0 },
                { IVBS_OP_LOGIN_TICKET, 0, 4097, IVBS_TO_CLIENT, -EMSGSIZE },
                { IVBS_OP_DRAIN, 0, 7, IVBS_TO_SERVER, -EMSGSIZE },
                { IVBS_OP_DRAIN, 0, 8, IVBS_TO_SERVER, 0 },
                { IVBS_OP_DRAIN, 0, 0, IVBS_TO_CLIENT, 0 },
                { IVBS_OP_DRAIN, IVBS_STATUS_PERMISSION_DENIED, 0, IVBS_TO_CLIENT, 0 },
                { 0, 0, 0, IVBS_TO_SERVER, -EOPNOTSUPP },
                { 299, 0, IVBS_LENGTH_MAX, IVBS_TO_CLIENT, -EOPNOTSUPP },
                { 299, 0, IVBS_LENGTH_MAX + 1, IVBS_TO_CLIENT, -EMSGSIZE },
                { UINT32_MAX, 0, UINT32_MAX, IVBS_TO_SERVER, -EMSGSIZE },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct ivbs_header header;

                make_header(&header, cases[i].op, cases[i].status, cases[i].length, 1);
                if (ivbs_header_check(&header, cases[i].direction) != cases[i].result)
                        TEST_FAIL("case %zu: op %u, length %u gave %d, expected %d", i, cases[i].op, cases[i].length,
                                ivbs_header_check(&header, cases[i].direction), cases[i].result);
        }
}

static void names_of_ops_and_statuses(void) {
        ASSERT_STREQ(ivbs_op_to_string(IVBS_OP_GREETING), "GREETING");
        ASSERT_STREQ(ivbs_op_to_string(IVBS_OP_ATTACH_TO_IMAGE), "ATTACH_TO_IMAGE");
        ASSERT_STREQ(ivbs_op_to_string(IVBS_OP_WRITE_FUA), "WRITE_FUA");
        ASSERT_STREQ(ivbs_op_to_string(1100), "LOGIN_TICKET");
        ASSERT_STREQ(ivbs_op_to_string(1220), "DRAIN");
        ASSERT_STREQ(ivbs_op_to_string(0), "unknown");
        ASSERT_STREQ(ivbs_op_to_string(UINT32_MAX), "unknown");

        ASSERT_STREQ(ivbs_status_to_string(IVBS_STATUS_OK), "OK");
        ASSERT_STREQ(ivbs_status_to_string(IVBS_STATUS_USE_ANOTHER_PROXY), "USE_ANOTHER_PROXY");
        ASSERT_STREQ(ivbs_status_to_string(7), "unknown");
}

static void only_ok_is_success(void) {
        ASSERT_EQ(ivbs_status_to_errno(IVBS_STATUS_OK), 0);
        ASSERT_EQ(ivbs_status_to_errno(IVBS_STATUS_READ_ONLY), -EROFS);
        ASSERT_EQ(ivbs_status_to_errno(IVBS_STATUS_NO_SPACE), -ENOSPC);

        for (uint32_t status = 1; status < 1000; status++)
                ASSERT_TRUE(ivbs_status_to_errno(status) < 0);
        ASSERT_EQ(ivbs_status_to_errno(UINT32_MAX), -EIO);
}

static void login(void) {
        uint8_t *data = guarded(IVBS_LOGIN_SIZE), before[IVBS_LOGIN_SIZE];
        char password[IVBS_PASSWORD_SIZE], user[IVBS_USER_SIZE + 1], decoded[IVBS_PASSWORD_SIZE];

        ASSERT_OK(ivbs_hash_password("secret", 6, password));
        ASSERT_MEMEQ(password,
                "bd2b1aaf7ef4f09be9f52ce2d8d599674d81aa9d6a4421696dc4d93dd0619d682ce56b4d64a9ef097761ced99e0f67265b5f7"
                "6085e5b0ee7ca4696b2ad6fe2b2",
                IVBS_PASSWORD_SIZE);

        ASSERT_OK(ivbs_login_encode("alice", password, data));
        ASSERT_HEX(data, IVBS_USER_SIZE, "616c696365000000000000000000000000000000000000000000000000000000");
        ASSERT_MEMEQ(data + IVBS_USER_SIZE, password, IVBS_PASSWORD_SIZE);

        ASSERT_OK(ivbs_login_decode(data, user, decoded));
        ASSERT_STREQ(user, "alice");
        ASSERT_MEMEQ(decoded, password, IVBS_PASSWORD_SIZE);

        /* A name that fills its field has no terminator on the wire. */
        ASSERT_OK(ivbs_login_encode("0123456789abcdef0123456789abcdef", password, data));
        ASSERT_OK(ivbs_login_decode(data, user, decoded));
        ASSERT_STREQ(user, "0123456789abcdef0123456789abcdef");

        ASSERT_ERROR(ivbs_login_encode("", password, data), EINVAL);
        ASSERT_ERROR(ivbs_login_encode("0123456789abcdef0123456789abcdefX", password, data), EINVAL);

        /* No name; a byte behind its end; a control character in it; not hex; upper-case hex; outputs stay as they were. */
        memcpy(before, data, sizeof(before));
        memset(data, 0, IVBS_USER_SIZE);
        ASSERT_ERROR(ivbs_login_decode(data, user, decoded), EBADMSG);
        data[IVBS_USER_SIZE - 1] = 'x';
        data[0] = 'x';
        ASSERT_ERROR(ivbs_login_decode(data, user, decoded), EBADMSG);
        memcpy(data, before, sizeof(before));
        data[3] = '\n';
        ASSERT_ERROR(ivbs_login_decode(data, user, decoded), EBADMSG);
        data[3] = 0x7f;
        ASSERT_ERROR(ivbs_login_decode(data, user, decoded), EBADMSG);
        memcpy(data, before, sizeof(before));
        data[IVBS_LOGIN_SIZE - 1] = 'g';
        ASSERT_ERROR(ivbs_login_decode(data, user, decoded), EBADMSG);
        data[IVBS_LOGIN_SIZE - 1] = 'F';
        ASSERT_ERROR(ivbs_login_decode(data, user, decoded), EBADMSG);
        data[IVBS_LOGIN_SIZE - 1] = 0;
        ASSERT_ERROR(ivbs_login_decode(data, user, decoded), EBADMSG);
        ASSERT_STREQ(user, "0123456789abcdef0123456789abcdef");
        ASSERT_MEMEQ(decoded, password, IVBS_PASSWORD_SIZE);

        /* The empty password has a hash as well, and a NUL may be in one. */
        ASSERT_OK(ivbs_hash_password("", 0, password));
        ASSERT_MEMEQ(password, "cf83e1357eefb8bd", 16);
        ASSERT_OK(ivbs_hash_password("a\0b", 3, decoded));
        ASSERT_OK(ivbs_hash_password("a", 1, password));
        ASSERT_TRUE(memcmp(password, decoded, IVBS_PASSWORD_SIZE) != 0);
}

static char *repeat(char c, size_t n) {
        char *s = malloc(n + 1);

        ASSERT_TRUE(s);
        memset(s, c, n);
        s[n] = '\0';
        return s;
}

static void names_that_are_valid(void) {
        static const char *const names[] = { "a", "disk1", "with blank", "a..b", "b.", "Größe",
                "\xe7\xa3\x81\xe7\x9b\xa4", "\xf0\x9f\x92\xbe", "-x", "a:b", "\\" };
        char *longest = repeat('x', 255);

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                uint8_t *data = guarded(IVBS_IMAGE_NAME_SIZE);
                char decoded[IVBS_IMAGE_NAME_SIZE];

                if (!image_store_name_is_valid(names[i]))
                        TEST_FAIL("\"%s\" is refused", names[i]);
                ASSERT_OK(ivbs_image_name_encode(names[i], data));
                ASSERT_OK(ivbs_image_name_decode(data, decoded));
                ASSERT_STREQ(decoded, names[i]);
        }

        ASSERT_TRUE(image_store_name_is_valid(longest));
        free(longest);
}

static void names_that_are_not(void) {
        static const struct {
                const char *name;
                const char *why;
        } names[] = {
                { "", "empty" },
                { "/", "slash" },
                { "a/b", "slash" },
                { "/etc/passwd", "absolute path" },
                { ".", "this directory" },
                { "..", "parent directory" },
                { "../x", "parent directory" },
                { ".hidden", "begins with a dot" },
                { "a\nb", "new line" },
                { "a\tb", "tabulator" },
                { "\x01", "control character" },
                { "a\x1f", "control character" },
                { "a\x7f", "DEL" },
                { "\xc2\x9bx", "C1 control character" },
                { "\x80", "lonely continuation" },
                { "a\xff", "not UTF-8" },
                { "\xc3", "cut sequence" },
                { "\xe7\xa3", "cut sequence" },
                { "\xf0\x9f\x92", "cut sequence" },
                { "\xc0\xaf", "overlong slash" },
                { "\xe0\x80\xaf", "overlong slash" },
                { "\xf0\x80\x80\xaf", "overlong slash" },
                { "\xed\xa0\x80", "surrogate" },
                { "\xf4\x90\x80\x80", "beyond Unicode" },
                { "\xf8\x88\x80\x80\x80", "five bytes" },
        };
        char *too_long = repeat('x', 256), *far_too_long = repeat('x', 5000);

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                uint8_t *data = guarded(IVBS_IMAGE_NAME_SIZE);
                char decoded[IVBS_IMAGE_NAME_SIZE] = "untouched";

                if (image_store_name_is_valid(names[i].name))
                        TEST_FAIL("accepted: %s", names[i].why);

                memset(data, 0xee, IVBS_IMAGE_NAME_SIZE);
                ASSERT_ERROR(ivbs_image_name_encode(names[i].name, data), EINVAL);
                ASSERT_EQ(data[0], 0xee);

                memset(data, 0, IVBS_IMAGE_NAME_SIZE);
                memcpy(data, names[i].name, strlen(names[i].name));
                ASSERT_ERROR(ivbs_image_name_decode(data, decoded), EBADMSG);
                ASSERT_STREQ(decoded, "untouched");
        }

        ASSERT_FALSE(image_store_name_is_valid(NULL));
        ASSERT_FALSE(image_store_name_is_valid(too_long));
        ASSERT_FALSE(image_store_name_is_valid(far_too_long));
        free(too_long);
        free(far_too_long);
}

static void names_on_the_wire(void) {
        uint8_t *data = guarded(IVBS_IMAGE_NAME_SIZE);
        char decoded[IVBS_IMAGE_NAME_SIZE] = "untouched";

        /* 256 bytes without a terminator, the last of them half a character. */
        memset(data, 'x', IVBS_IMAGE_NAME_SIZE);
        ASSERT_ERROR(ivbs_image_name_decode(data, decoded), EBADMSG);
        data[IVBS_IMAGE_NAME_SIZE - 1] = 0xf0;
        ASSERT_ERROR(ivbs_image_name_decode(data, decoded), EBADMSG);

        /* 255 bytes that end in half a character. */
        data[IVBS_IMAGE_NAME_SIZE - 1] = 0;
        data[IVBS_IMAGE_NAME_SIZE - 2] = 0xf0;
        ASSERT_ERROR(ivbs_image_name_decode(data, decoded), EBADMSG);

        data[IVBS_IMAGE_NAME_SIZE - 2] = 'x';
        ASSERT_OK(ivbs_image_name_decode(data, decoded));
        ASSERT_EQ(strlen(decoded), 255);

        /* Something is hidden behind the end. */
        data[5] = 0;
        strcpy(decoded, "untouched");
        ASSERT_ERROR(ivbs_image_name_decode(data, decoded), EBADMSG);
        ASSERT_STREQ(decoded, "untouched");

        ASSERT_OK(ivbs_image_name_encode("disk1", data));
        ASSERT_HEX(data, 8, "6469736b31000000");
        for (unsigned i = 8; i < IVBS_IMAGE_NAME_SIZE; i++)
                ASSERT_EQ(data[i], 0);
}

static void attach_reply(void) {
        uint8_t *data = guarded(IVBS_ATTACH_REPLY_SIZE);
        char name[IVBS_IMAGE_NAME_SIZE] = "untouched";
        uint64_t size = 4711;

        ivbs_attach_reply_encode("disk1", UINT64_C(1) << 30, data);
        ASSERT_HEX(data + IVBS_IMAGE_NAME_SIZE, 8, "0000000040000000");

        for (size_t n = 0; n < IVBS_ATTACH_REPLY_SIZE; n++)
                ASSERT_ERROR(ivbs_attach_reply_decode(guarded_copy(data, n), n, name, &size), EBADMSG);

        ivbs_attach_reply_encode("disk1", 0, data);
        ASSERT_ERROR(ivbs_attach_reply_decode(data, IVBS_ATTACH_REPLY_SIZE, name, &size), ERANGE);
        ivbs_attach_reply_encode("disk1", UINT64_C(1) << 63, data);
        ASSERT_ERROR(ivbs_attach_reply_decode(data, IVBS_ATTACH_REPLY_SIZE, name, &size), ERANGE);
        ivbs_attach_reply_encode("disk1", UINT64_MAX, data);
        ASSERT_ERROR(ivbs_attach_reply_decode(data, IVBS_ATTACH_REPLY_SIZE, name, &size), ERANGE);
        ivbs_attach_reply_encode("../disk1", 512, data);
        ASSERT_ERROR(ivbs_attach_reply_decode(data, IVBS_ATTACH_REPLY_SIZE, name, &size), EBADMSG);
        ASSERT_STREQ(name, "untouched");
        ASSERT_EQ(size, 4711);

        ivbs_attach_reply_encode("disk1", IVBS_IMAGE_SIZE_MAX, data);
        ASSERT_OK(ivbs_attach_reply_decode(data, IVBS_ATTACH_REPLY_SIZE, name, &size));
        ASSERT_STREQ(name, "disk1");
        ASSERT_EQ(size, IVBS_IMAGE_SIZE_MAX);
}

static void ranges(void) {
        uint8_t *data = guarded(IVBS_READ_SIZE);
        uint64_t offset, length;

        ivbs_range_encode(4096, 8192, data);
        ASSERT_HEX(data, 16, "00000000000010000000000000002000");
        ivbs_range_decode(data, &offset, &length);
        ASSERT_EQ(offset, 4096);
        ASSERT_EQ(length, 8192);

        ivbs_offset_encode(512, data);
        ASSERT_HEX(data, 8, "0000000000000200");
        ASSERT_EQ(ivbs_offset_decode(data), 512);

        ASSERT_TRUE(ivbs_range_is_valid(0, 1, 1));
        ASSERT_TRUE(ivbs_range_is_valid(4096, 4096, 8192));
        ASSERT_TRUE(ivbs_range_is_valid(0, UINT64_MAX, UINT64_MAX));
        ASSERT_FALSE(ivbs_range_is_valid(0, 0, 1));
        ASSERT_FALSE(ivbs_range_is_valid(0, 1, 0));
        ASSERT_FALSE(ivbs_range_is_valid(1, 1, 1));
        ASSERT_FALSE(ivbs_range_is_valid(4097, 4096, 8192));
        ASSERT_FALSE(ivbs_range_is_valid(UINT64_MAX, 1, 8192));
        ASSERT_FALSE(ivbs_range_is_valid(UINT64_MAX, UINT64_MAX, 8192));
        ASSERT_FALSE(ivbs_range_is_valid(2, UINT64_MAX - 1, UINT64_MAX - 1));
}

TEST_MAIN(TEST(headers), TEST(lengths), TEST(names_of_ops_and_statuses), TEST(only_ok_is_success), TEST(login),
        TEST(names_that_are_valid), TEST(names_that_are_not), TEST(names_on_the_wire), TEST(attach_reply),
        TEST(ranges));
