/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The generic netlink messages for the NBD driver, byte by byte: what is in them, and what must not be. Expected values are written out from <linux/netlink.h>,
 * <linux/genetlink.h> and <linux/nbd-netlink.h>, in the order of this machine's integers. */

#include <linux/genetlink.h>
#include <linux/nbd-netlink.h>
#include <linux/netlink.h>

#include "device-nbd.h"
#include "test.h"

#define FAMILY   0x21
#define SEQUENCE 77

static const struct device_nbd_setup setup = {
        .size = 1048576,
        .block_size = 4096,
        .flags = 0x2d,
        .identity = "vm1/6e6b5a2e-2a53-4b0e-9d0b-3d3e1a3c9a11",
        .socket = 9,
};

static void check_header(const uint8_t *message, size_t n, uint8_t command) {
        struct nlmsghdr header;
        struct genlmsghdr generic;

        memcpy(&header, message, sizeof(header));
        memcpy(&generic, message + NLMSG_HDRLEN, sizeof(generic));
        ASSERT_EQ(header.nlmsg_len, n);
        ASSERT_EQ(header.nlmsg_type, FAMILY);
        ASSERT_EQ(header.nlmsg_flags, NLM_F_REQUEST | NLM_F_ACK);
        ASSERT_EQ(header.nlmsg_seq, (uint32_t) SEQUENCE);
        ASSERT_EQ(generic.cmd, command);
        ASSERT_EQ(generic.version, 1);
}

/* The payload of an attribute of the message, NULL when it is not there; *ret_n its length. */
static const uint8_t *find(const uint8_t *message, size_t n, uint16_t type, size_t *ret_n) {
        for (size_t at = NLMSG_HDRLEN + GENL_HDRLEN; at + NLA_HDRLEN <= n;) {
                struct nlattr attribute;

                memcpy(&attribute, message + at, sizeof(attribute));
                ASSERT_TRUE(attribute.nla_len >= NLA_HDRLEN && at + attribute.nla_len <= n);
                if ((attribute.nla_type & NLA_TYPE_MASK) == type) {
                        *ret_n = attribute.nla_len - (size_t) NLA_HDRLEN;
                        return message + at + NLA_HDRLEN;
                }
                at += NLA_ALIGN(attribute.nla_len);
        }
        return NULL;
}

static uint64_t number(const uint8_t *message, size_t n, uint16_t type, size_t size) {
        const uint8_t *payload;
        uint64_t wide;
        uint32_t narrow;
        size_t k = 0;

        payload = find(message, n, type, &k);
        ASSERT_TRUE(payload != NULL);
        ASSERT_EQ(k, size);
        if (size == sizeof(wide)) {
                memcpy(&wide, payload, sizeof(wide));
                return wide;
        }
        memcpy(&narrow, payload, sizeof(narrow));
        return narrow;
}

static void check_socket_and_identity(const uint8_t *message, size_t n) {
        /* NBD_ATTR_SOCKETS { NBD_SOCK_ITEM { NBD_SOCK_FD } } */
        static const struct {
                struct nlattr item, fd;
                uint32_t value;
        } expected = {
                { .nla_len = 12, .nla_type = NLA_F_NESTED | NBD_SOCK_ITEM },
                { .nla_len = 8, .nla_type = NBD_SOCK_FD },
                9,
        };
        const uint8_t *payload;
        size_t k = 0;

        payload = find(message, n, NBD_ATTR_SOCKETS, &k);
        ASSERT_TRUE(payload != NULL);
        ASSERT_EQ(k, sizeof(expected));
        ASSERT_MEMEQ(payload, &expected, k);

        payload = find(message, n, NBD_ATTR_BACKEND_IDENTIFIER, &k);
        ASSERT_TRUE(payload != NULL);
        ASSERT_EQ(k, strlen(setup.identity) + 1);
        ASSERT_STREQ((const char *) payload, setup.identity);

        ASSERT_EQ(number(message, n, NBD_ATTR_DEAD_CONN_TIMEOUT, 8), 86400U);
        /* These change what the driver does when a connection is slow, or who takes the device down. */
        ASSERT_TRUE(!find(message, n, NBD_ATTR_TIMEOUT, &k));
        ASSERT_TRUE(!find(message, n, NBD_ATTR_CLIENT_FLAGS, &k));
}

static void connect_message(void) {
        uint8_t message[DEVICE_NBD_MESSAGE_MAX];
        size_t n = device_nbd_build_connect(message, FAMILY, SEQUENCE, &setup), k;

        check_header(message, n, NBD_CMD_CONNECT);
        ASSERT_EQ(number(message, n, NBD_ATTR_SIZE_BYTES, 8), 1048576U);
        ASSERT_EQ(number(message, n, NBD_ATTR_BLOCK_SIZE_BYTES, 8), 4096U);
        ASSERT_EQ(number(message, n, NBD_ATTR_SERVER_FLAGS, 8), 0x2dU);
        check_socket_and_identity(message, n);
        ASSERT_TRUE(!find(message, n, NBD_ATTR_INDEX, &k)); /* the kernel chooses */
}

