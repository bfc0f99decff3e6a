/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A configuration file is refused as a whole or taken as a whole: whoever edits it learns the first thing that is wrong, where it is and what was
 * expected there, and never runs with half of what he wrote. So nothing is guessed: unknown keys, duplicate keys and values of another type are
 * errors, although json-c would let most of that pass.
 *
 * Values are handed to the table's handlers in the order of the file. A handler may have stored some by the time another refuses: the
 * caller applies to a fresh structure and throws it away on failure. */

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "config-lines.h"
#include "config.h"
#include "edit-distance.h"

#define NESTING_MAX     16
#define VALUE_SHOWN_MAX 60U

struct config_file {
        char *path;
        char *text;
        struct json_object *root;
        struct config_lines *lines;
};

struct config_file *config_file_free(struct config_file *file) {
        if (!file)
                return NULL;

        config_lines_free(file->lines);
        json_object_put(file->root);
        if (file->text)
                explicit_bzero(
                        file->text, strlen(file->text)); /* there may be secrets in it, though not by our will */
        free(file->text);
        free(file->path);
        free(file);
        return NULL;
}

struct json_object *config_file_root(const struct config_file *file) {
        return file->root;
}

const char *config_file_path(const struct config_file *file) {
        return file->path;
}

/* Sets the message and returns the error. A message that cannot be allocated is NULL, which is as much as memory allows. */
_printf_(3, 4) static int fail(char **ret_message, int error, const char *format, ...) {
        char *message;
        va_list ap;
        int r;

        va_start(ap, format);
        r = vasprintf(&message, format, ap);
        va_end(ap);

        *ret_message = r < 0 ? NULL : message;
        return error;
}

static unsigned line_at(const char *text, size_t offset) {
        unsigned line = 1;

        for (size_t i = 0; i < offset; i++)
                line += text[i] == '\n';
        return line;
}

/* What json-c would report in its own words or not at all. */
static int check_bytes(const char *name, const char *text, size_t n, char **ret_message) {
        const char *p;

        if (n > CONFIG_FILE_MAX)
                return fail(ret_message, -EFBIG, "%s: expected at most %u bytes, found more", name, CONFIG_FILE_MAX);

        if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
                return fail(ret_message, -EINVAL,
                        "%s:1: expected UTF-8 without a byte order mark, found one; save the file without it", name);
        if (n >= 2 && (memcmp(text, "\xff\xfe", 2) == 0 || memcmp(text, "\xfe\xff", 2) == 0))
                return fail(ret_message, -EINVAL, "%s:1: expected UTF-8, found UTF-16; save the file as UTF-8", name);

        p = n > 0 ? memchr(text, '\0', n) : NULL;
        if (p)
                return fail(ret_message, -EINVAL, "%s:%u: expected text, found a NUL byte", name,
                        line_at(text, (size_t) (p - text)));

        if (strspn(text, " \t\r\n") == n)
                return fail(
                        ret_message, -EINVAL, "%s:1: expected a JSON object, at least {}, found an empty file", name);

        return 0;
}

static int parse_text(const char *name, const char *text, size_t n, struct json_object **ret, char **ret_message) {
        struct json_tokener *tokener;
        enum json_tokener_error error;
        struct json_object *root;
        size_t end;

        tokener = json_tokener_new_ex(NESTING_MAX);
        if (!tokener)
                return fail(ret_message, -ENOMEM, "%s: out of memory", name);
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);

        /* With the terminator, so that a number or word at the end is known to be complete. */
        root = json_tokener_parse_ex(tokener, text, (int) n + 1);
        error = json_tokener_get_error(tokener);
        end = json_tokener_get_parse_end(tokener);
        if (end > n)
                end = n;
        json_tokener_free(tokener);

        switch ((int) error) {
        case json_tokener_success:
                break;
        case json_tokener_continue:
        case json_tokener_error_parse_eof:
                return fail(ret_message, -EINVAL,
                        "%s:%u: expected the rest of a JSON object, found the end of the file", name,
                        line_at(text, n));
        case json_tokener_error_depth:
                return fail(ret_message, -EINVAL, "%s:%u: expected at most %d levels of nesting, found more", name,
                        line_at(text, end), NESTING_MAX);
        default:
                json_object_put(root);
                return fail(ret_message, -EINVAL, "%s:%u: expected JSON, found a syntax error: %s", name,
                        line_at(text, end), json_tokener_error_desc(error));
        }

        if (!json_object_is_type(root, json_type_object)) {
                json_object_put(root);
                return fail(ret_message, -EINVAL, "%s:%u: expected a JSON object in braces", name,
                        line_at(text, strspn(text, " \t\r\n")));
        }

        if (end + strspn(text + end, " \t\r\n") < n) {
                json_object_put(root);
                end += strspn(text + end, " \t\r\n");
                return fail(ret_message, -EINVAL,
                        "%s:%u: expected the end of the file after the JSON object, found more", name,
                        line_at(text, end));
        }

        *ret = root;
        return 0;
}

