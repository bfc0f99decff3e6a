/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The memfd: one line of JSON, a newline, and the bytes of each connection one after the other, input before output. It lives for a second between two processes of one
 * user, but the two may be of different versions: members may be added (what is not known is passed over, what is missing has the value it had before there was such a member), and "version" is raised only when that does
 * not do; then the successor begins anew, as after a crash. The writer is trusted as far as the worker's own unit is, and every length is checked nevertheless. */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <json-c/json.h>
#include <systemd/sd-id128.h>

#include "succession.h"
#include "write-all.h"

#define SUCCESSION_VERSION  1
#define SUCCESSION_SIZE_MAX (UINT64_C(1) << 30)

struct succession *succession_free(struct succession *succession) {
        if (!succession)
                return NULL;

        legacies_free(succession->legacies);
        free(succession);
        return NULL;
}

/* 0 for none: no socket has it. (So tickets can stand among the connections: a worker that does not know of them takes them for one that has hung up. Their bytes are not in the JSON, whose text could not be
 * wiped.) */
static uint64_t socket_number(int fd) {
        struct stat st;

        return fstat(fd, &st) >= 0 && S_ISSOCK(st.st_mode) ? st.st_ino : 0;
}

static struct json_object *describe_legacy(const struct legacy *l) {
        struct json_object *o = json_object_new_object();

        json_object_object_add(o, "socket", json_object_new_uint64(socket_number(l->fd)));
        json_object_object_add(o, "kernel", json_object_new_boolean(l->kernel));
        json_object_object_add(o, "handshake", json_object_new_boolean(l->handshake));
        json_object_object_add(o, "flags-known", json_object_new_boolean(l->flags_known));
        json_object_object_add(o, "options", json_object_new_uint64(l->n_options));
        json_object_object_add(o, "structured", json_object_new_boolean(l->structured));
        json_object_object_add(o, "writes", json_object_new_boolean(l->writes));
        json_object_object_add(o, "client-flags", json_object_new_uint64(l->client_flags));
        json_object_object_add(o, "size", json_object_new_uint64(l->export.size));
        json_object_object_add(o, "flags", json_object_new_uint64(l->export.flags));
        json_object_object_add(o, "block-size-min", json_object_new_uint64(l->export.block_size_min));
        json_object_object_add(o, "block-size-preferred", json_object_new_uint64(l->export.block_size_preferred));
        json_object_object_add(o, "payload-max", json_object_new_uint64(l->export.payload_max));
        json_object_object_add(o, "skip", json_object_new_uint64(l->skip));
        json_object_object_add(o, "input", json_object_new_uint64(l->n_input));
        json_object_object_add(o, "output", json_object_new_uint64(l->n_output));
        return o;
}

static size_t ticket_size(const struct left_ticket *ticket) {
        return ticket->n + sizeof(ticket->key);
}

static bool leaves_tickets(const struct legacies *legacies) {
        return legacies->tickets.n > 0 && legacies->n < LEGACIES_MAX;
}

static struct json_object *describe_tickets(const struct left_tickets *tickets) {
        struct json_object *o = json_object_new_object(), *list = json_object_new_array();
        uint64_t input = 0;

        for (size_t i = 0; i < tickets->n; i++) {
                struct json_object *ticket = json_object_new_object();

                input += ticket_size(tickets->items + i);
                json_object_object_add(ticket, "proxy", json_object_new_string(tickets->items[i].proxy));
                json_object_object_add(ticket, "size", json_object_new_uint64(tickets->items[i].n));
                json_object_array_add(list, ticket);
        }
        json_object_object_add(o, "handshake", json_object_new_boolean(true));
        json_object_object_add(o, "input", json_object_new_uint64(input));
        json_object_object_add(o, "tickets", list);
        return o;
}

static struct json_object *describe(const struct succession *s) {
        struct json_object *o = json_object_new_object(), *list = json_object_new_array();
        char uuid[SD_ID128_STRING_MAX];
        sd_id128_t id;

        memcpy(id.bytes, s->uuid, sizeof(id.bytes));
        json_object_object_add(o, "version", json_object_new_int(SUCCESSION_VERSION));
        json_object_object_add(o, "image", json_object_new_string(s->image));
        json_object_object_add(o, "uuid", json_object_new_string(sd_id128_to_string(id, uuid)));
        json_object_object_add(o, "size", json_object_new_uint64(s->size));
        json_object_object_add(o, "node", json_object_new_string(s->node));
        for (size_t i = 0; i < s->legacies->n; i++)
                json_object_array_add(list, describe_legacy(s->legacies->items + i));
        if (leaves_tickets(s->legacies))
                json_object_array_add(list, describe_tickets(&s->legacies->tickets));
        json_object_object_add(o, "connections", list);
        return o;
}

