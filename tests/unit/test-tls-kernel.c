/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the kernel is given when it takes over a connection, and what is made of the records that it does not take for data. The kernel itself is in tests/vm/cases/ktls. */

#include <sys/socket.h>

#include "test.h"
#include "tls-control.h"
#include "tls-kernel.h"

/* RFC 8448, section 3: "derive write traffic keys for application data" of the server. */
static void keys(void) {
        static const uint8_t secret[48] = { 0xa1, 0x1a, 0xf9, 0xf0, 0x55, 0x31, 0xf8, 0x56, 0xad, 0x47, 0x11, 0x6b,
                0x45, 0xa9, 0x50, 0x32, 0x82, 0x04, 0xb4, 0xf4, 0x4b, 0xfb, 0x6b, 0x3a, 0x4b, 0x4f, 0x1f, 0x3f, 0xcb,
                0x63, 0x16, 0x43 };
        static const uint8_t key[16] = { 0x9f, 0x02, 0x28, 0x3b, 0x6c, 0x9c, 0x07, 0xef, 0xc2, 0x6b, 0xb9, 0xf2, 0xac,
                0x92, 0xe3, 0x56 };
        static const uint8_t iv[12] = { 0xcf, 0x78, 0x2b, 0x88, 0xdd, 0x83, 0x54, 0x9a, 0xad, 0xf1, 0xe9, 0x84 };
        static const uint8_t first[8];
        union tls_kernel_keys made;
        size_t size;

        ASSERT_OK(tls_kernel_keys(0x1301, secret, 32, &made, &size));
        ASSERT_EQ(size, sizeof(made.aes_128));
        ASSERT_EQ(made.info.version, TLS_1_3_VERSION);
        ASSERT_EQ(made.info.cipher_type, TLS_CIPHER_AES_GCM_128);
        ASSERT_MEMEQ(made.aes_128.key, key, sizeof(key));
        ASSERT_MEMEQ(made.aes_128.salt, iv, 4);
        ASSERT_MEMEQ(made.aes_128.iv, iv + 4, 8);
        ASSERT_MEMEQ(made.aes_128.rec_seq, first, sizeof(first));

        /* The IV does not depend on the cipher, only on the hash. */
        ASSERT_OK(tls_kernel_keys(0x1303, secret, 32, &made, &size));
        ASSERT_EQ(size, sizeof(made.chacha20));
        ASSERT_EQ(made.info.cipher_type, TLS_CIPHER_CHACHA20_POLY1305);
        ASSERT_MEMEQ(made.chacha20.iv, iv, sizeof(iv));

        ASSERT_OK(tls_kernel_keys(0x1302, secret, 48, &made, &size));
        ASSERT_EQ(size, sizeof(made.aes_256));
        ASSERT_EQ(made.info.cipher_type, TLS_CIPHER_AES_GCM_256);

        ASSERT_ERROR(tls_kernel_keys(0x1302, secret, 32, &made, &size), EINVAL);
        ASSERT_ERROR(tls_kernel_keys(0x1301, secret, 48, &made, &size), EINVAL);
        ASSERT_ERROR(tls_kernel_keys(0x1304, secret, 32, &made, &size), EOPNOTSUPP);
}

static void records(void) {
        static const struct {
                unsigned char type, data[10];
                unsigned n;
                int expected;
        } cases[] = {
                { 21, { 1, 0 }, 2, 0 }, /* close_notify */
                { 21, { 2, 0 }, 2, 0 },
                { 21, { 2, 20 }, 2, -ECONNABORTED },
                { 21, { 1, 90 }, 2, -ECONNABORTED },
                { 21, { 1 }, 1, -EPROTO },
                { 21, { 1, 0, 0 }, 3, -EPROTO },
                { 21, {}, 0, -EPROTO },
                { 22, { 4, 0, 0, 2, 7, 7 }, 6, 1 }, /* a session ticket */
                { 22, { 4, 0, 0, 1, 7, 4, 0, 0, 0 }, 9, 1 },
                { 22, { 0, 0, 0, 0 }, 4, 1 },                            /* a question for another handshake */
                { 22, { 24, 0, 0, 1, 0 }, 5, -EKEYEXPIRED },             /* new keys */
                { 22, { 4, 0, 0, 0, 24, 0, 0, 1, 1 }, 9, -EKEYEXPIRED }, /* ... behind something else */
                { 22, { 4, 0, 0, 3, 7, 7 }, 6, -EPROTO },                /* cut */
                { 22, { 4, 0xff, 0xff, 0xff, 7, 7 }, 6, -EPROTO },
                { 22, { 4, 0, 0 }, 3, -EPROTO },
                { 22, { 4, 0, 0, 0, 4 }, 5, -EPROTO },
                { 22, {}, 0, -EPROTO },
                { 22, { 1, 0, 0, 0 }, 4, -EPROTO }, /* a greeting in the middle */
                { 20, { 1 }, 1, -EPROTO },
                { 23, { 1 }, 1, -EPROTO },
                { 24, { 1 }, 1, -EPROTO },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                int r = tls_control_judge(cases[i].type, cases[i].data, cases[i].n);

                if (r != cases[i].expected)
                        TEST_FAIL("case %zu: %d, expected %d", i, r, cases[i].expected);
        }
}

/* An error of a socket without TLS stays what it is. */
static void no_tls(void) {
        char text[16];
        int fds[2];

        ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        ASSERT_EQ(send(fds[1], "data", 4, 0), 4);
        ASSERT_ERROR(tls_control_receive(fds[0]), EIO);
        ASSERT_ERROR(tls_control_receive(-1), EIO);
        /* ... and nothing is said on it. */
        ASSERT_ERROR(tls_control_say_goodbye(fds[1]), EOPNOTSUPP);
        ASSERT_ERROR(tls_control_say_goodbye(-1), EOPNOTSUPP);
        ASSERT_EQ(recv(fds[0], text, sizeof(text), MSG_DONTWAIT), 4);
        ASSERT_EQ(recv(fds[0], text, sizeof(text), MSG_DONTWAIT), -1);
        safe_close(fds[0]);
        safe_close(fds[1]);
}

static const struct test tests[] = { TEST(keys), TEST(records), TEST(no_tls) };

int main(void) {
        return test_run_all(tests, ELEMENTSOF(tests));
}