/* Takes the text, which is terminated. */
static int parse(const char *name, char *text, size_t n, struct config_file **ret, char **ret_message) {
        _cleanup_(config_file_freep) struct config_file *file = NULL;
        struct config_duplicate duplicate;
        int r;

        file = calloc(1, sizeof(*file));
        if (!file) {
                free(text);
                return fail(ret_message, -ENOMEM, "%s: out of memory", name);
        }

        file->text = text;
        file->path = strdup(name);
        if (!file->path)
                return fail(ret_message, -ENOMEM, "%s: out of memory", name);

        r = check_bytes(name, text, n, ret_message);
        if (r < 0)
                return r;
        r = parse_text(name, text, n, &file->root, ret_message);
        if (r < 0)
                return r;

        r = config_lines_new(text, n, file->root, &file->lines);
        if (r == -ENOMEM)
                return fail(ret_message, r, "%s: out of memory", name);
        if (r < 0)
                return fail(ret_message, -EINVAL, "%s:1: expected JSON, found something that is not quite", name);

        r = config_lines_find_duplicate(file->lines, &duplicate);
        if (r < 0)
                return fail(ret_message, r, "%s: out of memory", name);
        if (r > 0) {
                r = fail(ret_message, -EINVAL, "%s:%u: %s: expected each key once, found it again (first on line %u)",
                        name, duplicate.line, duplicate.path, duplicate.first_line);
                free(duplicate.path);
                return r;
        }

        *ret = TAKE_PTR(file);
        return 0;
}

int config_file_parse(const char *name, const char *text, size_t n, struct config_file **ret, char **ret_message) {
        size_t kept = n <= CONFIG_FILE_MAX ? n : CONFIG_FILE_MAX + 1;
        char *copy;

        copy = malloc(kept + 1);
        if (!copy)
                return fail(ret_message, -ENOMEM, "%s: out of memory", name);
        if (kept > 0)
                memcpy(copy, text, kept);
        copy[kept] = '\0';

        return parse(name, copy, kept, ret, ret_message);
}

/* At most one byte above the limit, by which the caller knows that it is above. */
static int read_all(int fd, char **ret_text, size_t *ret_n) {
        _cleanup_free_ char *text = NULL;
        size_t n = 0, allocated = 0;

        for (;;) {
                ssize_t k;

                if (allocated < n + 2) {
                        char *more;

                        allocated = allocated ? allocated * 2 : 4096;
                        more = realloc(text, allocated);
                        if (!more)
                                return -ENOMEM;
                        text = more;
                }

                k = read(fd, text + n, allocated - n - 1);
                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return -errno;
                n += (size_t) k;
                if (k == 0 || n > CONFIG_FILE_MAX)
                        break;
        }

        text[n] = '\0';
        *ret_text = TAKE_PTR(text);
        *ret_n = n;
        return 0;
}

