/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Two processes' worth of private bus in one: calls, descriptors, errors of the table, the end of a link. */

#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "peer-pair.h"

static int method_take(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        const char *text;
        struct stat st;
        int fd;

        ASSERT_OK(sd_bus_message_read(message, "sh", &text, &fd));
        ASSERT_EQ(fstat(fd, &st), 0);
        if (!S_ISFIFO(st.st_mode))
                return peer_bus_error_set(error, FAILURE_BUSY, "%s is no pipe", text);
        return sd_bus_reply_method_return(message, "s", text);
}

static int method_plain(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        return peer_bus_error_set(error, FAILURE_HELD, NULL);
}

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Take", "sh", "s", method_take, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Plain", "", "", method_plain, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

struct answer {
        bool there;
        enum failure failure;
        char text[128];
};

static int on_answer(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct answer *answer = userdata;
        const sd_bus_error *e = sd_bus_message_get_error(message);
        const char *text = "";

        answer->there = true;
        answer->failure = peer_bus_error_failure(e);
        if (!e)
                ASSERT_OK(sd_bus_message_read(message, "s", &text));
        (void) snprintf(answer->text, sizeof(answer->text), "%s", e ? e->message : text);
        return 0;
}

static void calls(void) {
        struct peer_pair pair;
        struct answer answer = {};
        int fds[2], file;

        peer_pair_make(&pair);
        ASSERT_OK(sd_bus_add_object_vtable(pair.server, NULL, "/x", "x.Y", vtable, NULL));

        /* First something without descriptors: whether they can be sent is known only after the handshake. */
        ASSERT_OK(sd_bus_call_method_async(pair.client, NULL, NULL, "/x", "x.Y", "Plain", on_answer, &answer, NULL));
        turn_until(pair.event, &answer.there);
        ASSERT_EQ(answer.failure, FAILURE_HELD);
        ASSERT_STREQ(answer.text, failure_lookup(FAILURE_HELD)->description);

        ASSERT_EQ(pipe2(fds, O_CLOEXEC), 0);
        answer.there = false;
        ASSERT_OK(sd_bus_call_method_async(
                pair.client, NULL, NULL, "/x", "x.Y", "Take", on_answer, &answer, "sh", "one", fds[0]));
        turn_until(pair.event, &answer.there);
        ASSERT_EQ(answer.failure, FAILURE_NONE);
        ASSERT_STREQ(answer.text, "one");

        file = open("/dev/null", O_RDONLY | O_CLOEXEC);
        answer.there = false;
        ASSERT_OK(sd_bus_call_method_async(
                pair.client, NULL, NULL, "/x", "x.Y", "Take", on_answer, &answer, "sh", "two", file));
        turn_until(pair.event, &answer.there);
        ASSERT_EQ(answer.failure, FAILURE_BUSY);
        ASSERT_STREQ(answer.text, "two is no pipe");

        close(fds[0]);
        close(fds[1]);
        close(file);
        peer_pair_end(&pair);
}

static int on_end(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        *(bool *) userdata = true;
        return 0;
}

static void end_of_a_link(void) {
        struct peer_pair pair;
        bool ended = false;

        peer_pair_make(&pair);
        ASSERT_OK(sd_bus_match_signal_async(
                pair.server, NULL, NULL, NULL, "org.freedesktop.DBus.Local", "Disconnected", on_end, NULL, &ended));
        pair.client = sd_bus_close_unref(pair.client);
        turn_until(pair.event, &ended);
        peer_pair_end(&pair);
}

static void nobody_there(void) {
        char long_path[300];
        sd_bus *bus = NULL;

        memset(long_path, 'x', sizeof(long_path) - 1);
        long_path[0] = '/';
        long_path[sizeof(long_path) - 1] = 0;
        ASSERT_ERROR(peer_bus_connect("/nonexistent/socket", NULL, false, &bus), ENOENT);
        ASSERT_ERROR(peer_bus_connect(long_path, NULL, false, &bus), ENAMETOOLONG);
        ASSERT_TRUE(!bus);
        /* A descriptor that is no socket is taken all the same. */
        ASSERT_TRUE(peer_bus_serve(open("/dev/null", O_RDWR | O_CLOEXEC), NULL, false, &bus) < 0);
        ASSERT_TRUE(!bus);
}

static void paths(void) {
        _cleanup_free_ char *a = NULL, *b = NULL;

        ASSERT_OK(unsetenv("BLOCKSTORE_RUNTIME_DIRECTORY"));
        ASSERT_OK(peer_bus_path(SUPERVISOR_SOCKET, &a));
        ASSERT_STREQ(a, "/run/blockstore/supervisor");
        ASSERT_OK(setenv("BLOCKSTORE_RUNTIME_DIRECTORY", "/elsewhere", 1));
        ASSERT_OK(peer_bus_path("query/default", &b));
        ASSERT_STREQ(b, "/elsewhere/query/default");
}

static void errors(void) {
        sd_bus_error error = SD_BUS_ERROR_NULL;

        ASSERT_EQ(peer_bus_error_failure(NULL), FAILURE_NONE);
        ASSERT_EQ(peer_bus_error_failure(&error), FAILURE_NONE);
        for (unsigned i = 0; i < failure_table_size; i++) {
                ASSERT_TRUE(peer_bus_error_set(&error, failure_table[i].failure, "number %u", i) < 0);
                ASSERT_STREQ(error.name, failure_table[i].bus_name);
                ASSERT_EQ(peer_bus_error_failure(&error), failure_table[i].failure);
                sd_bus_error_free(&error);
        }
        ASSERT_TRUE(peer_bus_error_set(NULL, FAILURE_IO, NULL) < 0);
}

TEST_MAIN(TEST(calls), TEST(end_of_a_link), TEST(nobody_there), TEST(paths), TEST(errors));
