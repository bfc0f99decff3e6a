/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The user's file comes as a descriptor, because our unit may open nothing. qemu-img takes names only, and /dev/fd/N is opened anew, with its own rights, which it does not have. An NBD server that reads and writes the
 * descriptor closes that gap, and gives the converter less than a file: bytes at offsets, without a name, an owner or a mode.
 *
 * One client at a time, one request at a time: the converter waits for the store more than for this. Simple replies, since nothing is gained by structured ones without block status: what a qcow2 file holds its own tables
 * tell, and holes of a raw file are found by their zeroes. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "bytes.h"
#include "file-server.h"
#include "nbd.h"

struct file_server {
        int fd, listen_fd, stop_fd, client;
        struct nbd_export export;
        char path[sizeof(((struct sockaddr_un *) NULL)->sun_path)];
        pthread_t thread;
        bool running;
        _Atomic uint64_t written;
        uint8_t *buffer; /* NBD_PAYLOAD_MAX */
};

/* Waits for the descriptor, or for the end. Returns 0 or -ECANCELED. */
static int wait_for(const struct file_server *server, int fd, short events) {
        struct pollfd fds[] = { { .fd = server->stop_fd, .events = POLLIN }, { .fd = fd, .events = events } };

        do {
                if (poll(fds, ELEMENTSOF(fds), -1) < 0 && errno != EINTR)
                        return -errno;
                if (fds[0].revents)
                        return -ECANCELED;
        } while (!fds[1].revents);
        return 0;
}

/* Returns 0, -ECONNRESET at the end of the stream, or another negative errno. */
static int receive(const struct file_server *server, void *buffer, size_t n) {
        for (uint8_t *p = buffer; n > 0;) {
                ssize_t k = recv(server->client, p, n, MSG_DONTWAIT);

                if (k == 0)
                        return -ECONNRESET;
                if (k < 0) {
                        if (errno != EAGAIN && errno != EINTR)
                                return -errno;
                        int r = wait_for(server, server->client, POLLIN);
                        if (r < 0)
                                return r;
                        continue;
                }
                p += k;
                n -= (size_t) k;
        }
        return 0;
}

static int transmit(const struct file_server *server, const void *buffer, size_t n) {
        for (const uint8_t *p = buffer; n > 0;) {
                ssize_t k = send(server->client, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);

                if (k < 0) {
                        if (errno != EAGAIN && errno != EINTR)
                                return -errno;
                        int r = wait_for(server, server->client, POLLOUT);
                        if (r < 0)
                                return r;
                        continue;
                }
                p += k;
                n -= (size_t) k;
        }
        return 0;
}

static int refuse_option(const struct file_server *server, uint32_t option, uint32_t error, const char *text) {
        uint8_t reply[NBD_TEXT_REPLY_SIZE_MAX];

        return transmit(server, reply, nbd_option_error_encode(option, error, text, reply));
}

/* Returns 1 when transmission begins, 0 when another option follows, or a negative errno when the client is to be dropped. */
static int take_option(const struct file_server *server, const struct nbd_option *option, uint32_t client_flags) {
        uint8_t payload[NBD_OPTION_LENGTH_MAX], reply[NBD_GO_REPLY_SIZE_MAX], export_reply[NBD_EXPORT_REPLY_SIZE];
        struct nbd_info_request request;
        int r;

        r = receive(server, payload, option->length);
        if (r < 0)
                return r;

        switch (option->option) {
        case NBD_OPT_EXPORT_NAME:
                r = transmit(
                        server, export_reply, nbd_export_reply_encode(&server->export, client_flags, export_reply));
                return r < 0 ? r : 1;
        case NBD_OPT_GO:
        case NBD_OPT_INFO:
                if (nbd_info_request_decode(payload, option->length, &request) < 0)
                        return refuse_option(server, option->option, NBD_REP_ERR_INVALID, "not understood");
                r = transmit(server, reply,
                        nbd_option_go_encode(option->option, &server->export, request.infos, "", "a file", reply));
                return r < 0 ? r : option->option == NBD_OPT_GO;
        case NBD_OPT_ABORT:
                return -ECONNRESET;
        default:
                return refuse_option(server, option->option, NBD_REP_ERR_UNSUP, "not offered");
        }
}

static int handshake(const struct file_server *server) {
        uint8_t greeting[NBD_GREETING_SIZE], flags[NBD_CLIENT_FLAGS_SIZE], header[NBD_OPTION_SIZE];
        struct nbd_option option;
        uint32_t client_flags;
        int r;

        nbd_greeting_encode(greeting);
        r = transmit(server, greeting, sizeof(greeting));
        if (r >= 0)
                r = receive(server, flags, sizeof(flags));
        if (r >= 0)
                r = nbd_client_flags_decode(flags, &client_flags);
        if (r < 0)
                return r;

        do {
                r = receive(server, header, sizeof(header));
                if (r >= 0)
                        r = nbd_option_decode(header, sizeof(header), &option);
                if (r >= 0)
                        r = take_option(server, &option, client_flags);
        } while (r == 0);
        return r;
}

static int read_file(const struct file_server *server, uint64_t offset, size_t n) {
        for (uint8_t *p = server->buffer; n > 0;) {
                ssize_t k = pread(server->fd, p, n, (off_t) offset);

                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return -errno;
                if (k == 0) { /* behind the file's end */
                        memset(p, 0, n);
                        return 0;
                }
                p += k;
                offset += (uint64_t) k;
                n -= (size_t) k;
        }
        return 0;
}

