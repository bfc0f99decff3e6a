/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Why a handshake failed, in words for who can do something about it. */

#include "tls-context.h"

#define TLS_ERROR_MAX 224U

/* After a call of OpenSSL that has failed with kind, as of SSL_get_error(). Returns -EKEYREJECTED when it was the other side's certificate, -ECONNRESET when the connection is gone, else -EPROTO. */
int tls_failure(const SSL *ssl, int kind, const struct tls_notes *notes, char ret_reason[static TLS_ERROR_MAX]);
