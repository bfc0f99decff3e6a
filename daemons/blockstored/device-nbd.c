/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Kernel NBD by generic netlink: messages are built by pure functions, which the unit test checks to the byte, and exchanged over a socket of their own a call.
 *
 * What is left out matters as much as what is sent:
 * - no NBD_ATTR_INDEX in CONNECT: the kernel takes a free device, or makes one; scanning /dev/nbdN would race with everybody else who scans.
 * - no NBD_ATTR_TIMEOUT, neither in CONNECT nor with new sockets: it would reset the block layer's timer, and with a request timeout the driver gives up on a
 *   connection that is slow but alive. While I/O waits that is just what is wanted: see device_work_set_waiting().
 * - no client flags: DISCONNECT_ON_CLOSE and DESTROY_ON_DISCONNECT take the decision who uses the device away from the supervisor.
 *
 * NBD_ATTR_BACKEND_IDENTIFIER shows as /sys/block/nbdN/backend, is what a restarted supervisor knows its devices by, and must be repeated in every RECONFIGURE. */

#include <errno.h>
#include <string.h>
#include <time.h>

#include <libmnl/libmnl.h>
#include <linux/genetlink.h>
#include <linux/nbd-netlink.h>

#include "cleanup.h"
#include "device-nbd.h"

#define RECEIVE_MAX 8192U

DEFINE_CLEANUP(struct mnl_socket *, mnl_socket_close);

static struct nlmsghdr *build_header(
        void *buffer, uint16_t family, uint32_t sequence, uint8_t command, uint8_t version) {
        struct nlmsghdr *header;
        struct genlmsghdr *generic;

        memset(buffer, 0, DEVICE_NBD_MESSAGE_MAX);
        header = mnl_nlmsg_put_header(buffer);
        header->nlmsg_type = family;
        header->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
        header->nlmsg_seq = sequence;

        generic = mnl_nlmsg_put_extra_header(header, sizeof(*generic));
        generic->cmd = command;
        generic->version = version;
        return header;
}

static void put_setup(struct nlmsghdr *header, const struct device_nbd_setup *setup) {
        struct nlattr *sockets, *item;

        mnl_attr_put_u64(header, NBD_ATTR_DEAD_CONN_TIMEOUT, DEVICE_NBD_DEAD_CONNECTION_SEC);
        mnl_attr_put_strz(header, NBD_ATTR_BACKEND_IDENTIFIER, setup->identity);

        sockets = mnl_attr_nest_start(header, NBD_ATTR_SOCKETS);
        item = mnl_attr_nest_start(header, NBD_SOCK_ITEM);
        mnl_attr_put_u32(header, NBD_SOCK_FD, (uint32_t) setup->socket);
        mnl_attr_nest_end(header, item);
        mnl_attr_nest_end(header, sockets);
}

size_t device_nbd_build_connect(
        void *buffer, uint16_t family, uint32_t sequence, const struct device_nbd_setup *setup) {
        struct nlmsghdr *header = build_header(buffer, family, sequence, NBD_CMD_CONNECT, NBD_GENL_VERSION);

        mnl_attr_put_u64(header, NBD_ATTR_SIZE_BYTES, setup->size);
        mnl_attr_put_u64(header, NBD_ATTR_BLOCK_SIZE_BYTES, setup->block_size);
        mnl_attr_put_u64(header, NBD_ATTR_SERVER_FLAGS, setup->flags);
        put_setup(header, setup);
        return header->nlmsg_len;
}

size_t device_nbd_build_reconfigure(
        void *buffer, uint16_t family, uint32_t sequence, uint32_t index, const struct device_nbd_setup *setup) {
        struct nlmsghdr *header = build_header(buffer, family, sequence, NBD_CMD_RECONFIGURE, NBD_GENL_VERSION);

        mnl_attr_put_u32(header, NBD_ATTR_INDEX, index);
        if (setup->size > 0)
                mnl_attr_put_u64(header, NBD_ATTR_SIZE_BYTES, setup->size);
        put_setup(header, setup);
        return header->nlmsg_len;
}

size_t device_nbd_build_timeout(
        void *buffer, uint16_t family, uint32_t sequence, uint32_t index, const char *identity, uint64_t timeout_sec) {
        struct nlmsghdr *header = build_header(buffer, family, sequence, NBD_CMD_RECONFIGURE, NBD_GENL_VERSION);

        mnl_attr_put_u32(header, NBD_ATTR_INDEX, index);
        mnl_attr_put_u64(header, NBD_ATTR_TIMEOUT, timeout_sec);
        mnl_attr_put_strz(header, NBD_ATTR_BACKEND_IDENTIFIER, identity);
        return header->nlmsg_len;
}

