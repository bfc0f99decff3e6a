/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A check is a hash to be made and everybody who waits for it. It is known by its key alone, which stands for name, password and stored hash: an equal key asks for the same
 * answer. All of this is the ring's thread's; the thread that hashes sees one check at a time, in the order in which they came, and of it only what it was given.
 *
 * A turn that does not come soon is refused, not awaited: the client's own patience is finite, it would hang up and come again at the end of the queue, and a server that only ever
 * hashes for those who have gone serves nobody. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "container-of.h"
#include "logins.h"

#define KEY_SIZE 32U /* HMAC-SHA256 */

TAILQ_HEAD(login_list, login);
TAILQ_HEAD(check_list, check);

struct check {
        struct logins *logins;
        struct job job;
        uint8_t key[KEY_SIZE];
        uint64_t since_usec;
        bool outdated; /* the users have changed since */
        struct login_list askers;
        TAILQ_ENTRY(check) entry;

        /* the thread's, until done */
        struct users *users;
        char name[IVBS_USER_SIZE + 1];
        char password[IVBS_PASSWORD_SIZE];
        int result;
};

struct remembered {
        uint8_t key[KEY_SIZE];
        uint64_t until_usec;
};

struct logins {
        struct ring *ring;
        struct jobs *jobs;
        logins_check_t check;
        uint64_t patience_usec, life_usec;
        struct ring_timer timer;
        uint8_t secret[KEY_SIZE];
        struct check_list checks; /* oldest first */
        struct remembered remembered[LOGINS_REMEMBERED_MAX];
        size_t n_remembered;
};

/* Returns 0 or -ENOMEM. */
static int make_key(const struct logins *logins, const struct users *users, const char *name,
        const char password[static IVBS_PASSWORD_SIZE], uint8_t ret[static KEY_SIZE]) {
        /* The digest of what is stored, whether anything is, the name to its full width, the password. */
        uint8_t text[USERS_DIGEST_SIZE + 1 + IVBS_USER_SIZE + IVBS_PASSWORD_SIZE] = {};
        uint8_t *p = text;
        unsigned size = KEY_SIZE;
        int r;

        r = users_digest(users, name, p);
        if (r < 0 && r != -ENOENT)
                return r;
        p += USERS_DIGEST_SIZE;
        *p++ = r >= 0;
        memcpy(p, name, strnlen(name, IVBS_USER_SIZE));
        p += IVBS_USER_SIZE;
        memcpy(p, password, IVBS_PASSWORD_SIZE);

        r = HMAC(EVP_sha256(), logins->secret, sizeof(logins->secret), text, sizeof(text), ret, &size) ? 0 : -ENOMEM;
        explicit_bzero(text, sizeof(text));
        return r;
}

/* --- what was right --- */

static void forget(struct logins *logins, size_t i) {
        logins->remembered[i] = logins->remembered[--logins->n_remembered];
        explicit_bzero(logins->remembered + logins->n_remembered, sizeof(struct remembered));
}

static bool is_remembered(const struct logins *logins, const uint8_t key[static KEY_SIZE]) {
        uint64_t now = ring_now_usec(logins->ring);

        for (size_t i = 0; i < logins->n_remembered; i++)
                if (logins->remembered[i].until_usec > now &&
                        CRYPTO_memcmp(logins->remembered[i].key, key, KEY_SIZE) == 0)
                        return true;
        return false;
}

static void remember(struct logins *logins, const uint8_t key[static KEY_SIZE]) {
        struct remembered *r;
        size_t oldest = 0;

        if (logins->n_remembered == LOGINS_REMEMBERED_MAX) {
                for (size_t i = 1; i < logins->n_remembered; i++)
                        if (logins->remembered[i].until_usec < logins->remembered[oldest].until_usec)
                                oldest = i;
                forget(logins, oldest);
        }

        r = logins->remembered + logins->n_remembered++;
        memcpy(r->key, key, KEY_SIZE);
        r->until_usec = ring_now_usec(logins->ring) + logins->life_usec;
}

/* --- what is being checked --- */

static struct check *check_free(struct check *check) {
        if (check) {
                users_unref(check->users);
                explicit_bzero(check, sizeof(*check));
                free(check);
        }
        return NULL;
}

/* Its askers are told, and it is over. Who is told may ask again, or leave. */
static void conclude(struct check *check, int result) {
        struct login *login;

        TAILQ_REMOVE(&check->logins->checks, check, entry);
        while ((login = TAILQ_FIRST(&check->askers))) {
                TAILQ_REMOVE(&check->askers, login, entry);
                login->check = NULL;
                login->done(login, result);
        }
        check_free(check);
}

static void set_timer(struct logins *logins) {
        uint64_t now = ring_now_usec(logins->ring), next = UINT64_MAX;
        struct check *check;

        /* The one at work, if it is overdue, ends by itself. */
        TAILQ_FOREACH(check, &logins->checks, entry)
                if (check->since_usec + logins->patience_usec > now) {
                        next = check->since_usec + logins->patience_usec;
                        break;
                }
        for (size_t i = 0; i < logins->n_remembered; i++)
                if (logins->remembered[i].until_usec < next)
                        next = logins->remembered[i].until_usec;

        if (next == UINT64_MAX)
                ring_timer_unset(&logins->timer);
        else
                ring_timer_set(&logins->timer, next > now ? next - now : 0);
}

