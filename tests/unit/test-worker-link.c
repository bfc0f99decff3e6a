/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The supervisor's end of the private link, with workers that behave and workers that do not, over real sockets in one loop. Identification is replaced: the test says who
 * connects. */

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "heat-map.h"
#include "peer-bus.h"
#include "scratch.h"
#include "worker-link.h"

#define UUID "6e6b5a2e-2a53-4b0e-9d0b-3d3e1a3c9a11"

static struct {
        sd_event *event;
        struct worker_links *links;
        const char *peer; /* who connects next; NULL: nobody we know */
        struct worker_link *link;
        unsigned n_hello, n_lost, n_connect, n_disconnect, n_update, n_waiting, n_going_on;
        bool lost, connecting;
        struct device_parameters parameters;
        int socket;
        struct image_counters counters;
        char reason[64], standby[64];
        uint32_t mask, n_sessions, missing, failures;
        uint64_t since;
        size_t n_health;
} rig;

static int identify(int fd, char **ret_name, pid_t *ret_pid, uid_t *ret_uid) {
        if (!rig.peer)
                return -EACCES;
        *ret_name = strdup(rig.peer);
        *ret_pid = getpid();
        *ret_uid = getuid();
        return *ret_name ? 0 : -ENOMEM;
}

static int hello(struct worker_link *link, void *userdata) {
        rig.link = link;
        rig.n_hello++;
        return 0;
}

static void lost(struct worker_link *link, void *userdata) {
        rig.n_lost++;
        rig.lost = true;
        if (rig.link == link)
                rig.link = NULL;
}

static int connect_device(
        struct worker_link *link, const struct device_parameters *parameters, int socket, sd_bus_error *error) {
        rig.n_connect++;
        rig.parameters = *parameters;
        rig.socket = socket;
        rig.connecting = true;
        return 0;
}

static int disconnect_device(struct worker_link *link, sd_bus_error *error) {
        rig.n_disconnect++;
        return peer_bus_error_set(error, FAILURE_BUSY, "mounted on /mnt");
}

static int set_waiting(struct worker_link *link, bool waiting, sd_bus_error *error) {
        rig.n_waiting += waiting;
        rig.n_going_on += !waiting;
        rig.connecting = true;
        return 0;
}

static int update(struct worker_link *link, const struct image_status *status) {
        rig.n_update++;
        rig.counters = status->counters;
        rig.mask = status->mask;
        rig.since = status->state_since_usec;
        rig.n_sessions = status->n_sessions;
        rig.missing = status->missing_features;
        rig.n_health = status->n_health;
        (void) snprintf(rig.standby, sizeof(rig.standby), "%s", status->standby_proxy ?: "");
        for (size_t i = 0; i < status->n_health; i++)
                rig.failures += status->health[i].failures;
        (void) snprintf(rig.reason, sizeof(rig.reason), "%s", status->state_reason ?: "");
        return 0;
}

static int ask_job(struct worker_link *link, sd_bus_error *error) {
        worker_link_answer_job(link, "restart");
        return 0;
}

static const char *get_device(struct worker_link *link) {
        return "/dev/nbd3";
}

static const struct worker_link_ops ops = {
        .identify = identify,
        .hello = hello,
        .lost = lost,
        .connect_device = connect_device,
        .disconnect_device = disconnect_device,
        .set_waiting = set_waiting,
        .ask_job = ask_job,
        .get_device = get_device,
        .update = update,
};

static void begin(void) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd;

        memset(&rig, 0, sizeof(rig));
        rig.socket = -EBADF;
        rig.peer = "vm1";
        (void) snprintf(scratch, sizeof(scratch), "/tmp/blockstore-test-XXXXXX");
        scratch_make();
        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s/supervisor", scratch);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        ASSERT_OK(fd);
        ASSERT_EQ(bind(fd, (struct sockaddr *) &address, sizeof(address)), 0);
        ASSERT_EQ(listen(fd, 16), 0);
        ASSERT_OK(sd_event_new(&rig.event));
        ASSERT_OK(worker_links_new(rig.event, fd, &ops, NULL, &rig.links));
}

static void end(void) {
        worker_links_free(rig.links);
        sd_event_unref(rig.event);
        safe_close(rig.socket);
        scratch_remove();
}

static sd_bus *worker(void) {
        sd_bus *bus;

        ASSERT_OK(peer_bus_connect(scratch_path("supervisor"), rig.event, true, &bus));
        return bus;
}

