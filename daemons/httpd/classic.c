/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <strings.h>

#include "classic.h"

#define NAME_LENGTH_MAX 256U

/* A password leaves no copy behind. */
static void wipe(struct json_object *value) {
        if (json_object_is_type(value, json_type_string))
                explicit_bzero((char *) (uintptr_t) json_object_get_string(value),
                        (size_t) json_object_get_string_len(value));
}

static int take_member(struct classic_command *command, const char *member, struct json_object *value) {
        const struct {
                const char *member;
                char **text;
        } members[] = {
                { "Command", &command->command },
                { "Device", &command->device },
                { "Image", &command->image },
                { "User", &command->user },
        };

        if (strcasecmp(member, "Pass") == 0) {
                command->has_password = json_object_get_string_len(value) > 0;
                wipe(value);
                return 0;
        }
        for (size_t i = 0; i < ELEMENTSOF(members); i++) {
                if (strcasecmp(member, members[i].member) != 0)
                        continue;
                if (!json_object_is_type(value, json_type_string) ||
                        (size_t) json_object_get_string_len(value) > NAME_LENGTH_MAX ||
                        strlen(json_object_get_string(value)) != (size_t) json_object_get_string_len(value))
                        return -EBADMSG;
                free(*members[i].text);
                *members[i].text = strdup(json_object_get_string(value));
                return *members[i].text ? 0 : -ENOMEM;
        }
        return 0;
}

static int take_object(struct classic_command *command, struct json_object *object) {
        int r = 0;

        if (!json_object_is_type(object, json_type_object))
                return -EBADMSG;
        json_object_object_foreach(object, member, value) {
                int k = take_member(command, member, value);

                /* Go on: the password may be among the rest. */
                r = r < 0 ? r : k;
        }
        return r < 0 ? r : *command->command ? 0 : -EBADMSG;
}

int classic_parse(const char *text, size_t n, struct classic_command **ret) {
        _cleanup_(classic_command_freep) struct classic_command *command = calloc(1, sizeof(*command));
        struct json_tokener *tokener = NULL;
        struct json_object *object = NULL;
        int r;

        if (!command)
                return -ENOMEM;
        command->command = strdup("");
        command->device = strdup("");
        command->image = strdup("");
        command->user = strdup("");
        if (!command->command || !command->device || !command->image || !command->user)
                return -ENOMEM;
        if (n == 0 || n > INT_MAX)
                return -EBADMSG;

        tokener = json_tokener_new_ex(4);
        if (!tokener)
                return -ENOMEM;
        object = json_tokener_parse_ex(tokener, text, (int) n);
        if (json_tokener_get_error(tokener) != json_tokener_success)
                r = -EBADMSG;
        else
                /* The old client ends with a line end. */
                r = strspn(text + json_tokener_get_parse_end(tokener), " \t\r\n") +
                                            json_tokener_get_parse_end(tokener) <
                                    n
                            ? -EBADMSG
                            : take_object(command, object);
        json_object_put(object);
        json_tokener_free(tokener);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(command);
        return 0;
}

struct classic_command *classic_command_free(struct classic_command *command) {
        if (!command)
                return NULL;

        free(command->command);
        free(command->device);
        free(command->image);
        free(command->user);
        free(command);
        return NULL;
}

/* "0", "7", "12", not "07" or "7x". */
static int parse_index(const char *text, unsigned *ret) {
        size_t n = strlen(text);

        if (n == 0 || n > 4 || text[strspn(text, "0123456789")] || (n > 1 && text[0] == '0'))
                return -EINVAL;
        *ret = (unsigned) strtoul(text, NULL, 10);
        return 0;
}

int classic_device_index(const char *device, unsigned *ret) {
        if (strncmp(device, "/dev/nbd", 8) != 0)
                return -EINVAL;

        return parse_index(device + 8, ret);
}

/* A connected device has a file "pid"; one with a size but without it was made by the older ioctl way, or waits for a new connection. */
enum classic_device classic_device_state(const char *directory, unsigned index) {
        char path[PATH_MAX], text[32] = "";
        _cleanup_fclose_ FILE *size = NULL;

        (void) snprintf(path, sizeof path, "%s/nbd%u", directory, index);
        if (access(path, F_OK) < 0)
                return CLASSIC_DEVICE_MISSING;
        (void) snprintf(path, sizeof path, "%s/nbd%u/pid", directory, index);
        if (access(path, F_OK) == 0)
                return CLASSIC_DEVICE_BUSY;
        (void) snprintf(path, sizeof path, "%s/nbd%u/size", directory, index);
        size = fopen(path, "re");
        if (size && fgets(text, sizeof text, size) && strtoull(text, NULL, 10) > 0)
                return CLASSIC_DEVICE_BUSY;
        return CLASSIC_DEVICE_FREE;
}

static int by_number(const void *a, const void *b) {
        unsigned x = *(const unsigned *) a, y = *(const unsigned *) b;

        return x < y ? -1 : x > y;
}

int classic_devices_free(const char *directory, unsigned *indices, size_t max) {
        DIR *dir = opendir(directory);
        const struct dirent *entry;
        size_t n = 0;

        if (!dir)
                return -errno;
        while (n < max && (entry = readdir(dir))) {
                unsigned index;

                if (strncmp(entry->d_name, "nbd", 3) == 0 && parse_index(entry->d_name + 3, &index) >= 0 &&
                        classic_device_state(directory, index) == CLASSIC_DEVICE_FREE)
                        indices[n++] = index;
        }
        closedir(dir);
        qsort(indices, n, sizeof(*indices), by_number);
        return (int) n;
}

char *classic_list(struct json_object *images) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        FILE *out = open_memstream(&text, &size);

        if (!out)
                return NULL;
        for (size_t i = 0; i < json_object_array_length(images); i++) {
                struct json_object *image = json_object_array_get_idx(images, i);

                if (*json_string(image, "device"))
                        fprintf(out, "%s\t%s\n", json_string(image, "device"), json_string(image, "image_name"));
        }
        return fclose(out) == 0 ? TAKE_PTR(text) : NULL;
}

struct json_object *classic_status(struct json_object *images) {
        _cleanup_(json_object_putp) struct json_object *status = json_object_new_object();
        struct json_object *mounted = json_object_new_array();

        if (!status || json_add(status, "Mounted", mounted) < 0)
                return NULL;
        for (size_t i = 0; i < json_object_array_length(images); i++) {
                struct json_object *image = json_object_array_get_idx(images, i), *entry;

                if (!*json_string(image, "device"))
                        continue;
                entry = json_object_new_object();
                if (json_append(mounted, entry) < 0 ||
                        json_add(entry, "NbdDevice", json_object_new_string(json_string(image, "device"))) < 0 ||
                        json_add(entry, "ImageName", json_object_new_string(json_string(image, "image_name"))) < 0)
                        return NULL;
        }
        return TAKE_PTR(status);
}
