/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Entries are never moved, for sessions point to them. An announced one that is named no more is only marked; when nobody uses it, its place may be given to another. So no list, however
 * long or however often changed, takes away what is configured, and none fills the table for good.
 *
 * Two times hold back a proxy that drains: the ordinary back-off, and a longer rest that counts only while there is somebody else to ask. When all proxies are
 * restarted one after the other, the last to drain finds the first one running again, and we must not sit out its rest before we see that. */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "proxies.h"

/* Differences in latency below these are chance. */
#define LATENCY_FACTOR   2U
#define LATENCY_MIN_USEC 1000U

/* A new measurement counts for an eighth, as in TCP (RFC 6298). */
#define LATENCY_WEIGHT 8U

struct proxies {
        uint64_t random;
        bool tls_only; /* a configured one is used with TLS */
        size_t n;
        struct entry {
                struct proxy proxy;
                bool gone; /* announced once, and named no more */
        } entries[IVBS_PROXIES_MAX];
};

const char *proxy_state_to_string(enum proxy_state state) {
        static const char *const names[_PROXY_STATE_MAX] = {
                [PROXY_UNKNOWN] = "unknown",
                [PROXY_ACTIVE] = "active",
                [PROXY_STANDBY] = "standby",
                [PROXY_REACHABLE] = "reachable",
                [PROXY_UNREACHABLE] = "unreachable",
                [PROXY_REFUSED] = "refused",
                [PROXY_DRAINING] = "draining",
        };

        return (unsigned) state < _PROXY_STATE_MAX ? names[state] : "unknown";
}

static bool serves(const struct proxy *p) {
        return p->state == PROXY_ACTIVE || p->state == PROXY_STANDBY;
}

static bool is_in_use(const struct proxy *p) {
        return p->n_users > 0 || serves(p);
}

static bool is_forgotten(const struct entry *e) {
        return e->gone && !is_in_use(&e->proxy);
}

static struct entry *find(struct proxies *proxies, const char *address) {
        for (size_t i = 0; i < proxies->n; i++)
                if (strcmp(proxies->entries[i].proxy.address, address) == 0)
                        return proxies->entries + i;
        return NULL;
}

/* A session that is still being closed keeps the place of a proxy that is named no more, but takes none from those that are. */
static size_t count_announced(const struct proxies *proxies) {
        size_t n = 0;

        for (size_t i = 0; i < proxies->n; i++)
                n += proxies->entries[i].proxy.announced && !proxies->entries[i].gone;
        return n;
}

static struct entry *find_forgotten(struct proxies *proxies) {
        for (size_t i = 0; i < proxies->n; i++)
                if (is_forgotten(proxies->entries + i))
                        return proxies->entries + i;
        return NULL;
}

static struct entry *add(struct proxies *proxies, const char *address, uint16_t priority, bool announced) {
        struct entry *e = NULL;

        if (strlen(address) > IVBS_PROXY_ADDRESS_MAX)
                return NULL;

        if (announced && count_announced(proxies) >= PROXIES_ANNOUNCED_MAX)
                return NULL;
        if (announced)
                e = find_forgotten(proxies);
        if (!e && proxies->n < IVBS_PROXIES_MAX)
                e = proxies->entries + proxies->n++;
        if (!e)
                return NULL;

        proxy_forget_ticket(&e->proxy);
        *e = (struct entry){ .proxy = { .priority = priority, .announced = announced } };
        strcpy(e->proxy.address, address);
        return e;
}

int proxies_new(struct proxies **ret, const struct proxy_address *configured, size_t n_configured, uint64_t seed) {
        struct proxies *proxies;

        proxies = calloc(1, sizeof(*proxies));
        if (!proxies)
                return -ENOMEM;

        proxies->random = seed | 1;
        for (size_t i = 0; i < n_configured; i++)
                if (!find(proxies, configured[i].address)) {
                        proxies->tls_only = proxies->tls_only || address_is_tls(configured[i].address);
                        add(proxies, configured[i].address, configured[i].priority, false);
                }

        *ret = proxies;
        return 0;
}

