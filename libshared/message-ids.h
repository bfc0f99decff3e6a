/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* MESSAGE_ID= of the events that somebody may want to act upon, or to have explained: `journalctl -x` shows what units/blockstore.catalog has to say about them, and `journalctl MESSAGE_ID=...` finds them
 * whatever their words. Random 128-bit numbers (systemd.journal-fields(7)); one that has been released never changes its meaning. */

/* An image can be used: its device is there, or NBD clients may come. */
#define MESSAGE_IMAGE_ATTACHED "d62fa77a13e64b71ace6596cc6a3a189"
/* The connections to the proxy in use are gone; I/O waits for another proxy. */
#define MESSAGE_CONNECTION_LOST "ec4bf793df154bf3a004ab33127553f3"
/* No proxy can be had; I/O waits. */
#define MESSAGE_IMAGE_PARKED "aff893b26f0748a6ba8f0df87806424d"
/* I/O goes on through the proxy that it went through before. */
#define MESSAGE_IMAGE_RESUMED "dad02f97268a468699c85c8933601d41"
/* I/O goes on through another proxy. */
#define MESSAGE_IMAGE_FAILOVER "ae4399a6bd6240c18be1a5213dcf7c04"
/* An image is being detached. */
#define MESSAGE_IMAGE_DETACHING "2a2d866aa50a4dad833c87f37e3cafaf"
/* An image cannot be attached, or not any more, for a reason that has no id of its own. */
#define MESSAGE_IMAGE_FAILED "eebdecda1fb3449faa7b646fec7d8cd8"
/* The image is attached for writing by another host. */
#define MESSAGE_IMAGE_HELD "e7033c0c19cc4b79bd2ea0cc98c85538"
/* Another host has taken the image: this one is fenced off. */
#define MESSAGE_IMAGE_TAKEN "f51343143a614ac0b99ce86196d5761d"
/* The login, or the right to the image, was refused. */
#define MESSAGE_ACCESS_REFUSED "d68b317f2b8349268b9651c740690877"
/* No proxy let the image be attached within attach-timeout. */
#define MESSAGE_NO_PROXY "2f6cc4e4d02843bcbe7bc55da579aa19"
/* What was acknowledged may be lost. */
#define MESSAGE_DATA_LOST "d4f51d955de0462d9fd488d9a9791a7f"
/* A device cannot be disconnected, because somebody uses it. */
#define MESSAGE_DEVICE_BUSY "42b21b66df844c37b9aa0a9e83a1f249"
/* A device has no worker any more and is in use. */
#define MESSAGE_DEVICE_ORPHANED "4d97b4d05064400cb1ae5998a7172e6e"
/* A device that had no worker any more was disconnected. */
#define MESSAGE_DEVICE_COLLECTED "6f42c43ab76d48f5abc0e12adeaaab9a"
/* A setting or a password is wrong or missing. */
#define MESSAGE_CONFIGURATION "41c5f12abdc549de96d6afc422659513"
/* This system lacks something: NBD, io_uring. */
#define MESSAGE_SYSTEM_NOT_READY "2cf86d3b5bbb4fddaaaa300bf32741db"
/* A unit was started too often in a row. */
#define MESSAGE_START_LIMIT "f140752ec77d44af9bbd51ce0b345a79"
/* A proxy has refused a login. */
#define MESSAGE_LOGIN_REFUSED "bc9d1df60edb4137a6eb5c2ce37ae7bf"
/* A proxy was asked to let go of its clients, or to serve them again. */
#define MESSAGE_PROXY_DRAINS "a2bc3492248447c0a8aaf205856b5053"
/* A host has made sure that its earlier writes are over. */
#define MESSAGE_CLIENT_FENCED "56cc528dc4004f35b53b505ca2f333e9"
/* A proxy has killed another one that did not answer. */
#define MESSAGE_PEER_KILLED "8d217c119ce54c98874d02cf58e25801"
/* The store has failed to read or write. */
#define MESSAGE_STORE_ERROR "0a3520786e184f15bf7539a53728e7e9"
/* Data in the store do not agree with their checksum. */
#define MESSAGE_DATA_DAMAGED "9f1c7d2be6a94c50b83d40e15a7c26f8"
/* A proxy has let a client in. */
#define MESSAGE_LOGIN_ACCEPTED "67137822c00e63f5710826d82dc833ac"
/* A proxy checks no more logins of an address or a user for a while, since too many have failed. */
#define MESSAGE_LOGINS_HELD_BACK "2c9f31d28ac55393e933fec08686e306"
/* A proxy has refused a login that could be read on the network. */
#define MESSAGE_CLASSIC_LOGIN_OFF "1c231256575870b458dfd29d29eab66d"
/* A proxy has refused what a user has no right to, or taken it away. */
#define MESSAGE_RIGHTS_REFUSED "e45a8bbf689b2d950dfc2574265b2a14"
/* A client has attached an image. */
#define MESSAGE_CLIENT_ATTACHED "c03e215be880e78f7e629203ccc71384"
/* A client has taken an image away from the host that had it. */
#define MESSAGE_LEASE_TAKEN "723b183b0427932cf0d332aebce82f0e"
/* A client has changed what the store holds: created, removed, renamed, resized, rolled back. */
#define MESSAGE_ADMIN_OPERATION "2d2ea2176e4decacdc5397d2e11b254b"
/* A proxy was shut out of its store by another one, and has ended. */
#define MESSAGE_PROXY_SHUT_OUT "5c1e1f5a6b9c4d0e8f27ab43d1903e76"
