/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The worker's view of its kernel device. Engine and supervisor are MOCKED, by the few functions of theirs that are called: what is tested is which call is made when, and that never two are under way. The
 * real ones meet in the integration and VM suites. */

#include <sys/socket.h>
#include <unistd.h>

#include "device-link.h"
#include "test.h"

#define DEADLINE_USEC (20U * 1000U * 1000U)

static struct {
        sd_event *event;
        struct device_link *device;
        bool up;
        unsigned n_connect, n_disconnect, n_wait, n_go_on, n_resize, n_pending; /* calls; those not answered */
        uint64_t asked_size, resized;                                           /* the last */
        unsigned n_connected, n_failed, n_disconnected;
        enum failure disconnected;
        int kernel_fd; /* our end, as the engine would have it */
} x;

bool supervisor_link_is_up(const struct supervisor_link *link) {
        return x.up;
}

const char *supervisor_link_reason(const struct supervisor_link *link) {
        return "down";
}

static int call(unsigned *counter) {
        if (!x.up)
                return -ENOTCONN;
        /* The supervisor refuses a second one. */
        ASSERT_EQ(x.n_pending, 0U);
        x.n_pending++;
        (*counter)++;
        return 0;
}

int supervisor_link_connect_device(
        struct supervisor_link *link, int kernel_fd, const struct attachment *attachment, uint16_t flags) {
        ASSERT_TRUE(kernel_fd >= 0);
        return call(&x.n_connect);
}

int supervisor_link_disconnect_device(struct supervisor_link *link) {
        return call(&x.n_disconnect);
}

int supervisor_link_set_device_waiting(struct supervisor_link *link, bool waiting) {
        return call(waiting ? &x.n_wait : &x.n_go_on);
}

int supervisor_link_resize_device(struct supervisor_link *link, uint64_t size) {
        x.asked_size = size;
        return call(&x.n_resize);
}

int engine_serve_kernel(struct engine *engine, int fd) {
        safe_close(x.kernel_fd);
        x.kernel_fd = fd;
        return 0;
}

uint16_t engine_nbd_flags(const struct attachment *attachment) {
        return 1;
}

static void connected(void *userdata, const char *node) {
        ASSERT_STREQ(node, "/dev/nbd0");
        x.n_connected++;
}

static void failed(void *userdata, enum failure failure, const char *message) {
        x.n_failed++;
}

static void resized(void *userdata, uint64_t size) {
        x.resized = size;
}

static void disconnected(void *userdata, enum failure failure, const char *message) {
        x.n_disconnected++;
        x.disconnected = failure;
}

static const struct device_link_events events = {
        .connected = connected,
        .resized = resized,
        .failed = failed,
        .disconnected = disconnected,
};

static void answer_connect(enum failure failure) {
        ASSERT_EQ(x.n_pending, 1U);
        x.n_pending = 0;
        device_link_answer_connected(x.device, failure, "no", "/dev/nbd0");
}

static void answer_told(enum failure failure) {
        ASSERT_EQ(x.n_pending, 1U);
        x.n_pending = 0;
        device_link_answer_told(x.device, failure);
}

static void answer_resized(enum failure failure) {
        ASSERT_EQ(x.n_pending, 1U);
        x.n_pending = 0;
        device_link_answer_resized(x.device, failure);
}

static void answer_disconnect(enum failure failure) {
        ASSERT_EQ(x.n_pending, 1U);
        x.n_pending = 0;
        device_link_answer_disconnected(x.device, failure, "no");
}

static void wait_until(const unsigned *counter, unsigned value) {
        uint64_t now, deadline;

        ASSERT_OK(sd_event_now(x.event, CLOCK_MONOTONIC, &deadline));
        deadline += DEADLINE_USEC;
        while (*counter < value) {
                ASSERT_OK(sd_event_run(x.event, DEADLINE_USEC));
                ASSERT_OK(sd_event_now(x.event, CLOCK_MONOTONIC, &now));
                ASSERT_TRUE(now < deadline);
        }
}

static void begin(void) {
        static const struct attachment attachment = { .attached = true, .size = 4096 };

        memset(&x, 0, sizeof(x));
        x.kernel_fd = -EBADF;
        x.up = true;
        ASSERT_OK(sd_event_new(&x.event));
        ASSERT_OK(device_link_new(&x.device, x.event, NULL, NULL, &events, NULL));
        device_link_connect(x.device, &attachment);
        ASSERT_EQ(x.n_connect, 1U);
        answer_connect(FAILURE_NONE);
        ASSERT_EQ(x.n_connected, 1U);
        /* Another worker may have left it waiting. */
        ASSERT_EQ(x.n_go_on, 1U);
        answer_told(FAILURE_NONE);
        ASSERT_EQ(device_link_get_state(x.device), DEVICE_CONNECTED);
}