struct answer {
        bool there, error, ours;
        enum failure failure;
        char text[128];
};

static int on_answer(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        const sd_bus_error *e = sd_bus_message_get_error(message);
        struct answer *answer = userdata;
        const char *text;

        answer->there = true;
        answer->error = e != NULL;
        answer->ours = e && strncmp(e->name, "org.blockstore.", 15) == 0;
        answer->failure = peer_bus_error_failure(e);
        if (e)
                (void) snprintf(answer->text, sizeof(answer->text), "%s", e->message);
        else if (sd_bus_message_has_signature(message, "s") && sd_bus_message_read(message, "s", &text) >= 0)
                (void) snprintf(answer->text, sizeof(answer->text), "%s", text);
        else if (sd_bus_message_has_signature(message, "us")) {
                uint32_t version;

                ASSERT_OK(sd_bus_message_read(message, "us", &version, &text));
                (void) snprintf(answer->text, sizeof(answer->text), "%u %s", version, text);
        }
        return 0;
}

static void turn_until(const bool *flag) {
        while (!*flag)
                ASSERT_TRUE(sd_event_run(rig.event, 20 * 1000 * 1000) > 0);
}

static struct answer say_hello(sd_bus *bus, uint32_t version) {
        struct answer answer = {};

        ASSERT_OK(sd_bus_call_method_async(
                bus, NULL, NULL, SUPERVISOR_PATH, SUPERVISOR_INTERFACE, "Hello", on_answer, &answer, "u", version));
        turn_until(&answer.there);
        return answer;
}

static void ask_device(
        sd_bus *bus, struct answer *answer, int fd, uint64_t size, uint32_t block_size, const char *uuid) {
        *answer = (struct answer){};
        ASSERT_OK(sd_bus_call_method_async(bus, NULL, NULL, SUPERVISOR_PATH, SUPERVISOR_INTERFACE, "ConnectDevice",
                on_answer, answer, "htuus", fd, size, block_size, (uint32_t) 1, uuid));
}

static struct answer ask(sd_bus *bus, const char *method) {
        struct answer answer = {};

        ASSERT_OK(sd_bus_call_method_async(
                bus, NULL, NULL, SUPERVISOR_PATH, SUPERVISOR_INTERFACE, method, on_answer, &answer, NULL));
        turn_until(&answer.there);
        return answer;
}

static void good_worker(void) {
        struct answer answer;
        bool hung_up = false;
        int pair[2];
        sd_bus *bus;
        char byte;

        begin();
        bus = worker();
        /* One that is newer than we are, then one of each age: the smaller version is spoken. */
        answer = say_hello(bus, 9);
        ASSERT_STREQ(answer.text, "3 vm1");
        ASSERT_STREQ(say_hello(bus, 3).text, "3 vm1");
        ASSERT_STREQ(say_hello(bus, 2).text, "2 vm1");
        ASSERT_STREQ(say_hello(bus, 1).text, "1 vm1");
        ASSERT_EQ(rig.n_hello, 1U);

        answer = ask(bus, "GetUnitJob");
        ASSERT_STREQ(answer.text, "restart");
        answer = ask(bus, "GetDevice");
        ASSERT_STREQ(answer.text, "/dev/nbd3");
        ASSERT_EQ(worker_links_count(rig.links), 1U);
        (void) say_hello(bus, 1);
        ASSERT_EQ(rig.n_hello, 1U);

        ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        ask_device(bus, &answer, pair[1], 1 << 20, 4096, UUID);
        close(pair[1]);
        turn_until(&rig.connecting);
        ASSERT_EQ(rig.parameters.size, 1U << 20);
        ASSERT_EQ(rig.parameters.block_size, 4096U);
        ASSERT_STREQ(rig.parameters.uuid, UUID);

        /* While one call is under way a second is refused, and changes nothing. */
        {
                struct answer second = {};

                ASSERT_OK(sd_bus_call_method_async(bus, NULL, NULL, SUPERVISOR_PATH, SUPERVISOR_INTERFACE,
                        "DisconnectDevice", on_answer, &second, NULL));
                turn_until(&second.there);
                ASSERT_EQ(second.failure, FAILURE_BUSY);
                ASSERT_EQ(rig.n_disconnect, 0U);
        }

        worker_link_answer_device(rig.link, FAILURE_NONE, NULL, "/dev/nbd5");
        turn_until(&answer.there);
        ASSERT_STREQ(answer.text, "/dev/nbd5");
        /* Once it is answered no copy of the socket is left but the one that was handed over: the worker's end tells the truth. */
        rig.socket = safe_close(rig.socket);
        for (int i = 0; i < 1000 && !hung_up; i++) {
                hung_up = recv(pair[0], &byte, 1, MSG_DONTWAIT) == 0;
                if (!hung_up)
                        (void) sd_event_run(rig.event, 10000);
        }
        ASSERT_TRUE(hung_up);
        close(pair[0]);

        answer = (struct answer){};
        ASSERT_OK(sd_bus_call_method_async(
                bus, NULL, NULL, SUPERVISOR_PATH, SUPERVISOR_INTERFACE, "DisconnectDevice", on_answer, &answer, NULL));
        turn_until(&answer.there);
        ASSERT_EQ(answer.failure, FAILURE_BUSY);
        ASSERT_STREQ(answer.text, "mounted on /mnt");

        sd_bus_close_unref(bus);
        turn_until(&rig.lost);
        ASSERT_EQ(worker_links_count(rig.links), 0U);
        end();
}

