/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The NBD codec against bytes written out by hand from the protocol document, and against what no client should send. */

#include "guarded.h"
#include "hex.h"
#include "nbd.h"
#include "test.h"

#define TRANSMISSION_FLAGS                                                                   \
        (NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_TRIM | \
                NBD_FLAG_SEND_WRITE_ZEROES)

static const struct nbd_export export = {
        .size = 1 << 20,
        .flags = TRANSMISSION_FLAGS,
        .block_size_min = 512,
        .block_size_preferred = 4096,
        .payload_max = NBD_PAYLOAD_MAX,
};

static void greeting(void) {
        uint8_t *data = guarded(NBD_GREETING_SIZE);

        nbd_greeting_encode(data);
        ASSERT_HEX(data, NBD_GREETING_SIZE, "4e42444d41474943 49484156454f5054 0003");
}

static void client_flags(void) {
        static const struct {
                const char *hex;
                int result;
        } cases[] = {
                { "00000001", 0 },
                { "00000003", 0 },
                { "00000000", -EPROTO },
                { "00000002", -EPROTO },
                { "00000005", -EPROTO },
                { "80000001", -EPROTO },
                { "ffffffff", -EPROTO },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                uint8_t *data = guarded(NBD_CLIENT_FLAGS_SIZE);
                uint32_t flags = 4711;

                hex_decode(cases[i].hex, data, NBD_CLIENT_FLAGS_SIZE);
                ASSERT_EQ(nbd_client_flags_decode(data, &flags), cases[i].result);
                ASSERT_EQ(flags, cases[i].result < 0 ? 4711 : data[3]);
        }
}

static void options(void) {
        uint8_t bytes[NBD_OPTION_SIZE + 4] = {};
        struct nbd_option option = { .option = 4711 };

        hex_decode("49484156454f5054 00000007 00000004", bytes, sizeof(bytes));
        for (size_t n = 0; n < NBD_OPTION_SIZE; n++)
                ASSERT_EQ(nbd_option_decode(guarded_copy(bytes, n), n, &option), 0);
        ASSERT_EQ(option.option, 4711);
        for (size_t n = NBD_OPTION_SIZE; n <= sizeof(bytes); n++)
                ASSERT_EQ(nbd_option_decode(guarded_copy(bytes, n), n, &option), (int) NBD_OPTION_SIZE);
        ASSERT_EQ(option.option, NBD_OPT_GO);
        ASSERT_EQ(option.length, 4);

        /* Options nobody knows are the caller's to refuse. */
        hex_decode("49484156454f5054 ffffffff 00004000", bytes, sizeof(bytes));
        ASSERT_EQ(nbd_option_decode(bytes, sizeof(bytes), &option), (int) NBD_OPTION_SIZE);
        ASSERT_EQ(option.option, UINT32_MAX);
        ASSERT_EQ(option.length, NBD_OPTION_LENGTH_MAX);

        hex_decode("49484156454f5054 00000007 00004001", bytes, sizeof(bytes));
        ASSERT_ERROR(nbd_option_decode(bytes, sizeof(bytes), &option), EMSGSIZE);
        hex_decode("49484156454f5054 00000007 ffffffff", bytes, sizeof(bytes));
        ASSERT_ERROR(nbd_option_decode(bytes, sizeof(bytes), &option), EMSGSIZE);
        hex_decode("4e42444d41474943 00000007 00000000", bytes, sizeof(bytes));
        ASSERT_ERROR(nbd_option_decode(bytes, sizeof(bytes), &option), EBADMSG);
        ASSERT_EQ(option.option, UINT32_MAX);
}

