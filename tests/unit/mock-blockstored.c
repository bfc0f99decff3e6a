/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A MOCK of org.blockstore for the tests of blockstorectl and blockstore-httpd, used because the real daemon needs root and systemd; the
 * integration tests run both against the real one. It keeps no device and asks no store: it holds the
 * D-Bus objects and does what it is told on stdin, one command a line, each answered by "ok" on stdout; every method
 * call it gets is printed there too
 * ("call MEMBER ARGUMENTS"), so that a test can wait for a call and see what was passed. It ends with stdin.
 *
 *     add NAME | drop NAME                            an image's object comes or goes
 *     set NAME PROPERTY VALUE...                      and PropertiesChanged says so
 *     outcome STATE                                   the State in which AttachImage returns ("attached" unless told)
 *     store NAME SIZE USED UUID ATTACHED(0|1)         an image in the store
 *     proxy ADDRESS PRIORITY STATE USEC ORIGIN        a proxy, of the manager and of every image
 *     health ADDRESS FAILURES REASON...               of that proxy
 *     fail METHOD ERROR MESSAGE...                    from now on; "fail none" ends it
 *     linger                                          the next job gets no further than two thirds until it is cancelled
 *     own | disown                                    the bus name */

#include <systemd/sd-event.h>
#include <unistd.h>

#include "mock.h"

#define BUS_NAME "org.blockstore"

sd_bus *mock_bus;
static sd_event *event;
static char line[4096];
static size_t n_line;

void mock_say(const char *what, const char *rest) {
        printf("%s%s%s\n", what, rest && *rest ? " " : "", rest ? rest : "");
        fflush(stdout);
}

const char *mock_word(char **rest) {
        const char *w = strsep(rest, " ");

        ASSERT_TRUE(w);
        return w;
}

/* Reads are printed here; the handlers of changes print theirs with the arguments. */
static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        static const char *const reads[] = { "GetAll", "GetManagedObjects", "GetImage", "ListStoreImages",
                "ListProxies", "ProbeProxies" };
        const char *member = sd_bus_message_get_member(m);

        for (size_t i = 0; member && i < sizeof reads / sizeof reads[0]; i++)
                if (strcmp(member, reads[i]) == 0)
                        mock_say("call", member);

        return 0;
}

static void command(char *text) {
        char *rest = text;
        const char *verb = mock_word(&rest);

        if (strcmp(verb, "own") == 0)
                ASSERT_OK(sd_bus_request_name(mock_bus, BUS_NAME, 0));
        else if (strcmp(verb, "disown") == 0)
                ASSERT_OK(sd_bus_release_name(mock_bus, BUS_NAME));
        else if (strcmp(verb, "linger") == 0)
                mock_job_linger();
        else if (!mock_image_command(verb, rest) && !mock_manager_command(verb, rest) &&
                 !mock_proxy_command(verb, rest))
                TEST_FAIL("no such command: %s", verb);

        ASSERT_OK(sd_bus_flush(mock_bus));
        mock_say("ok", NULL);
}

static int on_input(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        ssize_t n = read(fd, line + n_line, sizeof line - n_line - 1);
        char *end;

        if (n <= 0)
                return sd_event_exit(event, 0);
        n_line += (size_t) n;
        line[n_line] = 0;

        while ((end = strchr(line, '\n'))) {
                *end = 0;
                command(line);
                n_line -= (size_t) (end + 1 - line);
                memmove(line, end + 1, n_line + 1);
        }
        return 0;
}

int main(void) {
        ASSERT_OK(sd_event_new(&event));
        ASSERT_OK(sd_bus_open_system(&mock_bus));
        ASSERT_OK(sd_bus_attach_event(mock_bus, event, 0));
        ASSERT_OK(sd_bus_add_filter(mock_bus, NULL, on_message, NULL));
        ASSERT_OK(sd_bus_add_object_manager(mock_bus, NULL, MOCK_PATH));
        mock_manager_serve();
        mock_job_serve();
        mock_image_serve();
        ASSERT_OK(sd_bus_request_name(mock_bus, BUS_NAME, 0));
        ASSERT_OK(sd_event_add_io(event, NULL, STDIN_FILENO, 1 /* EPOLLIN */, on_input, NULL));
        mock_say("ready", NULL);

        ASSERT_OK(sd_event_loop(event));

        mock_image_end();
        sd_bus_flush_close_unref(mock_bus);
        sd_event_unref(event);
        return EXIT_SUCCESS;
}
