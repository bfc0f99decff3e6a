/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A bucket is one number: the time at which it will be empty again. Each failure moves that by the time in which one drains; a bucket is full when the time lies further ahead than a
 * full one takes. So there is nothing to count down, and an entry whose time has passed is free.
 *
 * The table is eight entries wide for each hash, under a key of this process: nobody can choose names that push a certain entry out, and the entry that is pushed out is the
 * emptiest of eight. */

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "login-limits.h"

#define WAYS        8U
#define SETS        (LOGIN_LIMITS_ENTRIES / WAYS)
#define KEY_SIZE    16U
#define MINUTE_USEC UINT64_C(60000000)

struct bucket {
        uint8_t key[KEY_SIZE];
        uint64_t empty_usec; /* when it will be; the past: nobody's */
};

struct login_limits {
        unsigned per_minute;
        uint8_t secret[32];
        struct bucket buckets[SETS][WAYS];
};

int login_limits_new(struct login_limits **ret, unsigned per_minute) {
        _cleanup_(login_limits_freep) struct login_limits *limits = calloc(1, sizeof(*limits));

        if (!limits)
                return -ENOMEM;
        limits->per_minute = per_minute;
        if (getrandom(limits->secret, sizeof(limits->secret), 0) != (ssize_t) sizeof(limits->secret))
                return -EIO;

        *ret = TAKE_PTR(limits);
        return 0;
}

struct login_limits *login_limits_free(struct login_limits *limits) {
        free(limits);
        return NULL;
}

void login_address_of(const struct sockaddr *sa, struct login_address *ret) {
        *ret = (struct login_address){};
        if (sa->sa_family == AF_INET) {
                const struct sockaddr_in *in = (const struct sockaddr_in *) sa;

                ret->bytes[10] = ret->bytes[11] = 0xff;
                memcpy(ret->bytes + 12, &in->sin_addr, 4);
        } else if (sa->sa_family == AF_INET6) {
                const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *) sa;

                memcpy(ret->bytes, &in6->sin6_addr, IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) ? 16 : 8);
        }
}

/* Without memory for a hash nobody is held back: that is a shortage, not an attack. */
static struct bucket *find(
        struct login_limits *limits, char kind, const void *data, size_t n, bool make, uint64_t now) {
        uint8_t text[1 + 64] = { (uint8_t) kind }, digest[32];
        struct bucket *set, *emptiest = NULL;
        unsigned size = sizeof(digest);

        if (n > sizeof(text) - 1)
                n = sizeof(text) - 1;
        memcpy(text + 1, data, n);
        if (!HMAC(EVP_sha256(), limits->secret, sizeof(limits->secret), text, 1 + n, digest, &size))
                return NULL;

        set = limits->buckets[(digest[30] << 8 | digest[31]) % SETS];
        for (size_t i = 0; i < WAYS; i++) {
                if (memcmp(set[i].key, digest, KEY_SIZE) == 0)
                        return set + i;
                if (!emptiest || set[i].empty_usec < emptiest->empty_usec)
                        emptiest = set + i;
        }
        if (!make)
                return NULL;

        memcpy(emptiest->key, digest, KEY_SIZE);
        emptiest->empty_usec = now;
        return emptiest;
}

static bool is_full(
        struct login_limits *limits, char kind, const void *data, size_t n, unsigned factor, uint64_t now) {
        const struct bucket *bucket = find(limits, kind, data, n, false, now);
        uint64_t step = MINUTE_USEC / ((uint64_t) limits->per_minute * factor);

        /* Not even one more has room. */
        return bucket && bucket->empty_usec > now && bucket->empty_usec - now > MINUTE_USEC - step;
}

static void fill(struct login_limits *limits, char kind, const void *data, size_t n, unsigned factor, uint64_t now) {
        struct bucket *bucket = find(limits, kind, data, n, true, now);

        if (!bucket)
                return;
        if (bucket->empty_usec < now)
                bucket->empty_usec = now;
        bucket->empty_usec += MINUTE_USEC / ((uint64_t) limits->per_minute * factor);
}

bool login_limits_admit(
        struct login_limits *limits, const struct login_address *address, const char *user, uint64_t now_usec) {
        return limits->per_minute == 0 ||
               (!is_full(limits, 'a', address->bytes, sizeof(address->bytes), 1, now_usec) &&
                       !is_full(limits, 'u', user, strlen(user), LOGIN_LIMITS_USER_FACTOR, now_usec));
}

void login_limits_failed(
        struct login_limits *limits, const struct login_address *address, const char *user, uint64_t now_usec) {
        if (limits->per_minute == 0)
                return;
        fill(limits, 'a', address->bytes, sizeof(address->bytes), 1, now_usec);
        fill(limits, 'u', user, strlen(user), LOGIN_LIMITS_USER_FACTOR, now_usec);
}