int config_file_open(const char *path, struct config_file **ret, char **ret_message) {
        _cleanup_close_ int fd = -EBADF;
        struct stat st;
        char *text = NULL;
        size_t n = 0;
        int r;

        /* O_NONBLOCK: a FIFO in the place of a file must not hold anybody up. */
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0) {
                r = -errno;
                return fail(ret_message, r, "%s: cannot open: %s", path, strerror(-r));
        }

        if (fstat(fd, &st) < 0) {
                r = -errno;
                return fail(ret_message, r, "%s: cannot examine: %s", path, strerror(-r));
        }
        if (!S_ISREG(st.st_mode))
                return fail(ret_message, -EINVAL, "%s: expected a regular file", path);

        r = read_all(fd, &text, &n);
        if (r < 0)
                return fail(ret_message, r, "%s: cannot read: %s", path, strerror(-r));
        assert(text);

        return parse(path, text, n, ret, ret_message);
}

static const char *nearest_key(const struct config_key *keys, const char *name) {
        const char *nearest = NULL;
        unsigned best = UINT_MAX;

        for (const struct config_key *key = keys; key->name; key++) {
                unsigned distance = edit_distance(name, key->name);

                if (distance < best) {
                        best = distance;
                        nearest = key->name;
                }
        }

        return nearest;
}

static const char *shown_path(const struct config_context *context) {
        return context->path ? context->path : "";
}

/* Complains in the context: in place of the message that was there, or below it when all are wanted. */
_printf_(2, 3) static int complain(struct config_context *context, const char *format, ...) {
        _cleanup_free_ char *before = TAKE_PTR(*context->message), *line = NULL;
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&line, format, ap) < 0)
                line = NULL;
        va_end(ap);

        if (context->n_left && before)
                return fail(context->message, -EINVAL, "%s\n%s", before, line ?: "");
        *context->message = TAKE_PTR(line);
        return -EINVAL;
}

/* After a complaint: whether to go on for others. */
static bool wants_more(const struct config_context *context, int error) {
        return error == -EINVAL && context->n_left && *context->n_left > 0 && --*context->n_left > 0;
}

static int refuse_text(struct config_context *context, const char *expected, const char *found) {
        const char *path = shown_path(context);

        return complain(context, "%s:%u: %s%sexpected %s, found %s", context->file->path, context->line, path,
                *path ? ": " : "", expected, found);
}

/* The beginning of a value as JSON, which has escaped the control characters of ASCII, without DEL and those of C1, and cut between characters. */
static void show_value(const char *text, char ret[static VALUE_SHOWN_MAX + sizeof("...\"")]) {
        size_t n = 0;

        for (const char *p = text; *p; p++) {
                bool c1 = (uint8_t) p[0] == 0xc2 && (uint8_t) p[1] >= 0x80 && (uint8_t) p[1] < 0xa0;

                if (n == VALUE_SHOWN_MAX) {
                        while (n > 0 && ((uint8_t) *p & 0xc0) == 0x80) {
                                p--;
                                n--;
                        }
                        strcpy(ret + n, text[0] == '"' ? "...\"" : "...");
                        return;
                }
                ret[n++] = *p == 0x7f || c1 ? '?' : *p;
                if (c1)
                        p++;
        }
        ret[n] = '\0';
}

int config_refuse(struct config_context *context, struct json_object *found, const char *expected_format, ...) {
        _cleanup_free_ char *expected = NULL;
        char shown[VALUE_SHOWN_MAX + sizeof("...\"")];
        const char *text;
        va_list ap;
        int r;

        va_start(ap, expected_format);
        r = vasprintf(&expected, expected_format, ap);
        va_end(ap);
        if (r < 0) {
                expected = NULL;
                return refuse_text(context, "another value", "this one");
        }

        if (json_object_is_type(found, json_type_object))
                return refuse_text(context, expected, "an object");
        if (json_object_is_type(found, json_type_array))
                return refuse_text(context, expected, "a list");

        text = json_object_to_json_string_ext(found, JSON_C_TO_STRING_NOSLASHESCAPE);
        if (!text)
                return refuse_text(context, expected, "this value");

        show_value(text, shown);
        return refuse_text(context, expected, shown);
}

