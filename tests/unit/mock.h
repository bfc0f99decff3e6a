/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of mock-blockstored say to each other: it is one program, each file has its objects and its part of the commands. */

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-bus.h>

#include "test.h"

#define MOCK_PATH        "/org/blockstore"
#define MOCK_ENTRIES_MAX 16

extern sd_bus *mock_bus;

/* A line on stdout, which the test reads. */
void mock_say(const char *what, const char *rest);
/* The next word of a command. There must be one. */
const char *mock_word(char **rest);

/* Whether this was a command of theirs, which is then done. */
bool mock_image_command(const char *verb, char *rest);
bool mock_manager_command(const char *verb, char *rest);
bool mock_proxy_command(const char *verb, char *rest);

/* Put their objects on the bus. */
void mock_image_serve(void);
void mock_manager_serve(void);
void mock_job_serve(void);

bool mock_image_exists(const char *name);
/* What AttachImage makes of an image; its object comes if there was none. */
void mock_image_attach(const char *name, const char *state);
/* As the command "set". */
void mock_image_set(const char *name, const char *property, const char *value);
/* The object's path, to be freed. */
char *mock_image_path(const char *name);
void mock_image_end(void);

/* A job at its beginning. */
void mock_job_begin(void);
/* The next one waits to be cancelled. */
void mock_job_linger(void);

/* Whether this method shall fail: negative then, and the error has been set. */
int mock_refuse(sd_bus_message *m, sd_bus_error *error);

/* Members of the manager and of images that are answered elsewhere. */
int mock_follow_store_job(sd_bus_message *m, void *userdata, sd_bus_error *error);
int mock_list_proxies(sd_bus_message *m, void *userdata, sd_bus_error *error);
int mock_probe_proxies(sd_bus_message *m, void *userdata, sd_bus_error *error);
int mock_drain_proxy(sd_bus_message *m, void *userdata, sd_bus_error *error);
int mock_get_proxies(sd_bus *b, const char *path, const char *interface, const char *property, sd_bus_message *reply,
        void *userdata, sd_bus_error *error);
int mock_get_health(sd_bus *b, const char *path, const char *interface, const char *property, sd_bus_message *reply,
        void *userdata, sd_bus_error *error);
