/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The side that asks, and kills. What it goes by is that the holder's ring answers, not that its disk does.
 *
 *     IDLE ──start──▶ CONNECTING ──▶ ASKED ──ACKNOWLEDGED──▶ WAITING ──RELEASED, REFUSED──▶ ENDING ──▶ IDLE
 *                         │            │  ◀──── ASK again ─────┘
 *                         └─refused,───┴─hung up, 150 ms without ACKNOWLEDGED and idle────▶ ENDING
 *     IDLE ──kill──▶ KILLING ──the process has ended──▶ ENDING ──▶ IDLE
 *
 * Everything waits on the ring. ENDING is there because the kernel may still write to what we have here: done() finds it idle.
 */

#include <poll.h>

#include "container-of.h"
#include "hand-over-message.h"

#define ASK_AGAIN_USEC 100000U

enum {
        ASK_IDLE,
        ASK_CONNECTING,
        ASK_ASKED,
        ASK_WAITING,
        ASK_KILLING,
        ASK_ENDING,
};

const char *hand_over_outcome_to_string(enum hand_over_outcome outcome) {
        static const char *const names[] = {
                [HAND_OVER_RELEASED] = "released",
                [HAND_OVER_REFUSED] = "refused",
                [HAND_OVER_HUNG_UP] = "hung-up",
                [HAND_OVER_SILENT] = "silent",
                [HAND_OVER_STOPPED] = "stopped",
                [HAND_OVER_GONE] = "gone",
                [HAND_OVER_FAILED] = "failed",
        };

        return names[outcome];
}

bool hand_over_ask_is_idle(const struct hand_over_ask *ask) {
        return ask->state == ASK_IDLE;
}

static void settle(struct hand_over_ask *ask) {
        if (ask->state != ASK_ENDING || ask->op_running || !ring_timer_is_idle(&ask->timer))
                return;

        ask->fd = safe_close(ask->fd);
        ask->state = ASK_IDLE;
        ask->done(ask, ask->outcome);
}

static void end(struct hand_over_ask *ask, enum hand_over_outcome outcome) {
        if (ask->state == ASK_IDLE || ask->state == ASK_ENDING)
                return;

        ask->state = ASK_ENDING;
        ask->outcome = outcome;
        ring_timer_unset(&ask->timer);
        if (ask->op_running)
                ring_cancel(ask->ring, &ask->op);
        settle(ask);
}

static void timer_stopped(struct ring_timer *timer) {
        settle(CONTAINER_OF(timer, struct hand_over_ask, timer));
}

/* --- the conversation --- */

static void await_answer(struct hand_over_ask *ask) {
        ask->idle = false;
        ask->asked_usec = ring_now_usec(ask->ring);
        ring_timer_set(&ask->timer, HAND_OVER_ACK_USEC);
}

static void send_ask(struct hand_over_ask *ask) {
        const struct hand_over_message message = hand_over_message(HAND_OVER_ASK, ask->why, ask->uuid);

        ask->state = ASK_ASKED;
        /* One that takes nothing any more is as silent as one that does not answer. */
        (void) hand_over_send(ask->fd, &message);
        await_answer(ask);
}

static void receive(struct hand_over_ask *ask) {
        struct io_uring_sqe *sqe = ring_get_sqe(ask->ring);

        ask->op_running = true;
        io_uring_prep_recv(sqe, ask->fd, ask->buffer, sizeof(ask->buffer), 0);
        ring_sqe_set_op(sqe, &ask->op);
}

static void connected(struct hand_over_ask *ask, int32_t res) {
        uint64_t pid;

        /* Whoever listens under that name must be the one who wrote it down. */
        if (res < 0 || !hand_over_is_one_of_us(ask->fd, &pid) || pid != ask->holder.pid) {
                end(ask, HAND_OVER_HUNG_UP);
                return;
        }
        send_ask(ask);
        receive(ask);
}

static void received(struct hand_over_ask *ask, int32_t res) {
        struct hand_over_message message = {};

        if (res == -EINTR || res == -EAGAIN) {
                receive(ask);
                return;
        }
        if (res == sizeof(message))
                memcpy(&message, ask->buffer, sizeof(message));
        if (res <= 0 || !hand_over_message_is_valid(&message, (size_t) res) ||
                !sd_id128_equal(message.uuid, ask->uuid)) {
                end(ask, HAND_OVER_HUNG_UP);
                return;
        }

        switch (message.kind) {
        case HAND_OVER_ACKNOWLEDGED:
                ask->acknowledged = true;
                ask->state = ASK_WAITING;
                ring_timer_set(&ask->timer, ASK_AGAIN_USEC);
                receive(ask);
                break;

        case HAND_OVER_ANSWER_RELEASED:
                end(ask, HAND_OVER_RELEASED);
                break;

        case HAND_OVER_ANSWER_REFUSED:
                end(ask, HAND_OVER_REFUSED);
                break;

        default:
                end(ask, HAND_OVER_HUNG_UP);
        }
}

