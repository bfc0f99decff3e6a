/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* json-c does not keep where a value came from, and of two members with one name it keeps the last without a word. Both matter to somebody
 * who edits a file by hand, so the text is walked a second time, side by side with the parsed tree: each member and element gets an entry with its
 * line, found again by container and key.
 *
 * The walk relies on json-c having accepted the text and checks no more than it needs in order to stay within it. Where a key stands twice, text
 * and tree disagree about the first one's value: what is below it is walked without a tree and gets no entries. */

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "config-lines.h"

#define KEY_SHOWN_MAX 64U

struct entry {
        const struct json_object *container;
        const struct json_object *value;
        char *key;    /* NULL in an array */
        size_t index; /* in an array; in an object, the order of appearance */
        unsigned line;
};

struct config_lines {
        struct entry *entries; /* by container, then key or index */
        size_t n_entries, n_allocated;
};

struct walk {
        struct config_lines *lines;
        const char *p, *end;
        unsigned line;
};

struct config_lines *config_lines_free(struct config_lines *lines) {
        if (!lines)
                return NULL;

        for (size_t i = 0; i < lines->n_entries; i++)
                free(lines->entries[i].key);
        free(lines->entries);
        free(lines);
        return NULL;
}

/* Takes the key on success. */
static int add_entry(struct config_lines *lines, const struct entry *entry) {
        if (lines->n_entries == lines->n_allocated) {
                size_t n = lines->n_allocated ? lines->n_allocated * 2 : 32;
                struct entry *entries = reallocarray(lines->entries, n, sizeof(*entries));

                if (!entries)
                        return -ENOMEM;
                lines->entries = entries;
                lines->n_allocated = n;
        }

        lines->entries[lines->n_entries++] = *entry;
        return 0;
}

static void skip_space(struct walk *walk) {
        for (; walk->p < walk->end; walk->p++) {
                if (*walk->p == '\n')
                        walk->line++;
                else if (*walk->p != ' ' && *walk->p != '\t' && *walk->p != '\r')
                        return;
        }
}

/* Skips white space and takes the character if it is the next. */
static bool take(struct walk *walk, char c) {
        skip_space(walk);
        if (walk->p >= walk->end || *walk->p != c)
                return false;
        walk->p++;
        return true;
}

static int skip_string(struct walk *walk) {
        if (!take(walk, '"'))
                return -EBADMSG;

        for (; walk->p < walk->end; walk->p++) {
                if (*walk->p == '"') {
                        walk->p++;
                        return 0;
                }
                if (*walk->p == '\n')
                        walk->line++;
                if (*walk->p == '\\' && walk->p + 1 < walk->end)
                        walk->p++;
        }

        return -EBADMSG;
}

static void skip_scalar(struct walk *walk) {
        while (walk->p < walk->end && !strchr(",]} \t\r\n", *walk->p))
                walk->p++;
}

/* A member's name, with its escapes resolved. */
static int take_key(struct walk *walk, char **ret) {
        struct json_tokener *tokener;
        struct json_object *string;
        const char *start;
        char *key = NULL;
        int r;

        skip_space(walk);
        start = walk->p;
        r = skip_string(walk);
        if (r < 0)
                return r;

        if (!memchr(start, '\\', (size_t) (walk->p - start)))
                key = strndup(start + 1, (size_t) (walk->p - start) - 2);
        else {
                tokener = json_tokener_new();
                if (!tokener)
                        return -ENOMEM;
                string = json_tokener_parse_ex(tokener, start, (int) (walk->p - start));
                json_tokener_free(tokener);
                if (!string)
                        return -EBADMSG;
                key = strdup(json_object_get_string(string));
                json_object_put(string);
        }
        if (!key)
                return -ENOMEM;

        *ret = key;
        return 0;
}

static int walk_value(struct walk *walk, struct json_object *value);

static int walk_object(struct walk *walk, struct json_object *object) {
        bool known = json_object_is_type(object, json_type_object);
        int r;

        if (!take(walk, '{'))
                return -EBADMSG;
        if (take(walk, '}'))
                return 0;

        for (size_t i = 0;; i++) {
                _cleanup_free_ char *key = NULL;
                struct json_object *child = NULL;
                unsigned line;

                skip_space(walk);
                line = walk->line;
                r = take_key(walk, &key);
                if (r < 0)
                        return r;
                if (!take(walk, ':'))
                        return -EBADMSG;

                if (known) {
                        (void) json_object_object_get_ex(object, key, &child);
                        r = add_entry(walk->lines,
                                &(struct entry){
                                        .container = object, .value = child, .key = key, .index = i, .line = line });
                        if (r < 0)
                                return r;
                        key = NULL;
                }

                r = walk_value(walk, child);
                if (r < 0)
                        return r;
                if (take(walk, ','))
                        continue;
                return take(walk, '}') ? 0 : -EBADMSG;
        }
}

