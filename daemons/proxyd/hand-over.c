/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The side that is asked. Every proxy listens on a socket in the store's directory. It answers from the thread that runs the ring, and at once: that it does is what tells the
 * asker that this process is alive and has taken note. Only processes of our own uid are listened to; any other could as well signal or debug us if it might. */

#include <fcntl.h>
#include <sys/stat.h>

#include "container-of.h"
#include "directory.h"
#include "fault-point.h"
#include "hand-over-message.h"

#define PEERS_MAX     128U
#define RETRY_USEC    100000U
#define SOCKET_SUFFIX ".sock"

TAILQ_HEAD(peer_list, peer);

struct peer {
        struct hand_over *hand_over;
        struct hand_over_request request;
        int fd;
        struct ring_op op;
        struct hand_over_message in;
        uint8_t buffer[HAND_OVER_PACKET_MAX];
        struct hand_over_snapshot ordered;
        struct hand_over_order order;
        bool making; /* the order is with whoever has taken it */
        sd_id128_t uuid;
        bool waits; /* for released() */
        bool gone;
        TAILQ_ENTRY(peer) entry;
};

struct hand_over {
        struct ring *ring;
        int directory_fd, fd;
        hand_over_asked_t asked;
        void *userdata;
        hand_over_ordered_t take_order;
        void *order_userdata;
        struct store_holder self;
        struct ring_op accept_op;
        struct ring_timer retry;
        struct peer_list peers;
        unsigned n_peers;
};

const struct store_holder *hand_over_self(const struct hand_over *hand_over) {
        return &hand_over->self;
}

struct ring *hand_over_ring(const struct hand_over *hand_over) {
        return hand_over->ring;
}

int hand_over_directory(const struct hand_over *hand_over) {
        return hand_over->directory_fd;
}

/* --- those who ask --- */

static void receive(struct peer *peer) {
        struct io_uring_sqe *sqe = ring_get_sqe(peer->hand_over->ring);

        io_uring_prep_recv(sqe, peer->fd, peer->buffer, sizeof(peer->buffer), 0);
        ring_sqe_set_op(sqe, &peer->op);
}

static void peer_free(struct peer *peer) {
        TAILQ_REMOVE(&peer->hand_over->peers, peer, entry);
        peer->hand_over->n_peers--;
        safe_close(peer->fd);
        free(peer);
}

static void say(struct peer *peer, enum hand_over_kind kind) {
        const struct hand_over_message message = hand_over_message(kind, 0, peer->uuid);

        /* Who does not take it has gone, or asks again. */
        if (!peer->gone)
                (void) hand_over_send(peer->fd, &message);
}

static void released(struct hand_over_request *request) {
        struct peer *peer = CONTAINER_OF(request, struct peer, request);

        peer->waits = false;
        fault_point("hand-over-released");
        say(peer, HAND_OVER_ANSWER_RELEASED);
        if (peer->gone)
                peer_free(peer);
}

static void asked(struct peer *peer) {
        struct hand_over *hand_over = peer->hand_over;

        fault_point("hand-over-asked");
        peer->uuid = peer->in.uuid;
        say(peer, HAND_OVER_ACKNOWLEDGED);
        fault_point("hand-over-acknowledged");
        if (peer->waits)
                return; /* asked again whether we are there */

        peer->waits = true;
        if (hand_over->asked(peer->uuid, (enum hand_over_why) peer->in.why, &peer->request, hand_over->userdata) < 0) {
                peer->waits = false;
                say(peer, HAND_OVER_ANSWER_REFUSED);
        }
}

/* --- snapshots --- */

static void say_progress(
        struct peer *peer, enum hand_over_kind kind, int error, uint64_t done, uint64_t total, sd_id128_t made) {
        const struct hand_over_progress progress = {
                .head = hand_over_message(kind, 0, peer->uuid),
                .error = error,
                .done = done,
                .total = total,
                .made = made,
        };

        if (!peer->gone)
                (void) hand_over_send(peer->fd, &progress.head);
}

void hand_over_order_goes(struct hand_over_order *order, uint64_t done, uint64_t total) {
        say_progress(CONTAINER_OF(order, struct peer, order), HAND_OVER_SNAPSHOT_GOES, 0, done, total, SD_ID128_NULL);
}

