/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The bus end: one caller, the supervisor, who connects, hands over the file and says what is to be done. The answer comes when it is done; until then signals tell how far it is. There is no word for cancelling: the caller
 * hangs up, and we die with our programs. So nothing can go on that nobody waits for. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <systemd/sd-daemon.h>

#include "host-config.h"
#include "log.h"
#include "peer-bus.h"
#include "transfer.h"
#include "work.h"

#define TELL_USEC (200U * 1000U)

struct transfer {
        const char *name;
        sd_event *event;
        sd_bus *bus;
        sd_bus_message *call; /* under way */
        sd_event_source *timer, *end;
        struct work work;
        int file;
        char directory[sizeof("/tmp/blockstore-XXXXXX")];
        uint64_t told_done, told_flushed;
        enum work_step told_step;
};

static void tell(struct transfer *t) {
        uint64_t done = atomic_load(&t->work.done), flushed = atomic_load(&t->work.flushed);
        enum work_step step = atomic_load(&t->work.step);

        if (done == t->told_done && flushed == t->told_flushed && step == t->told_step)
                return;
        t->told_done = done;
        t->told_flushed = flushed;
        t->told_step = step;
        (void) sd_bus_emit_signal(t->bus, TRANSFER_PATH, TRANSFER_INTERFACE, "Progress", "stt",
                work_step_to_string(step), done, flushed);
}

static int on_time(sd_event_source *source, uint64_t usec, void *userdata) {
        tell(userdata);
        return sd_event_source_set_time_relative(source, TELL_USEC);
}

static int on_end(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        struct transfer *t = userdata;
        struct work *work = &t->work;

        t->timer = sd_event_source_disable_unref(t->timer);
        t->end = sd_event_source_disable_unref(t->end);
        work_wait(work);
        tell(t);
        if (work->failure != FAILURE_NONE)
                (void) sd_bus_reply_method_errorf(
                        t->call, failure_lookup(work->failure)->bus_name, "%s", work->message);
        else
                (void) sd_bus_reply_method_return(t->call, "st", work->checksum, work->bytes);
        t->call = sd_bus_message_unref(t->call);
        (void) sd_bus_flush(t->bus);
        return 0;
}

static int method_hello(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        return sd_bus_reply_method_return(message, "u", TRANSFER_LINK_VERSION);
}

static int read_wish(sd_bus_message *message, struct work_wish *wish, int *ret_file) {
        int export, stream, checksum, verify, file, r;
        const char *format, *expected;
        uint64_t size, start;

        r = sd_bus_message_read(
                message, "hbbsttbbs", &file, &export, &stream, &format, &size, &start, &checksum, &verify, &expected);
        if (r < 0)
                return r;
        if ((strcmp(format, "raw") != 0 && strcmp(format, "qcow2") != 0) ||
                strlen(expected) >= sizeof(wish->expected) || size == 0 || size > INT64_MAX / 4 || start > size ||
                start % WORK_SLICE != 0)
                return -EINVAL;

        wish->export = export;
        wish->is_stream = stream;
        wish->checksum = checksum;
        wish->verify = verify;
        wish->size = size;
        wish->start = start;
        (void) snprintf(wish->format, sizeof(wish->format), "%s", format);
        (void) snprintf(wish->expected, sizeof(wish->expected), "%s", expected);
        *ret_file = file;
        return 0;
}

