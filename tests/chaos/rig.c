/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See rig.h. Proxies listen on ports that the kernel chooses anew at each start; the relay, whose port stays, learns it from the proxy's STATUS=. */

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "dice.h"
#include "interrupt.h"
#include "rig.h"

static void unexpected(struct rig *rig, const char *name, int code, int status) {
        char text[256];

        if (interrupt_seen())
                return; /* a terminal tells everybody */
        (void) snprintf(text, sizeof(text), "%s ended by itself, %s %d", name,
                code == CLD_EXITED ? "with status" : "by signal", status);
        if (rig->unexpected)
                rig->unexpected(rig->userdata, text);
}

static void on_proxy_ready(struct child *child, const char *status) {
        struct rig_proxy *p = child->userdata;
        const char *port = strstr(status, "listening on 127.0.0.1:");

        p->port = port ? (uint16_t) strtoul(port + strlen("listening on 127.0.0.1:"), NULL, 10) : 0;
        relay_set_backend(p->relay, p->port);
}

#define SHUT_OUT 75 /* how a proxy ends that another one has shut out of the cluster */

static void on_proxy_ended(struct child *child, int code, int status) {
        struct rig_proxy *p = child->userdata;
        bool wanted = p->wanted;

        relay_set_backend(p->relay, 0);
        p->port = 0;
        p->wanted = false;
        if (!wanted)
                return;
        /* On a crowded machine a proxy may be too late for another one that asks it for the image, and is taken for frozen. That is right, and systemd would start it again. */
        if ((code == CLD_KILLED && status == SIGKILL) ||
                (p->rig->options.ceph && code == CLD_EXITED && status == SHUT_OUT)) {
                p->rig->n_shot++;
                if (rig_start_proxy(p->rig, p->index) >= 0)
                        return;
        }
        unexpected(p->rig, p->name, code, status);
}

static void on_worker_ended(struct child *child, int code, int status) {
        struct rig *rig = child->userdata;

        if (rig->worker_wanted)
                unexpected(rig, "worker", code, status);
        rig->worker_wanted = false;
}

static int listen_for_worker(struct rig *rig) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = -EBADF;

        if (strlen(rig->socket_path) >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        memcpy(address.sun_path, rig->socket_path, strlen(rig->socket_path) + 1);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || bind(fd, (struct sockaddr *) &address, sizeof(address)) < 0 || listen(fd, 64) < 0)
                return -errno;
        rig->worker.listen_fd = TAKE_FD(fd);
        return 0;
}

/* The programs' places in the build directory, and the environment that systemd would give them. */
static int set_up_children(struct rig *rig) {
        static const char *const variables[] = { "BLOCKSTORE_CONFIG_DIRECTORY=%s/etc",
                "BLOCKSTORE_RUNTIME_DIRECTORY=%s/run", "CREDENTIALS_DIRECTORY=%s/credentials",
                "RUNTIME_DIRECTORY=%s/state" };
        unsigned n = 0;
        int r;

        (void) snprintf(rig->worker_program, sizeof(rig->worker_program), "%s/daemons/worker/blockstore-worker",
                rig->options.build);
        rig->worker = (struct child){
                .event = rig->event,
                .name = "worker",
                .directory = rig->directory,
                .argv = { rig->worker_program, RIG_IMAGE },
                .ended = on_worker_ended,
                .userdata = rig,
        };
        for (; n < ELEMENTSOF(variables); n++) {
                (void) snprintf(rig->worker_environment[n], sizeof(rig->worker_environment[n]), "%.*s%s%s",
                        (int) strcspn(variables[n], "%"), variables[n], rig->directory, strchr(variables[n], '/'));
                rig->worker.environment[n] = rig->worker_environment[n];
        }
        r = listen_for_worker(rig);
        if (r < 0)
                return r;

        for (unsigned i = 0; i < rig->options.n_proxies; i++) {
                struct rig_proxy *p = rig->proxies + i;

                p->rig = rig;
                p->index = i;
                (void) snprintf(p->name, sizeof(p->name), "proxy%u", i);
                (void) snprintf(p->program, sizeof(p->program), "%s/daemons/proxyd/blockstore-proxyd%s",
                        rig->options.build, rig->options.volatile_store ? "-test" : "");
                (void) snprintf(
                        p->argument, sizeof(p->argument), "--config=%s/proxies/%s.json", rig->directory, p->name);
                p->child = (struct child){
                        .event = rig->event,
                        .name = p->name,
                        .directory = rig->directory,
                        .argv = { p->program, p->argument },
                        .listen_fd = -EBADF,
                        .ready = on_proxy_ready,
                        .ended = on_proxy_ended,
                        .userdata = p,
                };
                r = relay_new(&p->relay, rig->event);
                if (r < 0)
                        return r;
        }
        return 0;
}

