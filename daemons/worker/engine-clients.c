/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Who is served: the kernel's driver, and clients on the socket, and what each of them may do. */

#include <errno.h>
#include <sys/socket.h>

#include "engine-internal.h"

#define CLIENTS_MAX      64U
#define ACCEPT_WAIT_USEC (100U * 1000U)

uint16_t engine_nbd_flags(const struct attachment *a) {
        static const struct {
                uint64_t cap;
                uint16_t flag;
        } map[] = {
                { IVBS_CAP_FLUSH, NBD_FLAG_SEND_FLUSH },
                { IVBS_CAP_FUA, NBD_FLAG_SEND_FUA },
                { IVBS_CAP_TRIM, NBD_FLAG_SEND_TRIM },
                { IVBS_CAP_WRITE_ZEROES, NBD_FLAG_SEND_WRITE_ZEROES },
        };
        uint16_t flags = NBD_FLAG_HAS_FLAGS;

        if (a->read_only || a->refuses_writes)
                return flags | NBD_FLAG_READ_ONLY;
        for (size_t i = 0; i < ELEMENTSOF(map); i++)
                if (a->caps & map[i].cap)
                        flags |= map[i].flag;
        return flags;
}

static void fill_export(const struct engine *engine, struct nbd_export *ret) {
        const struct attachment *a = engine->settings.attachment;

        *ret = (struct nbd_export){
                .size = a->size,
                .flags = engine_nbd_flags(a),
                .block_size_min = 1,
                .block_size_preferred = a->block_size,
                .payload_max = IVBS_DATA_MAX,
        };
}

/* Who may write. The kernel's page cache would never hear of what a client on the socket writes, so beside a writing kernel device clients only read; otherwise the first
 * client writes and later ones read, unless they are said to know what they are doing. A client may use several connections only where they are all alike: where all read,
 * or all write, since FLUSH reaches the proxy whichever connection it comes on, and covers what any of them had acknowledged. */
static void frontend_open(void *userdata, struct frontend *frontend, bool use, struct nbd_export *ret) {
        struct engine *engine = userdata;
        bool exclusive = engine->settings.config->nbd_access == NBD_ACCESS_EXCLUSIVE;
        struct frontend *other;

        fill_export(engine, ret);
        TAILQ_FOREACH(other, &engine->frontends, entry)
                if (other != frontend && other->writes && (other->kernel || exclusive))
                        ret->flags |= NBD_FLAG_READ_ONLY;

        if ((ret->flags & NBD_FLAG_READ_ONLY) || !exclusive)
                ret->flags |= NBD_FLAG_CAN_MULTI_CONN;
}

static void frontend_submit(void *userdata, struct request *request) {
        struct engine *engine = userdata;

        if (engine->heat && request->op != REQUEST_FLUSH)
                heat_count(engine->heat, request->op != REQUEST_READ, request->offset, request->length,
                        ring_now_usec(engine->ring));
        pool_submit(engine->pool, request);
}

static void arm_accept(struct engine *engine);

static void frontend_closed(void *userdata, struct frontend *frontend, int error) {
        struct engine *engine = userdata;

        TAILQ_REMOVE(&engine->frontends, frontend, entry);
        if (frontend == engine->kernel) {
                engine->kernel = NULL;
                if (!engine->stopping)
                        engine_post_kernel_lost(engine);
        } else if (!frontend->kernel)
                engine->n_clients--;

        engine_status_changed(engine);
        if (engine->listening && !engine->accepting && !engine->stopping)
                arm_accept(engine);
        engine_stop_step(engine);
}

static void frontend_left(void *userdata, struct frontend *frontend, struct legacy *legacy) {
        engine_succession_left(userdata, legacy);
}

static const struct frontend_ops frontend_ops = {
        .open = frontend_open,
        .submit = frontend_submit,
        .closed = frontend_closed,
        .left = frontend_left,
};

static void add_client(struct engine *engine, int fd) {
        struct frontend *frontend;

        if (frontend_new(&frontend, engine->ring, fd, NULL, engine->settings.name, engine->requests, &engine->stats,
                    &frontend_ops, engine) < 0)
                return;

        TAILQ_INSERT_TAIL(&engine->frontends, frontend, entry);
        engine->n_clients++;
        engine_status_changed(engine);
        if (engine->handing_over)
                frontend_quiesce(frontend);
}