static void info_requests(void) {
        static const struct {
                const char *hex, *name;
                uint32_t infos;
        } good[] = {
                { "00000000 0000", "", 0 },
                { "00000004 64656d6f 0000", "demo", 0 },
                { "00000004 64656d6f 0002 0003 0001", "demo", 1U << NBD_INFO_BLOCK_SIZE | 1U << NBD_INFO_NAME },
                { "00000000 0001 ffff", "", 0 },
                { "00000000 0002 001f 0020", "", 1U << 31 },
        };
        static const char *const bad[] = {
                "", "00", "00000000", "00000000 00", "00000001 0000", /* the name eats the count */
                "00000000 0000 00",                                   /* something behind the end */
                "00000000 0001",                                      /* an info is promised */
                "00000000 0001 00",                                   /* half an info */
                "00000000 ffff",                                      /* 65535 of them */
                "ffffffff 0000",                                      /* a name of 4 GiB */
                "fffffffa 0000",                                      /* length + 6 wraps around in 32 bits */
                "00000002 6465",                                      /* the name ends where the count should be */
                "00000010 64656d6f 0000",                             /* the name is longer than all there is */
                "00000004 64006d6f 0000",                             /* NUL in the name */
        };
        struct nbd_info_request request;
        uint8_t bytes[64], *data, *long_name;

        for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
                size_t n = hex_decode(good[i].hex, bytes, sizeof(bytes));

                data = guarded_copy(bytes, n);
                ASSERT_OK(nbd_info_request_decode(data, n, &request));
                ASSERT_TRUE(nbd_name_equal(request.name, request.name_length, good[i].name));
                ASSERT_EQ(request.infos, good[i].infos);
        }

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                size_t n = hex_decode(bad[i], bytes, sizeof(bytes));

                request.name_length = 4711;
                if (nbd_info_request_decode(guarded_copy(bytes, n), n, &request) != -EINVAL)
                        TEST_FAIL("accepted: %s", bad[i]);
                ASSERT_EQ(request.name_length, 4711);
        }

        /* The longest name, and one more byte. */
        for (unsigned extra = 0; extra < 2; extra++) {
                size_t length = NBD_STRING_MAX + extra;

                long_name = calloc(1, 4 + length + 2);
                ASSERT_TRUE(long_name);
                long_name[2] = (uint8_t) (length >> 8);
                long_name[3] = (uint8_t) length;
                memset(long_name + 4, 'x', length);
                ASSERT_EQ(nbd_info_request_decode(long_name, 4 + length + 2, &request), extra == 0 ? 0 : -EINVAL);
                free(long_name);
        }
}

static void export_names(void) {
        const char *name = NULL;
        size_t length = 4711;

        ASSERT_OK(nbd_export_name_decode(guarded(0), 0, &name, &length));
        ASSERT_TRUE(nbd_name_equal(name, length, ""));
        ASSERT_OK(nbd_export_name_decode(guarded_copy("demo", 4), 4, &name, &length));
        ASSERT_TRUE(nbd_name_equal(name, length, "demo"));
        ASSERT_FALSE(nbd_name_equal(name, length, "dem"));
        ASSERT_FALSE(nbd_name_equal(name, length, "demon"));
        ASSERT_FALSE(nbd_name_equal(name, length, "DEMO"));
        ASSERT_FALSE(nbd_name_equal(name, length, ""));

        ASSERT_ERROR(nbd_export_name_decode((const uint8_t *) "de\0o", 4, &name, &length), EINVAL);
        ASSERT_EQ(length, 4);
}

