/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>

#include "interrupt.h"
#include "scene.h"

#define SEED 1U

static struct rig *shown; /* whose logs scene_give_up() shows */

_Noreturn void scene_give_up(const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        (void) vfprintf(stderr, format, ap);
        va_end(ap);
        (void) fputc('\n', stderr);
        if (shown && !interrupt_seen())
                rig_show_logs(shown, 12);
        rig_free(shown);
        interrupt_finish();
        exit(RULE_UNTESTED);
}

static void on_unexpected(void *userdata, const char *what) {
        struct scene *s = userdata;

        s->n_unexpected++;
        fprintf(stderr, "%s\n", what);
}

void scene_prepare(struct scene *s, const struct rig_options *options, const char *rules_off) {
        int r;

        *s = (struct scene){};
        r = rig_new(&s->rig, options);
        if (r < 0)
                scene_give_up("Cannot set up a worker and proxies: %s", strerror(-r));
        shown = s->rig;
        s->rig->unexpected = on_unexpected;
        s->rig->userdata = s;
        rig_set_rules_off(s->rig, rules_off);
}

void scene_start_all(struct scene *s) {
        int r;

        r = rig_start(s->rig);
        if (r < 0)
                scene_give_up("Cannot start a worker and proxies: %s", strerror(-r));
        scene_connect(s);
}

void scene_begin(struct scene *s, const struct rig_options *options, const char *rules_off) {
        scene_prepare(s, options, rules_off);
        scene_start_all(s);
}

void scene_end(struct scene *s) {
        s->client = nbd_client_free(s->client);
        shown = NULL;
        s->rig = rig_free(s->rig);
}

static void on_ready(void *userdata) {
        struct scene *s = userdata;

        s->ready = true;
}

static void on_reply(void *userdata, uint64_t cookie, uint32_t error, const uint8_t *data, uint32_t length) {
        struct scene *s = userdata;

        if (cookie >= s->n_ios || s->ios[cookie].done)
                scene_give_up("An answer to no request, cookie %ju", (uintmax_t) cookie);
        s->ios[cookie].done = true;
        s->ios[cookie].error = error;
        if (length == CHAOS_BLOCK)
                memcpy(s->ios[cookie].data, data, CHAOS_BLOCK);
}

static void on_lost(void *userdata, const char *reason) {
        struct scene *s = userdata;

        s->client = nbd_client_free(s->client);
        s->ready = false;
        s->lost = true;
}

static const struct nbd_client_calls calls = {
        .ready = on_ready,
        .reply = on_reply,
        .lost = on_lost,
};

static bool ready_or_lost(struct scene *s, void *userdata) {
        return s->ready || s->lost;
}

void scene_connect(struct scene *s) {
        int r;

        s->client = nbd_client_free(s->client);
        s->ready = s->lost = false;
        r = nbd_client_new(&s->client, s->rig->event, s->rig->socket_path, &calls, s);
        if (r < 0)
                scene_give_up("Cannot connect to the worker: %s", strerror(-r));
        scene_wait(s, ready_or_lost, NULL, "the worker had the image");
        if (!s->ready)
                scene_give_up("The worker turned its client away");
}

unsigned scene_start(struct scene *s, enum nbd_command command, uint16_t flags, uint64_t offset, uint64_t version) {
        uint8_t data[CHAOS_BLOCK];
        int r;

        if (s->n_ios == SCENE_IOS)
                scene_give_up("More requests than a scene has room for");
        if (!s->client)
                scene_give_up("The connection to the worker was lost");
        s->ios[s->n_ios] = (struct scene_io){};
        block_fill(data, SEED, offset, version);
        r = nbd_client_send(s->client, command, flags, s->n_ios, command == NBD_CMD_FLUSH ? 0 : offset,
                command == NBD_CMD_FLUSH ? 0 : CHAOS_BLOCK, data);
        if (r < 0)
                scene_give_up("Cannot send a request: %s", strerror(-r));
        return s->n_ios++;
}

bool scene_io_is_done(struct scene *s, void *io) {
        return ((struct scene_io *) io)->done || s->lost;
}

uint32_t scene_finish(struct scene *s, unsigned io) {
        scene_wait(s, scene_io_is_done, s->ios + io, "a request was answered");
        if (!s->ios[io].done)
                scene_give_up("The worker has ended the connection");
        return s->ios[io].error;
}

void scene_write(struct scene *s, uint16_t flags, uint64_t offset, uint64_t version) {
        uint32_t error = scene_finish(s, scene_start(s, NBD_CMD_WRITE, flags, offset, version));

        if (error != 0)
                scene_give_up("A write has failed with error %u", error);
}