void hand_over_order_over(struct hand_over_order *order, int error, sd_id128_t made) {
        struct peer *peer = CONTAINER_OF(order, struct peer, order);

        peer->making = false;
        say_progress(peer, HAND_OVER_SNAPSHOT_OVER, error, 0, 0, made);
        if (peer->gone)
                peer_free(peer);
}

/* Returns false for an order that nobody could have meant. */
static bool ordered(struct peer *peer) {
        struct hand_over *hand_over = peer->hand_over;
        struct hand_over_snapshot *s = &peer->ordered;
        int r;

        memcpy(s, peer->buffer, sizeof(*s));
        if (peer->making || peer->waits || strnlen(s->name, sizeof(s->name)) == sizeof(s->name) ||
                strnlen(s->snapshot, sizeof(s->snapshot)) == sizeof(s->snapshot) ||
                strnlen(s->user, sizeof(s->user)) == sizeof(s->user))
                return false;

        peer->uuid = s->head.uuid;
        peer->order = (struct hand_over_order){ .name = s->name,
                .snapshot = s->snapshot,
                .user = s->user,
                .uuid = s->head.uuid,
                .pid = peer->request.pid };
        r = hand_over->take_order ? hand_over->take_order(&peer->order, hand_over->order_userdata) : -EOPNOTSUPP;
        peer->making = r >= 0;
        if (r < 0)
                say_progress(peer, HAND_OVER_SNAPSHOT_OVER, r, 0, 0, SD_ID128_NULL);
        return true;
}

void hand_over_take_orders(struct hand_over *hand_over, hand_over_ordered_t take_order, void *userdata) {
        hand_over->take_order = take_order;
        hand_over->order_userdata = userdata;
}

static bool understood(struct peer *peer, int32_t res) {
        if (res < (int32_t) sizeof(peer->in))
                return false;
        memcpy(&peer->in, peer->buffer, sizeof(peer->in));
        if (!hand_over_message_is_valid(&peer->in, (size_t) res))
                return false;
        if (peer->in.kind == HAND_OVER_SNAPSHOT)
                return ordered(peer);
        if (peer->making || peer->in.kind != HAND_OVER_ASK || peer->in.why >= _HAND_OVER_WHY_MAX ||
                (peer->waits && !sd_id128_equal(peer->in.uuid, peer->uuid)))
                return false;
        asked(peer);
        return true;
}

static void received(struct ring_op *op, int32_t res, uint32_t flags) {
        struct peer *peer = CONTAINER_OF(op, struct peer, op);

        if (res == -EINTR || res == -EAGAIN) {
                receive(peer);
                return;
        }
        if (!understood(peer, res)) {
                peer->gone = true;
                (void) shutdown(peer->fd, SHUT_RDWR);
                if (peer->making)
                        peer->order.cancelled(&peer->order); /* over() comes, and ends it */
                else if (!peer->waits)
                        peer_free(peer);
                return;
        }
        receive(peer);
}

static void welcome(struct hand_over *hand_over, int fd) {
        struct peer *peer;
        uint64_t pid;

        if (!hand_over_is_one_of_us(fd, &pid) || hand_over->n_peers >= PEERS_MAX || !(peer = malloc(sizeof(*peer)))) {
                safe_close(fd);
                return;
        }

        *peer = (struct peer){
                .hand_over = hand_over,
                .request = { .released = released, .pid = pid },
                .fd = fd,
                .op.done = received,
        };
        TAILQ_INSERT_TAIL(&hand_over->peers, peer, entry);
        hand_over->n_peers++;
        receive(peer);
}

static void accept_next(struct hand_over *hand_over) {
        struct io_uring_sqe *sqe = ring_get_sqe(hand_over->ring);

        io_uring_prep_accept(sqe, hand_over->fd, NULL, NULL, SOCK_CLOEXEC);
        ring_sqe_set_op(sqe, &hand_over->accept_op);
}

static void accepted(struct ring_op *op, int32_t res, uint32_t flags) {
        struct hand_over *hand_over = CONTAINER_OF(op, struct hand_over, accept_op);

        if (res == -ECANCELED)
                return;
        if (res >= 0)
                welcome(hand_over, res);
        if (res >= 0 || res == -EINTR || res == -ECONNABORTED)
                accept_next(hand_over);
        else
                ring_timer_set(&hand_over->retry, RETRY_USEC); /* no descriptors, no memory */
}