struct proxies *proxies_free(struct proxies *proxies) {
        if (!proxies)
                return NULL;

        for (size_t i = 0; i < proxies->n; i++) {
                assert(proxies->entries[i].proxy.n_users == 0);
                proxy_forget_ticket(&proxies->entries[i].proxy);
        }
        free(proxies);
        return NULL;
}

static bool is_clearly_faster(const struct proxy *a, const struct proxy *b) {
        return a->round_trip_usec > 0 && a->round_trip_usec * LATENCY_FACTOR < b->round_trip_usec &&
               b->round_trip_usec - a->round_trip_usec > LATENCY_MIN_USEC;
}

static bool is_better(const struct proxy *a, const struct proxy *b) {
        bool a_drains = a->state == PROXY_DRAINING, b_drains = b->state == PROXY_DRAINING;

        if (a_drains != b_drains)
                return b_drains;
        if (a->tried != b->tried)
                return b->tried;
        if (a->priority != b->priority)
                return a->priority < b->priority;
        if (a->failures != b->failures)
                return a->failures < b->failures;
        return is_clearly_faster(a, b);
}

/* patient: a draining one may have its rest. */
static struct proxy *choose(struct proxies *proxies, uint64_t now_usec, const struct proxy *except, bool patient,
        uint64_t *ret_when_usec) {
        struct proxy *best = NULL;
        uint64_t when = UINT64_MAX;

        for (size_t i = 0; i < proxies->n; i++) {
                struct proxy *p = &proxies->entries[i].proxy;
                uint64_t not_before;

                if (proxies->entries[i].gone || p == except)
                        continue;
                not_before = p->not_before_usec;
                if (patient && p->state == PROXY_DRAINING && p->drain_until_usec > not_before)
                        not_before = p->drain_until_usec;
                if (not_before > now_usec) {
                        if (not_before < when)
                                when = not_before;
                        continue;
                }
                if (!best || is_better(p, best))
                        best = p;
        }

        if (!best)
                *ret_when_usec = when;
        return best;
}

struct proxy *proxies_choose(
        struct proxies *proxies, uint64_t now_usec, const struct proxy *except, uint64_t *ret_when_usec) {
        struct proxy *p = choose(proxies, now_usec, except, true, ret_when_usec);

        return p || except ? p : choose(proxies, now_usec, NULL, false, ret_when_usec);
}

/* Those that are in the list already: takes over what is said of them, and forgets whom nobody names. */
static bool update(struct proxies *proxies, char *const *addresses, const struct ivbs_proxy *announced, size_t n) {
        bool named[IVBS_PROXIES_MAX] = {};
        bool changed = false;

        for (size_t i = 0; i < n; i++) {
                struct entry *e = addresses[i] ? find(proxies, addresses[i]) : NULL;

                if (!e || named[e - proxies->entries])
                        continue;

                named[e - proxies->entries] = true;
                if (e->proxy.announced && (e->gone || e->proxy.priority != announced[i].priority)) {
                        if (e->gone)
                                e->proxy.tried = false; /* there is news of it */
                        e->gone = false;
                        e->proxy.priority = announced[i].priority;
                        changed = true;
                }
        }

        for (size_t i = 0; i < proxies->n; i++) {
                struct entry *e = proxies->entries + i;

                if (e->proxy.announced && !e->gone && !named[i] && !serves(&e->proxy))
                        e->gone = changed = true;
        }
        return changed;
}

/* NULL: none. Whoever has been told to use TLS is not led away from it by a list. */
static char *take_address(const struct proxies *proxies, const struct ivbs_proxy *announced) {
        char text[sizeof(ADDRESS_TLS) + IVBS_PROXY_ADDRESS_MAX];
        bool tls = announced->flags & IVBS_PROXY_TLS;
        char *address;

        if ((proxies->tls_only && !tls) || address_is_tls(announced->address))
                return NULL;
        (void) snprintf(text, sizeof(text), "%s%s", tls ? ADDRESS_TLS : "", announced->address);
        if (address_normalise(text, &address) < 0)
                return NULL;
        if (strlen(address) > IVBS_PROXY_ADDRESS_MAX) {
                free(address);
                return NULL;
        }
        return address;
}

