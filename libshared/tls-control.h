/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A connection on which the kernel does TLS answers a plain receive with -EIO when the next record is none of data: an alert, or a message of the handshake. Knows no OpenSSL. */

/* To be asked about a socket whose receive has ended with EIO. Takes one such record off it, without waiting. Returns 1: it means nothing to us, receive again; 0: the other side has closed in order; or a
 * negative errno with which the connection is over: -EKEYEXPIRED the other side goes on with new keys, which the kernel has not got; -ECONNABORTED an alert; -EPROTO something that has no place there; -EIO
 * there is no TLS, or no such record. */
int tls_control_receive(int fd);

/* Tells the other side that nothing more comes (close_notify), on a socket that is about to be closed; without waiting. Returns 0; -EOPNOTSUPP: there is no TLS in the kernel on it; -EAGAIN: there is no room for it; or
 * another negative errno, of a connection that is broken. None of them matters to who closes. */
int tls_control_say_goodbye(int fd);

/* What a record of that type with these n bytes comes to, as above. For tests. */
int tls_control_judge(unsigned char type, const unsigned char *data, unsigned n);
