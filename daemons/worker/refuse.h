/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A worker that gives up owes the NBD clients that wait on its socket an answer: left waiting, they would start it again at once, until systemd stops the socket. */

/* Accepts all that wait and answers their first option with an NBD error that carries the sentence. Takes at most timeout_ms in all. */
void refuse_clients(int listen_fd, const char *message, int timeout_ms);