bool proxies_merge(struct proxies *proxies, const struct ivbs_proxy *announced, size_t n) {
        char *addresses[IVBS_PROXIES_MAX] = {};
        bool changed;

        /* No more than a list may have: each entry is compared with all. */
        if (n > ELEMENTSOF(addresses))
                n = ELEMENTSOF(addresses);

        for (size_t i = 0; i < n; i++)
                addresses[i] = take_address(proxies, announced + i);

        changed = update(proxies, addresses, announced, n);
        for (size_t i = 0; i < n; i++) {
                if (addresses[i] && !find(proxies, addresses[i]) &&
                        add(proxies, addresses[i], announced[i].priority, true))
                        changed = true;
                free(addresses[i]);
        }
        return changed;
}

struct proxy *proxy_ref(struct proxy *proxy) {
        proxy->n_users++;
        return proxy;
}

struct proxy *proxy_unref(struct proxy *proxy) {
        if (proxy) {
                assert(proxy->n_users > 0);
                proxy->n_users--;
        }
        return NULL;
}

void proxy_succeeded(struct proxy *proxy, uint64_t round_trip_usec) {
        proxy->state = PROXY_ACTIVE;
        proxy->not_before_usec = 0;
        proxy->reason[0] = 0;
        proxy_measured(proxy, round_trip_usec);
}

void proxy_served(struct proxy *proxy) {
        proxy->tried = false;
        proxy->failures = 0;
}

void proxy_measured(struct proxy *proxy, uint64_t round_trip_usec) {
        if (round_trip_usec == 0)
                return;

        if (proxy->round_trip_usec == 0)
                proxy->round_trip_usec = round_trip_usec;
        else
                proxy->round_trip_usec =
                        (proxy->round_trip_usec * (LATENCY_WEIGHT - 1) + round_trip_usec) / LATENCY_WEIGHT;
}

/* xorshift: jitter needs no secrecy. */
static uint64_t next_random(struct proxies *proxies) {
        uint64_t x = proxies->random;

        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        return proxies->random = x;
}

static uint64_t with_jitter(struct proxies *proxies, uint64_t wait_usec) {
        return wait_usec - next_random(proxies) % (wait_usec / 4);
}

/* Back-off alone does not give everybody a turn: to find out that one is gone may take longer than it then backs off, so that the best two would keep all others from being asked. */
static void note_tried(struct proxies *proxies, struct proxy *proxy) {
        proxy->tried = true;
        for (size_t i = 0; i < proxies->n; i++) {
                const struct entry *e = proxies->entries + i;

                if (!e->gone && !e->proxy.tried && !serves(&e->proxy))
                        return;
        }
        for (size_t i = 0; i < proxies->n; i++)
                proxies->entries[i].proxy.tried = false;
}

void proxy_failed(
        struct proxies *proxies, struct proxy *proxy, uint64_t now_usec, enum proxy_state state, const char *reason) {
        uint64_t wait = PROXY_BACKOFF_MAX_USEC;

        if (state == PROXY_DRAINING && (proxy->state != PROXY_DRAINING || proxy->drain_until_usec <= now_usec))
                proxy->drain_until_usec = now_usec + with_jitter(proxies, PROXY_BACKOFF_MAX_USEC);
        proxy->state = state;
        proxy->failed_usec = now_usec;
        note_tried(proxies, proxy);
        snprintf(proxy->reason, sizeof(proxy->reason), "%s", reason);
        if (proxy->not_before_usec > now_usec)
                return;

        if (proxy->failures < 7)
                wait = (uint64_t) PROXY_BACKOFF_MIN_USEC << proxy->failures;
        if (wait > PROXY_BACKOFF_MAX_USEC)
                wait = PROXY_BACKOFF_MAX_USEC;

        proxy->failures++;
        proxy->not_before_usec = now_usec + with_jitter(proxies, wait);
}

