/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Serves one connection on the socket that systemd gives, and with it one import or export of the image with that local name. Returns the exit status. */
int transfer_run(const char *name);
