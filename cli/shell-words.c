/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the original did wrong is not carried over: mount on a device that is in use is an error and not another device, unmount ends the connection and says how that went, and exit ends nothing but this program. Device
 * numbers are the kernel's to choose now, so the one that is typed is only checked; which it has become is said. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bus.h"
#include "classic-config.h"
#include "image.h"
#include "output.h"
#include "report.h"
#include "shell-words.h"

#define CREDENTIALS    "/run/credstore"
#define ASK_AGAIN_MSEC 100U
#define WAIT_MSEC      5000U

static int run_check(struct shell *shell, char *arguments[], unsigned n_arguments) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = sd_bus_call_method(
                shell->bus, BUS_NAME, BUS_PATH, "org.freedesktop.DBus.Peer", "Ping", &error, &reply, NULL);
        if (r < 0)
                return report_bus("check", NULL, &error, r);
        printf("The server is online.\n");
        return 0;
}

static bool is_free(const char *device) {
        char path[300];

        (void) snprintf(path, sizeof(path), "/sys/block/%s/pid", device);
        return access(path, F_OK) < 0;
}

static int is_nbd(const struct dirent *entry) {
        return strncmp(entry->d_name, "nbd", 3) == 0;
}

static int run_lista(struct shell *shell, char *arguments[], unsigned n_arguments) {
        struct dirent **entries = NULL;
        int n;

        n = scandir("/sys/block", &entries, is_nbd, versionsort);
        if (n <= 0) {
                free(entries);
                return report(FAILURE_SYSTEM, NULL,
                        "the kernel has no NBD devices; is the module loaded? Try: modprobe nbd");
        }
        printf("Free devices (the kernel chooses one by itself, and makes more when it needs them):\n");
        for (int i = 0; i < n; i++) {
                if (is_free(entries[i]->d_name))
                        printf("/dev/%s\n", entries[i]->d_name);
                free(entries[i]);
        }
        free(entries);
        return 0;
}

/* Usable ones only: what the original called mounted. */
static int load_mounted(struct shell *shell, struct json_object **ret) {
        _cleanup_(json_object_putp) struct json_object *images = NULL, *mounted = json_object_new_array();
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        if (!mounted)
                return -ENOMEM;
        r = image_load_all(shell->bus, &error, &images);
        if (r < 0)
                return report_bus("list the images", NULL, &error, r);
        for (size_t i = 0; i < json_object_array_length(images); i++) {
                struct json_object *image = json_object_array_get_idx(images, i);

                if (image_state_is_usable(json_string(image, "state")))
                        (void) json_object_array_add(mounted, json_object_get(image));
        }
        *ret = TAKE_PTR(mounted);
        return 0;
}

static void print_mounted(struct json_object *image) {
        char where[512];

        if (*json_string(image, "device"))
                output_text(stdout, json_string(image, "device"));
        else {
                image_location(image, where, sizeof(where));
                output_text(stdout, where);
        }
        fputc('\t', stdout);
        output_text(stdout,
                *json_string(image, "image_name") ? json_string(image, "image_name") : json_string(image, "name"));
        fputc('\n', stdout);
}

static int run_listm(struct shell *shell, char *arguments[], unsigned n_arguments) {
        _cleanup_(json_object_putp) struct json_object *mounted = NULL;
        int r;

        r = load_mounted(shell, &mounted);
        if (r != 0)
                return r;
        printf("Mounted devices:\n");
        for (size_t i = 0; i < json_object_array_length(mounted); i++)
                print_mounted(json_object_array_get_idx(mounted, i));
        return 0;
}

/* For this boot only: what is typed into a shell is not meant to last. */
static int keep_password(const char *name, const char *password) {
        _cleanup_free_ char *path = NULL;
        _cleanup_close_ int fd = -EBADF;
        size_t n = strlen(password);

        if (mkdir(CREDENTIALS, 0700) < 0 && errno != EEXIST)
                return -errno;
        if (asprintf(&path, CREDENTIALS "/blockstore.%s", name) < 0)
                return -ENOMEM;
        (void) unlink(path);
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        return write(fd, password, n) == (ssize_t) n ? 0 : -EIO;
}

