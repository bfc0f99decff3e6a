/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Of the mock: the proxies, which the manager and every image show alike. */

#include "mock.h"

struct proxy {
        char address[128], state[32], origin[32];
        uint16_t priority;
        uint64_t round_trip;
        uint32_t failures;
        char reason[128];
};

static struct proxy proxies[MOCK_ENTRIES_MAX];
static size_t n_proxies;

static int append_proxies(sd_bus_message *reply) {
        ASSERT_OK(sd_bus_message_open_container(reply, 'a', "(susts)"));
        for (size_t i = 0; i < n_proxies; i++)
                ASSERT_OK(sd_bus_message_append(reply, "(susts)", proxies[i].address, (uint32_t) proxies[i].priority,
                        proxies[i].state, proxies[i].round_trip, proxies[i].origin));
        return sd_bus_message_close_container(reply);
}

static int append_probed(sd_bus_message *reply) {
        ASSERT_OK(sd_bus_message_open_container(reply, 'a', "(sustsus)"));
        for (size_t i = 0; i < n_proxies; i++)
                ASSERT_OK(sd_bus_message_append(reply, "(sustsus)", proxies[i].address, (uint32_t) proxies[i].priority,
                        proxies[i].state, proxies[i].round_trip, proxies[i].origin, proxies[i].failures,
                        proxies[i].reason));
        return sd_bus_message_close_container(reply);
}

static int answer(sd_bus_message *m, int (*append)(sd_bus_message *reply), sd_bus_error *error) {
        sd_bus_message *reply;
        int r;

        r = mock_refuse(m, error);
        if (r < 0)
                return r;

        ASSERT_OK(sd_bus_message_new_method_return(m, &reply));
        ASSERT_OK(append(reply));
        r = sd_bus_send(NULL, reply, NULL);
        sd_bus_message_unref(reply);
        return r;
}

int mock_list_proxies(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return answer(m, append_proxies, error);
}

int mock_probe_proxies(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return answer(m, append_probed, error);
}

int mock_drain_proxy(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *interactive = sd_bus_message_get_allow_interactive_authorization(m) > 0 ? " interactive" : "";
        const char *address;
        char text[256];
        int undo, r;

        ASSERT_OK(sd_bus_message_read(m, "sb", &address, &undo));
        snprintf(text, sizeof text, "DrainProxy %s %s%s", address, undo ? "undo" : "drain", interactive);
        mock_say("call", text);
        r = mock_refuse(m, error);
        if (r < 0)
                return r;
        return sd_bus_reply_method_return(m, NULL);
}

int mock_get_proxies(sd_bus *b, const char *path, const char *interface, const char *property, sd_bus_message *reply,
        void *userdata, sd_bus_error *error) {
        return append_proxies(reply);
}

int mock_get_health(sd_bus *b, const char *path, const char *interface, const char *property, sd_bus_message *reply,
        void *userdata, sd_bus_error *error) {
        ASSERT_OK(sd_bus_message_open_container(reply, 'a', "(sus)"));
        for (size_t i = 0; i < n_proxies; i++)
                ASSERT_OK(sd_bus_message_append(
                        reply, "(sus)", proxies[i].address, proxies[i].failures, proxies[i].reason));
        return sd_bus_message_close_container(reply);
}

bool mock_proxy_command(const char *verb, char *rest) {
        if (strcmp(verb, "proxy") == 0) {
                struct proxy *p = proxies + n_proxies++;

                ASSERT_TRUE(n_proxies <= MOCK_ENTRIES_MAX);
                snprintf(p->address, sizeof p->address, "%s", mock_word(&rest));
                p->priority = (uint16_t) strtoull(mock_word(&rest), NULL, 10);
                snprintf(p->state, sizeof p->state, "%s", mock_word(&rest));
                p->round_trip = strtoull(mock_word(&rest), NULL, 10);
                snprintf(p->origin, sizeof p->origin, "%s", mock_word(&rest));
        } else if (strcmp(verb, "health") == 0) {
                const char *address = mock_word(&rest);

                for (size_t i = 0; i < n_proxies; i++)
                        if (strcmp(proxies[i].address, address) == 0) {
                                proxies[i].failures = (uint32_t) strtoull(mock_word(&rest), NULL, 10);
                                snprintf(proxies[i].reason, sizeof proxies[i].reason, "%s", rest ? rest : "");
                        }
        } else
                return false;
        return true;
}