static void option_replies(void) {
        uint8_t *data = guarded(NBD_TEXT_REPLY_SIZE_MAX);
        char text[NBD_TEXT_MAX + 10];
        size_t n;

        nbd_option_ack_encode(NBD_OPT_STRUCTURED_REPLY, data);
        ASSERT_HEX(data, NBD_OPTION_REPLY_SIZE, "0003e889045565a9 00000008 00000001 00000000");

        n = nbd_option_error_encode(NBD_OPT_GO, NBD_REP_ERR_UNKNOWN, "no", data);
        ASSERT_HEX(data, n, "0003e889045565a9 00000007 80000006 00000002 6e6f");
        n = nbd_option_error_encode(UINT32_MAX, NBD_REP_ERR_UNSUP, NULL, data);
        ASSERT_HEX(data, n, "0003e889045565a9 ffffffff 80000001 00000000");

        n = nbd_option_server_encode("demo", data);
        ASSERT_HEX(data, n, "0003e889045565a9 00000003 00000002 00000008 00000004 64656d6f");
        n = nbd_option_server_encode("", data);
        ASSERT_HEX(data, n, "0003e889045565a9 00000003 00000002 00000004 00000000");

        /* Long texts are cut before the character that does not fit. */
        memset(text, 'x', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        n = nbd_option_server_encode(text, data);
        ASSERT_EQ(n, NBD_TEXT_REPLY_SIZE_MAX);
        memcpy(text + NBD_TEXT_MAX - 2, "\xf0\x9f\x92\xbe", 4);
        n = nbd_option_error_encode(NBD_OPT_GO, NBD_REP_ERR_SHUTDOWN, text, data);
        ASSERT_EQ(n, NBD_OPTION_REPLY_SIZE + NBD_TEXT_MAX - 2);
        ASSERT_EQ(data[n - 1], 'x');
}

static void go(void) {
        uint8_t *data = guarded(NBD_GO_REPLY_SIZE_MAX);
        char text[NBD_TEXT_MAX + 10];
        size_t n;

        n = nbd_option_go_encode(NBD_OPT_GO, &export, 0, "demo", "text", data);
        ASSERT_HEX(data, n,
                "0003e889045565a9 00000007 00000003 0000000c 0000 0000000000100000 006d"
                "0003e889045565a9 00000007 00000003 0000000e 0003 00000200 00001000 02000000"
                "0003e889045565a9 00000007 00000001 00000000");

        n = nbd_option_go_encode(NBD_OPT_INFO, &export, 1U << NBD_INFO_NAME | 1U << NBD_INFO_DESCRIPTION | 1U << 31,
                "demo", "text", data);
        ASSERT_HEX(data, n,
                "0003e889045565a9 00000006 00000003 0000000c 0000 0000000000100000 006d"
                "0003e889045565a9 00000006 00000003 0000000e 0003 00000200 00001000 02000000"
                "0003e889045565a9 00000006 00000003 00000006 0001 64656d6f"
                "0003e889045565a9 00000006 00000003 00000006 0002 74657874"
                "0003e889045565a9 00000006 00000001 00000000");

        memset(text, 'x', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        n = nbd_option_go_encode(NBD_OPT_GO, &export, UINT32_MAX, text, text, data);
        ASSERT_EQ(n, NBD_GO_REPLY_SIZE_MAX);
}

static void export_name_reply(void) {
        uint8_t *data = guarded(NBD_EXPORT_REPLY_SIZE);

        memset(data, 0xee, NBD_EXPORT_REPLY_SIZE);
        ASSERT_EQ(nbd_export_reply_encode(&export, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES, data), 10);
        ASSERT_HEX(data, 10, "0000000000100000 006d");
        ASSERT_EQ(data[10], 0xee);

        ASSERT_EQ(nbd_export_reply_encode(&export, NBD_FLAG_FIXED_NEWSTYLE, data), NBD_EXPORT_REPLY_SIZE);
        for (unsigned i = 10; i < NBD_EXPORT_REPLY_SIZE; i++)
                ASSERT_EQ(data[i], 0);
}

static void requests(void) {
        struct nbd_request request, decoded = { .cookie = 4711 };
        uint8_t *data = guarded(NBD_REQUEST_SIZE);

        hex_decode("25609513 0001 0001 0123456789abcdef 0000000000000200 00000400", data, NBD_REQUEST_SIZE);
        ASSERT_OK(nbd_request_decode(data, &decoded));
        ASSERT_EQ(decoded.flags, NBD_CMD_FLAG_FUA);
        ASSERT_EQ(decoded.type, NBD_CMD_WRITE);
        ASSERT_EQ(decoded.cookie, 0x0123456789abcdef);
        ASSERT_EQ(decoded.offset, 512);
        ASSERT_EQ(decoded.length, 1024);
        ASSERT_EQ(nbd_request_payload(&decoded), 1024);

        nbd_request_encode(&decoded, data);
        ASSERT_HEX(data, NBD_REQUEST_SIZE, "25609513 0001 0001 0123456789abcdef 0000000000000200 00000400");

        /* Only a write's length is a promise of bytes. */
        for (unsigned type = 0; type < 16; type++) {
                request = (struct nbd_request){ .type = (uint16_t) type, .length = UINT32_MAX };
                nbd_request_encode(&request, data);
                ASSERT_EQ(nbd_request_decode(data, &decoded), type == NBD_CMD_WRITE ? -EMSGSIZE : 0);
                request.length = NBD_PAYLOAD_MAX;
                nbd_request_encode(&request, data);
                ASSERT_OK(nbd_request_decode(data, &decoded));
                ASSERT_EQ(nbd_request_payload(&decoded), type == NBD_CMD_WRITE ? NBD_PAYLOAD_MAX : 0);
        }

        decoded.cookie = 4711;
        data[3] ^= 1;
        ASSERT_ERROR(nbd_request_decode(data, &decoded), EBADMSG);
        hex_decode("67446698", data, 4);
        ASSERT_ERROR(nbd_request_decode(data, &decoded), EBADMSG);
        ASSERT_EQ(decoded.cookie, 4711);
}

static void checks(void) {
        const uint16_t all = TRANSMISSION_FLAGS, bare = NBD_FLAG_HAS_FLAGS,
                       read_only = TRANSMISSION_FLAGS | NBD_FLAG_READ_ONLY;
        const uint64_t size = 1 << 20;
        const struct {
                uint16_t export_flags, type, flags;
                uint64_t offset;
                uint32_t length;
                int result;
        } cases[] = {
                { all, NBD_CMD_READ, 0, 0, 512, 0 },
                { all, NBD_CMD_READ, 0, size - 512, 512, 0 },
                { all, NBD_CMD_READ, 0, 0, size, 0 },
                { all, NBD_CMD_READ, 0, size, 512, -EINVAL },
                { all, NBD_CMD_READ, 0, size - 512, 1024, -EINVAL },
                { all, NBD_CMD_READ, 0, UINT64_MAX - 511, 512, -EINVAL },
                { all, NBD_CMD_READ, 0, UINT64_MAX - 511, 1024, -EINVAL },
                { all, NBD_CMD_READ, 0, 0, 0, -EINVAL },
                { all, NBD_CMD_READ, 0, 1, 512, -EINVAL },
                { all, NBD_CMD_READ, 0, 0, 511, -EINVAL },
                { all, NBD_CMD_READ, 0, 0, NBD_PAYLOAD_MAX + 512, -EOVERFLOW },
                { all, NBD_CMD_READ, 0, 0, UINT32_MAX - 511, -EOVERFLOW },
                { all, NBD_CMD_READ, NBD_CMD_FLAG_FUA, 0, 512, 0 },
                { all, NBD_CMD_READ, NBD_CMD_FLAG_DF, 0, 512, -EINVAL },
                { all | NBD_FLAG_SEND_DF, NBD_CMD_READ, NBD_CMD_FLAG_DF, 0, 512, 0 },
                { all, NBD_CMD_READ, NBD_CMD_FLAG_NO_HOLE, 0, 512, -EINVAL },
                { all, NBD_CMD_READ, 0x8000, 0, 512, -EINVAL },
                { read_only, NBD_CMD_READ, 0, 0, 512, 0 },

                { all, NBD_CMD_WRITE, 0, 0, 512, 0 },
                { all, NBD_CMD_WRITE, NBD_CMD_FLAG_FUA, 0, 512, 0 },
                { bare, NBD_CMD_WRITE, 0, 0, 512, 0 },
                { bare, NBD_CMD_WRITE, NBD_CMD_FLAG_FUA, 0, 512, -EINVAL },
                { all, NBD_CMD_WRITE, 0, size, 512, -ENOSPC },
                { all, NBD_CMD_WRITE, 0, size - 512, 1024, -ENOSPC },
                { all, NBD_CMD_WRITE, 0, UINT64_MAX - 511, 512, -ENOSPC },
                { all, NBD_CMD_WRITE, 0, 0, 0, -EINVAL },
                { all, NBD_CMD_WRITE, 0, 0, 513, -EINVAL },
                { all, NBD_CMD_WRITE, 0, 0, NBD_PAYLOAD_MAX + 512, -EOVERFLOW },
                { all | NBD_FLAG_SEND_DF, NBD_CMD_WRITE, NBD_CMD_FLAG_DF, 0, 512, -EINVAL },
                { read_only, NBD_CMD_WRITE, 0, 0, 512, -EPERM },
                { read_only, NBD_CMD_WRITE, 0, size, 512, -EPERM },

                { all, NBD_CMD_FLUSH, 0, 0, 0, 0 },
                { all, NBD_CMD_FLUSH, 0, size * 2, 7, 0 },
                { read_only, NBD_CMD_FLUSH, 0, 0, 0, 0 },
                { bare, NBD_CMD_FLUSH, 0, 0, 0, -EINVAL },

                { all, NBD_CMD_TRIM, 0, 0, 512, 0 },
                { all, NBD_CMD_TRIM, NBD_CMD_FLAG_FUA, 0, size, 0 },
                { all, NBD_CMD_TRIM, 0, 512, size, -EINVAL },
                { all, NBD_CMD_TRIM, 0, 0, UINT32_MAX - 511, -EINVAL },
                { bare, NBD_CMD_TRIM, 0, 0, 512, -EINVAL },
                { read_only, NBD_CMD_TRIM, 0, 0, 512, -EPERM },
                { bare | NBD_FLAG_READ_ONLY, NBD_CMD_TRIM, 0, 0, 512, -EPERM },

                { all, NBD_CMD_WRITE_ZEROES, 0, 0, size, 0 },
                { all, NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FUA, 0, 512, 0 },
                { all, NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_FAST_ZERO, 0, 512, -EINVAL },
                { all | NBD_FLAG_SEND_FAST_ZERO, NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_FAST_ZERO, 0, 512, 0 },
                { all, NBD_CMD_WRITE_ZEROES, 0, 512, size, -ENOSPC },
                { bare, NBD_CMD_WRITE_ZEROES, 0, 0, 512, -EINVAL },
                { read_only, NBD_CMD_WRITE_ZEROES, 0, 0, 512, -EPERM },

                { all, NBD_CMD_CACHE, 0, 0, 512, -EINVAL },
                { all | NBD_FLAG_SEND_CACHE, NBD_CMD_CACHE, 0, 0, 512, 0 },
                { all, NBD_CMD_DISC, 0, 0, 0, 0 },
                { bare, NBD_CMD_DISC, 0xffff, UINT64_MAX, UINT32_MAX, 0 },
                { all, NBD_CMD_BLOCK_STATUS, 0, 0, 512, -EINVAL },
                { all, NBD_CMD_RESIZE, 0, 0, 512, -EINVAL },
                { all, 9, 0, 0, 512, -EINVAL },
                { all, UINT16_MAX, 0, 0, 512, -EINVAL },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct nbd_export e = export;
                struct nbd_request request = { .type = cases[i].type,
                        .flags = cases[i].flags,
                        .offset = cases[i].offset,
                        .length = cases[i].length };
                int r;

                e.flags = cases[i].export_flags;
                r = nbd_request_check(&request, &e);
                if (r != cases[i].result)
                        TEST_FAIL("case %zu, %s: %d, expected %d", i, nbd_command_to_string(cases[i].type), r,
                                cases[i].result);
        }
}

static void block_size_of_one_byte(void) {
        struct nbd_export e = export;
        struct nbd_request request = { .type = NBD_CMD_READ, .offset = 3, .length = 1 };

        e.block_size_min = 1;
        e.size = 5;
        e.payload_max = 2;
        ASSERT_OK(nbd_request_check(&request, &e));
        request.length = 2;
        ASSERT_OK(nbd_request_check(&request, &e));
        request.length = 3;
        ASSERT_ERROR(nbd_request_check(&request, &e), EOVERFLOW);
        request.offset = 4;
        request.length = 2;
        ASSERT_ERROR(nbd_request_check(&request, &e), EINVAL);
}

static void errors(void) {
        static const struct {
                int error;
                uint32_t wire;
        } cases[] = {
                { 0, NBD_SUCCESS },
                { EPERM, NBD_EPERM },
                { EACCES, NBD_EPERM },
                { EROFS, NBD_EPERM },
                { EIO, NBD_EIO },
                { ENOMEM, NBD_ENOMEM },
                { EINVAL, NBD_EINVAL },
                { ENOSPC, NBD_ENOSPC },
                { EDQUOT, NBD_ENOSPC },
                { EFBIG, NBD_ENOSPC },
                { EOVERFLOW, NBD_EOVERFLOW },
                { EOPNOTSUPP, NBD_ENOTSUP },
                { ESHUTDOWN, NBD_ESHUTDOWN },
                { ECONNRESET, NBD_EIO },
                { EAGAIN, NBD_EIO },
                { ESTALE, NBD_EIO },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                ASSERT_EQ(nbd_error_from_errno(cases[i].error), cases[i].wire);
                ASSERT_EQ(nbd_error_from_errno(-cases[i].error), cases[i].wire);
        }

        /* Never success but for success. */
        for (int error = 1; error < 4096; error++)
                ASSERT_TRUE(nbd_error_from_errno(-error) != NBD_SUCCESS);
        for (uint32_t wire = 1; wire < 4096; wire++)
                ASSERT_TRUE(nbd_error_to_errno(wire) < 0);
        ASSERT_EQ(nbd_error_to_errno(NBD_SUCCESS), 0);
        ASSERT_EQ(nbd_error_to_errno(UINT32_MAX), -EIO);
        ASSERT_EQ(nbd_error_to_errno(NBD_ENOSPC), -ENOSPC);
        ASSERT_TRUE(nbd_error_from_errno(INT32_MIN) != NBD_SUCCESS);
}

static void replies(void) {
        uint8_t *data = guarded(NBD_SIMPLE_REPLY_SIZE), *chunk = guarded(NBD_DATA_CHUNK_SIZE),
                *error = guarded(NBD_ERROR_CHUNK_SIZE_MAX);
        char text[NBD_TEXT_MAX + 10];
        uint64_t cookie = 4711;
        uint32_t wire = 4711;

        nbd_simple_reply_encode(0x0123456789abcdef, NBD_ENOSPC, data);
        ASSERT_HEX(data, NBD_SIMPLE_REPLY_SIZE, "67446698 0000001c 0123456789abcdef");
        ASSERT_OK(nbd_simple_reply_decode(data, &cookie, &wire));
        ASSERT_EQ(cookie, 0x0123456789abcdef);
        ASSERT_EQ(wire, NBD_ENOSPC);
        data[0] ^= 1;
        ASSERT_ERROR(nbd_simple_reply_decode(data, &cookie, &wire), EBADMSG);

        nbd_data_chunk_encode(0x0123456789abcdef, 4096, 512, chunk);
        ASSERT_HEX(chunk, NBD_DATA_CHUNK_SIZE, "668e33ef 0001 0001 0123456789abcdef 00000208 0000000000001000");

        ASSERT_EQ(nbd_error_chunk_encode(1, NBD_EIO, NULL, error), 26);
        ASSERT_HEX(error, 26, "668e33ef 0001 8001 0000000000000001 00000006 00000005 0000");
        ASSERT_EQ(nbd_error_chunk_encode(1, NBD_EIO, "no", error), 28);
        ASSERT_HEX(error, 28, "668e33ef 0001 8001 0000000000000001 00000008 00000005 0002 6e6f");
        memset(text, 'x', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        ASSERT_EQ(nbd_error_chunk_encode(1, NBD_EIO, text, error), NBD_ERROR_CHUNK_SIZE_MAX);
}

static void names(void) {
        ASSERT_STREQ(nbd_option_to_string(NBD_OPT_GO), "GO");
        ASSERT_STREQ(nbd_option_to_string(NBD_OPT_EXTENDED_HEADERS), "EXTENDED_HEADERS");
        ASSERT_STREQ(nbd_option_to_string(0), "unknown");
        ASSERT_STREQ(nbd_option_to_string(4), "unknown");
        ASSERT_STREQ(nbd_option_to_string(UINT32_MAX), "unknown");
        ASSERT_STREQ(nbd_command_to_string(NBD_CMD_READ), "READ");
        ASSERT_STREQ(nbd_command_to_string(NBD_CMD_RESIZE), "RESIZE");
        ASSERT_STREQ(nbd_command_to_string(9), "unknown");
        ASSERT_STREQ(nbd_command_to_string(UINT16_MAX), "unknown");
}

TEST_MAIN(TEST(greeting), TEST(client_flags), TEST(options), TEST(info_requests), TEST(export_names),
        TEST(option_replies), TEST(go), TEST(export_name_reply), TEST(requests), TEST(checks),
        TEST(block_size_of_one_byte), TEST(errors), TEST(replies), TEST(names));