static struct answer share(sd_bus *bus, int fd) {
        struct answer answer = {};

        ASSERT_OK(sd_bus_call_method_async(
                bus, NULL, NULL, SUPERVISOR_PATH, SUPERVISOR_INTERFACE, "ShareHeatMap", on_answer, &answer, "h", fd));
        turn_until(&answer.there);
        return answer;
}

/* What is not a map of our making is not read: the worker that sends it has lost its mind, and its link. */
static void heat_maps(void) {
        int map = memfd_create("heat", MFD_CLOEXEC | MFD_ALLOW_SEALING), pipe_fds[2];
        sd_bus *bus;

        ASSERT_TRUE(map >= 0);
        ASSERT_EQ(ftruncate(map, sizeof(struct heat_map)), 0);
        ASSERT_EQ(pipe2(pipe_fds, O_CLOEXEC), 0);
        begin();
        bus = worker();
        (void) say_hello(bus, 3);
        ASSERT_EQ(fcntl(map, F_ADD_SEALS, F_SEAL_SHRINK), 0);
        (void) share(bus, map);
        ASSERT_TRUE(rig.link->heat_fd >= 0);
        (void) share(bus, map);
        ASSERT_EQ(worker_links_count(rig.links), 1U);

        ASSERT_EQ(share(bus, pipe_fds[0]).failure, FAILURE_USAGE);
        turn_until(&rig.lost);
        ASSERT_EQ(worker_links_count(rig.links), 0U);
        sd_bus_close_unref(bus);
        end();
        close(map);
        close(pipe_fds[0]);
        close(pipe_fds[1]);
}

static int send_health(sd_bus *bus, struct answer *answer, unsigned n) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;

        ASSERT_OK(sd_bus_message_new_method_call(bus, &m, NULL, SUPERVISOR_PATH, SUPERVISOR_INTERFACE, "Update"));
        ASSERT_OK(sd_bus_message_open_container(m, 'a', "{sv}"));
        ASSERT_OK(sd_bus_message_open_container(m, 'e', "sv"));
        ASSERT_OK(sd_bus_message_append(m, "s", "ProxyHealth"));
        ASSERT_OK(sd_bus_message_open_container(m, 'v', "a(sus)"));
        ASSERT_OK(sd_bus_message_open_container(m, 'a', "(sus)"));
        for (unsigned i = 0; i < n; i++)
                ASSERT_OK(sd_bus_message_append(m, "(sus)", "a:1", 1, "gone"));
        for (unsigned i = 0; i < 4; i++)
                ASSERT_OK(sd_bus_message_close_container(m));
        return sd_bus_call_async(bus, NULL, m, on_answer, answer, 0);
}