static int method_run(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        _cleanup_free_ char *directory = NULL;
        struct transfer *t = userdata;
        struct work_wish wish = {};
        int r, file = -EBADF;

        if (t->call || t->file >= 0)
                return peer_bus_error_set(error, FAILURE_BUSY, "One transfer a connection");
        r = read_wish(message, &wish, &file);
        if (r < 0)
                return peer_bus_error_set(error, FAILURE_USAGE, "The wish was not understood: %s", strerror(-r));

        r = peer_bus_path("image", &directory);
        if (r < 0)
                return r;
        r = snprintf(wish.image, sizeof(wish.image), "%s/%s/nbd", directory, t->name);
        if (r < 0 || (size_t) r >= sizeof(wish.image))
                return -ENAMETOOLONG;
        (void) snprintf(wish.directory, sizeof(wish.directory), "%s", t->directory);

        t->file = fcntl(file, F_DUPFD_CLOEXEC, 3);
        if (t->file < 0)
                return -errno;
        r = work_start(&t->work, &wish, t->file);
        if (r >= 0)
                r = sd_event_add_io(t->event, &t->end, t->work.event_fd, EPOLLIN, on_end, t);
        if (r >= 0)
                r = sd_event_add_time_relative(t->event, &t->timer, CLOCK_MONOTONIC, TELL_USEC, 0, on_time, t);
        if (r >= 0)
                r = sd_event_source_set_enabled(t->timer, SD_EVENT_ON);
        if (r < 0)
                return r;
        t->call = sd_bus_message_ref(message);
        return 1;
}

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS(
                "Hello", SD_BUS_NO_ARGS, SD_BUS_RESULT("u", version), method_hello, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Run",
                SD_BUS_ARGS("h", file, "b", export, "b", stream, "s", format, "t", size, "t", start, "b", checksum,
                        "b", verify, "s", expected),
                SD_BUS_RESULT("s", checksum, "t", bytes), method_run, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_SIGNAL_WITH_ARGS("Progress", SD_BUS_ARGS("s", step, "t", done, "t", flushed), 0),
        SD_BUS_VTABLE_END,
};

static int on_disconnected(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct transfer *t = userdata;

        if (!t->work.running)
                return sd_event_exit(t->event, 0);

        /* The thread is somewhere in a wait for a program, which dies with it. */
        log_event(LOG_NOTICE, LOG_FIELDS({ "IMAGE", t->name }), "The transfer is ended before it is done");
        (void) rmdir(t->directory);
        _exit(0);
}

static int accept_one(struct transfer *t) {
        int connection;

        connection = accept4(SD_LISTEN_FDS_START, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (connection < 0)
                return -errno;
        return peer_bus_serve(connection, t->event, true, &t->bus);
}

static int serve(struct transfer *t) {
        int r;

        r = sd_event_new(&t->event);
        if (r >= 0)
                r = sd_event_set_watchdog(t->event, true);
        if (r >= 0)
                r = accept_one(t);
        if (r >= 0)
                r = sd_bus_add_object_vtable(t->bus, NULL, TRANSFER_PATH, TRANSFER_INTERFACE, vtable, t);
        if (r >= 0)
                r = sd_bus_match_signal_async(t->bus, NULL, NULL, "/org/freedesktop/DBus/Local",
                        "org.freedesktop.DBus.Local", "Disconnected", on_disconnected, NULL, t);
        return r < 0 ? r : sd_event_loop(t->event);
}

int transfer_run(const char *name) {
        struct transfer t = { .name = name, .file = -EBADF, .directory = "/tmp/blockstore-XXXXXX" };
        int r;

        (void) signal(SIGPIPE, SIG_IGN);
        if (sd_listen_fds(true) != 1 || sd_is_socket_unix(SD_LISTEN_FDS_START, SOCK_STREAM, 1, NULL, 0) <= 0) {
                log_event(LOG_ERR, NULL,
                        "blockstore-transfer takes its socket from systemd: it is for blockstored to start.");
                return FAILURE_USAGE;
        }
        if (!mkdtemp(t.directory)) {
                log_event(LOG_ERR, NULL, "No directory can be made below /tmp: %s", strerror(errno));
                return FAILURE_SYSTEM;
        }

        r = serve(&t);
        if (r < 0)
                log_event(LOG_ERR, LOG_FIELDS({ "IMAGE", name }), "The transfer cannot be served: %s", strerror(-r));
        (void) rmdir(t.directory);
        sd_event_source_disable_unref(t.timer);
        sd_event_source_disable_unref(t.end);
        sd_bus_message_unref(t.call);
        sd_bus_flush_close_unref(t.bus);
        sd_event_unref(t.event);
        safe_close(t.file);
        return r < 0 ? FAILURE_INTERNAL : 0;
}