/* Looked for anew each time, since whoever is told may take others off the list. */
static struct check *take_overdue(struct logins *logins, uint64_t now) {
        struct check *check;

        TAILQ_FOREACH(check, &logins->checks, entry)
                if (check->since_usec + logins->patience_usec <= now && jobs_cancel(logins->jobs, &check->job))
                        return check;
        return NULL;
}

static void time_is_over(struct ring_timer *timer) {
        struct logins *logins = CONTAINER_OF(timer, struct logins, timer);
        uint64_t now = ring_now_usec(logins->ring);
        struct check *check;

        for (size_t i = logins->n_remembered; i-- > 0;)
                if (logins->remembered[i].until_usec <= now)
                        forget(logins, i);

        while ((check = take_overdue(logins, now)))
                conclude(check, -EBUSY);
        set_timer(logins);
}

static void check_run(struct job *job) {
        struct check *check = CONTAINER_OF(job, struct check, job);

        check->result = check->logins->check(check->users, check->name, check->password);
        explicit_bzero(check->password, sizeof(check->password));
}

static void check_done(struct job *job) {
        struct check *check = CONTAINER_OF(job, struct check, job);
        struct logins *logins = check->logins;

        if (check->result > 0 && !check->outdated)
                remember(logins, check->key);
        conclude(check, check->result);
        set_timer(logins);
}

static struct check *find(struct logins *logins, const uint8_t key[static KEY_SIZE]) {
        struct check *check;

        TAILQ_FOREACH(check, &logins->checks, entry)
                if (CRYPTO_memcmp(check->key, key, KEY_SIZE) == 0)
                        return check;
        return NULL;
}

static int start(struct logins *logins, const uint8_t key[static KEY_SIZE], struct users *users, const char *name,
        const char password[static IVBS_PASSWORD_SIZE], struct check **ret) {
        struct check *check;
        int r;

        check = calloc(1, sizeof(*check));
        if (!check)
                return -ENOMEM;

        *check = (struct check){
                .logins = logins,
                .job = { .run = check_run, .done = check_done },
                .since_usec = ring_now_usec(logins->ring),
                .users = users_ref(users),
        };
        memcpy(check->key, key, KEY_SIZE);
        memcpy(check->name, name, strnlen(name, IVBS_USER_SIZE));
        memcpy(check->password, password, IVBS_PASSWORD_SIZE);
        TAILQ_INIT(&check->askers);

        r = jobs_submit(logins->jobs, &check->job);
        if (r < 0) {
                check_free(check);
                return r;
        }
        TAILQ_INSERT_TAIL(&logins->checks, check, entry);
        *ret = check;
        return 0;
}

int logins_ask(struct logins *logins, struct login *login, struct users *users, const char *name,
        const char password[static IVBS_PASSWORD_SIZE]) {
        struct check *check;
        uint8_t key[KEY_SIZE];
        int r;

        r = make_key(logins, users, name, password, key);
        if (r < 0)
                return r;
        if (is_remembered(logins, key))
                return 1;

        check = find(logins, key);
        if (!check) {
                r = start(logins, key, users, name, password, &check);
                if (r < 0)
                        return r;
                set_timer(logins);
        }
        login->check = check;
        TAILQ_INSERT_TAIL(&check->askers, login, entry);
        return 0;
}

void logins_leave(struct login *login) {
        struct check *check = TAKE_PTR(login->check);

        if (!check)
                return;

        TAILQ_REMOVE(&check->askers, login, entry);
        /* One that is at work goes on: its result may be wanted in a moment. */
        if (TAILQ_EMPTY(&check->askers) && jobs_cancel(check->logins->jobs, &check->job)) {
                struct logins *logins = check->logins;

                conclude(check, -ECANCELED);
                set_timer(logins);
        }
}

void logins_forget(struct logins *logins) {
        struct check *check;

        while (logins->n_remembered > 0)
                forget(logins, logins->n_remembered - 1);
        TAILQ_FOREACH(check, &logins->checks, entry)
                check->outdated = true;
        set_timer(logins);
}

int logins_new(
        struct logins **ret, struct ring *ring, logins_check_t check, uint64_t patience_usec, uint64_t life_usec) {
        _cleanup_free_ struct logins *logins = NULL;
        int r;

        logins = calloc(1, sizeof(*logins));
        if (!logins)
                return -ENOMEM;

        if (getrandom(logins->secret, sizeof(logins->secret), 0) != (ssize_t) sizeof(logins->secret))
                return -EIO;
        r = jobs_new(&logins->jobs, ring, "login", LOGINS_WAITING_MAX);
        if (r < 0)
                return r;

        logins->ring = ring;
        logins->check = check;
        logins->patience_usec = patience_usec;
        logins->life_usec = life_usec;
        TAILQ_INIT(&logins->checks);
        ring_timer_init(&logins->timer, ring, time_is_over);
        *ret = TAKE_PTR(logins);
        return 0;
}

struct logins *logins_free(struct logins *logins) {
        struct check *check;

        if (!logins)
                return NULL;

        jobs_free(logins->jobs);
        while ((check = TAILQ_FIRST(&logins->checks))) {
                TAILQ_REMOVE(&logins->checks, check, entry);
                check_free(check);
        }
        explicit_bzero(logins, sizeof(*logins));
        free(logins);
        return NULL;
}