size_t device_nbd_build_resize(
        void *buffer, uint16_t family, uint32_t sequence, uint32_t index, const char *identity, uint64_t size) {
        struct nlmsghdr *header = build_header(buffer, family, sequence, NBD_CMD_RECONFIGURE, NBD_GENL_VERSION);

        mnl_attr_put_u32(header, NBD_ATTR_INDEX, index);
        mnl_attr_put_u64(header, NBD_ATTR_SIZE_BYTES, size);
        mnl_attr_put_strz(header, NBD_ATTR_BACKEND_IDENTIFIER, identity);
        return header->nlmsg_len;
}

size_t device_nbd_build_disconnect(void *buffer, uint16_t family, uint32_t sequence, uint32_t index) {
        struct nlmsghdr *header = build_header(buffer, family, sequence, NBD_CMD_DISCONNECT, NBD_GENL_VERSION);

        mnl_attr_put_u32(header, NBD_ATTR_INDEX, index);
        return header->nlmsg_len;
}

size_t device_nbd_build_status(void *buffer, uint16_t family, uint32_t sequence, uint32_t index) {
        struct nlmsghdr *header = build_header(buffer, family, sequence, NBD_CMD_STATUS, NBD_GENL_VERSION);

        mnl_attr_put_u32(header, NBD_ATTR_INDEX, index);
        return header->nlmsg_len;
}

static int open_netlink(struct mnl_socket **ret) {
        _cleanup_(mnl_socket_closep) struct mnl_socket *socket = NULL;

        socket = mnl_socket_open2(NETLINK_GENERIC, SOCK_CLOEXEC);
        if (!socket)
                return -errno;

        if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0)
                return -errno;

        *ret = TAKE_PTR(socket);
        return 0;
}

/* Sends one request and hands its answers to callback until the kernel has acknowledged it. */
static int exchange(struct mnl_socket *socket, const void *message, size_t n, uint32_t sequence, mnl_cb_t callback,
        void *userdata) {
        char buffer[RECEIVE_MAX];
        int r;

        if (mnl_socket_sendto(socket, message, n) < 0)
                return -errno;

        do {
                ssize_t k = mnl_socket_recvfrom(socket, buffer, sizeof(buffer));
                if (k < 0)
                        return -errno;

                r = mnl_cb_run(buffer, (size_t) k, sequence, mnl_socket_get_portid(socket), callback, userdata);
                if (r < 0)
                        return -errno;
        } while (r > MNL_CB_STOP);

        return 0;
}

static int on_family(const struct nlmsghdr *header, void *userdata) {
        const struct nlattr *attribute;
        uint16_t *ret = userdata;

        mnl_attr_for_each(attribute, header, sizeof(struct genlmsghdr))
                if (mnl_attr_get_type(attribute) == CTRL_ATTR_FAMILY_ID &&
                        mnl_attr_validate(attribute, MNL_TYPE_U16) >= 0)
                        *ret = mnl_attr_get_u16(attribute);

        return MNL_CB_OK;
}

static int look_up_family(struct mnl_socket *socket, uint32_t sequence, uint16_t *ret) {
        char message[DEVICE_NBD_MESSAGE_MAX];
        struct nlmsghdr *header = build_header(message, GENL_ID_CTRL, sequence, CTRL_CMD_GETFAMILY, 1);
        uint16_t family = 0;
        int r;

        mnl_attr_put_strz(header, CTRL_ATTR_FAMILY_NAME, NBD_GENL_FAMILY_NAME);

        r = exchange(socket, message, header->nlmsg_len, sequence, on_family, &family);
        if (r == -ENOENT || (r >= 0 && family == 0))
                return -ENOPROTOOPT;
        if (r < 0)
                return r;

        *ret = family;
        return 0;
}

/* A socket with the family's number; *sequence is the number of the next request. */
static int prepare(struct mnl_socket **ret, uint16_t *ret_family, uint32_t *ret_sequence) {
        _cleanup_(mnl_socket_closep) struct mnl_socket *socket = NULL;
        uint32_t sequence = (uint32_t) time(NULL);
        int r;

        r = open_netlink(&socket);
        if (r < 0)
                return r;

        r = look_up_family(socket, sequence, ret_family);
        if (r < 0)
                return r;

        *ret_sequence = sequence + 1;
        *ret = TAKE_PTR(socket);
        return 0;
}

struct index_answer {
        uint32_t index;
        bool seen;
};

