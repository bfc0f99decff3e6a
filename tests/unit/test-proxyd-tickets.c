/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Tickets: only those that this key has sealed, for this user's present password, and for a day; and the key in the store. */

#include <fcntl.h>

#include "guarded.h"
#include "hex.h"
#include "proxyd-store.h"
#include "tickets.h"

#define NOW UINT64_C(1700000000)

static const uint8_t key[TICKET_KEY_SIZE] = "a key of thirty-two bytes, as is", digest[TICKET_DIGEST_SIZE] = "digest";

static size_t make(const char *user, uint8_t ret[static IVBS_TICKET_MAX]) {
        size_t n;

        ASSERT_OK(ticket_make(key, user, digest, NOW, ret, &n));
        ASSERT_TRUE(n <= IVBS_TICKET_MAX);
        return n;
}

static void good(void) {
        static const char *const users[] = { "a", "alice", "0123456789abcdef0123456789abcdef", "Jos\xc3\xa9" };

        for (size_t i = 0; i < ELEMENTSOF(users); i++) {
                uint8_t ticket[IVBS_TICKET_MAX];
                char user[IVBS_USER_SIZE + 1];
                size_t n = make(users[i], ticket);

                ASSERT_EQ(n, 58 + strlen(users[i]));
                ASSERT_OK(ticket_claims(guarded_copy(ticket, n), n, user));
                ASSERT_STREQ(user, users[i]);
                ASSERT_EQ(ticket_check(key, guarded_copy(ticket, n), n, digest, NOW), 1);
        }
}

static void layout(void) {
        uint8_t ticket[IVBS_TICKET_MAX], other[IVBS_TICKET_MAX];

        make("alice", ticket);
        ASSERT_HEX(ticket, 10, "01 05 0000000065554280");
        ASSERT_MEMEQ(ticket + 26, "alice", 5);
        /* No two are the same. */
        make("alice", other);
        ASSERT_TRUE(memcmp(ticket + 10, other + 10, 16) != 0);
}

static void expired(void) {
        uint8_t ticket[IVBS_TICKET_MAX];
        size_t n = make("alice", ticket);

        ASSERT_EQ(ticket_check(key, ticket, n, digest, NOW + TICKET_LIFE_SEC - 1), 1);
        ASSERT_EQ(ticket_check(key, ticket, n, digest, NOW + TICKET_LIFE_SEC), 0);
        ASSERT_EQ(ticket_check(key, ticket, n, digest, UINT64_MAX), 0);
        /* A clock that was set back must not make it hold for longer. */
        ASSERT_EQ(ticket_check(key, ticket, n, digest, NOW - 1), 0);
        ASSERT_EQ(ticket_check(key, ticket, n, digest, 0), 0);
}

static void void_for_another(void) {
        uint8_t ticket[IVBS_TICKET_MAX], other_key[TICKET_KEY_SIZE], other_digest[TICKET_DIGEST_SIZE];
        size_t n = make("alice", ticket);

        memcpy(other_key, key, sizeof(key));
        other_key[TICKET_KEY_SIZE - 1] ^= 1;
        ASSERT_EQ(ticket_check(other_key, ticket, n, digest, NOW), 0);
        memcpy(other_digest, digest, sizeof(digest));
        other_digest[0] ^= 0x80;
        ASSERT_EQ(ticket_check(key, ticket, n, other_digest, NOW), 0);
        ASSERT_EQ(ticket_check(key, ticket, n, digest, NOW), 1);
}

/* Each bit, and each cut. */
static void forged(void) {
        uint8_t ticket[IVBS_TICKET_MAX + 8] = {};
        char user[IVBS_USER_SIZE + 1];
        size_t n = make("alice", ticket);

        for (size_t bit = 0; bit < 8 * n; bit++) {
                ticket[bit / 8] ^= (uint8_t) (1U << bit % 8);
                ASSERT_EQ(ticket_check(key, ticket, n, digest, NOW), 0);
                ticket[bit / 8] ^= (uint8_t) (1U << bit % 8);
        }
        for (size_t cut = 0; cut < n; cut++) {
                ASSERT_ERROR(ticket_claims(guarded_copy(ticket, cut), cut, user), EBADMSG);
                ASSERT_EQ(ticket_check(key, guarded_copy(ticket, cut), cut, digest, NOW), 0);
        }
        for (size_t longer = n + 1; longer < n + 8; longer++)
                ASSERT_EQ(ticket_check(key, ticket, longer, digest, NOW), 0);

        /* A name that would play with a terminal. */
        ticket[26] = '\n';
        ASSERT_ERROR(ticket_claims(ticket, n, user), EBADMSG);
}

static void names(void) {
        uint8_t ticket[IVBS_TICKET_MAX];
        size_t n = 7;

        ASSERT_ERROR(ticket_make(key, "", digest, NOW, ticket, &n), EINVAL);
        ASSERT_ERROR(ticket_make(key, "0123456789abcdef0123456789abcdefX", digest, NOW, ticket, &n), EINVAL);
        ASSERT_EQ(n, 7U);
}