bool proxies_have_failed_since(const struct proxies *proxies, uint64_t since_usec) {
        for (size_t i = 0; i < proxies->n; i++) {
                const struct proxy *p = &proxies->entries[i].proxy;

                if (proxies->entries[i].gone)
                        continue;
                if ((p->state != PROXY_UNREACHABLE && p->state != PROXY_REFUSED) || p->failed_usec < since_usec)
                        return false;
        }
        return true;
}

void proxies_hurry(struct proxies *proxies, const struct proxy *except) {
        for (size_t i = 0; i < proxies->n; i++) {
                struct proxy *p = &proxies->entries[i].proxy;

                if (p == except || p->state == PROXY_DRAINING)
                        continue;
                p->not_before_usec = 0;
                if (p->failures > 1)
                        p->failures = 1;
        }
}

void proxies_start_over(struct proxies *proxies, const struct proxy *lost) {
        for (size_t i = 0; i < proxies->n; i++)
                proxies->entries[i].proxy.tried = &proxies->entries[i].proxy == lost;
        proxies_hurry(proxies, lost);
}

void proxy_set_ticket(struct proxy *proxy, const uint8_t *ticket, size_t n) {
        proxy_forget_ticket(proxy);
        if (n > sizeof(proxy->ticket))
                return;

        memcpy(proxy->ticket, ticket, n);
        proxy->n_ticket = n;
}

void proxy_set_proved_ticket(
        struct proxy *proxy, const uint8_t *ticket, size_t n, const uint8_t key[static IVBS_TICKET_KEY_SIZE]) {
        proxy_set_ticket(proxy, ticket, n);
        if (proxy->n_ticket == 0)
                return;

        memcpy(proxy->ticket_key, key, IVBS_TICKET_KEY_SIZE);
        proxy->ticket_is_proved = true;
}

void proxy_forget_ticket(struct proxy *proxy) {
        explicit_bzero(proxy->ticket_key, sizeof(proxy->ticket_key));
        proxy->ticket_is_proved = false;
        explicit_bzero(proxy->ticket, sizeof(proxy->ticket));
        proxy->n_ticket = 0;
}

void proxies_leave_tickets(const struct proxies *proxies, struct left_tickets *ret) {
        ret->n = 0;
        for (size_t i = 0; i < proxies->n && ret->n < LEFT_TICKETS_MAX; i++) {
                const struct proxy *proxy = &proxies->entries[i].proxy;
                struct left_ticket *left = ret->items + ret->n;

                if (is_forgotten(proxies->entries + i) || proxy->n_ticket == 0 || !proxy->ticket_is_proved)
                        continue;
                strcpy(left->proxy, proxy->address);
                left->n = proxy->n_ticket;
                memcpy(left->ticket, proxy->ticket, proxy->n_ticket);
                memcpy(left->key, proxy->ticket_key, sizeof(left->key));
                ret->n++;
        }
}

void proxies_take_tickets(struct proxies *proxies, const struct left_tickets *tickets) {
        for (size_t i = 0; i < tickets->n; i++)
                for (size_t k = 0; k < proxies->n; k++)
                        if (strcmp(tickets->items[i].proxy, proxies->entries[k].proxy.address) == 0)
                                proxy_set_proved_ticket(&proxies->entries[k].proxy, tickets->items[i].ticket,
                                        tickets->items[i].n, tickets->items[i].key);
}

size_t proxies_count(const struct proxies *proxies) {
        size_t n = 0;

        for (size_t i = 0; i < proxies->n; i++)
                n += !is_forgotten(proxies->entries + i);
        return n;
}

struct proxy *proxies_get_writable(struct proxies *proxies, size_t i) {
        for (size_t k = 0; k < proxies->n; k++)
                if (!is_forgotten(proxies->entries + k) && i-- == 0)
                        return &proxies->entries[k].proxy;
        abort();
}

const struct proxy *proxies_get(const struct proxies *proxies, size_t i) {
        return proxies_get_writable((struct proxies *) proxies, i);
}