/* Hands a member or element to its handler, with a context of its own. Takes the path. */
static int apply_value(struct config_context *context, char *path, unsigned line, struct json_object *value,
        config_handler_t handler, void *userdata) {
        struct config_context inner = {
                .file = context->file,
                .path = path,
                .line = line ? line : context->line,
                .message = context->message,
                .n_left = context->n_left,
        };
        int r;

        if (!path)
                return -ENOMEM;

        r = handler(&inner, value, userdata);
        free(path);
        return r;
}

static int refuse_unknown(
        struct config_context *context, const char *name, unsigned line, const struct config_key *keys) {
        _cleanup_free_ char *path = config_path_member(context->path, name);
        const char *nearest = nearest_key(keys, name);

        return complain(context, "%s:%u: %s: expected a known key%s%s%s, found this one", context->file->path,
                line ? line : context->line, path ? path : "", nearest ? " (the nearest is \"" : "",
                nearest ? nearest : "", nearest ? "\")" : "");
}

int config_apply_object(
        struct config_context *context, struct json_object *object, const struct config_key *keys, void *userdata) {
        struct json_object_iterator i, end;
        int r, error = 0;

        if (!json_object_is_type(object, json_type_object))
                return config_refuse(context, object, "an object in braces");

        i = json_object_iter_begin(object);
        end = json_object_iter_end(object);
        for (; !json_object_iter_equal(&i, &end); json_object_iter_next(&i)) {
                const char *name = json_object_iter_peek_name(&i);
                unsigned line = config_lines_member(context->file->lines, object, name);
                const struct config_key *key;

                for (key = keys; key->name; key++)
                        if (strcmp(key->name, name) == 0)
                                break;
                r = key->name ? 0 : refuse_unknown(context, name, line, keys);
                if (r >= 0)
                        r = apply_value(context, config_path_member(context->path, name), line,
                                json_object_iter_peek_value(&i), key->handler, (char *) userdata + key->offset);
                if (r < 0 && !wants_more(context, r))
                        return r;
                error = r < 0 ? r : error;
        }

        for (const struct config_key *key = keys; key->name; key++)
                if (key->required && !json_object_object_get_ex(object, key->name, NULL)) {
                        const char *path = shown_path(context);

                        error = complain(context, "%s:%u: %s%sexpected the key \"%s\", found none",
                                context->file->path, context->line, path, *path ? ": " : "", key->name);
                        if (!wants_more(context, error))
                                return error;
                }

        return error;
}

int config_apply_array(
        struct config_context *context, struct json_object *array, size_t max, config_handler_t each, void *userdata) {
        int r, error = 0;
        size_t n;

        if (!json_object_is_type(array, json_type_array))
                return config_refuse(context, array, "a list in brackets");

        n = json_object_array_length(array);
        if (n > max)
                return config_refuse(context, array, "at most %zu elements", max);

        for (size_t i = 0; i < n; i++) {
                r = apply_value(context, config_path_element(context->path, i),
                        config_lines_element(context->file->lines, array, i), json_object_array_get_idx(array, i),
                        each, userdata);
                if (r < 0 && !wants_more(context, r))
                        return r;
                error = r < 0 ? r : error;
        }

        return error;
}

static int apply(const struct config_file *file, const struct config_key *keys, void *userdata, unsigned *n_left,
        char **ret_message) {
        char *message = NULL;
        struct config_context context = {
                .file = file,
                .line = line_at(file->text, strspn(file->text, " \t\r\n")),
                .message = &message,
                .n_left = n_left,
        };
        int r;

        r = config_apply_object(&context, file->root, keys, userdata);
        if (r < 0) {
                *ret_message = message;
                return r;
        }

        free(message);
        return 0;
}

int config_apply(const struct config_file *file, const struct config_key *keys, void *userdata, char **ret_message) {
        return apply(file, keys, userdata, NULL, ret_message);
}

int config_apply_all(
        const struct config_file *file, const struct config_key *keys, void *userdata, char **ret_message) {
        unsigned n_left = CONFIG_COMPLAINTS_MAX;

        return apply(file, keys, userdata, &n_left, ret_message);
}
