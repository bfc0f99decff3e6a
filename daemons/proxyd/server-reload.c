/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* SIGHUP: configuration, users and certificate are read on the thread that reads users anyway, and taken on the ring's. What is wrong changes nothing, each file by itself: a users file that is right counts although the configuration
 * beside it is not. What cannot change in a running process is named, so that nobody believes it has. */

#include <string.h>

#include <systemd/sd-daemon.h>

#include "container-of.h"
#include "log.h"
#include "server-internal.h"

static void run(struct job *job) {
        struct server *server = CONTAINER_OF(job, struct server, reload_job);

        (void) settings_load(server->config_path, &server->reload_settings, &server->reload_message);
        if (users_load(server->settings->users_path, &server->reload_users, &server->reload_users_message) >= 0)
                server->proxy.newest_users = server->reload_users;
        server_read_certificate(server);
}

static void take_settings(struct server *server) {
        char taken[SETTINGS_CHANGES_MAX], left[SETTINGS_CHANGES_MAX];

        settings_take(server->settings, server->reload_settings, taken, left);
        server->reload_settings = settings_free(server->reload_settings);
        if (server->proxy.image_jobs)
                image_jobs_set_scrub_rate(server->proxy.image_jobs, server->settings->scrub_rate);
        ring_set_busy_poll(server->proxy.ring, server->settings->busy_poll_usec);
        if (*taken)
                log_event(LOG_INFO, NULL, "The configuration was read anew; changed: %s", taken);
        else
                log_event(LOG_INFO, NULL, "The configuration was read anew; nothing has changed%s",
                        *left ? " that can be without a restart" : "");
        if (*left)
                log_event(LOG_WARNING, NULL, "Changed in %s, and counts from the next start: %s", server->config_path,
                        left);
        ring_timer_set(&server->push_timer, server->settings->proxies_interval_usec);
}

static void done(struct job *job) {
        struct server *server = CONTAINER_OF(job, struct server, reload_job);

        if (server->reload_settings)
                take_settings(server);
        else
                log_event(LOG_ERR, NULL, "The configuration stays as it was: %s",
                        server->reload_message ?: "out of memory");
        if (server->reload_users)
                server->proxy.users_changed(&server->proxy, TAKE_PTR(server->reload_users));
        else
                log_event(LOG_ERR, NULL, "The users stay as they were: %s",
                        server->reload_users_message ?: "out of memory");

        server_take_certificate(server);
        free(TAKE_PTR(server->reload_message));
        free(TAKE_PTR(server->reload_users_message));
        server->reloading = false;
        (void) sd_notify(0, "READY=1");
}

void server_reload(struct server *server) {
        if (server->reloading || server->proxy.draining)
                return;

        (void) sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%ju", (uintmax_t) ring_now_usec(server->proxy.ring));
        server->reloading = true;
        server->reload_job = (struct job){ .run = run, .done = done };
        jobs_submit_reserved(server->proxy.users_jobs, &server->reload_job);
}
