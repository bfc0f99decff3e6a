/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A worker for one image: starts the engine, gets the kernel device from the supervisor, tells systemd how it is, stops in order. */

/* name: local name of the image. Returns the exit status: 0, or a value of enum failure. */
int worker_run(const char *name);
