/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Configuration, read by the code of those who will read it: the host's and the images' by libshared/host-config.c, a proxy's by "blockstore-proxyd --check-config". */

#include <dirent.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>

#include "doctor.h"
#include "host-config.h"

#define HOST_FILE      HOST_CONFIG_DIRECTORY "/blockstore.json"
#define IMAGES         HOST_CONFIG_DIRECTORY "/images.d"
#define PROXYD         "/usr/lib/blockstore/blockstore-proxyd"
#define PROXYD_CONFIGS HOST_CONFIG_DIRECTORY "/proxyd"
#define WORKER         "blockstore-worker"

/* A parser's sentence begins with FILE:LINE. */
static const char *edit_command(const char *message, char command[static DOCTOR_COMMAND_MAX]) {
        const char *colon = message ? strchr(message, ':') : NULL;
        unsigned long line;
        char *end;

        if (!colon || *message != '/')
                return NULL;
        line = strtoul(colon + 1, &end, 10);
        if (line > 0 && *end == ':')
                snprintf(command, DOCTOR_COMMAND_MAX, "${EDITOR:-editor} +%lu %.*s", line, (int) (colon - message),
                        message);
        else
                snprintf(command, DOCTOR_COMMAND_MAX, "${EDITOR:-editor} %.*s", (int) (colon - message), message);
        return command;
}

/* A worker reads the files itself, as its user. */
static void look_at_mode(struct doctor *d, const char *path, const char *user) {
        struct passwd *passwd = getpwnam(user);
        char command[DOCTOR_COMMAND_MAX];
        struct stat st;
        bool may;

        if (!passwd || stat(path, &st) < 0)
                return;
        may = st.st_uid == passwd->pw_uid   ? st.st_mode & S_IRUSR
              : st.st_gid == passwd->pw_gid ? st.st_mode & S_IRGRP
                                            : st.st_mode & S_IROTH;
        if (may)
                return;

        snprintf(command, sizeof command, "chmod 0644 %s", path);
        found(d, FINDING_ERROR, path, command, "The user %s, as whom workers run, may not read the file.", user);
}

/* Returns the configuration, or NULL after having told. */
static struct host_config *load(struct doctor *d, const char *name, const char *subject) {
        _cleanup_free_ char *message = NULL;
        struct host_config *config = NULL;
        char command[DOCTOR_COMMAND_MAX];
        int r;

        r = host_config_load(name, &config, &message);
        if (r >= 0)
                return config;

        if (r == -EACCES && geteuid() != 0)
                found(d, FINDING_SKIPPED, subject, NULL, "%s%sOnly root can look at it.", message ? message : "",
                        message ? ". " : "");
        else
                found(d, FINDING_ERROR, subject, edit_command(message, command), "%s",
                        message ? message : strerror(-r));
        return NULL;
}

void check_host_config(struct doctor *d) {
        _cleanup_(host_config_freep) struct host_config *config = load(d, NULL, HOST_FILE);

        look_at_mode(d, HOST_FILE, WORKER);
        if (!config)
                return;

        if (config->n_proxies == 0)
                found(d, FINDING_ERROR, HOST_FILE,
                        "echo '{ \"proxies\": [\"HOST\"], \"user\": \"NAME\" }' > " HOST_FILE,
                        "No proxies are configured: set \"proxies\".");
        else if (!config->user)
                found(d, FINDING_ERROR, HOST_FILE, "${EDITOR:-editor} " HOST_FILE,
                        "No user is configured to log in as: set \"user\".");
        else
                found(d, FINDING_OK, HOST_FILE, NULL, "%zu prox%s, as user %s.", config->n_proxies,
                        config->n_proxies == 1 ? "y" : "ies", config->user);
}