static void reconfigure_message(void) {
        struct device_nbd_setup same_size = setup;
        uint8_t message[DEVICE_NBD_MESSAGE_MAX];
        size_t n, k;

        n = device_nbd_build_reconfigure(message, FAMILY, SEQUENCE, 5, &setup);
        check_header(message, n, NBD_CMD_RECONFIGURE);
        ASSERT_EQ(number(message, n, NBD_ATTR_INDEX, 4), 5U);
        ASSERT_EQ(number(message, n, NBD_ATTR_SIZE_BYTES, 8), 1048576U);
        check_socket_and_identity(message, n);

        same_size.size = 0;
        n = device_nbd_build_reconfigure(message, FAMILY, SEQUENCE, 5, &same_size);
        ASSERT_TRUE(!find(message, n, NBD_ATTR_SIZE_BYTES, &k));
}

static void resize_message(void) {
        uint8_t message[DEVICE_NBD_MESSAGE_MAX];
        const uint8_t *payload;
        size_t n, k;

        n = device_nbd_build_resize(message, FAMILY, SEQUENCE, 5, "x/y", 1 << 21);
        check_header(message, n, NBD_CMD_RECONFIGURE);
        ASSERT_EQ(number(message, n, NBD_ATTR_INDEX, 4), 5U);
        ASSERT_EQ(number(message, n, NBD_ATTR_SIZE_BYTES, 8), 2097152U);
        payload = find(message, n, NBD_ATTR_BACKEND_IDENTIFIER, &k);
        ASSERT_TRUE(payload != NULL);
        ASSERT_STREQ((const char *) payload, "x/y");
        /* The connection stays as it is. */
        ASSERT_TRUE(!find(message, n, NBD_ATTR_SOCKETS, &k));
        ASSERT_TRUE(!find(message, n, NBD_ATTR_TIMEOUT, &k));
        ASSERT_TRUE(!find(message, n, NBD_ATTR_BLOCK_SIZE_BYTES, &k));
}

static void short_messages(void) {
        uint8_t message[DEVICE_NBD_MESSAGE_MAX];
        size_t n;

        n = device_nbd_build_disconnect(message, FAMILY, SEQUENCE, 3);
        ASSERT_EQ(n, (size_t) (NLMSG_HDRLEN + GENL_HDRLEN + 8));
        check_header(message, n, NBD_CMD_DISCONNECT);
        ASSERT_EQ(number(message, n, NBD_ATTR_INDEX, 4), 3U);

        n = device_nbd_build_status(message, FAMILY, SEQUENCE, 4);
        ASSERT_EQ(n, (size_t) (NLMSG_HDRLEN + GENL_HDRLEN + 8));
        check_header(message, n, NBD_CMD_STATUS);
        ASSERT_EQ(number(message, n, NBD_ATTR_INDEX, 4), 4U);
}

/* What changes the request timeout carries no socket, and what carries one no timeout. */
static void timeout_message(void) {
        uint8_t message[DEVICE_NBD_MESSAGE_MAX];
        size_t n, k;

        n = device_nbd_build_timeout(message, FAMILY, SEQUENCE, 6, setup.identity, 1);
        check_header(message, n, NBD_CMD_RECONFIGURE);
        ASSERT_EQ(number(message, n, NBD_ATTR_INDEX, 4), 6U);
        ASSERT_EQ(number(message, n, NBD_ATTR_TIMEOUT, 8), 1U);
        ASSERT_TRUE(find(message, n, NBD_ATTR_BACKEND_IDENTIFIER, &k));
        ASSERT_EQ(k, strlen(setup.identity) + 1);
        ASSERT_TRUE(!find(message, n, NBD_ATTR_SOCKETS, &k));
        ASSERT_TRUE(!find(message, n, NBD_ATTR_SIZE_BYTES, &k));

        n = device_nbd_build_reconfigure(message, FAMILY, SEQUENCE, 6, &setup);
        ASSERT_TRUE(!find(message, n, NBD_ATTR_TIMEOUT, &k));
}

static void longest_identity(void) {
        char identity[DEVICE_NBD_IDENTITY_MAX];
        struct device_nbd_setup longest = setup;
        uint8_t message[DEVICE_NBD_MESSAGE_MAX];

        memset(identity, 'n', sizeof(identity) - 1);
        identity[sizeof(identity) - 1] = 0;
        longest.identity = identity;
        ASSERT_TRUE(device_nbd_build_connect(message, FAMILY, SEQUENCE, &longest) < DEVICE_NBD_MESSAGE_MAX);
}

TEST_MAIN(TEST(connect_message), TEST(reconfigure_message), TEST(resize_message), TEST(short_messages),
        TEST(timeout_message), TEST(longest_identity));