int succession_write(const struct succession *s, int *ret_fd) {
        _cleanup_close_ int fd = -EBADF;
        struct json_object *object;
        const char *text;
        int r;

        fd = memfd_create("blockstore-succession", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0)
                return -errno;

        object = describe(s);
        text = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN);
        r = text ? write_all(fd, text, strlen(text)) : -ENOMEM;
        json_object_put(object);
        if (r >= 0)
                r = write_all(fd, "\n", 1);
        for (size_t i = 0; r >= 0 && i < s->legacies->n; i++) {
                r = write_all(fd, s->legacies->items[i].input, s->legacies->items[i].n_input);
                if (r >= 0)
                        r = write_all(fd, s->legacies->items[i].output, s->legacies->items[i].n_output);
        }
        for (size_t i = 0; r >= 0 && leaves_tickets(s->legacies) && i < s->legacies->tickets.n; i++) {
                r = write_all(fd, s->legacies->tickets.items[i].ticket, s->legacies->tickets.items[i].n);
                if (r >= 0)
                        r = write_all(
                                fd, s->legacies->tickets.items[i].key, sizeof(s->legacies->tickets.items[i].key));
        }
        if (r < 0)
                return r;
        if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
                return -errno;

        *ret_fd = TAKE_FD(fd);
        return 0;
}

/* Members that are missing are 0, those of a wrong type or range an error. */
static int get_u64(struct json_object *o, const char *key, uint64_t max, uint64_t *ret) {
        struct json_object *value;

        *ret = 0;
        if (!json_object_object_get_ex(o, key, &value))
                return 0;
        if (!json_object_is_type(value, json_type_int))
                return -EBADMSG;

        *ret = json_object_get_uint64(value);
        return *ret > max ? -EBADMSG : 0;
}

static bool get_bool(struct json_object *o, const char *key) {
        struct json_object *value;

        return json_object_object_get_ex(o, key, &value) && json_object_get_boolean(value);
}

static int get_text(struct json_object *o, const char *key, char *ret, size_t size) {
        struct json_object *value;
        size_t n;

        if (!json_object_object_get_ex(o, key, &value) || !json_object_is_type(value, json_type_string))
                return -EBADMSG;
        n = (size_t) json_object_get_string_len(value);
        if (n >= size)
                return -EBADMSG;

        memcpy(ret, json_object_get_string(value), n);
        ret[n] = 0;
        return 0;
}

static int take_bytes(const uint8_t **p, size_t *left, uint64_t n, uint8_t **ret) {
        if (n > *left)
                return -EBADMSG;
        if (n == 0)
                return 0;

        *ret = malloc(n);
        if (!*ret)
                return -ENOMEM;
        memcpy(*ret, *p, n);
        *p += n;
        *left -= n;
        return 0;
}

static int read_legacy(
        struct json_object *o, const uint8_t **p, size_t *left, struct legacy *ret, uint64_t *ret_socket) {
        uint64_t number, options, client_flags, size, flags, min, preferred, payload, skip, input, output;
        int r;

        if (!json_object_is_type(o, json_type_object) || get_u64(o, "socket", UINT64_MAX, &number) < 0 ||
                get_u64(o, "options", UINT32_MAX, &options) < 0 ||
                get_u64(o, "client-flags", UINT32_MAX, &client_flags) < 0 ||
                get_u64(o, "size", IVBS_IMAGE_SIZE_MAX, &size) < 0 || get_u64(o, "flags", UINT16_MAX, &flags) < 0 ||
                get_u64(o, "block-size-min", NBD_BLOCK_SIZE_MAX, &min) < 0 ||
                get_u64(o, "block-size-preferred", UINT32_MAX, &preferred) < 0 ||
                get_u64(o, "payload-max", NBD_PAYLOAD_MAX, &payload) < 0 ||
                get_u64(o, "skip", UINT32_MAX, &skip) < 0 || get_u64(o, "input", SUCCESSION_SIZE_MAX, &input) < 0 ||
                get_u64(o, "output", SUCCESSION_SIZE_MAX, &output) < 0)
                return -EBADMSG;
        /* Requests are checked against the export. */
        if (!get_bool(o, "handshake") && (size == 0 || payload == 0 || min == 0 || (min & (min - 1)) != 0))
                return -EBADMSG;

        *ret = (struct legacy){
                .fd = -EBADF,
                .kernel = get_bool(o, "kernel"),
                .handshake = get_bool(o, "handshake"),
                .flags_known = get_bool(o, "flags-known"),
                .structured = get_bool(o, "structured"),
                .writes = get_bool(o, "writes"),
                .n_options = (unsigned) options,
                .client_flags = (uint32_t) client_flags,
                .export = {
                        .size = size,
                        .flags = (uint16_t) flags,
                        .block_size_min = (uint32_t) min,
                        .block_size_preferred = (uint32_t) preferred,
                        .payload_max = (uint32_t) payload,
                },
                .skip = (uint32_t) skip,
                .n_input = input,
                .n_output = output,
        };

        r = take_bytes(p, left, input, &ret->input);
        if (r >= 0)
                r = take_bytes(p, left, output, &ret->output);
        if (r < 0)
                legacy_done(ret);
        else
                *ret_socket = number;
        return r;
}