/* What host_config_list_images() passes over in silence. */
static void look_for_misnamed(struct doctor *d) {
        DIR *directory = opendir(IMAGES);
        struct dirent *entry;

        while (directory && (entry = readdir(directory))) {
                char name[IMAGE_LOCAL_NAME_MAX + 1], path[512], command[DOCTOR_COMMAND_MAX];
                size_t n = strlen(entry->d_name), suffix = strlen(".json");

                if (entry->d_name[0] == '.')
                        continue;
                snprintf(path, sizeof path, IMAGES "/%s", entry->d_name);
                if (n > suffix && n - suffix < sizeof name && strcmp(entry->d_name + n - suffix, ".json") == 0) {
                        snprintf(name, sizeof name, "%.*s", (int) (n - suffix), entry->d_name);
                        if (image_local_name_is_valid(name))
                                continue;
                }
                snprintf(command, sizeof command, "mv '%s' /root/", path);
                found(d, FINDING_WARNING, path, command,
                        "The file is passed over: its name is not that of an image (A-Z a-z 0-9 _ . : -) with .json "
                        "behind it.");
        }
        if (directory)
                closedir(directory);
}

void check_image_config(struct doctor *d) {
        look_for_misnamed(d);

        for (char **name = d->images; *name; name++) {
                _cleanup_(host_config_freep) struct host_config *config = load(d, *name, *name);
                char path[512];

                snprintf(path, sizeof path, IMAGES "/%s.json", *name);
                look_at_mode(d, path, WORKER);
                if (!config)
                        continue;
                if (config->n_proxies == 0 || !config->user)
                        found(d, FINDING_ERROR, *name, "${EDITOR:-editor} " HOST_FILE,
                                "The image cannot be attached: neither its own settings nor blockstore.json have "
                                "\"%s\".",
                                config->n_proxies == 0 ? "proxies" : "user");
                else
                        found(d, FINDING_OK, *name, NULL, "Its settings are valid.");
        }
        if (!*d->images)
                found(d, FINDING_OK, NULL, NULL, "No image has settings of its own.");
}

static int is_proxy_file(const struct dirent *entry) {
        size_t n = strlen(entry->d_name);

        return entry->d_name[0] != '.' && n > 5 && strcmp(entry->d_name + n - 5, ".json") == 0 &&
               strcmp(entry->d_name, "users.json") != 0;
}

static void look_at_proxy(struct doctor *d, const char *file) {
        char option[1024], path[512], command[DOCTOR_COMMAND_MAX], output[DOCTOR_OUTPUT_MAX];
        const char *const argv[] = { PROXYD, "--check-config", option, NULL };
        char *sentence;
        int r;

        snprintf(path, sizeof path, PROXYD_CONFIGS "/%s", file);
        if (access(path, R_OK) < 0 && errno == EACCES) {
                found(d, FINDING_SKIPPED, path, NULL, "Only root and the proxies can look at it.");
                return;
        }

        snprintf(option, sizeof option, "--config=%s", path);
        r = doctor_run(argv, output);
        if (r == 0) {
                found(d, FINDING_OK, path, NULL, "The proxy's settings are valid.");
                look_at_mode(d, path, "blockstore-proxy");
                return;
        }
        if (r < 0) {
                found(d, FINDING_SKIPPED, path, NULL, "blockstore-proxyd cannot be asked: %s.", strerror(-r));
                return;
        }

        output[strcspn(output, "\n")] = '\0';
        sentence = strncmp(output, "blockstore-proxyd: ", strlen("blockstore-proxyd: ")) == 0
                           ? output + strlen("blockstore-proxyd: ")
                           : output;
        if (r == FAILURE_CONFIGURATION || geteuid() == 0)
                found(d, FINDING_ERROR, path, edit_command(sentence, command), "%s", sentence);
        else
                found(d, FINDING_SKIPPED, path, NULL, "%s: only root can look further.", sentence);
}

void check_proxyd_config(struct doctor *d) {
        struct dirent **entries = NULL;
        int n;

        n = scandir(PROXYD_CONFIGS, &entries, is_proxy_file, alphasort);
        if (n < 0 && errno == EACCES) {
                found(d, FINDING_SKIPPED, PROXYD_CONFIGS, NULL, "Only root and the proxies can look at it.");
                return;
        }
        for (int i = 0; i < n; i++) {
                look_at_proxy(d, entries[i]->d_name);
                free(entries[i]);
        }
        free(entries);
        if (n <= 0)
                found(d, FINDING_OK, NULL, NULL, "No proxy is configured on this machine.");
}