/* Those that are proved: the same rules, and the secret comes out only of a whole one. */
static void proved(void) {
        static const uint8_t secret[IVBS_TICKET_KEY_SIZE] = "a secret of thirty-two bytes, ok";
        uint8_t ticket[IVBS_TICKET_MAX], other[IVBS_TICKET_MAX], got[IVBS_TICKET_KEY_SIZE],
                digest2[TICKET_DIGEST_SIZE] = "digesT", key2[TICKET_KEY_SIZE] = "another key";
        char user[IVBS_USER_SIZE + 1];
        size_t n, m;

        ASSERT_OK(ticket_make_proved(key, "alice", digest, NOW, secret, ticket, &n));
        ASSERT_OK(ticket_make_proved(key, "alice", digest, NOW, secret, other, &m));
        ASSERT_EQ(n, 26 + 5 + 48U);
        ASSERT_TRUE(n == m && memcmp(ticket + 31, other + 31, 48) != 0);
        ASSERT_HEX(ticket, 10, "02 05 0000000065554280");
        ASSERT_OK(ticket_claims(guarded_copy(ticket, n), n, user));
        ASSERT_STREQ(user, "alice");
        ASSERT_EQ(ticket_open_proved(key, guarded_copy(ticket, n), n, digest, NOW, got), 1);
        ASSERT_MEMEQ(got, secret, sizeof(got));
        ASSERT_EQ(ticket_open_proved(key, ticket, n, digest, NOW + TICKET_LIFE_SEC - 1, got), 1);

        memset(got, 0, sizeof(got));
        ASSERT_EQ(ticket_open_proved(key, ticket, n, digest, NOW + TICKET_LIFE_SEC, got), 0);
        ASSERT_EQ(ticket_open_proved(key, ticket, n, digest, NOW - 1, got), 0);
        ASSERT_EQ(ticket_open_proved(key, ticket, n, digest2, NOW, got), 0);
        ASSERT_EQ(ticket_open_proved(key2, ticket, n, digest, NOW, got), 0);
        for (size_t i = 0; i < n; i++) {
                ticket[i] ^= 1;
                ASSERT_EQ(ticket_open_proved(key, guarded_copy(ticket, n), n, digest, NOW, got), 0);
                ticket[i] ^= 1;
                ASSERT_EQ(ticket_open_proved(key, guarded_copy(ticket, i), i, digest, NOW, got), 0);
        }
        for (size_t i = 0; i < sizeof(got); i++)
                ASSERT_EQ(got[i], 0);

        /* Neither kind passes for the other. */
        ASSERT_EQ(ticket_check(key, ticket, n, digest, NOW), 0);
        n = make("alice", ticket);
        ASSERT_EQ(ticket_open_proved(key, ticket, n, digest, NOW, got), 0);
}

static void key_of_the_store(void) {
        uint8_t first[STORE_KEY_SIZE], second[STORE_KEY_SIZE];
        char *path = make_directory(), file[256];
        struct store *store = open_store(path), *other = open_store(path);
        struct stat st;
        int fd;

        ASSERT_OK(store->ops->get_key(store, first));
        ASSERT_OK(other->ops->get_key(other, second));
        ASSERT_MEMEQ(first, second, sizeof(first));
        (void) snprintf(file, sizeof(file), "%s/tickets.key", path);
        ASSERT_OK(stat(file, &st));
        ASSERT_EQ(st.st_mode & 0777, 0600);

        /* Cut, longer, or read by others: another one, for all. */
        for (unsigned i = 0; i < 3; i++) {
                if (i == 0)
                        ASSERT_OK(truncate(file, 31));
                else if (i == 1) {
                        fd = open(file, O_WRONLY | O_APPEND | O_CLOEXEC);
                        ASSERT_EQ(write(fd, "x", 1), 1);
                        safe_close(fd);
                } else
                        ASSERT_OK(chmod(file, 0640));
                ASSERT_OK(store->ops->get_key(store, second));
                ASSERT_TRUE(memcmp(first, second, sizeof(first)) != 0);
                ASSERT_OK(other->ops->get_key(other, first));
                ASSERT_MEMEQ(first, second, sizeof(first));
                ASSERT_OK(stat(file, &st));
                ASSERT_EQ(st.st_mode & 0777, 0600);
        }

        /* What is no file is left alone. */
        ASSERT_OK(unlink(file));
        ASSERT_OK(mkdir(file, 0700));
        ASSERT_ERROR(store->ops->get_key(store, second), EEXIST);
        ASSERT_MEMEQ(first, second, sizeof(first));

        other->ops->close(other);
        store->ops->close(store);
        remove_directory(path);
}

TEST_MAIN(TEST(good), TEST(layout), TEST(expired), TEST(void_for_another), TEST(forged), TEST(names), TEST(proved),
        TEST(key_of_the_store));