static int call_attach(struct shell *shell, const char *name, const char *image, const char *user) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        char action[512];
        int r;

        r = bus_new_change(shell->cli, shell->bus, "AttachImage", &message);
        if (r >= 0)
                r = sd_bus_message_append(message, "s", name);
        if (r >= 0)
                r = sd_bus_message_open_container(message, 'a', "{sv}");
        if (r >= 0)
                r = sd_bus_message_append(message, "{sv}", "image", "s", image);
        if (r >= 0 && *user)
                r = sd_bus_message_append(message, "{sv}", "user", "s", user);
        if (r >= 0)
                r = sd_bus_message_close_container(message);
        if (r < 0)
                return r;
        r = bus_call_change(shell->cli, shell->bus, message, &error, NULL);
        if (r < 0) {
                (void) snprintf(action, sizeof(action), "mount \"%s\"", image);
                return report_bus(action, name, &error, r);
        }
        return 0;
}

/* The answer to AttachImage may come a moment before the state, or after 20 s and long before it. Returns 0, usable or not, or an exit code. */
static int wait_until_usable(struct shell *shell, const char *name, struct json_object **ret) {
        static const struct timespec pause = { .tv_nsec = ASK_AGAIN_MSEC * 1000L * 1000L };

        for (unsigned i = 0;; i++) {
                _cleanup_(json_object_putp) struct json_object *image = NULL;
                _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
                int r;

                r = image_load(shell->bus, name, &error, &image);
                if (r < 0)
                        return report_bus("look at the image", name, &error, r);
                if (strcmp(json_string(image, "state"), "attaching") != 0 || i * ASK_AGAIN_MSEC >= WAIT_MSEC) {
                        *ret = TAKE_PTR(image);
                        return 0;
                }
                (void) nanosleep(&pause, NULL);
        }
}

static int check_device(const char *device) {
        const char *name = strncmp(device, "/dev/", 5) == 0 ? device + 5 : device;
        char path[300];

        if (strncmp(name, "nbd", 3) != 0 || !name[3] || strspn(name + 3, "0123456789") != strlen(name + 3) ||
                strlen(name) > 16)
                return report_plain(FAILURE_USAGE, "\"%s\" is no such device: expected /dev/nbd and a number", device);
        (void) snprintf(path, sizeof(path), "/sys/block/%s", name);
        if (access(path, F_OK) == 0 && !is_free(name))
                return report_plain(FAILURE_BUSY, "/dev/%s is in use; lista shows which are free", name);
        return 0;
}

static int run_mount(struct shell *shell, char *arguments[], unsigned n_arguments) {
        const char *image = arguments[1], *user = n_arguments > 2 ? arguments[2] : "",
                   *password = n_arguments > 3 ? arguments[3] : "";
        _cleanup_(json_object_putp) struct json_object *properties = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_free_ char *name = NULL;
        char where[512];
        int r;

        r = check_device(arguments[0]);
        if (r != 0)
                return r;
        name = classic_local_name(image);
        if (!name)
                return report_plain(FAILURE_USAGE, "\"%s\" cannot be an image's name", image);
        if (image_load(shell->bus, name, &error, &properties) >= 0 &&
                image_state_is_usable(json_string(properties, "state"))) {
                image_location(properties, where, sizeof(where));
                return report_plain(FAILURE_BUSY, "%s is mounted already, as %s", image, where);
        }
        (void) json_object_put(TAKE_PTR(properties));
        if (*password) {
                r = keep_password(name, password);
                if (r < 0)
                        return report_plain(FAILURE_ACCESS_DENIED,
                                "the password cannot be kept in " CREDENTIALS
                                " for the worker (%s): only root may give one here",
                                strerror(-r));
        }

        r = call_attach(shell, name, image, user);
        if (r != 0)
                return r;
        r = wait_until_usable(shell, name, &properties);
        if (r != 0)
                return r;
        if (!image_state_is_usable(json_string(properties, "state"))) {
                printf("%s is %s; listm shows when it is there.\n", image, json_string(properties, "state"));
                return 0;
        }
        image_location(properties, where, sizeof(where));
        printf("%s is mounted as %s%s%s.\n", image,
                *json_string(properties, "device") ? json_string(properties, "device") : where,
                *json_string(properties, "device") ? ", which is also " : "",
                *json_string(properties, "device") ? where : "");
        return 0;
}