static int on_index(const struct nlmsghdr *header, void *userdata) {
        const struct nlattr *attribute;
        struct index_answer *answer = userdata;

        mnl_attr_for_each(attribute, header, sizeof(struct genlmsghdr))
                if (mnl_attr_get_type(attribute) == NBD_ATTR_INDEX &&
                        mnl_attr_validate(attribute, MNL_TYPE_U32) >= 0) {
                        answer->index = mnl_attr_get_u32(attribute);
                        answer->seen = true;
                }

        return MNL_CB_OK;
}

int device_nbd_connect(const struct device_nbd_setup *setup, uint32_t *ret_index) {
        _cleanup_(mnl_socket_closep) struct mnl_socket *socket = NULL;
        char message[DEVICE_NBD_MESSAGE_MAX];
        struct index_answer answer = {};
        uint32_t sequence;
        uint16_t family;
        size_t n;
        int r;

        r = prepare(&socket, &family, &sequence);
        if (r < 0)
                return r;

        n = device_nbd_build_connect(message, family, sequence, setup);
        r = exchange(socket, message, n, sequence, on_index, &answer);
        if (r < 0)
                return r;
        if (!answer.seen)
                return -EBADMSG;

        *ret_index = answer.index;
        return 0;
}

int device_nbd_reconfigure(uint32_t index, const struct device_nbd_setup *setup) {
        _cleanup_(mnl_socket_closep) struct mnl_socket *socket = NULL;
        char message[DEVICE_NBD_MESSAGE_MAX];
        uint32_t sequence;
        uint16_t family;
        size_t n;
        int r;

        r = prepare(&socket, &family, &sequence);
        if (r < 0)
                return r;

        n = device_nbd_build_reconfigure(message, family, sequence, index, setup);
        return exchange(socket, message, n, sequence, NULL, NULL);
}

int device_nbd_set_timeout(uint32_t index, const char *identity, uint64_t timeout_sec) {
        _cleanup_(mnl_socket_closep) struct mnl_socket *socket = NULL;
        char message[DEVICE_NBD_MESSAGE_MAX];
        uint32_t sequence;
        uint16_t family;
        size_t n;
        int r;

        r = prepare(&socket, &family, &sequence);
        if (r < 0)
                return r;

        n = device_nbd_build_timeout(message, family, sequence, index, identity, timeout_sec);
        return exchange(socket, message, n, sequence, NULL, NULL);
}

int device_nbd_resize(uint32_t index, const char *identity, uint64_t size) {
        _cleanup_(mnl_socket_closep) struct mnl_socket *socket = NULL;
        char message[DEVICE_NBD_MESSAGE_MAX];
        uint32_t sequence;
        uint16_t family;
        size_t n;
        int r;

        r = prepare(&socket, &family, &sequence);
        if (r < 0)
                return r;

        n = device_nbd_build_resize(message, family, sequence, index, identity, size);
        return exchange(socket, message, n, sequence, NULL, NULL);
}

int device_nbd_disconnect(uint32_t index) {
        _cleanup_(mnl_socket_closep) struct mnl_socket *socket = NULL;
        char message[DEVICE_NBD_MESSAGE_MAX];
        uint32_t sequence;
        uint16_t family;
        size_t n;
        int r;

        r = prepare(&socket, &family, &sequence);
        if (r < 0)
                return r;

        n = device_nbd_build_disconnect(message, family, sequence, index);
        return exchange(socket, message, n, sequence, NULL, NULL);
}

static int on_status(const struct nlmsghdr *header, void *userdata) {
        const struct nlattr *list, *item, *field;
        bool *connected = userdata;

        mnl_attr_for_each(list, header, sizeof(struct genlmsghdr)) {
                if (mnl_attr_get_type(list) != NBD_ATTR_DEVICE_LIST)
                        continue;
                mnl_attr_for_each_nested(item, list)
                        mnl_attr_for_each_nested(field, item)
                                if (mnl_attr_get_type(field) == NBD_DEVICE_CONNECTED &&
                                        mnl_attr_validate(field, MNL_TYPE_U8) >= 0)
                                        *connected = mnl_attr_get_u8(field) != 0;
        }

        return MNL_CB_OK;
}

int device_nbd_status(uint32_t index, bool *ret_connected) {
        _cleanup_(mnl_socket_closep) struct mnl_socket *socket = NULL;
        char message[DEVICE_NBD_MESSAGE_MAX];
        bool connected = false;
        uint32_t sequence;
        uint16_t family;
        size_t n;
        int r;

        r = prepare(&socket, &family, &sequence);
        if (r < 0)
                return r;

        n = device_nbd_build_status(message, family, sequence, index);
        r = exchange(socket, message, n, sequence, on_status, &connected);
        if (r < 0)
                return r;

        *ret_connected = connected;
        return 0;
}
