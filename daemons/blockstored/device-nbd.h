/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The kernel's NBD driver by generic netlink. Each call blocks until the kernel has answered, which may be never while a worker is stopped: call them in a child with a
 * deadline (device-child.h) only. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How long requests wait for a live connection before they fail, seconds: in effect "until the worker is back". Without it the first dead link fails the device. */
#define DEVICE_NBD_DEAD_CONNECTION_SEC 86400U
#define DEVICE_NBD_IDENTITY_MAX        128U
#define DEVICE_NBD_MESSAGE_MAX         1024U

struct device_nbd_setup {
        uint64_t size;        /* bytes; 0 in a RECONFIGURE: unchanged */
        uint32_t block_size;  /* bytes, a power of two, 512-4096 */
        uint32_t flags;       /* NBD transmission flags */
        const char *identity; /* "NAME/UUID" */
        int socket;           /* the kernel's end; borrowed */
};

/* Pure: write one message into buffer (DEVICE_NBD_MESSAGE_MAX bytes, zeroed here) and return its length in bytes. */
size_t device_nbd_build_connect(
        void *buffer, uint16_t family, uint32_t sequence, const struct device_nbd_setup *setup);
size_t device_nbd_build_reconfigure(
        void *buffer, uint16_t family, uint32_t sequence, uint32_t index, const struct device_nbd_setup *setup);
/* timeout_sec: after how long the driver gives a request up on the connection it was sent on and, with our one connection, sends it again on the next; 0: never. Changes the queue's
 * io_timeout to the same, or to 30 s for 0. */
size_t device_nbd_build_timeout(
        void *buffer, uint16_t family, uint32_t sequence, uint32_t index, const char *identity, uint64_t timeout_sec);
/* On the connection that there is. size: bytes. */
size_t device_nbd_build_resize(
        void *buffer, uint16_t family, uint32_t sequence, uint32_t index, const char *identity, uint64_t size);
size_t device_nbd_build_disconnect(void *buffer, uint16_t family, uint32_t sequence, uint32_t index);
size_t device_nbd_build_status(void *buffer, uint16_t family, uint32_t sequence, uint32_t index);

/* All return 0 or a negative errno: -ENOPROTOOPT when the kernel has no NBD (module not loaded), -EPERM without CAP_SYS_ADMIN, else what the driver said. */
int device_nbd_connect(const struct device_nbd_setup *setup, uint32_t *ret_index);
int device_nbd_reconfigure(uint32_t index, const struct device_nbd_setup *setup);
int device_nbd_set_timeout(uint32_t index, const char *identity, uint64_t timeout_sec);
int device_nbd_resize(uint32_t index, const char *identity, uint64_t size);
int device_nbd_disconnect(uint32_t index);
int device_nbd_status(uint32_t index, bool *ret_connected);
