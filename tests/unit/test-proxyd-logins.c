/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Equal logins share one hash, a right one is remembered for a while, and who has gone is not hashed for. The check is the test's: it counts, and waits at a gate where a test wants
 * the thread busy. */

#include <semaphore.h>
#include <stdatomic.h>

#include "logins.h"
#include "on-ring.h"
#include "proxyd-store.h"

#define LONG (UINT64_C(3600) * 1000000U)

static sem_t entered, gate;
static atomic_bool gated;
static unsigned n_checks;
static char last_name[IVBS_USER_SIZE + 1];

/* Right is what begins with an r. */
static int check(const struct users *users, const char *name, const char password[static IVBS_PASSWORD_SIZE]) {
        sem_post(&entered);
        if (gated)
                sem_wait(&gate);
        n_checks++;
        strcpy(last_name, name);
        return password[0] == 'r';
}

struct asker {
        struct login login;
        int result;
        unsigned n_done;
};

static void done(struct login *login, int result) {
        struct asker *asker = (struct asker *) login;

        asker->result = result;
        asker->n_done++;
}

struct desk {
        char *directory, *path;
        struct ring *ring;
        struct logins *logins;
        struct users *users;
};

static void load(struct desk *desk, const char *hash) {
        static char *all[] = { (char *) "*" };
        struct users_file_user users[] = {
                { .name = (char *) "alice", .hash = (char *) hash, .read = all, .n_read = 1 },
                { .name = (char *) "bob", .hash = (char *) "$6$saltsalt$bob", .read = all, .n_read = 1 },
        };
        _cleanup_(users_file_freep) struct users_file *file = NULL;
        _cleanup_free_ char *message = NULL;

        ASSERT_OK(users_file_new(&file));
        for (size_t i = 0; i < ELEMENTSOF(users); i++)
                ASSERT_EQ(users_file_set(file, users + i), 0);
        ASSERT_OK(users_file_save(file, desk->path));
        users_unref(desk->users);
        ASSERT_OK(users_load(desk->path, &desk->users, &message));
}

static struct desk *open_desk_for(bool with_gate, uint64_t patience_usec, uint64_t life_usec) {
        struct desk *desk = calloc(1, sizeof(*desk));

        ASSERT_TRUE(desk);
        gated = with_gate;
        n_checks = 0;
        ASSERT_OK(sem_init(&entered, 0, 0));
        ASSERT_OK(sem_init(&gate, 0, 0));
        desk->directory = make_directory();
        ASSERT_TRUE(asprintf(&desk->path, "%s/users.json", desk->directory) > 0);
        load(desk, "$6$saltsalt$alice");
        desk->ring = ring_with_watchman();
        ASSERT_OK(logins_new(&desk->logins, desk->ring, check, patience_usec, life_usec));
        return desk;
}

static struct desk *open_desk(bool with_gate) {
        return open_desk_for(with_gate, LONG, LONG);
}

static void close_desk(struct desk *desk) {
        /* Whatever the thread is at: no check waits from now on, and the one that does goes on. */
        gated = false;
        sem_post(&gate);
        ring_free(desk->ring);
        logins_free(desk->logins);
        users_unref(desk->users);
        free(desk->path);
        remove_directory(desk->directory);
        free(desk);
        sem_destroy(&gate);
        sem_destroy(&entered);
}

static int ask(struct desk *desk, struct asker *asker, const char *name, const char *password) {
        char padded[IVBS_PASSWORD_SIZE] = {};

        memcpy(padded, password, strlen(password));
        *asker = (struct asker){ .login.done = done };
        return logins_ask(desk->logins, &asker->login, desk->users, name, padded);
}

static void a_host_comes_up(void) {
        struct desk *desk = open_desk(true);
        static struct asker askers[500];
        struct asker late;

        for (size_t i = 0; i < ELEMENTSOF(askers); i++)
                ASSERT_EQ(ask(desk, askers + i, "alice", "right"), 0);
        sem_post(&gate);
        RUN_UNTIL(desk->ring, askers[ELEMENTSOF(askers) - 1].n_done > 0);
        for (size_t i = 0; i < ELEMENTSOF(askers); i++)
                ASSERT_TRUE(askers[i].n_done == 1 && askers[i].result == 1);
        ASSERT_EQ(ask(desk, &late, "alice", "right"), 1);
        ASSERT_EQ(n_checks, 1U);
        close_desk(desk);
}