int rig_new(struct rig **ret, const struct rig_options *options) {
        _cleanup_(rig_freep) struct rig *rig = calloc(1, sizeof(*rig));
        int r;

        if (!rig)
                return -ENOMEM;
        rig->options = *options;
        rig->worker.listen_fd = -EBADF;
        r = sd_event_new(&rig->event);
        if (r >= 0)
                r = rig_make_directory(rig);
        if (r >= 0)
                r = set_up_children(rig);
        if (r >= 0)
                r = rig_write_configuration(rig);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(rig);
        return 0;
}

struct rig *rig_free(struct rig *rig) {
        if (!rig)
                return NULL;
        child_done(&rig->worker);
        safe_close(rig->worker.listen_fd);
        for (unsigned i = 0; i < rig->options.n_proxies; i++) {
                child_done(&rig->proxies[i].child);
                relay_free(rig->proxies[i].relay);
        }
        if (rig->remove)
                rig_remove_directory(rig);
        sd_event_unref(rig->event);
        free(rig);
        return NULL;
}

/* Sets NAME=VALUE among a child's variables, in memory of the caller's. */
static void set_variable(struct child *c, char *memory, size_t size, const char *name, const char *value) {
        size_t n = strlen(name), i = 0;

        while (i < ELEMENTSOF(c->environment) - 1 && c->environment[i] && strncmp(c->environment[i], name, n) != 0)
                i++;
        (void) snprintf(memory, size, "%s=%s", name, value ?: "");
        c->environment[i] = memory;
}

void rig_set_rules_off(struct rig *rig, const char *rules) {
        set_variable(&rig->worker, rig->worker_environment[6], sizeof(rig->worker_environment[6]),
                "BLOCKSTORE_RULES_OFF", rules);
        for (unsigned i = 0; i < rig->options.n_proxies; i++)
                set_variable(&rig->proxies[i].child, rig->proxies[i].environment[0],
                        sizeof(rig->proxies[i].environment[0]), "BLOCKSTORE_RULES_OFF", rules);
}

void rig_set_worker_point(struct rig *rig, const char *point) {
        set_variable(&rig->worker, rig->worker_environment[7], sizeof(rig->worker_environment[7]),
                "BLOCKSTORE_FAULT_POINT", point);
}

void rig_set_proxy_point(struct rig *rig, unsigned proxy, const char *point) {
        struct rig_proxy *p = rig->proxies + proxy;

        set_variable(&p->child, p->environment[1], sizeof(p->environment[1]), "BLOCKSTORE_FAULT_POINT", point);
}

int rig_start_proxy(struct rig *rig, unsigned proxy) {
        struct rig_proxy *p = rig->proxies + proxy;
        int r;

        r = child_start(&p->child);
        if (r < 0)
                return r;
        p->wanted = true;
        p->n_started++;
        return 0;
}

int rig_start_worker(struct rig *rig) {
        int r;

        r = child_start(&rig->worker);
        if (r >= 0)
                rig->worker_wanted = true;
        return r;
}

void rig_kill_proxy(struct rig *rig, unsigned proxy) {
        rig->proxies[proxy].wanted = false;
        (void) child_signal(&rig->proxies[proxy].child, SIGKILL);
}

void rig_stop_proxy(struct rig *rig, unsigned proxy) {
        rig->proxies[proxy].wanted = false;
        (void) child_signal(&rig->proxies[proxy].child, SIGTERM);
}

void rig_kill_worker(struct rig *rig) {
        rig->worker_wanted = false;
        (void) child_signal(&rig->worker, SIGKILL);
}

void rig_stop_worker(struct rig *rig) {
        rig->worker_wanted = false;
        (void) child_signal(&rig->worker, SIGTERM);
}

static bool proxies_ready_or_gone(void *userdata) {
        const struct rig *rig = userdata;

        for (unsigned i = 0; i < rig->options.n_proxies; i++)
                if (rig->proxies[i].child.pid == 0)
                        return true;
        return rig_all_ready(rig);
}

static int create_image(void *userdata) {
        const struct rig *rig = userdata;
        struct control control;

        if (control_open(&control, rig->proxies[0].port, 200, RIG_USER, RIG_PASSWORD) < 0)
                return 1;
        return control_create_image(&control, RIG_IMAGE, rig->options.size) == 0 ? 0 : 2;
}