static void retry_due(struct ring_timer *timer) {
        accept_next(CONTAINER_OF(timer, struct hand_over, retry));
}

/* --- the meeting place --- */

/* A name that nobody listens on any more. */
static bool is_stale(int directory_fd, const char *name) {
        struct sockaddr_un address = hand_over_address(directory_fd, name);
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        return fd >= 0 && connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0 && errno == ECONNREFUSED;
}

static void sweep(int directory_fd, const char *own) {
        const size_t n_suffix = strlen(SOCKET_SUFFIX);
        DIR *directory = directory_open(directory_fd, ".");
        struct dirent *entry;

        if (!directory)
                return;
        while ((entry = readdir(directory))) {
                size_t n = strlen(entry->d_name);

                /* One that begins with a dot is about to listen, see below: as stale as it looks, it is not. */
                if (entry->d_name[0] != '.' && n > n_suffix && n < STORE_SOCKET_NAME_SIZE &&
                        strcmp(entry->d_name + n - n_suffix, SOCKET_SUFFIX) == 0 && strcmp(entry->d_name, own) != 0 &&
                        is_stale(directory_fd, entry->d_name))
                        (void) unlinkat(directory_fd, entry->d_name, 0);
        }
        closedir(directory);
}

/* It gets its name when it listens: until then others would take it for one that was left behind. */
static int start_listening(struct hand_over *hand_over) {
        char unnamed[STORE_SOCKET_NAME_SIZE + 1];
        struct sockaddr_un address;

        (void) snprintf(unnamed, sizeof(unnamed), ".%s", hand_over->self.socket);
        address = hand_over_address(hand_over->directory_fd, unnamed);

        hand_over->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (hand_over->fd < 0)
                return -errno;
        if (bind(hand_over->fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;
        if (listen(hand_over->fd, PEERS_MAX) < 0 ||
                renameat(hand_over->directory_fd, unnamed, hand_over->directory_fd, hand_over->self.socket) < 0) {
                int r = -errno;

                (void) unlinkat(hand_over->directory_fd, unnamed, 0);
                return r;
        }

        sweep(hand_over->directory_fd, hand_over->self.socket);
        return 0;
}

int hand_over_new(struct hand_over **ret, struct ring *ring, int directory_fd, sd_id128_t instance,
        hand_over_asked_t asked_callback, void *userdata) {
        _cleanup_(hand_over_freep) struct hand_over *hand_over = NULL;
        char text[SD_ID128_STRING_MAX];
        int r;

        hand_over = malloc(sizeof(*hand_over));
        if (!hand_over)
                return -ENOMEM;
        *hand_over = (struct hand_over){
                .ring = ring,
                .directory_fd = directory_fd,
                .fd = -EBADF,
                .asked = asked_callback,
                .userdata = userdata,
                .accept_op.done = accepted,
                .self.pid = (uint64_t) getpid(),
        };
        TAILQ_INIT(&hand_over->peers);
        ring_timer_init(&hand_over->retry, ring, retry_due);

        r = hand_over_look_at_process(hand_over->self.pid, &hand_over->self.start_time);
        if (r >= 0)
                r = sd_id128_get_boot(&hand_over->self.boot_id);
        if (r < 0)
                return r;
        (void) snprintf(hand_over->self.socket, sizeof(hand_over->self.socket), "%s" SOCKET_SUFFIX,
                sd_id128_to_string(instance, text));

        r = start_listening(hand_over);
        if (r < 0)
                return r;
        accept_next(hand_over);
        *ret = TAKE_PTR(hand_over);
        return 0;
}

struct hand_over *hand_over_free(struct hand_over *hand_over) {
        struct peer *peer;

        if (!hand_over)
                return NULL;

        while ((peer = TAILQ_FIRST(&hand_over->peers)))
                peer_free(peer);
        if (hand_over->fd >= 0)
                (void) unlinkat(hand_over->directory_fd, hand_over->self.socket, 0);
        safe_close(hand_over->fd);
        free(hand_over);
        return NULL;
}