static void updates(void) {
        struct answer answer = {};
        sd_bus *bus;

        begin();
        bus = worker();
        (void) say_hello(bus, 1);

        ASSERT_OK(sd_bus_call_method_async(bus, NULL, NULL, SUPERVISOR_PATH, SUPERVISOR_INTERFACE, "Update", on_answer,
                &answer, "a{sv}", 6, "State", "s", "attached", "StateReason", "s", "well", "ReadBytes", "t",
                (uint64_t) 7, "Size", "t", (uint64_t) 512, "Proxies", "a(susts)", 1, "a:1", 5, "active", (uint64_t) 80,
                "configured", "Colour", "(ss)", "red", "blue"));
        turn_until(&answer.there);
        ASSERT_FALSE(answer.error);
        ASSERT_EQ(rig.n_update, 1U);
        ASSERT_STREQ(rig.reason, "well");
        ASSERT_EQ(rig.counters.read_bytes, 7U);
        ASSERT_EQ(rig.mask, IMAGE_SIZE | IMAGE_PROXIES);

        /* Counters that are not told again stay. */
        answer = (struct answer){};
        ASSERT_OK(sd_bus_call_method_async(bus, NULL, NULL, SUPERVISOR_PATH, SUPERVISOR_INTERFACE, "Update", on_answer,
                &answer, "a{sv}", 1, "WrittenBytes", "t", (uint64_t) 9));
        turn_until(&answer.there);
        ASSERT_EQ(rig.counters.read_bytes, 7U);
        ASSERT_EQ(rig.counters.written_bytes, 9U);

        /* What failover shows; a feature that is not known here is passed over. */
        answer = (struct answer){};
        ASSERT_OK(sd_bus_call_method_async(bus, NULL, NULL, SUPERVISOR_PATH, SUPERVISOR_INTERFACE, "Update", on_answer,
                &answer, "a{sv}", 6, "StateSince", "t", (uint64_t) 1700000000000000, "StandbyProxy", "s", "b:1",
                "Sessions", "u", 4, "RetainedBytes", "t", (uint64_t) 4096, "ProxyHealth", "a(sus)", 2, "a:1", 3,
                "connection refused", "b:1", 0, "", "MissingFeatures", "as", 3, "flush", "levitation", "fence"));
        turn_until(&answer.there);
        ASSERT_FALSE(answer.error);
        ASSERT_EQ(rig.mask, IMAGE_SESSIONS | IMAGE_PROXY_HEALTH | IMAGE_MISSING_FEATURES);
        ASSERT_EQ(rig.since, UINT64_C(1700000000000000));
        ASSERT_STREQ(rig.standby, "b:1");
        ASSERT_EQ(rig.n_sessions, 4U);
        ASSERT_EQ(rig.counters.retained_bytes, 4096U);
        ASSERT_EQ(rig.n_health, 2U);
        ASSERT_EQ(rig.failures, 3U);
        ASSERT_EQ(rig.missing, (uint32_t) (IMAGE_FEATURE_FLUSH | IMAGE_FEATURE_FENCE));
        rig.n_update = 2;

        /* More proxies than there can be. */
        answer = (struct answer){};
        ASSERT_OK(send_health(bus, &answer, IMAGE_PROXIES_MAX + 1));
        turn_until(&answer.there);
        ASSERT_EQ(answer.failure, FAILURE_USAGE);
        answer = (struct answer){};
        ASSERT_OK(send_health(bus, &answer, IMAGE_PROXIES_MAX));
        turn_until(&answer.there);
        ASSERT_FALSE(answer.error);
        rig.n_update = 2;

        /* Whether I/O waits, answered as any device call. */
        for (int waiting = 1; waiting >= 0; waiting--) {
                answer = (struct answer){};
                rig.connecting = false;
                ASSERT_OK(sd_bus_call_method_async(bus, NULL, NULL, SUPERVISOR_PATH, SUPERVISOR_INTERFACE,
                        "SetDeviceWaiting", on_answer, &answer, "b", waiting));
                turn_until(&rig.connecting);
                worker_link_answer_device(rig.link, FAILURE_NONE, NULL, NULL);
                turn_until(&answer.there);
                ASSERT_FALSE(answer.error);
        }
        ASSERT_EQ(rig.n_waiting, 1U);
        ASSERT_EQ(rig.n_going_on, 1U);

        /* Wrong types and states are refused, and the link lives. */
        for (int i = 0; i < 2; i++) {
                answer = (struct answer){};
                ASSERT_OK(sd_bus_call_method_async(bus, NULL, NULL, SUPERVISOR_PATH, SUPERVISOR_INTERFACE, "Update",
                        on_answer, &answer, "a{sv}", 1, i ? "State" : "ReadBytes", "s", "levitating"));
                turn_until(&answer.there);
                ASSERT_EQ(answer.failure, FAILURE_USAGE);
        }
        ASSERT_EQ(rig.n_update, 2U);
        ASSERT_FALSE(say_hello(bus, 1).error);

        sd_bus_close_unref(bus);
        turn_until(&rig.lost);
        end();
}