int rig_start(struct rig *rig) {
        int status, r;
        pid_t pid;

        for (unsigned i = 0; i < rig->options.n_proxies; i++) {
                r = rig_start_proxy(rig, i);
                if (r < 0)
                        return r;
        }
        r = rig_wait(rig, proxies_ready_or_gone, rig, 60 * SEC);
        if (r >= 0 && !rig_all_ready(rig))
                r = -ESRCH;
        if (r < 0)
                return r;
        pid = control_fork(create_image, rig);
        if (pid < 0)
                return (int) pid;
        if (waitpid(pid, &status, 0) != pid) {
                r = -errno;
                (void) kill(pid, SIGKILL);
                (void) waitpid(pid, NULL, 0);
                return r;
        }
        if (status != 0)
                return -EIO;
        return rig_start_worker(rig);
}

int rig_active(const struct rig *rig) {
        uint64_t latest = 0;
        int active = -1;

        for (unsigned i = 0; i < rig->options.n_proxies; i++)
                if (relay_last_io_usec(rig->proxies[i].relay) > latest) {
                        latest = relay_last_io_usec(rig->proxies[i].relay);
                        active = (int) i;
                }
        return active;
}

bool rig_all_ready(const struct rig *rig) {
        for (unsigned i = 0; i < rig->options.n_proxies; i++)
                if (!rig->proxies[i].child.is_ready || rig->proxies[i].child.is_stopped)
                        return false;
        return true;
}

int rig_wait(struct rig *rig, bool (*condition)(void *userdata), void *userdata, uint64_t timeout_usec) {
        uint64_t end = now_usec() + timeout_usec;

        while (!condition(userdata)) {
                int r;

                if (interrupt_seen())
                        return -EINTR;
                if (now_usec() >= end)
                        return -ETIMEDOUT;
                r = sd_event_run(rig->event, 10 * MSEC);
                if (r < 0 && r != -EINTR)
                        return r;
        }
        return 0;
}

/* By Ceph's own tool: another judge than the store. */
static int export_image(const struct rig *rig, const char *path) {
        pid_t pid;
        int status;

        (void) unlink(path);
        pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0) {
                execlp("rbd", "rbd", "--conf", rig->options.ceph, "--pool", "blockstore", "--no-progress", "export",
                        RIG_IMAGE, path, NULL);
                _exit(127);
        }
        if (waitpid(pid, &status, 0) < 0)
                return -errno;
        return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

int rig_image_path(const struct rig *rig, char *ret, size_t size) {
        if (rig->options.ceph) {
                (void) snprintf(ret, size, "%s/exported", rig->directory);
                return export_image(rig, ret);
        }
        (void) snprintf(ret, size, "%s/images/" RIG_IMAGE "/data", rig->store);
        return 0;
}

int rig_store_file(const struct rig *rig, const char *name, const char *text) {
        char path[512], temporary[520];
        _cleanup_fclose_ FILE *f = NULL;

        (void) snprintf(path, sizeof(path), "%s/%s", rig->store, name);
        (void) snprintf(temporary, sizeof(temporary), "%s.new", path);
        if (!text)
                return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
        f = fopen(temporary, "we");
        if (!f || fputs(text, f) < 0 || fflush(f) != 0 || rename(temporary, path) < 0)
                return -errno;
        return 0;
}

bool rig_has_store_file(const struct rig *rig, const char *name) {
        char path[512];

        (void) snprintf(path, sizeof(path), "%s/%s", rig->store, name);
        return access(path, F_OK) >= 0;
}

void rig_show_logs(const struct rig *rig, unsigned lines) {
        for (unsigned i = 0; i <= rig->options.n_proxies; i++) {
                const char *name = i < rig->options.n_proxies ? rig->proxies[i].name : "worker";
                char path[4096], text[16384];
                _cleanup_fclose_ FILE *f = NULL;
                unsigned found = 0;
                size_t n, start;

                (void) snprintf(path, sizeof(path), "%s/%s.log", rig->directory, name);
                f = fopen(path, "re");
                if (!f)
                        continue;
                if (fseek(f, -(long) sizeof(text), SEEK_END) < 0)
                        rewind(f);
                n = fread(text, 1, sizeof(text), f);
                for (start = n; start > 0 && found <= lines; start--)
                        found += text[start - 1] == '\n';
                printf("--- the end of %s.log:\n%.*s", name, (int) (n - start), text + start);
        }
        fflush(stdout);
}
