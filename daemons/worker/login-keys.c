/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Two locks: one is held for as long as a derivation takes, so that many sessions that come with one salt derive it once and find it then; the other guards the table, and is
 * never held for long, so the ring's thread may look. Thread and ring share the work by references, as in resolve.c: a session that ends does not wait for its derivation. */

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "cleanup.h"
#include "container-of.h"
#include "login-keys.h"

struct entry {
        bool used;
        struct scram_salt salt;
        struct scram_secret secret;
};

struct login_keys {
        atomic_int references;
        pthread_mutex_t deriving, table;
        unsigned next; /* the entry to be replaced when there is no other */
        struct entry entries[LOGIN_KEYS_MAX];
        char password[IVBS_PASSWORD_SIZE];
};

struct derivation_work {
        atomic_int references;
        struct login_keys *keys;
        struct scram_salt salt;
        int fd; /* the thread's own copy of the eventfd */
        int error;
};

int login_keys_new(struct login_keys **ret, const char password[static IVBS_PASSWORD_SIZE]) {
        struct login_keys *keys;

        keys = mmap(NULL, sizeof(*keys), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (keys == MAP_FAILED)
                return -errno;
        /* Without the limit for it, it is as safe as swap is; that is no reason to stay out. */
        (void) mlock(keys, sizeof(*keys));
        (void) madvise(keys, sizeof(*keys), MADV_DONTDUMP);

        atomic_init(&keys->references, 1);
        pthread_mutex_init(&keys->deriving, NULL);
        pthread_mutex_init(&keys->table, NULL);
        memcpy(keys->password, password, IVBS_PASSWORD_SIZE);
        *ret = keys;
        return 0;
}

struct login_keys *login_keys_free(struct login_keys *keys) {
        if (!keys || atomic_fetch_sub(&keys->references, 1) != 1)
                return NULL;

        pthread_mutex_destroy(&keys->deriving);
        pthread_mutex_destroy(&keys->table);
        explicit_bzero(keys, sizeof(*keys));
        (void) munmap(keys, sizeof(*keys));
        return NULL;
}

static bool find(struct login_keys *keys, const struct scram_salt *salt, struct scram_secret *ret) {
        bool found = false;

        pthread_mutex_lock(&keys->table);
        for (size_t i = 0; i < LOGIN_KEYS_MAX && !found; i++)
                if (keys->entries[i].used && scram_salt_equal(&keys->entries[i].salt, salt)) {
                        *ret = keys->entries[i].secret;
                        found = true;
                }
        pthread_mutex_unlock(&keys->table);
        return found;
}

static void keep(struct login_keys *keys, const struct scram_salt *salt, const struct scram_secret *secret) {
        pthread_mutex_lock(&keys->table);
        keys->entries[keys->next] = (struct entry){ .used = true, .salt = *salt, .secret = *secret };
        keys->next = (keys->next + 1) % LOGIN_KEYS_MAX;
        pthread_mutex_unlock(&keys->table);
}

static int derive(struct login_keys *keys, const struct scram_salt *salt) {
        struct scram_secret secret;
        int r = 0;

        pthread_mutex_lock(&keys->deriving);
        if (!find(keys, salt, &secret)) {
                r = scram_derive(salt, keys->password, IVBS_PASSWORD_SIZE, &secret);
                if (r >= 0)
                        keep(keys, salt, &secret);
        }
        pthread_mutex_unlock(&keys->deriving);
        explicit_bzero(&secret, sizeof(secret));
        return r;
}

static void work_unref(struct derivation_work *work) {
        if (atomic_fetch_sub(&work->references, 1) != 1)
                return;

        login_keys_free(work->keys);
        safe_close(work->fd);
        free(work);
}

static void *thread_main(void *userdata) {
        struct derivation_work *work = userdata;
        uint64_t one = 1;

        work->error = derive(work->keys, &work->salt);
        (void) !write(work->fd, &one, sizeof(one));
        work_unref(work);
        return NULL;
}

static void work_done(struct ring_op *op, int32_t res, uint32_t flags) {
        struct derivation *derivation = CONTAINER_OF(op, struct derivation, op);
        struct derivation_work *work = TAKE_PTR(derivation->work);
        int error = res < 0 ? res : work->error;
        struct scram_secret secret = {};

        /* Pushed out by others in the meantime: as if it had not been derived. */
        if (error == 0 && !find(work->keys, &work->salt, &secret))
                error = -EAGAIN;
        derivation->fd = safe_close(derivation->fd);
        work_unref(work);
        derivation->done(derivation, error, &secret);
        explicit_bzero(&secret, sizeof(secret));
}

int derivation_start(struct derivation *derivation, struct ring *ring, struct login_keys *keys,
        const struct scram_salt *salt,
        void (*done)(struct derivation *derivation, int error, const struct scram_secret *secret),
        struct scram_secret *ret) {
        struct derivation_work *work;
        struct io_uring_sqe *sqe;
        pthread_attr_t attr;
        pthread_t thread;
        int r;

        if (!scram_salt_is_valid(salt))
                return -EINVAL;
        if (find(keys, salt, ret))
                return 1;

        work = calloc(1, sizeof(*work));
        if (!work)
                return -ENOMEM;
        atomic_init(&work->references, 1);
        atomic_fetch_add(&keys->references, 1);
        work->keys = keys;
        work->salt = *salt;

        *derivation = (struct derivation){ .op.done = work_done, .done = done, .fd = eventfd(0, EFD_CLOEXEC) };
        work->fd = derivation->fd < 0 ? -EBADF : dup(derivation->fd);
        if (work->fd < 0) {
                r = -errno;
                goto fail;
        }

        pthread_attr_init(&attr);
        pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        atomic_fetch_add(&work->references, 1);
        r = -pthread_create(&thread, &attr, thread_main, work);
        pthread_attr_destroy(&attr);
        if (r < 0) {
                atomic_fetch_sub(&work->references, 1);
                goto fail;
        }

        derivation->work = work;
        sqe = ring_get_sqe(ring);
        io_uring_prep_read(sqe, derivation->fd, &derivation->counter, sizeof(derivation->counter), 0);
        ring_sqe_set_op(sqe, &derivation->op);
        return 0;

fail:
        derivation->fd = safe_close(derivation->fd);
        work_unref(work);
        return r;
}

void derivation_cancel(struct derivation *derivation, struct ring *ring) {
        if (derivation->work)
                ring_cancel(ring, &derivation->op);
}