static void latencies(void) {
        static const struct {
                const char *why;
                uint64_t bounds[3];
                bool good;
        } cases[] = {
                { "as it should be", { 50, 1000, UINT64_MAX }, true },
                { "bounds that shrink", { 1000, 50, UINT64_MAX }, false },
                { "a bound twice", { 50, 50, UINT64_MAX }, false },
                { "no last bound", { 50, 1000, 2000 }, false },
        };
        struct answer answer = {};
        sd_bus_message *m;
        sd_bus *bus;

        begin();
        bus = worker();
        (void) say_hello(bus, 1);

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                answer = (struct answer){};
                ASSERT_OK(sd_bus_call_method_async(bus, NULL, NULL, SUPERVISOR_PATH, SUPERVISOR_INTERFACE, "Update",
                        on_answer, &answer, "a{sv}", 2, "WriteLatency", "(ta(tt))", (uint64_t) 700, 3,
                        cases[i].bounds[0], (uint64_t) 4, cases[i].bounds[1], (uint64_t) 0, cases[i].bounds[2],
                        (uint64_t) 1, "Stalls", "t", (uint64_t) 3 + i));
                turn_until(&answer.there);
                ASSERT_EQ(answer.error, !cases[i].good);
                /* What is refused leaves nothing behind. */
                ASSERT_EQ(rig.counters.stalls, 3U);
        }
        ASSERT_EQ(rig.counters.write_latency.sum_usec, 700U);
        ASSERT_EQ(rig.counters.write_latency.n, 3U);
        ASSERT_EQ(rig.counters.write_latency.buckets[0].up_to_usec, 50U);
        ASSERT_EQ(rig.counters.write_latency.buckets[0].count, 4U);
        ASSERT_EQ(rig.counters.write_latency.buckets[2].count, 1U);
        ASSERT_EQ(rig.counters.read_latency.n, 0U);

        /* More than there is room for. */
        answer = (struct answer){};
        ASSERT_OK(sd_bus_message_new_method_call(bus, &m, NULL, SUPERVISOR_PATH, SUPERVISOR_INTERFACE, "Update"));
        ASSERT_OK(sd_bus_message_open_container(m, 'a', "{sv}"));
        ASSERT_OK(sd_bus_message_open_container(m, 'e', "sv"));
        ASSERT_OK(sd_bus_message_append(m, "s", "ReadLatency"));
        ASSERT_OK(sd_bus_message_open_container(m, 'v', "(ta(tt))"));
        ASSERT_OK(sd_bus_message_open_container(m, 'r', "ta(tt)"));
        ASSERT_OK(sd_bus_message_append(m, "t", (uint64_t) 1));
        ASSERT_OK(sd_bus_message_open_container(m, 'a', "(tt)"));
        for (uint64_t i = 0; i <= LATENCY_BUCKETS_MAX; i++)
                ASSERT_OK(sd_bus_message_append(m, "(tt)", i < LATENCY_BUCKETS_MAX ? i + 1 : UINT64_MAX, i));
        for (unsigned i = 0; i < 5; i++)
                ASSERT_OK(sd_bus_message_close_container(m));
        ASSERT_OK(sd_bus_call_async(bus, NULL, m, on_answer, &answer, 0));
        sd_bus_message_unref(m);
        turn_until(&answer.there);
        ASSERT_TRUE(answer.error);
        ASSERT_EQ(rig.counters.read_latency.n, 0U);

        sd_bus_close_unref(bus);
        turn_until(&rig.lost);
        end();
}

static void nothing_before_hello(void) {
        struct answer answer = {};
        sd_bus *bus;

        begin();
        bus = worker();
        ASSERT_OK(sd_bus_call_method_async(
                bus, NULL, NULL, SUPERVISOR_PATH, SUPERVISOR_INTERFACE, "DisconnectDevice", on_answer, &answer, NULL));
        turn_until(&answer.there);
        ASSERT_EQ(answer.failure, FAILURE_PROTOCOL);
        ASSERT_EQ(say_hello(bus, 0).failure, FAILURE_PROTOCOL);
        ASSERT_EQ(rig.n_hello, 0U);
        sd_bus_close_unref(bus);
        end();
        ASSERT_EQ(rig.n_lost, 0U); /* who never was greeted is not missed */
}

static void stranger(void) {
        struct answer answer = {};
        sd_bus *bus;

        begin();
        rig.peer = NULL;
        bus = worker();
        ASSERT_OK(sd_bus_call_method_async(
                bus, NULL, NULL, SUPERVISOR_PATH, SUPERVISOR_INTERFACE, "Hello", on_answer, &answer, "u", 1));
        turn_until(&answer.there);
        ASSERT_TRUE(answer.error && !answer.ours); /* the connection was closed */
        ASSERT_EQ(worker_links_count(rig.links), 0U);
        sd_bus_close_unref(bus);
        end();
}

