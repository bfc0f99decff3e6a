/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Which lines the journal gets: one for each transition and each failover, none twice, each with who and why. */

#include <syslog.h>

#include "test.h"
#include "message-ids.h"
#include "transitions.h"

#define A "192.0.2.1:11417"
#define B "192.0.2.2:11417"

static struct transitions transitions;
static struct engine_status status;
static struct transition line;
static uint64_t now;

static void begin(void) {
        transitions = (struct transitions){};
        status = (struct engine_status){ .state = POOL_CONNECTING, .n_proxies = 2 };
        strcpy(status.proxies[0].address, A);
        strcpy(status.proxies[1].address, B);
        now = 1700000000000000;
}

static bool observe(const char *state, const char *reason) {
        line = (struct transition){};
        return transitions_observe(&transitions, state, reason, "as /dev/nbd0, 4096 bytes", &status, now, &line);
}

static void attach(void) {
        begin();
        ASSERT_FALSE(observe("attaching", ""));
        strcpy(status.active_proxy, A);
        status.state = POOL_ATTACHED;
        status.state_since_usec = now;
        /* Attached at the proxy, the device not there yet. */
        ASSERT_FALSE(observe("attaching", ""));
        now += 70000;
        ASSERT_TRUE(observe("attached", ""));
        ASSERT_EQ(line.priority, LOG_INFO);
        ASSERT_STREQ(line.message_id, MESSAGE_IMAGE_ATTACHED);
        ASSERT_STREQ(line.message, "attached to " A " as /dev/nbd0, 4096 bytes.");
        ASSERT_STREQ(line.proxy, A);
        /* Usable since the device is there, not since the proxy said yes. */
        ASSERT_EQ(transitions.since_usec, now);
        ASSERT_FALSE(observe("attached", ""));
}

static void failover(void) {
        attach();
        status.active_proxy[0] = 0;
        status.state = POOL_RECONNECTING;
        now += 1000000;
        status.state_since_usec = now - 5;
        ASSERT_TRUE(observe("reconnecting", A ": connection reset."));
        ASSERT_EQ(line.priority, LOG_WARNING);
        ASSERT_STREQ(
                line.message, "The connection to " A " was lost; I/O waits for another one. " A ": connection reset.");
        ASSERT_STREQ(line.proxy, A);
        ASSERT_EQ(transitions.since_usec, now - 5);

        status.state = POOL_PARKED;
        status.state_since_usec = now + 10;
        ASSERT_TRUE(observe("parked", B ": connection refused."));
        ASSERT_STREQ(line.message, "No proxy can be had; I/O waits until one is back. " B ": connection refused.");
        ASSERT_STREQ(line.proxy, A);
        ASSERT_EQ(transitions.since_usec, now + 10);
        ASSERT_FALSE(observe("parked", B ": connection refused, again."));

        strcpy(status.active_proxy, B);
        ASSERT_FALSE(observe("parked", ""));
        now += 2345000;
        status.state = POOL_ATTACHED;
        status.state_since_usec = now - 5;
        status.failovers = 1;
        strcpy(status.active_proxy, B);
        strcpy(status.proxies[0].reason, "connection reset");
        ASSERT_TRUE(observe("attached", ""));
        ASSERT_EQ(line.priority, LOG_NOTICE);
        ASSERT_STREQ(line.message,
                "I/O goes on, through " B " instead of " A ", after it waited for 2.345 s (connection reset).");
        ASSERT_STREQ(line.proxy, B);
        ASSERT_EQ(transitions.since_usec, now - 5);
        ASSERT_FALSE(observe("attached", ""));
}

/* Lost and replaced between two pictures, or drained: nothing but the count tells. */
static void unseen(void) {
        attach();
        status.failovers = 1;
        ASSERT_TRUE(observe("attached", ""));
        ASSERT_STREQ(line.message, "I/O goes on, through " A " again.");
        status.failovers = 3;
        strcpy(status.active_proxy, B);
        strcpy(status.proxies[0].reason, "the proxy is about to stop");
        ASSERT_TRUE(observe("attached", ""));
        ASSERT_STREQ(line.message, "I/O goes on, through " B " instead of " A " (the proxy is about to stop).");
        ASSERT_FALSE(observe("attached", ""));
}

static void ends(void) {
        attach();
        now += 1;
        ASSERT_TRUE(observe("detaching", ""));
        ASSERT_STREQ(line.message, "detaching.");
        ASSERT_EQ(transitions.since_usec, now);
        ASSERT_TRUE(observe("failed", "The image has been attached by host x."));
        ASSERT_EQ(line.priority, LOG_ERR);
        ASSERT_STREQ(line.message, "The image has been attached by host x.");
        ASSERT_FALSE(observe("failed", "The image has been attached by host x."));
}

/* A worker that fails before it has seen a proxy. */
static void stillborn(void) {
        begin();
        ASSERT_TRUE(observe("failed", "No proxies are configured."));
        ASSERT_STREQ(line.proxy, "");
        ASSERT_EQ(transitions.since_usec, now);
}

static void ids(void) {
        attach();
        ASSERT_TRUE(observe("parked", ""));
        ASSERT_STREQ(line.message_id, MESSAGE_IMAGE_PARKED);
        ASSERT_TRUE(observe("attached", ""));
        ASSERT_STREQ(line.message_id, MESSAGE_IMAGE_RESUMED);
        /* Held by another host, and taken by it, are the same failure at different times. */
        ASSERT_STREQ(transitions_failure_id(FAILURE_HELD, false), MESSAGE_IMAGE_HELD);
        ASSERT_STREQ(transitions_failure_id(FAILURE_HELD, true), MESSAGE_IMAGE_TAKEN);
        ASSERT_STREQ(transitions_failure_id(FAILURE_IO, true), MESSAGE_DATA_LOST);
        ASSERT_STREQ(transitions_failure_id(FAILURE_IO, false), MESSAGE_IMAGE_FAILED);
        ASSERT_STREQ(transitions_failure_id(FAILURE_INTERNAL, true), MESSAGE_IMAGE_FAILED);
}

TEST_MAIN(TEST(ids), TEST(attach), TEST(failover), TEST(unseen), TEST(ends), TEST(stillborn));