static int walk_array(struct walk *walk, struct json_object *array) {
        bool known = json_object_is_type(array, json_type_array);
        int r;

        if (!take(walk, '['))
                return -EBADMSG;
        if (take(walk, ']'))
                return 0;

        for (size_t i = 0;; i++) {
                struct json_object *child = NULL;

                skip_space(walk);
                if (known) {
                        if (i < json_object_array_length(array))
                                child = json_object_array_get_idx(array, i);
                        r = add_entry(walk->lines,
                                &(struct entry){ .container = array, .value = child, .index = i, .line = walk->line });
                        if (r < 0)
                                return r;
                }

                r = walk_value(walk, child);
                if (r < 0)
                        return r;
                if (take(walk, ','))
                        continue;
                return take(walk, ']') ? 0 : -EBADMSG;
        }
}

/* The recursion is as deep as the text is nested, and the parser has bounded that. */
static int walk_value(struct walk *walk, struct json_object *value) {
        skip_space(walk);
        if (walk->p >= walk->end)
                return -EBADMSG;

        switch (*walk->p) {
        case '{':
                return walk_object(walk, value);
        case '[':
                return walk_array(walk, value);
        case '"':
                return skip_string(walk);
        default:
                skip_scalar(walk);
                return 0;
        }
}

static int compare_place(const struct entry *a, const struct entry *b) {
        if (a->container != b->container)
                return (uintptr_t) a->container < (uintptr_t) b->container ? -1 : 1;
        if (a->key && b->key)
                return strcmp(a->key, b->key);
        return a->index < b->index ? -1 : a->index > b->index;
}

static int compare_entry(const void *a, const void *b) {
        const struct entry *x = a, *y = b;
        int r = compare_place(x, y);

        return r != 0 ? r : (x->index < y->index ? -1 : x->index > y->index);
}

int config_lines_new(const char *text, size_t n, struct json_object *root, struct config_lines **ret) {
        _cleanup_(config_lines_freep) struct config_lines *lines = NULL;
        struct walk walk;
        int r;

        lines = calloc(1, sizeof(*lines));
        if (!lines)
                return -ENOMEM;

        walk = (struct walk){ .lines = lines, .p = text, .end = text + n, .line = 1 };
        r = walk_value(&walk, root);
        if (r < 0)
                return r;

        if (lines->n_entries > 0)
                qsort(lines->entries, lines->n_entries, sizeof(*lines->entries), compare_entry);

        *ret = TAKE_PTR(lines);
        return 0;
}

static unsigned find_line(const struct config_lines *lines, const struct entry *wanted) {
        size_t low = 0, high = lines->n_entries;

        while (low < high) {
                size_t middle = low + (high - low) / 2;
                int r = compare_place(lines->entries + middle, wanted);

                if (r == 0)
                        return lines->entries[middle].line;
                if (r < 0)
                        low = middle + 1;
                else
                        high = middle;
        }

        return 0;
}

unsigned config_lines_member(const struct config_lines *lines, const struct json_object *object, const char *key) {
        /* Only compared with, never written to. */
        return find_line(lines, &(struct entry){ .container = object, .key = (char *) key });
}

unsigned config_lines_element(const struct config_lines *lines, const struct json_object *array, size_t index) {
        return find_line(lines, &(struct entry){ .container = array, .index = index });
}

char *config_path_member(const char *parent, const char *key) {
        char shown[KEY_SHOWN_MAX + 1], *path;
        size_t n = strnlen(key, KEY_SHOWN_MAX);
        bool cut = key[n] != '\0';

        for (size_t i = 0; i < n; i++)
                shown[i] = (uint8_t) key[i] < 0x20 || (uint8_t) key[i] >= 0x7f ? '?' : key[i];
        shown[n] = '\0';

        if (asprintf(&path, "%s%s%s%s", parent ? parent : "", parent && *parent ? "." : "", shown, cut ? "..." : "") <
                0)
                return NULL;
        return path;
}

char *config_path_element(const char *parent, size_t index) {
        char *path;

        if (asprintf(&path, "%s[%zu]", parent ? parent : "", index) < 0)
                return NULL;
        return path;
}

/* The path of what entry describes: found upwards, as this is needed for one message at most. */
static char *entry_path(const struct config_lines *lines, const struct entry *entry) {
        _cleanup_free_ char *parent = NULL;

        for (size_t i = 0; i < lines->n_entries; i++)
                if (lines->entries[i].value == entry->container) {
                        parent = entry_path(lines, lines->entries + i);
                        if (!parent)
                                return NULL;
                        break;
                }

        return entry->key ? config_path_member(parent, entry->key) : config_path_element(parent, entry->index);
}

int config_lines_find_duplicate(const struct config_lines *lines, struct config_duplicate *ret) {
        const struct entry *found = NULL;
        char *path;

        /* The first in the text, not the first by address, so that the same file gives the same message. */
        for (size_t i = 1; i < lines->n_entries; i++)
                if (compare_place(lines->entries + i - 1, lines->entries + i) == 0 &&
                        (!found || lines->entries[i].line < found->line))
                        found = lines->entries + i;
        if (!found)
                return 0;

        path = entry_path(lines, found);
        if (!path)
                return -ENOMEM;

        *ret = (struct config_duplicate){ .path = path, .line = found->line, .first_line = found[-1].line };
        return 1;
}
