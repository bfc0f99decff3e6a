/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How long a store operation waits: none of these has a deadline that a test would see. */

#include "engine.h"
#include "scripted-server.h"

#define PATIENCE_USEC (20U * 1000U * 1000U)
#define FAR_USEC      (UINT64_C(3600) * 1000U * 1000U)

struct rig {
        sd_event *event;
        struct proxy_address addresses[2];
        struct host_config config;
        struct credentials credentials;
        struct engine *engine;
        unsigned n_replied;
        int error;
        uint32_t status;
        char message[ENGINE_REASON_MAX];
        bool may_fail, failed, stopped;
};

static void on_status(void *userdata, const struct engine_status *status) {
}

static void on_failed(void *userdata, enum failure failure, const char *message) {
        struct rig *rig = userdata;

        if (!rig->may_fail)
                TEST_FAIL("the engine failed: %s", message);
        rig->failed = true;
}

static void on_stopped(void *userdata, int error) {
        ((struct rig *) userdata)->stopped = true;
}

static const struct engine_events events = { .status = on_status, .failed = on_failed, .stopped = on_stopped };

/* An address at which nobody listens, and nobody else comes to: the socket is bound. */
static int nowhere(char ret[static 32]) {
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t size = sizeof(address);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        ASSERT_TRUE(fd >= 0);
        ASSERT_EQ(bind(fd, (struct sockaddr *) &address, size), 0);
        ASSERT_EQ(getsockname(fd, (struct sockaddr *) &address, &size), 0);
        snprintf(ret, 32, "127.0.0.1:%u", ntohs(address.sin_port));
        return fd;
}

static int patience_is_over(sd_event_source *source, uint64_t usec, void *userdata) {
        TEST_FAIL("what was waited for did not come within %u s", PATIENCE_USEC / 1000000U);
}

static void start(struct rig *rig, const char *first, const char *second) {
        struct engine_settings settings = {
                .config = &rig->config, .credentials = &rig->credentials, .listen_fd = -EBADF
        };

        *rig = (struct rig){};
        rig->addresses[0] = (struct proxy_address){ (char *) first, 0 };
        if (second)
                rig->addresses[1] = (struct proxy_address){ (char *) second, 1 };
        rig->config = (struct host_config){
                .proxies = rig->addresses,
                .n_proxies = second ? 2 : 1,
                .connect_timeout_usec = PATIENCE_USEC,
                .login_timeout_usec = PATIENCE_USEC,
                .dead_time_usec = PATIENCE_USEC,
                .io_timeout_usec = UINT64_MAX,
        };
        strcpy(rig->credentials.user, SERVER_USER);
        ASSERT_OK(ivbs_hash_password(SERVER_PASSWORD, strlen(SERVER_PASSWORD), rig->credentials.password));
        ASSERT_OK(sd_event_new(&rig->event));
        ASSERT_OK(sd_event_add_time_relative(
                rig->event, NULL, CLOCK_MONOTONIC, PATIENCE_USEC, 0, patience_is_over, NULL));
        ASSERT_OK(engine_new(&rig->engine, rig->event, &settings, &events, rig));
}

static void run_until(struct rig *rig, const bool *flag, unsigned n_replied) {
        while (flag ? !*flag : rig->n_replied < n_replied)
                ASSERT_OK(sd_event_run(rig->event, UINT64_MAX));
}

static void end(struct rig *rig) {
        ASSERT_OK(engine_stop(rig->engine, false, PATIENCE_USEC));
        run_until(rig, &rig->stopped, 0);
        engine_free(rig->engine);
        sd_event_unref(rig->event);
}

static void on_reply(
        void *userdata, int error, uint32_t status, const uint8_t *payload, size_t n, const char *message) {
        struct rig *rig = userdata;

        rig->n_replied++;
        rig->error = error;
        rig->status = status;
        snprintf(rig->message, sizeof(rig->message), "%s", message);
}

static void ask(struct rig *rig) {
        ASSERT_OK(engine_call(rig->engine, IVBS_OP_STORE_STATUS, "", 0, FAR_USEC, on_reply, rig));
}

/* Each has been tried: there is nothing to wait for. Nor is there for what is asked while they back off, or for what is asked together. */
static void nobody_is_there(void) {
        char one[32], other[32];
        int fd = nowhere(one), fd2 = nowhere(other);
        struct rig rig;

        start(&rig, one, other);
        for (unsigned i = 1; i <= 12; i++) {
                ask(&rig);
                run_until(&rig, NULL, i);
                ASSERT_ERROR(rig.error, ENOTCONN);
                ASSERT_TRUE(strstr(rig.message, strerror(ECONNREFUSED)));
        }
        ask(&rig);
        ask(&rig);
        run_until(&rig, NULL, 14);
        ASSERT_ERROR(rig.error, ENOTCONN);
        end(&rig);
        safe_close(fd);
        safe_close(fd2);
}

static void refuse(struct server *s) {
        for (unsigned i = 0; i < 2; i++) {
                server_accept(s);
                server_greet_modern(s);
                server_hello(s, s->caps);
                server_expect_login(s);
                server_reply(s, IVBS_STATUS_PERMISSION_DENIED, NULL, 0);
                server_expect_end(s);
        }
}

/* Of two reasons the one that can be done something about is told, and as what it is. */
static void one_refuses(void) {
        struct server *server = server_start(refuse, NULL);
        char gone[32];
        int fd = nowhere(gone);
        struct rig rig;

        start(&rig, server->address, gone);
        rig.may_fail = true;
        ask(&rig);
        run_until(&rig, NULL, 1);
        ASSERT_ERROR(rig.error, EACCES);
        ASSERT_TRUE(strstr(rig.message, "refused"));
        ASSERT_TRUE(strstr(rig.message, server->address));
        run_until(&rig, &rig.failed, 0);
        end(&rig);
        server_join(server);
        safe_close(fd);
}

static void serve(struct server *s) {
        server_modern_login(s);
        server_expect(s, IVBS_OP_STORE_STATUS);
        server_reply(s, IVBS_STATUS_PERMISSION_DENIED, NULL, 0);
        server_expect_end(s);
}

/* It is asked after the first has refused, so by then the question is one that has been tried in vain, but not everywhere. */
static void one_has_not_been_tried(void) {
        struct server *server = server_start(serve, NULL);
        char gone[32];
        int fd = nowhere(gone);
        struct rig rig;

        server->caps |= IVBS_CAP_ADMIN;
        start(&rig, gone, server->address);
        ask(&rig);
        run_until(&rig, NULL, 1);
        ASSERT_EQ(rig.error, 0);
        ASSERT_EQ(rig.status, (uint32_t) IVBS_STATUS_PERMISSION_DENIED);
        end(&rig);
        server_join(server);
        safe_close(fd);
}

TEST_MAIN(TEST(nobody_is_there), TEST(one_refuses), TEST(one_has_not_been_tried));
