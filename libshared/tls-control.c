/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Types of records and messages are those of RFC 8446 (and RFC 5246, for TLS 1.2), sections 4, 5.1 and 6.
 *
 * New keys (KeyUpdate) could be given to kernels from 6.14 on; older ones decrypt nothing after it, and both would want the secret, out of which new keys are made, kept for as long as the connection lives. Nobody of
 * ours sends it (workers change the connection instead, see session-clock.c): so it ends the connection everywhere, and whoever had it comes back by another. */

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "tls-control.h"

#ifndef SOL_TLS
#define SOL_TLS 282 /* linux/socket.h, which user space does not get */
#endif
#ifndef TCP_ULP
#define TCP_ULP 31 /* linux/tcp.h */
#endif

#define RECORD_ALERT               21U
#define RECORD_HANDSHAKE           22U
#define RECORD_MAX                 16384U

#define LEVEL_WARNING              1U
#define ALERT_CLOSE_NOTIFY         0U

#define MESSAGE_HELLO_REQUEST      0U
#define MESSAGE_NEW_SESSION_TICKET 4U
#define MESSAGE_KEY_UPDATE         24U

/* Whole messages only: who cuts those into records that we take no notice of is not worth the trouble. */
static int judge_messages(const unsigned char *data, unsigned n) {
        while (n >= 4) {
                unsigned len = (unsigned) data[1] << 16 | (unsigned) data[2] << 8 | data[3];

                if (data[0] == MESSAGE_KEY_UPDATE)
                        return -EKEYEXPIRED;
                if ((data[0] != MESSAGE_HELLO_REQUEST && data[0] != MESSAGE_NEW_SESSION_TICKET) || len > n - 4)
                        return -EPROTO;
                data += 4 + len;
                n -= 4 + len;
        }
        return n == 0 ? 1 : -EPROTO;
}

int tls_control_judge(unsigned char type, const unsigned char *data, unsigned n) {
        switch (type) {
        case RECORD_ALERT:
                if (n != 2)
                        return -EPROTO;
                return data[1] == ALERT_CLOSE_NOTIFY ? 0 : -ECONNABORTED;
        case RECORD_HANDSHAKE:
                return n > 0 ? judge_messages(data, n) : -EPROTO;
        default:
                return -EPROTO;
        }
}

/* Whether the kernel does TLS on it. */
static bool is_tls(int fd) {
        char ulp[16] = "";
        socklen_t size = sizeof(ulp) - 1;

        return getsockopt(fd, IPPROTO_TCP, TCP_ULP, ulp, &size) >= 0 && strcmp(ulp, "tls") == 0;
}

int tls_control_say_goodbye(int fd) {
        unsigned char alert[] = { LEVEL_WARNING, ALERT_CLOSE_NOTIFY };
        union {
                char space[CMSG_SPACE(sizeof(unsigned char))];
                struct cmsghdr align;
        } control = {};
        struct iovec iov = { .iov_base = alert, .iov_len = sizeof(alert) };
        struct msghdr msg = {
                .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
        };
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

        if (!is_tls(fd))
                return -EOPNOTSUPP;
        c->cmsg_level = SOL_TLS;
        c->cmsg_type = TLS_SET_RECORD_TYPE;
        c->cmsg_len = CMSG_LEN(sizeof(unsigned char));
        *CMSG_DATA(c) = RECORD_ALERT;
        return sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int tls_control_receive(int fd) {
        unsigned char data[RECORD_MAX];
        union {
                char space[CMSG_SPACE(sizeof(unsigned char))];
                struct cmsghdr align;
        } control;
        struct iovec iov = { .iov_base = data, .iov_len = sizeof(data) };
        struct msghdr msg = {
                .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
        };
        struct cmsghdr *c;
        ssize_t n;

        if (!is_tls(fd))
                return -EIO;
        do
                n = recvmsg(fd, &msg, MSG_DONTWAIT);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return errno == EAGAIN ? -EIO : -errno;
        c = CMSG_FIRSTHDR(&msg);
        if (!c || c->cmsg_level != SOL_TLS || c->cmsg_type != TLS_GET_RECORD_TYPE)
                return n == 0 ? 0 : -EIO;
        return tls_control_judge(*CMSG_DATA(c), data, (unsigned) n);
}