static void wrong_is_not_remembered(void) {
        struct desk *desk = open_desk(false);
        struct asker a, b;

        for (unsigned i = 1; i <= 3; i++) {
                ASSERT_EQ(ask(desk, &a, "alice", "wrong"), 0);
                ASSERT_EQ(ask(desk, &b, "alice", "wrong"), 0);
                RUN_UNTIL(desk->ring, a.n_done > 0 && b.n_done > 0);
                ASSERT_TRUE(a.result == 0 && b.result == 0);
                ASSERT_EQ(n_checks, i);
        }
        close_desk(desk);
}

static void nothing_else_is_equal(void) {
        struct desk *desk = open_desk(false);
        struct asker a;

        ASSERT_EQ(ask(desk, &a, "alice", "right"), 0);
        RUN_UNTIL(desk->ring, a.n_done > 0);
        ASSERT_EQ(ask(desk, &a, "alice", "right"), 1);

        /* Another name, another password, one that only begins the same, and a user who does not exist. */
        ASSERT_EQ(ask(desk, &a, "bob", "right"), 0);
        RUN_UNTIL(desk->ring, a.n_done > 0);
        ASSERT_STREQ(last_name, "bob");
        ASSERT_EQ(ask(desk, &a, "alice", "rightly"), 0);
        RUN_UNTIL(desk->ring, a.n_done > 0);
        ASSERT_EQ(ask(desk, &a, "alice", "righ"), 0);
        RUN_UNTIL(desk->ring, a.n_done > 0);
        ASSERT_EQ(ask(desk, &a, "nobody", "wrong"), 0);
        RUN_UNTIL(desk->ring, a.n_done > 0);
        ASSERT_EQ(a.result, 0);
        ASSERT_EQ(n_checks, 5U);
        close_desk(desk);
}

static void another_hash_is_another_login(void) {
        struct desk *desk = open_desk(false);
        struct asker a;

        ASSERT_EQ(ask(desk, &a, "alice", "right"), 0);
        RUN_UNTIL(desk->ring, a.n_done > 0);
        /* Even if nobody says that the users have changed. */
        load(desk, "$6$saltsalt$changed");
        ASSERT_EQ(ask(desk, &a, "alice", "right"), 0);
        RUN_UNTIL(desk->ring, a.n_done > 0);
        ASSERT_EQ(n_checks, 2U);
        ASSERT_EQ(ask(desk, &a, "alice", "right"), 1);

        logins_forget(desk->logins);
        ASSERT_EQ(ask(desk, &a, "alice", "right"), 0);
        RUN_UNTIL(desk->ring, a.n_done > 0);
        ASSERT_EQ(n_checks, 3U);
        close_desk(desk);
}

static void changed_during_the_check(void) {
        struct desk *desk = open_desk(true);
        struct asker a;

        ASSERT_EQ(ask(desk, &a, "alice", "right"), 0);
        logins_forget(desk->logins);
        sem_post(&gate);
        RUN_UNTIL(desk->ring, a.n_done > 0);
        ASSERT_EQ(a.result, 1);
        ASSERT_EQ(ask(desk, &a, "alice", "right"), 0);
        logins_leave(&a.login);
        close_desk(desk);
}

static void who_has_gone_is_not_hashed_for(void) {
        struct desk *desk = open_desk(true);
        struct asker busy, gone[32], together, stays;
        char password[16];

        ASSERT_EQ(ask(desk, &busy, "bob", "wrong"), 0);
        for (unsigned i = 0; i < ELEMENTSOF(gone); i++) {
                snprintf(password, sizeof(password), "wrong %u", i);
                ASSERT_EQ(ask(desk, gone + i, "alice", password), 0);
        }
        ASSERT_EQ(ask(desk, &together, "alice", "right"), 0);
        ASSERT_EQ(ask(desk, &stays, "alice", "right"), 0);
        for (unsigned i = 0; i < ELEMENTSOF(gone); i++)
                logins_leave(&gone[i].login);
        logins_leave(&together.login);
        logins_leave(&together.login);

        sem_post(&gate);
        sem_post(&gate);
        RUN_UNTIL(desk->ring, stays.n_done > 0);
        ASSERT_TRUE(busy.n_done == 1 && stays.result == 1 && together.n_done == 0);
        ASSERT_EQ(n_checks, 2U);
        for (unsigned i = 0; i < ELEMENTSOF(gone); i++)
                ASSERT_EQ(gone[i].n_done, 0U);
        close_desk(desk);
}