/* By device, by either of its names, or by the image's. */
static bool is_meant(struct json_object *image, const char *what) {
        char where[512];

        image_location(image, where, sizeof(where));
        return strcmp(what, json_string(image, "device")) == 0 || strcmp(what, where) == 0 ||
               strcmp(what, json_string(image, "name")) == 0 || strcmp(what, json_string(image, "image_name")) == 0;
}

static int run_unmount(struct shell *shell, char *arguments[], unsigned n_arguments) {
        _cleanup_(json_object_putp) struct json_object *mounted = NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        const char *name = NULL;
        char action[512];
        int r;

        r = load_mounted(shell, &mounted);
        if (r != 0)
                return r;
        for (size_t i = 0; i < json_object_array_length(mounted) && !name; i++)
                if (is_meant(json_object_array_get_idx(mounted, i), arguments[0]))
                        name = json_string(json_object_array_get_idx(mounted, i), "name");
        if (!name)
                return report_plain(FAILURE_NOT_ATTACHED, "%s is not mounted; listm shows what is", arguments[0]);

        r = bus_new_change(shell->cli, shell->bus, "DetachImage", &message);
        if (r >= 0)
                r = sd_bus_message_append(message, "sa{sv}", name, 0);
        if (r < 0)
                return r;
        r = bus_call_change(shell->cli, shell->bus, message, &error, NULL);
        if (r < 0) {
                (void) snprintf(action, sizeof(action), "unmount \"%s\"", arguments[0]);
                return report_bus(action, name, &error, r);
        }
        printf("%s is unmounted.\n", arguments[0]);
        return 0;
}

static int run_exit(struct shell *shell, char *arguments[], unsigned n_arguments) {
        shell->ended = true;
        return 0;
}

static int run_help(struct shell *shell, char *arguments[], unsigned n_arguments) {
        for (const struct shell_word *word = shell_words; word->word; word++)
                printf("%-8s %-34s %s\n", word->word, word->arguments, word->help);
        printf("\nEverything that there is now: blockstorectl help\n");
        return 0;
}

const struct shell_word shell_words[] = {
        { "check", "", "Is the supervisor there?", { NULL }, run_check },
        { "lista", "", "List the free devices", { NULL }, run_lista },
        { "listm", "", "List what is mounted", { NULL }, run_listm },
        { "mount", "DEVICE IMAGE [USER [PASSWORD]]", "Attach an image; without a user as the host's own",
                { "Device", "Image", "User (empty: the host's own)", NULL }, run_mount },
        { "umount", "DEVICE|IMAGE", "Flush and detach it", { "Device", NULL }, run_unmount },
        { "unmount", "DEVICE|IMAGE", "The same", { "Device", NULL }, run_unmount },
        { "help", "", "Show this", { NULL }, run_help },
        { "exit", "", "End this shell; what is mounted stays", { NULL }, run_exit },
        { NULL },
};

const struct shell_word *shell_word_find(const char *word) {
        for (const struct shell_word *w = shell_words; w->word; w++)
                if (strcmp(w->word, word) == 0)
                        return w;
        return NULL;
}

char **shell_mounted(struct shell *shell, const char *prefix) {
        _cleanup_(json_object_putp) struct json_object *images = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        size_t n_images, n = 0;
        char **words;

        if (image_load_all(shell->bus, &error, &images) < 0)
                return NULL;
        n_images = json_object_array_length(images);
        words = calloc(2 * n_images + 1, sizeof(*words));
        for (size_t i = 0; words && i < n_images; i++) {
                struct json_object *image = json_object_array_get_idx(images, i);
                const char *both[] = { json_string(image, "device"), json_string(image, "name") };

                if (!image_state_is_usable(json_string(image, "state")))
                        continue;
                for (size_t k = 0; k < 2; k++)
                        if (*both[k] && strncmp(both[k], prefix, strlen(prefix)) == 0 && (words[n] = strdup(both[k])))
                                n++;
        }
        return words;
}