static void accepted(struct ring_op *op, int32_t res, uint32_t flags) {
        struct engine *engine = ENGINE_OF(op, accept_op);

        engine->accepting = false;
        if (engine->stopping) {
                /* One that came in just then is the successor's. */
                if (engine->handing_over && res >= 0)
                        add_client(engine, res);
                else
                        safe_close(res);
                engine_stop_step(engine);
                return;
        }

        if (res >= 0)
                add_client(engine, res);
        else if (res == -EMFILE || res == -ENFILE || res == -ENOMEM || res == -ENOBUFS) {
                ring_timer_set(&engine->accept_timer, ACCEPT_WAIT_USEC);
                return;
        }
        arm_accept(engine);
}

static void arm_accept(struct engine *engine) {
        struct io_uring_sqe *sqe;

        if (engine->n_clients >= CLIENTS_MAX)
                return; /* the next that closes makes room */

        engine->accepting = true;
        sqe = ring_get_sqe(engine->ring);
        io_uring_prep_accept(sqe, engine->settings.listen_fd, NULL, NULL, SOCK_CLOEXEC);
        ring_sqe_set_op(sqe, &engine->accept_op);
}

static void accept_again(struct ring_timer *timer) {
        struct engine *engine = ENGINE_OF(timer, accept_timer);

        if (!engine->stopping && !engine->accepting)
                arm_accept(engine);
}

void engine_clients_init(struct engine *engine) {
        TAILQ_INIT(&engine->frontends);
        engine->accept_op.done = accepted;
        ring_timer_init(&engine->accept_timer, engine->ring, accept_again);
}

void engine_clients_listen(struct engine *engine) {
        if (engine->settings.listen_fd < 0 || engine->listening || engine->stopping)
                return;

        engine->listening = true;
        arm_accept(engine);
}

void engine_clients_serve_kernel(struct engine *engine, int fd) {
        struct frontend *frontend;
        struct nbd_export export;

        if (engine->stopping) {
                safe_close(fd);
                return;
        }

        if (engine->kernel)
                frontend_close(TAKE_PTR(engine->kernel));

        fill_export(engine, &export);
        if (frontend_new(&frontend, engine->ring, fd, &export, engine->settings.name, engine->requests, &engine->stats,
                    &frontend_ops, engine) < 0) {
                engine_post_kernel_lost(engine);
                return;
        }

        TAILQ_INSERT_TAIL(&engine->frontends, frontend, entry);
        engine->kernel = frontend;
}

void engine_clients_adopt(struct engine *engine, struct legacy *legacy) {
        struct frontend *frontend;

        if (frontend_new_from(&frontend, engine->ring, legacy, engine->settings.name, engine->requests, &engine->stats,
                    &frontend_ops, engine) < 0) {
                if (legacy->kernel)
                        engine_post_kernel_lost(engine);
                return;
        }

        TAILQ_INSERT_TAIL(&engine->frontends, frontend, entry);
        if (legacy->kernel)
                engine->kernel = frontend;
        else
                engine->n_clients++;
        engine_status_changed(engine);
}

/* The kernel is about to be told, and sends nothing beyond what it knows. A client on the socket was told a size and cannot be told another one; it may use what is left of it. */
void engine_clients_resize(struct engine *engine) {
        uint64_t size = engine->settings.attachment->size;
        struct frontend *frontend;

        if (engine->heat)
                heat_set_size(engine->heat, size, ring_now_usec(engine->ring));
        TAILQ_FOREACH(frontend, &engine->frontends, entry)
                if (frontend == engine->kernel || frontend->export.size > size)
                        frontend->export.size = size;
}

/* The kernel's requests are left unanswered: it keeps them for whoever serves the device next. */
void engine_clients_stop(struct engine *engine) {
        struct frontend *frontend, *next;

        ring_timer_unset(&engine->accept_timer);
        if (engine->accepting)
                ring_cancel(engine->ring, &engine->accept_op);
        if (engine->handing_over)
                return;
        for (frontend = TAILQ_FIRST(&engine->frontends); frontend; frontend = next) {
                next = TAILQ_NEXT(frontend, entry);
                frontend_close(frontend);
        }
}