static void what_is_at_work_is_not_wasted(void) {
        struct desk *desk = open_desk(true);
        struct asker a, behind;

        ASSERT_EQ(ask(desk, &a, "alice", "right"), 0);
        ASSERT_EQ(ask(desk, &behind, "bob", "wrong"), 0);
        ASSERT_OK(sem_wait(&entered));
        logins_leave(&a.login);
        sem_post(&gate);
        sem_post(&gate);
        RUN_UNTIL(desk->ring, behind.n_done > 0);
        ASSERT_EQ(a.n_done, 0U);
        ASSERT_EQ(ask(desk, &a, "alice", "right"), 1);
        close_desk(desk);
}

static void bounded(void) {
        struct desk *desk = open_desk(true);
        static struct asker askers[LOGINS_WAITING_MAX];
        struct asker more;
        char password[16];

        for (unsigned i = 0; i < LOGINS_WAITING_MAX; i++) {
                snprintf(password, sizeof(password), "wrong %u", i);
                ASSERT_EQ(ask(desk, askers + i, "alice", password), 0);
        }
        ASSERT_ERROR(ask(desk, &more, "alice", "another"), EBUSY);
        /* Equal ones take no place. */
        ASSERT_EQ(ask(desk, &more, "alice", "wrong 63"), 0);
        /* One that leaves makes room. */
        logins_leave(&askers[40].login);
        ASSERT_EQ(ask(desk, &askers[40], "alice", "another"), 0);
        close_desk(desk);
}

static void a_turn_that_does_not_come(void) {
        struct desk *desk = open_desk_for(true, 1000, LONG);
        struct asker working, waiting;

        ASSERT_EQ(ask(desk, &working, "alice", "right"), 0);
        ASSERT_OK(sem_wait(&entered));
        ASSERT_EQ(ask(desk, &waiting, "bob", "right"), 0);
        /* The thread stands at the gate for all that time. */
        RUN_UNTIL(desk->ring, waiting.n_done > 0);
        ASSERT_EQ(waiting.result, -EBUSY);
        ASSERT_EQ(working.n_done, 0U);
        sem_post(&gate);
        RUN_UNTIL(desk->ring, working.n_done > 0);
        ASSERT_EQ(working.result, 1);
        ASSERT_EQ(n_checks, 1U);
        close_desk(desk);
}

static void not_for_long(void) {
        struct desk *desk = open_desk_for(false, LONG, 1000);
        struct asker a;

        /* However often it is asked for. */
        for (unsigned i = 1; i <= 3; i++) {
                RUN_UNTIL(desk->ring, ask(desk, &a, "alice", "right") == 0);
                RUN_UNTIL(desk->ring, a.n_done > 0);
                ASSERT_EQ(n_checks, i);
        }
        close_desk(desk);
}

static void many_are_remembered_but_not_more(void) {
        struct desk *desk = open_desk(false);
        struct asker a;
        char password[16];

        for (unsigned i = 0; i <= LOGINS_REMEMBERED_MAX; i++) {
                snprintf(password, sizeof(password), "right %u", i);
                ASSERT_EQ(ask(desk, &a, "alice", password), 0);
                RUN_UNTIL(desk->ring, a.n_done > 0);
        }
        ASSERT_EQ(ask(desk, &a, "alice", "right 256"), 1);
        ASSERT_EQ(ask(desk, &a, "alice", "right 255"), 1);
        ASSERT_EQ(ask(desk, &a, "alice", "right 0"), 0);
        RUN_UNTIL(desk->ring, a.n_done > 0);
        close_desk(desk);
}

TEST_MAIN(TEST(a_host_comes_up), TEST(wrong_is_not_remembered), TEST(nothing_else_is_equal),
        TEST(another_hash_is_another_login), TEST(changed_during_the_check), TEST(who_has_gone_is_not_hashed_for),
        TEST(what_is_at_work_is_not_wasted), TEST(bounded), TEST(a_turn_that_does_not_come), TEST(not_for_long),
        TEST(many_are_remembered_but_not_more));