static void end(void) {
        x.device = device_link_free(x.device);
        x.kernel_fd = safe_close(x.kernel_fd);
        x.event = sd_event_unref(x.event);
}

/* The way it goes: I/O waits, the kernel lets go, a proxy is back. */
static void waits_and_goes_on(void) {
        begin();
        device_link_set_waiting(x.device, true, true);
        ASSERT_EQ(x.n_wait, 1U);
        device_link_set_waiting(x.device, true, true);
        answer_told(FAILURE_NONE);
        ASSERT_EQ(x.n_wait, 1U);
        device_link_kernel_lost(x.device);
        ASSERT_EQ(device_link_get_state(x.device), DEVICE_WAITING);
        ASSERT_EQ(x.n_connect, 1U);

        /* A supervisor that comes back changes nothing. */
        device_link_supervisor_up(x.device);
        ASSERT_EQ(x.n_connect, 1U);

        device_link_set_waiting(x.device, false, false);
        ASSERT_EQ(x.n_connect, 2U);
        ASSERT_EQ(x.n_go_on, 1U);
        answer_connect(FAILURE_NONE);
        ASSERT_EQ(x.n_go_on, 2U); /* over the new pair */
        answer_told(FAILURE_NONE);
        ASSERT_EQ(device_link_get_state(x.device), DEVICE_CONNECTED);
        end();
}

/* One call at a time, the last size wins, and a supervisor that is new is told again. */
static void another_size(void) {
        begin();
        device_link_resize(x.device, 8192);
        ASSERT_EQ(x.n_resize, 1U);
        device_link_resize(x.device, 12288);
        ASSERT_EQ(x.n_resize, 1U);
        answer_resized(FAILURE_NONE);
        ASSERT_EQ(x.resized, 8192U);
        ASSERT_EQ(x.n_resize, 2U);
        ASSERT_EQ(x.asked_size, 12288U);
        answer_resized(FAILURE_NONE);
        ASSERT_EQ(x.resized, 12288U);
        ASSERT_EQ(x.n_resize, 2U);

        /* It fails: later again, by itself. */
        device_link_resize(x.device, 16384);
        answer_resized(FAILURE_TIMEOUT);
        ASSERT_EQ(x.resized, 12288U);
        ASSERT_EQ(x.n_resize, 3U);
        wait_until(&x.n_resize, 4);
        ASSERT_EQ(x.asked_size, 16384U);
        answer_resized(FAILURE_NONE);
        ASSERT_EQ(x.resized, 16384U);

        device_link_supervisor_up(x.device);
        ASSERT_EQ(x.n_resize, 5U);
        ASSERT_EQ(x.asked_size, 16384U);
        answer_resized(FAILURE_NONE);

        /* With a new connection the size goes along. */
        device_link_resize(x.device, 4096);
        answer_resized(FAILURE_SYSTEM);
        device_link_kernel_lost(x.device);
        wait_until(&x.n_connect, 2);
        answer_connect(FAILURE_NONE);
        ASSERT_EQ(x.n_resize, 6U);
        end();
}

/* A failover that is quick is none of the kernel's business, one that takes long is. */
static void short_and_long(void) {
        begin();
        device_link_set_waiting(x.device, true, false);
        device_link_set_waiting(x.device, false, false);
        ASSERT_EQ(x.n_wait, 0U);
        device_link_set_waiting(x.device, true, false);
        ASSERT_EQ(x.n_wait, 0U);
        wait_until(&x.n_wait, 1);
        answer_told(FAILURE_NONE);

        /* Nothing was under way: the pair is alive, and is served again. */
        device_link_set_waiting(x.device, false, false);
        ASSERT_EQ(x.n_go_on, 2U);
        answer_told(FAILURE_NONE);
        ASSERT_EQ(x.n_connect, 1U);
        end();
}

