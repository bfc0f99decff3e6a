/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "proxies.h"

/* Entries are never moved or removed: sessions point to them. One that is no longer announced is only left out of the choice. */
struct proxies {
        uint64_t random;
        size_t n;
        struct entry {
                struct proxy proxy;
                bool gone;
        } entries[IVBS_PROXIES_MAX];
};

const char *proxy_state_to_string(enum proxy_state state) {
        static const char *const names[_PROXY_STATE_MAX] = {
                [PROXY_UNKNOWN] = "unknown",
                [PROXY_ACTIVE] = "active",
                [PROXY_REACHABLE] = "reachable",
                [PROXY_UNREACHABLE] = "unreachable",
                [PROXY_REFUSED] = "refused",
        };

        return (unsigned) state < _PROXY_STATE_MAX ? names[state] : "unknown";
}

static struct entry *find(struct proxies *proxies, const char *address) {
        for (size_t i = 0; i < proxies->n; i++)
                if (strcmp(proxies->entries[i].proxy.address, address) == 0)
                        return proxies->entries + i;
        return NULL;
}

static struct entry *add(struct proxies *proxies, const char *address, uint16_t priority, bool announced) {
        struct entry *e;

        if (proxies->n == IVBS_PROXIES_MAX || strlen(address) > IVBS_PROXY_ADDRESS_MAX)
                return NULL;

        e = proxies->entries + proxies->n++;
        strcpy(e->proxy.address, address);
        e->proxy.priority = priority;
        e->proxy.announced = announced;
        return e;
}

int proxies_new(struct proxies **ret, const struct proxy_address *configured, size_t n_configured, uint64_t seed) {
        struct proxies *proxies;

        proxies = calloc(1, sizeof(*proxies));
        if (!proxies)
                return -ENOMEM;

        proxies->random = seed | 1;
        for (size_t i = 0; i < n_configured; i++)
                if (!find(proxies, configured[i].address))
                        add(proxies, configured[i].address, configured[i].priority, false);

        *ret = proxies;
        return 0;
}

struct proxies *proxies_free(struct proxies *proxies) {
        free(proxies);
        return NULL;
}

static bool is_better(const struct proxy *a, const struct proxy *b) {
        if (a->priority != b->priority)
                return a->priority < b->priority;
        return a->failures < b->failures;
}

struct proxy *proxies_choose(struct proxies *proxies, uint64_t now_usec, uint64_t *ret_when_usec) {
        struct proxy *best = NULL;
        uint64_t when = UINT64_MAX;

        for (size_t i = 0; i < proxies->n; i++) {
                struct proxy *p = &proxies->entries[i].proxy;

                if (proxies->entries[i].gone)
                        continue;
                if (p->not_before_usec > now_usec) {
                        if (p->not_before_usec < when)
                                when = p->not_before_usec;
                        continue;
                }
                if (!best || is_better(p, best))
                        best = p;
        }

        if (!best)
                *ret_when_usec = when;
        return best;
}

bool proxies_merge(struct proxies *proxies, const struct ivbs_proxy *announced, size_t n) {
        bool named[IVBS_PROXIES_MAX] = {};
        bool changed = false;

        for (size_t i = 0; i < n; i++) {
                _cleanup_free_ char *address = NULL;
                struct entry *e;

                if (address_normalise(announced[i].address, &address) < 0)
                        continue;

                e = find(proxies, address);
                if (e && named[e - proxies->entries])
                        continue; /* the first mention counts */
                if (!e) {
                        e = add(proxies, address, announced[i].priority, true);
                        if (!e)
                                continue;
                        changed = true;
                } else if (e->proxy.announced && (e->gone || e->proxy.priority != announced[i].priority)) {
                        e->gone = false;
                        e->proxy.priority = announced[i].priority;
                        changed = true;
                }
                named[e - proxies->entries] = true;
        }

        for (size_t i = 0; i < proxies->n; i++) {
                struct entry *e = proxies->entries + i;

                if (e->proxy.announced && !e->gone && !named[i] && e->proxy.state != PROXY_ACTIVE)
                        e->gone = changed = true;
        }

        return changed;
}

void proxy_succeeded(struct proxy *proxy, uint64_t round_trip_usec) {
        proxy->state = PROXY_ACTIVE;
        proxy->failures = 0;
        proxy->not_before_usec = 0;
        proxy->round_trip_usec = round_trip_usec;
        proxy->reason[0] = 0;
}

/* xorshift: jitter needs no secrecy. */
static uint64_t next_random(struct proxies *proxies) {
        uint64_t x = proxies->random;

        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        return proxies->random = x;
}

void proxy_failed(
        struct proxies *proxies, struct proxy *proxy, uint64_t now_usec, enum proxy_state state, const char *reason) {
        uint64_t wait = PROXY_BACKOFF_MAX_USEC;

        if (proxy->failures < 7)
                wait = (uint64_t) PROXY_BACKOFF_MIN_USEC << proxy->failures;
        if (wait > PROXY_BACKOFF_MAX_USEC)
                wait = PROXY_BACKOFF_MAX_USEC;
        wait -= next_random(proxies) % (wait / 4);

        proxy->state = state;
        proxy->failures++;
        proxy->not_before_usec = now_usec + wait;
        strncpy(proxy->reason, reason, sizeof(proxy->reason) - 1);
}

size_t proxies_count(const struct proxies *proxies) {
        return proxies->n;
}

const struct proxy *proxies_get(const struct proxies *proxies, size_t i) {
        return &proxies->entries[i].proxy;
}

struct proxy *proxies_get_writable(struct proxies *proxies, size_t i) {
        return &proxies->entries[i].proxy;
}