static unsigned count_descriptors(void) {
        DIR *directory = opendir("/proc/self/fd");
        unsigned n = 0;

        ASSERT_TRUE(directory != NULL);
        while (readdir(directory))
                n++;
        (void) closedir(directory);
        return n;
}

static void wrong_devices(void) {
        struct answer answer;
        unsigned before;
        int fds[8], pair[2], n = 0;
        sd_bus *bus;

        begin();
        bus = worker();
        (void) say_hello(bus, 1);

        fds[n++] = open("/dev/null", O_RDWR | O_CLOEXEC);
        fds[n++] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        fds[n++] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        fds[n++] = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        fds[n++] = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        fds[n++] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0); /* not connected */
        before = count_descriptors();
        for (int i = 0; i < n; i++) {
                ASSERT_OK(fds[i]);
                ask_device(bus, &answer, fds[i], 1 << 20, 4096, UUID);
                turn_until(&answer.there);
                ASSERT_EQ(answer.failure, FAILURE_USAGE);
        }

        ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        {
                static const struct {
                        uint64_t size;
                        uint32_t block_size;
                        const char *uuid;
                } wrong[] = {
                        { 0, 4096, UUID },
                        { UINT64_C(1) << 63, 4096, UUID },
                        { UINT64_MAX, 512, UUID },
                        { 4097, 512, UUID },
                        { 1 << 20, 0, UUID },
                        { 1 << 20, 513, UUID },
                        { 1 << 20, 8192, UUID },
                        { 1 << 20, 1U << 31, UUID },
                        { 1 << 20, 512, "" },
                        { 1 << 20, 512, UUID "0" },
                        { 1 << 20, 512, "../../../../etc/passwd-and-so-on-and-" },
                };

                for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                        ask_device(bus, &answer, pair[0], wrong[i].size, wrong[i].block_size, wrong[i].uuid);
                        turn_until(&answer.there);
                        ASSERT_EQ(answer.failure, FAILURE_USAGE);
                }
        }
        close(pair[0]);
        close(pair[1]);

        /* The last message is let go of in the turn after its answer. */
        for (int i = 0; i < 100 && count_descriptors() > before; i++)
                (void) sd_event_run(rig.event, 10000);
        ASSERT_EQ(count_descriptors(), before);
        ASSERT_EQ(rig.n_connect, 0U);
        ASSERT_FALSE(rig.lost);
        for (int i = 0; i < n; i++)
                close(fds[i]);
        sd_bus_close_unref(bus);
        end();
}

static void flood(void) {
        sd_bus *bus, *honest;

        begin();
        bus = worker();
        (void) say_hello(bus, 1);
        rig.peer = "honest";
        honest = worker();
        (void) say_hello(honest, 1);

        for (unsigned i = 0; i <= WORKER_CALLS_PER_SECOND_MAX * 4; i++)
                ASSERT_OK(sd_bus_call_method_async(
                        bus, NULL, NULL, SUPERVISOR_PATH, SUPERVISOR_INTERFACE, "Update", NULL, NULL, "a{sv}", 0));
        turn_until(&rig.lost);
        ASSERT_EQ(rig.n_lost, 1U);
        ASSERT_TRUE(rig.n_update < WORKER_CALLS_PER_SECOND_MAX * 4);
        ASSERT_FALSE(say_hello(honest, 1).error);
        ASSERT_EQ(worker_links_count(rig.links), 1U);
        sd_bus_close_unref(bus);
        sd_bus_close_unref(honest);
        end();
}

static void newer_replaces_older(void) {
        struct worker_link *first;
        sd_bus *a, *b;

        begin();
        a = worker();
        (void) say_hello(a, 1);
        first = rig.link;
        b = worker();
        (void) say_hello(b, 1);
        ASSERT_TRUE(rig.link != first);
        turn_until(&rig.lost);
        ASSERT_EQ(rig.n_lost, 1U);
        ASSERT_EQ(worker_links_count(rig.links), 1U);
        ASSERT_FALSE(say_hello(b, 1).error);
        sd_bus_close_unref(a);
        sd_bus_close_unref(b);
        end();
}

TEST_MAIN(TEST(good_worker), TEST(heat_maps), TEST(updates), TEST(latencies), TEST(nothing_before_hello),
        TEST(stranger), TEST(wrong_devices), TEST(flood), TEST(newer_replaces_older));