/* Over before the supervisor has answered, and the kernel lets go all the same. */
static void crossing(void) {
        begin();
        device_link_set_waiting(x.device, true, true);
        device_link_set_waiting(x.device, false, false);
        ASSERT_EQ(x.n_go_on, 1U); /* one at a time */
        device_link_kernel_lost(x.device);
        ASSERT_EQ(x.n_connect, 1U);
        answer_told(FAILURE_NONE);
        ASSERT_EQ(x.n_connect, 2U);
        answer_connect(FAILURE_NONE);
        ASSERT_EQ(x.n_go_on, 2U);
        answer_told(FAILURE_NONE);

        /* Lost while it is being told, and still waiting. */
        device_link_set_waiting(x.device, true, true);
        device_link_kernel_lost(x.device);
        answer_told(FAILURE_NONE);
        ASSERT_EQ(device_link_get_state(x.device), DEVICE_WAITING);
        ASSERT_EQ(x.n_connect, 2U);
        end();
}

/* What the kernel was not asked to let go of is asked for again at once, waiting or not. */
static void lost_otherwise(void) {
        begin();
        device_link_set_waiting(x.device, true, false);
        device_link_kernel_lost(x.device);
        wait_until(&x.n_connect, 2);
        answer_connect(FAILURE_NONE);
        if (x.n_wait == 0)
                wait_until(&x.n_wait, 1);
        answer_told(FAILURE_NONE);
        end();
}

/* A supervisor that cannot do it is asked again, but not without end in one turn. */
static void told_in_vain(void) {
        begin();
        device_link_set_waiting(x.device, true, true);
        answer_told(FAILURE_SYSTEM);
        ASSERT_EQ(x.n_wait, 1U);
        wait_until(&x.n_wait, 2);
        answer_told(FAILURE_SYSTEM);

        /* One that is away hears of it when it is back. */
        x.up = false;
        device_link_set_waiting(x.device, false, false);
        ASSERT_EQ(x.n_go_on, 1U);
        x.up = true;
        device_link_supervisor_up(x.device);
        ASSERT_EQ(x.n_go_on, 2U);
        answer_told(FAILURE_NONE);
        end();
}

/* A stop: the flush needs a pair, so one is made first; and nothing crosses. */
static void stop_while_waiting(void) {
        begin();
        device_link_set_waiting(x.device, true, true);
        answer_told(FAILURE_NONE);
        device_link_kernel_lost(x.device);
        device_link_disconnect(x.device);
        ASSERT_EQ(x.n_connect, 2U);
        ASSERT_EQ(x.n_disconnect, 0U);
        answer_connect(FAILURE_NONE);
        ASSERT_EQ(x.n_go_on, 2U);
        /* It is not told to wait any more. */
        device_link_set_waiting(x.device, true, true);
        answer_told(FAILURE_NONE);
        ASSERT_EQ(x.n_disconnect, 1U);
        answer_disconnect(FAILURE_NONE);
        ASSERT_EQ(x.n_disconnected, 1U);
        ASSERT_EQ(x.disconnected, FAILURE_NONE);
        end();

        /* The same while it is being told, and that fails. */
        begin();
        device_link_set_waiting(x.device, true, true);
        device_link_disconnect(x.device);
        ASSERT_EQ(x.n_disconnect, 0U);
        answer_told(FAILURE_TIMEOUT);
        ASSERT_EQ(x.n_disconnect, 1U);
        answer_disconnect(FAILURE_BUSY);
        ASSERT_EQ(x.disconnected, FAILURE_BUSY);
        end();

        /* And where no pair can be had: the supervisor is asked to disconnect all the same. */
        begin();
        device_link_set_waiting(x.device, true, true);
        answer_told(FAILURE_NONE);
        device_link_kernel_lost(x.device);
        device_link_disconnect(x.device);
        answer_connect(FAILURE_TIMEOUT);
        ASSERT_EQ(x.n_disconnect, 1U);
        answer_disconnect(FAILURE_NOT_ATTACHED);
        ASSERT_EQ(x.disconnected, FAILURE_NONE);
        end();
}

static void stop_without_supervisor(void) {
        begin();
        device_link_set_waiting(x.device, true, true);
        answer_told(FAILURE_NONE);
        device_link_kernel_lost(x.device);
        x.up = false;
        device_link_disconnect(x.device);
        ASSERT_EQ(x.n_disconnected, 1U);
        ASSERT_EQ(x.disconnected, FAILURE_SYSTEM);
        end();
}

static void names(void) {
        ASSERT_STREQ(device_state_to_string(DEVICE_WAITING), "waiting");
        ASSERT_STREQ(device_state_to_string(_DEVICE_STATE_MAX), "unknown");
        ASSERT_TRUE(!device_link_free(NULL));
}

TEST_MAIN(TEST(waits_and_goes_on), TEST(another_size), TEST(short_and_long), TEST(crossing), TEST(lost_otherwise),
        TEST(told_in_vain), TEST(stop_while_waiting), TEST(stop_without_supervisor), TEST(names));
