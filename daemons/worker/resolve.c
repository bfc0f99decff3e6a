/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The C library resolves names only by blocking, so a name costs a thread of its own, for as long as the lookup lasts: seconds when a name server is silent. The thread and the
 * ring share one reference-counted object; whichever lets go last frees it, so that a lookup can be given up while the thread still waits. */

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "config.h"
#include "container-of.h"
#include "resolve.h"

struct resolve_lookup {
        atomic_int references;
        int fd; /* the thread's own copy of the eventfd */
        char *host, *port;
        int error;
        struct sockaddr_storage address;
        socklen_t size;
};

static void lookup_unref(struct resolve_lookup *lookup) {
        if (atomic_fetch_sub(&lookup->references, 1) != 1)
                return;

        safe_close(lookup->fd);
        free(lookup->host);
        free(lookup->port);
        free(lookup);
}

/* "HOST:PORT" or "[V6]:PORT", behind "tls://" or not. */
static int split(const char *address, char **ret_host, char **ret_port) {
        const char *colon = strrchr(address, ':'), *start = address_without_scheme(address), *end = colon;
        char *host, *port;

        if (!colon)
                return -EINVAL;
        if (start[0] == '[') {
                if (end[-1] != ']')
                        return -EINVAL;
                start++;
                end--;
        }

        host = strndup(start, (size_t) (end - start));
        port = strdup(colon + 1);
        if (!host || !port) {
                free(host);
                free(port);
                return -ENOMEM;
        }

        *ret_host = host;
        *ret_port = port;
        return 0;
}

static int gai_to_errno(int error) {
        switch (error) {
        case 0:
                return 0;
        case EAI_SYSTEM:
                return -errno;
        case EAI_MEMORY:
                return -ENOMEM;
        case EAI_AGAIN:
                return -EAGAIN;
        default:
                return -EHOSTUNREACH;
        }
}

static int look_up(struct resolve_lookup *lookup, int flags) {
        struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV }, *found;
        int r;

        r = getaddrinfo(lookup->host, lookup->port, &hints, &found);
        if (r != 0)
                return r;

        memcpy(&lookup->address, found->ai_addr, found->ai_addrlen);
        lookup->size = found->ai_addrlen;
        freeaddrinfo(found);
        return 0;
}

static void *thread_main(void *userdata) {
        struct resolve_lookup *lookup = userdata;
        uint64_t one = 1;

        lookup->error = gai_to_errno(look_up(lookup, AI_ADDRCONFIG));
        (void) !write(lookup->fd, &one, sizeof(one));
        lookup_unref(lookup);
        return NULL;
}

static void lookup_done(struct ring_op *op, int32_t res, uint32_t flags) {
        struct resolve *resolve = CONTAINER_OF(op, struct resolve, op);
        struct resolve_lookup *lookup = TAKE_PTR(resolve->lookup);
        struct sockaddr_storage address;
        socklen_t size = 0;
        int error = res < 0 ? res : lookup->error;

        if (error == 0) {
                address = lookup->address;
                size = lookup->size;
        }
        resolve->fd = safe_close(resolve->fd);
        lookup_unref(lookup);
        resolve->done(resolve, error, &address, size);
}

int resolve_start(struct resolve *resolve, struct ring *ring, const char *address,
        void (*done)(struct resolve *resolve, int error, const struct sockaddr_storage *address, socklen_t size),
        struct sockaddr_storage *ret_address, socklen_t *ret_size) {
        struct resolve_lookup *lookup;
        struct io_uring_sqe *sqe;
        pthread_attr_t attr;
        pthread_t thread;
        int r;

        lookup = calloc(1, sizeof(*lookup));
        if (!lookup)
                return -ENOMEM;
        atomic_init(&lookup->references, 1);
        lookup->fd = -EBADF;

        r = split(address, &lookup->host, &lookup->port);
        if (r < 0)
                goto finish;

        if (look_up(lookup, AI_NUMERICHOST) == 0) {
                *ret_address = lookup->address;
                *ret_size = lookup->size;
                r = 1;
                goto finish;
        }

        *resolve = (struct resolve){ .op.done = lookup_done, .done = done, .fd = eventfd(0, EFD_CLOEXEC) };
        lookup->fd = resolve->fd < 0 ? -EBADF : dup(resolve->fd);
        if (lookup->fd < 0) {
                r = -errno;
                goto finish;
        }

        pthread_attr_init(&attr);
        pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        atomic_fetch_add(&lookup->references, 1);
        r = -pthread_create(&thread, &attr, thread_main, lookup);
        pthread_attr_destroy(&attr);
        if (r < 0) {
                atomic_fetch_sub(&lookup->references, 1);
                goto finish;
        }

        resolve->lookup = lookup;
        sqe = ring_get_sqe(ring);
        io_uring_prep_read(sqe, resolve->fd, &resolve->counter, sizeof(resolve->counter), 0);
        ring_sqe_set_op(sqe, &resolve->op);
        return 0;

finish:
        if (r < 0 && resolve->fd > 0)
                resolve->fd = safe_close(resolve->fd);
        lookup_unref(lookup);
        return r;
}

void resolve_cancel(struct resolve *resolve, struct ring *ring) {
        if (resolve->lookup)
                ring_cancel(ring, &resolve->op);
}