static int write_file(const struct file_server *server, uint64_t offset, size_t n) {
        for (const uint8_t *p = server->buffer; n > 0;) {
                ssize_t k = pwrite(server->fd, p, n, (off_t) offset);

                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return -errno;
                p += k;
                offset += (uint64_t) k;
                n -= (size_t) k;
        }
        return 0;
}

/* A hole where the file system can make one. */
static int zero_file(const struct file_server *server, uint64_t offset, uint64_t n) {
        struct stat st;

        if (fstat(server->fd, &st) < 0)
                return -errno;
        if (offset >= (uint64_t) st.st_size)
                return 0;
        if (fallocate(server->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t) offset, (off_t) n) >= 0)
                return 0;
        if (errno != EOPNOTSUPP)
                return -errno;

        memset(server->buffer, 0, n < NBD_PAYLOAD_MAX ? n : NBD_PAYLOAD_MAX);
        while (n > 0) {
                size_t k = n < NBD_PAYLOAD_MAX ? n : NBD_PAYLOAD_MAX;
                int r = write_file(server, offset, k);

                if (r < 0)
                        return r;
                offset += k;
                n -= k;
        }
        return 0;
}

static void note_written(struct file_server *server, const struct nbd_request *request) {
        uint64_t end = request->offset + request->length;

        if (end > atomic_load(&server->written))
                atomic_store(&server->written, end);
}

static int execute(struct file_server *server, const struct nbd_request *request) {
        int r;

        r = nbd_request_check(request, &server->export);
        if (r < 0)
                return r;

        switch (request->type) {
        case NBD_CMD_READ:
                return read_file(server, request->offset, request->length);
        case NBD_CMD_WRITE:
                note_written(server, request);
                return write_file(server, request->offset, request->length);
        case NBD_CMD_WRITE_ZEROES:
                return zero_file(server, request->offset, request->length);
        case NBD_CMD_FLUSH:
                return fdatasync(server->fd) < 0 ? -errno : 0;
        default:
                return -EINVAL;
        }
}

static int serve_request(struct file_server *server) {
        uint8_t header[NBD_REQUEST_SIZE], reply[NBD_SIMPLE_REPLY_SIZE];
        struct nbd_request request;
        int r, error;

        r = receive(server, header, sizeof(header));
        if (r >= 0)
                r = nbd_request_decode(header, &request);
        if (r >= 0)
                r = receive(server, server->buffer, nbd_request_payload(&request));
        if (r < 0)
                return r;
        if (request.type == NBD_CMD_DISC)
                return -ECONNRESET;

        error = execute(server, &request);
        nbd_simple_reply_encode(request.cookie, nbd_error_from_errno(error), reply);
        r = transmit(server, reply, sizeof(reply));
        if (r >= 0 && error == 0 && request.type == NBD_CMD_READ)
                r = transmit(server, server->buffer, request.length);
        return r;
}

static void *serve(void *userdata) {
        struct file_server *server = userdata;

        while (wait_for(server, server->listen_fd, POLLIN) >= 0) {
                server->client = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC);
                if (server->client < 0)
                        continue;
                if (handshake(server) > 0)
                        while (serve_request(server) >= 0)
                                ;
                server->client = safe_close(server->client);
        }
        return NULL;
}

static int listen_at(const char *path, int *ret) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = -EBADF;

        if (strlen(path) >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        memcpy(address.sun_path, path, strlen(path) + 1);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || bind(fd, (struct sockaddr *) &address, sizeof(address)) < 0 || listen(fd, 4) < 0)
                return -errno;
        *ret = TAKE_FD(fd);
        return 0;
}

int file_server_new(int fd, uint64_t size, bool writable, const char *path, struct file_server **ret) {
        _cleanup_(file_server_freep) struct file_server *server = calloc(1, sizeof(*server));
        int r;

        if (!server)
                return -ENOMEM;
        *server = (struct file_server){
                .fd = fd,
                .listen_fd = -EBADF,
                .client = -EBADF,
                .export = {
                        .size = size,
                        .flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH |
                                 (writable ? NBD_FLAG_SEND_WRITE_ZEROES : NBD_FLAG_READ_ONLY),
                        .block_size_min = 1,
                        .block_size_preferred = 65536,
                        .payload_max = NBD_PAYLOAD_MAX,
                },
        };
        server->stop_fd = eventfd(0, EFD_CLOEXEC);
        if (server->stop_fd < 0)
                return -errno;
        server->buffer = malloc(NBD_PAYLOAD_MAX);
        if (!server->buffer)
                return -ENOMEM;
        r = listen_at(path, &server->listen_fd);
        if (r < 0)
                return r;
        memcpy(server->path, path, strlen(path) + 1);

        r = -pthread_create(&server->thread, NULL, serve, server);
        if (r < 0)
                return r;
        server->running = true;
        *ret = TAKE_PTR(server);
        return 0;
}

struct file_server *file_server_free(struct file_server *server) {
        if (!server)
                return NULL;

        if (server->running) {
                (void) eventfd_write(server->stop_fd, 1);
                (void) pthread_join(server->thread, NULL);
        }
        if (server->path[0])
                (void) unlink(server->path);
        safe_close(server->listen_fd);
        safe_close(server->stop_fd);
        free(server->buffer);
        free(server);
        return NULL;
}

uint64_t file_server_written(const struct file_server *server) {
        return atomic_load(&server->written);
}