/* --- the end of a holder --- */

static void await_end(struct hand_over_ask *ask) {
        struct io_uring_sqe *sqe = ring_get_sqe(ask->ring);

        ask->op_running = true;
        io_uring_prep_poll_add(sqe, ask->fd, POLLIN);
        ring_sqe_set_op(sqe, &ask->op);
}

static int kill_holder(struct hand_over_ask *ask) {
        sd_id128_t boot_id;
        int r;

        r = sd_id128_get_boot(&boot_id);
        if (r < 0)
                return r;
        /* Start times count from the boot. */
        if (!sd_id128_equal(boot_id, ask->holder.boot_id))
                return 0;
        return hand_over_kill_process(ask->holder.pid, ask->holder.start_time, &ask->fd);
}

void hand_over_ask_kill(struct hand_over_ask *ask, const struct store_holder *holder) {
        int r;

        ask->holder = *holder;
        ask->state = ASK_KILLING;
        r = kill_holder(ask);
        if (r > 0) {
                await_end(ask);
                return;
        }

        ask->error = r;
        end(ask, r < 0 ? HAND_OVER_FAILED : HAND_OVER_GONE);
}

/* --- both --- */

static void op_done(struct ring_op *op, int32_t res, uint32_t flags) {
        struct hand_over_ask *ask = CONTAINER_OF(op, struct hand_over_ask, op);

        ask->op_running = false;
        switch (ask->state) {
        case ASK_CONNECTING:
                connected(ask, res);
                break;

        case ASK_ASKED:
        case ASK_WAITING:
                received(ask, res);
                break;

        case ASK_KILLING:
                if (res < 0)
                        await_end(ask);
                else
                        end(ask, HAND_OVER_GONE);
                break;

        default:
                settle(ask);
        }
}

/* One that is seen idle may just have answered, and the answer be in the ring behind the timer; or it was we who had no processor. So it has to be seen so twice, one turn of the ring apart. */
static bool may_still_answer(struct hand_over_ask *ask) {
        bool was_idle = ask->idle;

        ask->idle = !hand_over_process_is_busy(ask->holder.pid);
        return ring_now_usec(ask->ring) - ask->asked_usec < HAND_OVER_BUSY_USEC && !(was_idle && ask->idle);
}

static void due(struct ring_timer *timer) {
        struct hand_over_ask *ask = CONTAINER_OF(timer, struct hand_over_ask, timer);

        if (ask->state == ASK_WAITING)
                send_ask(ask);
        else if (may_still_answer(ask))
                ring_timer_set(&ask->timer, HAND_OVER_LOOK_USEC);
        else
                end(ask, HAND_OVER_SILENT);
}

void hand_over_ask_init(struct hand_over_ask *ask, const struct hand_over *hand_over,
        void (*done)(struct hand_over_ask *ask, enum hand_over_outcome outcome)) {
        *ask = (struct hand_over_ask){
                .done = done,
                .ring = hand_over_ring(hand_over),
                .directory_fd = hand_over_directory(hand_over),
                .fd = -EBADF,
                .op.done = op_done,
        };
        ring_timer_init(&ask->timer, ask->ring, due);
        ask->timer.stopped = timer_stopped;
}

void hand_over_ask_start(
        struct hand_over_ask *ask, const struct store_holder *holder, sd_id128_t uuid, enum hand_over_why why) {
        struct io_uring_sqe *sqe;

        ask->holder = *holder;
        ask->uuid = uuid;
        ask->why = why;
        ask->acknowledged = false;
        ask->state = ASK_CONNECTING;
        ask->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (ask->fd < 0 || !holder->socket[0]) {
                end(ask, HAND_OVER_HUNG_UP);
                return;
        }

        ask->address = hand_over_address(ask->directory_fd, holder->socket);
        await_answer(ask);
        sqe = ring_get_sqe(ask->ring);
        ask->op_running = true;
        io_uring_prep_connect(sqe, ask->fd, (struct sockaddr *) &ask->address, sizeof(ask->address));
        ring_sqe_set_op(sqe, &ask->op);
}

void hand_over_ask_stop(struct hand_over_ask *ask) {
        end(ask, HAND_OVER_STOPPED);
}

void hand_over_ask_abandon(struct hand_over_ask *ask) {
        ask->fd = safe_close(ask->fd);
}