void scene_flush(struct scene *s) {
        uint32_t error = scene_finish(s, scene_start(s, NBD_CMD_FLUSH, 0, 0, 0));

        if (error != 0)
                scene_give_up("A flush has failed with error %u", error);
}

static uint64_t version_of(const uint8_t data[static CHAOS_BLOCK], uint64_t offset) {
        uint64_t found_offset = 0, version = 0;

        switch (block_look(data, SEED, &found_offset, &version)) {
        case BLOCK_ZERO:
                return 0;
        case BLOCK_STAMPED:
                if (found_offset == offset)
                        return version;
                __attribute__((fallthrough));
        case BLOCK_TORN:
        case BLOCK_FOREIGN:
        default:
                scene_give_up("The block at %ju is damaged", (uintmax_t) offset);
        }
}

uint64_t scene_read(struct scene *s, uint64_t offset) {
        unsigned io = scene_start(s, NBD_CMD_READ, 0, offset, 1);
        uint32_t error = scene_finish(s, io);

        if (error != 0)
                scene_give_up("A read has failed with error %u", error);
        return version_of(s->ios[io].data, offset);
}

uint64_t scene_read_file(struct scene *s, uint64_t offset) {
        _cleanup_close_ int fd = -EBADF;
        uint8_t data[CHAOS_BLOCK];
        char path[512];

        (void) rig_image_path(s->rig, path, sizeof(path));
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || pread(fd, data, sizeof(data), (off_t) offset) != (ssize_t) sizeof(data))
                scene_give_up("Cannot read %s: %s", path, strerror(errno));
        return version_of(data, offset);
}

struct try {
        struct scene *scene;
        scene_condition_t condition;
        void *userdata;
};

static bool try(void *userdata) {
        struct try *t = userdata;

        return t->condition(t->scene, t->userdata);
}

bool scene_try(struct scene *s, scene_condition_t condition, void *userdata, uint64_t timeout_usec) {
        int r;

        r = rig_wait(s->rig, try, &(struct try){ s, condition, userdata }, timeout_usec);
        if (r < 0 && r != -ETIMEDOUT)
                scene_give_up("The event loop has failed: %s", strerror(-r));
        return r >= 0;
}

void scene_wait(struct scene *s, scene_condition_t condition, void *userdata, const char *what) {
        if (!scene_try(s, condition, userdata, SCENE_PATIENCE))
                scene_give_up("Waited in vain until %s", what);
}

struct control_wait {
        pid_t pid;
        int status;
};

static bool control_has_ended(struct scene *s, void *userdata) {
        struct control_wait *w = userdata;

        return waitpid(w->pid, &w->status, WNOHANG) == w->pid;
}

int scene_control(struct scene *s, int (*function)(void *userdata), void *userdata) {
        struct control_wait w = { .pid = control_fork(function, userdata) };
        int r;

        if (w.pid < 0)
                scene_give_up("Cannot fork: %s", strerror(-w.pid));
        scene_wait(s, control_has_ended, &w, "a second host was done");
        /* Which is seen before what the others had sent by then, where this process had to wait for a processor. */
        while ((r = sd_event_run(s->rig->event, 0)) > 0)
                ;
        if (r < 0 && r != -EINTR)
                scene_give_up("The event loop has failed: %s", strerror(-r));
        return WIFEXITED(w.status) ? WEXITSTATUS(w.status) : 255;
}

static bool is_gone(struct scene *s, void *userdata) {
        return ((struct child *) userdata)->pid == 0;
}

static bool is_ready(struct scene *s, void *userdata) {
        return ((struct child *) userdata)->is_ready;
}

void scene_kill_proxy(struct scene *s, unsigned proxy) {
        rig_kill_proxy(s->rig, proxy);
        scene_wait(s, is_gone, &s->rig->proxies[proxy].child, "a killed proxy was gone");
}

void scene_start_proxy(struct scene *s, unsigned proxy) {
        int r;

        r = rig_start_proxy(s->rig, proxy);
        if (r < 0)
                scene_give_up("Cannot start a proxy: %s", strerror(-r));
        scene_wait(s, is_ready, &s->rig->proxies[proxy].child, "a proxy was ready");
}

void scene_kill_worker(struct scene *s) {
        rig_kill_worker(s->rig);
        scene_wait(s, is_gone, &s->rig->worker, "a killed worker was gone");
        s->client = nbd_client_free(s->client);
        s->ready = false;
}

void scene_store_file(struct scene *s, const char *name, const char *text) {
        int r = rig_store_file(s->rig, name, text);

        if (r < 0)
                scene_give_up("Cannot write %s in the store: %s", name, strerror(-r));
}