static bool take_ticket(struct json_object *o, const uint8_t **p, size_t *left, struct left_ticket *ret) {
        uint64_t n;

        if (!json_object_is_type(o, json_type_object) || get_text(o, "proxy", ret->proxy, sizeof(ret->proxy)) < 0 ||
                get_u64(o, "size", IVBS_TICKET_MAX, &n) < 0 || n == 0 || n + sizeof(ret->key) > *left)
                return false;

        ret->n = n;
        memcpy(ret->ticket, *p, n);
        memcpy(ret->key, *p + n, sizeof(ret->key));
        *p += ticket_size(ret);
        *left -= ticket_size(ret);
        return true;
}

/* Returns whether this is what stands for tickets. */
static int read_tickets(struct json_object *o, const uint8_t **p, size_t *left, struct left_tickets *ret) {
        struct json_object *list;

        if (!json_object_is_type(o, json_type_object) || !json_object_object_get_ex(o, "tickets", &list))
                return 0;
        if (!json_object_is_type(list, json_type_array) || ret->n > 0 ||
                json_object_array_length(list) > LEFT_TICKETS_MAX)
                return -EBADMSG;

        for (size_t i = 0; i < json_object_array_length(list); i++) {
                if (!take_ticket(json_object_array_get_idx(list, i), p, left, ret->items + i))
                        return -EBADMSG;
                ret->n++;
        }
        return 1;
}

static int read_object(
        struct json_object *o, const uint8_t *p, size_t left, struct succession *s, uint64_t sockets[LEGACIES_MAX]) {
        struct json_object *list;
        uint64_t version;
        sd_id128_t id;
        char uuid[SD_ID128_STRING_MAX];
        int r;

        if (!json_object_is_type(o, json_type_object) || get_u64(o, "version", UINT32_MAX, &version) < 0 ||
                version == 0)
                return -EBADMSG;
        if (version > SUCCESSION_VERSION)
                return -EPROTONOSUPPORT;
        if (get_text(o, "image", s->image, sizeof(s->image)) < 0 || get_text(o, "uuid", uuid, sizeof(uuid)) < 0 ||
                sd_id128_from_string(uuid, &id) < 0 || get_text(o, "node", s->node, sizeof(s->node)) < 0 ||
                get_u64(o, "size", IVBS_IMAGE_SIZE_MAX, &s->size) < 0 ||
                !json_object_object_get_ex(o, "connections", &list) || !json_object_is_type(list, json_type_array) ||
                json_object_array_length(list) > LEGACIES_MAX)
                return -EBADMSG;
        memcpy(s->uuid, id.bytes, sizeof(s->uuid));

        for (size_t i = 0; i < json_object_array_length(list); i++) {
                struct json_object *item = json_object_array_get_idx(list, i);
                size_t n = s->legacies->n;

                r = read_tickets(item, &p, &left, &s->legacies->tickets);
                if (r == 0)
                        r = read_legacy(item, &p, &left, s->legacies->items + n, sockets + n);
                else if (r > 0)
                        continue;
                if (r < 0)
                        return r;
                s->legacies->n++;
        }
        return left > 0 ? -EBADMSG : 0;
}

/* Those whose connection is still there, each with its own. */
static void give_descriptors(struct legacies *legacies, const uint64_t sockets[LEGACIES_MAX], int *fds, size_t n_fds) {
        size_t n = 0;

        for (size_t i = 0; i < legacies->n; i++) {
                struct legacy *l = legacies->items + i;

                for (size_t k = 0; k < n_fds && l->fd < 0; k++)
                        if (fds[k] >= 0 && sockets[i] > 0 && socket_number(fds[k]) == sockets[i])
                                l->fd = TAKE_FD(fds[k]);
                if (l->fd < 0)
                        legacy_done(l);
                else
                        legacies->items[n++] = *l;
        }
        legacies->n = n;
}

int succession_read(int memfd, int *fds, size_t n, struct succession **ret) {
        _cleanup_(succession_freep) struct succession *s = NULL;
        _cleanup_free_ char *line = NULL;
        uint64_t sockets[LEGACIES_MAX] = {};
        struct json_object *object;
        const uint8_t *map, *end;
        struct stat st;
        int r;

        if (fstat(memfd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || st.st_size <= 0 || (uint64_t) st.st_size > SUCCESSION_SIZE_MAX)
                return -EBADMSG;

        s = calloc(1, sizeof(*s));
        if (s)
                s->legacies = calloc(1, sizeof(*s->legacies));
        if (!s || !s->legacies)
                return -ENOMEM;

        map = mmap(NULL, (size_t) st.st_size, PROT_READ, MAP_PRIVATE, memfd, 0);
        if (map == MAP_FAILED)
                return -errno;

        r = -EBADMSG;
        end = memchr(map, '\n', (size_t) st.st_size);
        if (end) {
                line = strndup((const char *) map, (size_t) (end - map));
                object = line ? json_tokener_parse(line) : NULL;
                r = line ? read_object(object, end + 1, (size_t) (map + st.st_size - end - 1), s, sockets) : -ENOMEM;
                json_object_put(object);
        }
        (void) munmap((void *) (uintptr_t) map, (size_t) st.st_size);
        if (r < 0)
                return r;

        give_descriptors(s->legacies, sockets, fds, n);
        *ret = TAKE_PTR(s);
        return 0;
}
