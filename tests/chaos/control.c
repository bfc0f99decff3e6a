/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "control.h"

#define PATIENCE_SEC 20
#define WANTED_CAPS                                                                                                 \
        (IVBS_CAP_FLUSH | IVBS_CAP_FUA | IVBS_CAP_TRIM | IVBS_CAP_WRITE_ZEROES | IVBS_CAP_IMAGES | IVBS_CAP_LEASE | \
                IVBS_CAP_FENCE | IVBS_CAP_DURABILITY | IVBS_CAP_DRAIN)

static int receive(int fd, void *data, size_t n) {
        for (size_t have = 0; have < n;) {
                ssize_t got = recv(fd, (uint8_t *) data + have, n - have, 0);

                if (got < 0 && errno != EINTR)
                        return -errno;
                if (got == 0)
                        return -ECONNRESET;
                have += got > 0 ? (size_t) got : 0;
        }
        return 0;
}

static int receive_packet(struct control *c, struct ivbs_header *ret, uint8_t *ret_payload) {
        uint8_t head[IVBS_HEADER_SIZE];
        int r;

        r = receive(c->fd, head, sizeof(head));
        if (r < 0)
                return r;
        ivbs_header_decode(head, ret);
        if (ret->length > CONTROL_REPLY_MAX)
                return -EMSGSIZE;
        return receive(c->fd, ret_payload, ret->length);
}

int control_call(struct control *c, uint32_t op, const void *payload, size_t n, uint8_t *ret_reply, size_t *ret_n) {
        struct ivbs_header header = { .op = op, .length = (uint32_t) n, .sequence = ++c->sequence };
        uint8_t head[IVBS_HEADER_SIZE];
        _cleanup_free_ uint8_t *reply = malloc(CONTROL_REPLY_MAX);
        int r;

        if (!reply)
                return -ENOMEM;
        memcpy(header.session_id, c->session_id, sizeof(header.session_id));
        ivbs_header_encode(&header, head);
        if (send(c->fd, head, sizeof(head), MSG_NOSIGNAL | (n > 0 ? MSG_MORE : 0)) != (ssize_t) sizeof(head) ||
                (n > 0 && send(c->fd, payload, n, MSG_NOSIGNAL) != (ssize_t) n))
                return -EPIPE;
        do {
                r = receive_packet(c, &header, reply);
                if (r < 0)
                        return r;
        } while (header.sequence != c->sequence || header.op != op);

        if (ret_reply) {
                memcpy(ret_reply, reply, header.length);
                *ret_n = header.length;
        }
        return (int) header.status;
}

static int introduce(struct control *c, const char *user, const char *password) {
        struct ivbs_hello hello = { .caps = WANTED_CAPS, .max_length = IVBS_LENGTH_MAX, .host = "chaos" };
        uint8_t payload[IVBS_HELLO_SIZE], login[IVBS_LOGIN_SIZE], reply[CONTROL_REPLY_MAX];
        char hash[IVBS_PASSWORD_SIZE];
        struct ivbs_hello_reply granted;
        struct ivbs_header header;
        size_t n;
        int r;

        r = receive_packet(c, &header, reply);
        if (r < 0)
                return r;
        memcpy(c->session_id, header.session_id, sizeof(c->session_id));

        memcpy(hello.machine_id, c->machine_id, sizeof(hello.machine_id));
        memcpy(hello.boot_id, c->machine_id, sizeof(hello.boot_id));
        ivbs_hello_encode(&hello, payload);
        r = control_call(c, IVBS_OP_HELLO, payload, sizeof(payload), reply, &n);
        if (r != 0)
                return r < 0 ? r : -EPROTO;
        r = ivbs_hello_reply_decode(reply, n, &granted);
        if (r < 0)
                return r;
        c->caps = granted.caps;

        r = ivbs_hash_password(password, strlen(password), hash);
        if (r >= 0)
                r = ivbs_login_encode(user, hash, login);
        if (r < 0)
                return r;
        r = control_call(c, IVBS_OP_LOGIN, login, sizeof(login), reply, &n);
        return r > 0 ? -EACCES : r;
}

int control_open(struct control *c, uint16_t port, uint8_t machine, const char *user, const char *password) {
        const struct sockaddr_in address = {
                .sin_family = AF_INET,
                .sin_port = htons(port),
                .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        };
        const struct timeval patience = { .tv_sec = PATIENCE_SEC };
        int r;

        *c = (struct control){ .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) };
        memset(c->machine_id, machine, sizeof(c->machine_id));
        if (c->fd < 0)
                return -errno;
        (void) setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        (void) setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
        r = connect(c->fd, (const struct sockaddr *) &address, sizeof(address)) < 0 ? -errno
                                                                                    : introduce(c, user, password);
        if (r < 0)
                control_close(c);
        return r;
}

void control_close(struct control *c) {
        c->fd = safe_close(c->fd);
}

int control_create_image(struct control *c, const char *name, uint64_t size) {
        struct ivbs_create_image create = { .size = size };
        uint8_t payload[IVBS_CREATE_IMAGE_SIZE], reply[CONTROL_REPLY_MAX];
        size_t n;
        int r;

        (void) snprintf(create.name, sizeof(create.name), "%s", name);
        r = ivbs_create_image_encode(&create, payload);
        return r < 0 ? r : control_call(c, IVBS_OP_CREATE_IMAGE, payload, sizeof(payload), reply, &n);
}

int control_drain(struct control *c, bool undo) {
        uint8_t payload[IVBS_DRAIN_SIZE];

        if (!(c->caps & IVBS_CAP_DRAIN))
                return -EOPNOTSUPP;
        ivbs_drain_encode(undo ? IVBS_DRAIN_UNDO : 0, payload);
        return control_call(c, IVBS_OP_DRAIN, payload, sizeof(payload), NULL, NULL);
}

pid_t control_fork(int (*function)(void *userdata), void *userdata) {
        pid_t pid;

        pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                _exit(function(userdata));
        }
        return pid;
}
